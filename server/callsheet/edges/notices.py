"""Tells a person that a clip waits for them: at the one address that their policy names, or on their desktop.

A notice goes out once, in a thread of its own, and nothing waits for it. There are at most `AN_HOUR` an hour, over all
processes, and no second try.
"""

from __future__ import annotations

import atexit
import html
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.to_thread

from callsheet.core.catalogue.prices import dollars
from callsheet.core.consent import Mode, Policy
from callsheet.core.notices import build_notice, format_notice
from callsheet.core.security.redaction import Redactor
from callsheet.core.security.urls import url_host
from callsheet.core.shot import PARAMETERS, PLAIN
from callsheet.core.tasks import Sheet, SheetState
from callsheet.edges.clock import Clock
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.process.desktop import desktop_environ
from callsheet.errors import CallsheetError

AN_HOUR = 10
EXIT_SECONDS = 3.0
"""How long a program that ends waits for the notices on their way."""
DESKTOP_SECONDS = 5.0
_SCRIPT = ("on run argv", 'display notification (item 1 of argv) with title "Callsheet"', "end run")

log = logging.getLogger(__name__)


class Notifier:
    """Sends notices as the policy has them at that moment."""

    def __init__(
        self,
        http: GatewayHttp,
        clock: Clock,
        *,
        policy: Callable[[], Policy],
        ledger: Callable[[], SqlLedger],
        redactor: Callable[[], Redactor],
    ) -> None:
        self._http, self._clock = http, clock
        self._policy, self._ledger, self._redactor = policy, ledger, redactor
        self._threads: list[threading.Thread] = []

    def tell(self, sheet: Sheet) -> None:
        """Tell the person, if they want that, that a drafted sheet now waits. Returns immediately, raises nothing."""
        # What goes wrong with a notice is never in the way of the sheet.
        with suppress(CallsheetError, OSError, RuntimeError):
            policy, now = self._policy(), self._clock.now()
            notices, price = policy.notices, sheet.price
            if sheet.state is not SheetState.DRAFTED or not (notices.address or notices.desktop):
                return
            # A row for each hour, so that a flood in one silences no other.
            if self._ledger().reserve_pace(f"notices/{now // 3600:.0f}", interval=3600.0, burst=AN_HOUR, now=now):
                return
            values = [(name, sheet.shot.get(name)) for name in PLAIN]
            known = [PARAMETERS[name].shown(value) for name, value in values if value is not None]
            cost = str(price) if price.usd is None else f"{dollars(price.usd)} USD"
            prompt = self._redactor().text(sheet.shot.prompt) if notices.prompt else ""
            text = format_notice([cost, *known, sheet.card_id], prompt=prompt, rehearsal=sheet.mode is Mode.SANDBOX)
            if not self._threads:
                atexit.register(self.finish)
            thread = threading.Thread(target=self._send, args=(policy, text), daemon=True)
            thread.start()
            self._threads.append(thread)

    async def send_test(self) -> list[tuple[str, str]]:
        """Send a notice that nothing waits: where it went, and what became of it there."""
        return await self._deliver(self._policy(), "This is a test. Nothing waits for you.")

    def _send(self, policy: Policy, text: str) -> None:
        with suppress(Exception):
            for where, outcome in anyio.run(self._deliver, policy, text):
                log.info("notice to %s: %s", where, outcome)

    async def _deliver(self, policy: Policy, text: str) -> list[tuple[str, str]]:
        found, notices = [], policy.notices
        if notices.address:
            try:
                request = build_notice(notices, text)
                status = await self._http.post_notice(request, base_url=notices.parts[0], route=policy.route(""))
                outcome = f"{'sent' if 200 <= status <= 299 else 'refused'} (HTTP {status})"
            except CallsheetError as error:
                outcome = error.message
            found.append((url_host(notices.address) or "", outcome))
        if notices.desktop:
            found.append(("desktop", await anyio.to_thread.run_sync(_show, text)))
        return found

    def finish(self) -> None:
        """Wait for all notices on their way, for a short time in all."""
        end = time.monotonic() + EXIT_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


def desktop_command(text: str, platform: str = sys.platform) -> list[str]:
    """The system's own program, by its fixed path, with the text as one argument that is data to it."""
    if platform == "darwin":
        return ["/usr/bin/osascript", *(part for line in _SCRIPT for part in ("-e", line)), "--", text]
    # Some notification servers read the text as markup.
    return ["/usr/bin/notify-send", "--app-name=Callsheet", "--", "Callsheet", html.escape(text)]


def _show(text: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, no shell
            desktop_command(text), env=desktop_environ(), timeout=DESKTOP_SECONDS, check=False, capture_output=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"not shown ({type(error).__name__})"
    return "shown" if done.returncode == 0 else f"not shown (exit code {done.returncode})"
