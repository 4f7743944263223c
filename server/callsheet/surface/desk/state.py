"""The state that the pages share: the use cases, sessions, approval checks and templates.

A team's desk has the same pages: it exchanges the parts of `DeskState`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from callsheet.core.consent import Means
from callsheet.edges.config.policy_file import FILE_NAME, write_pause
from callsheet.edges.keys.passkeys import PASSKEYS_FILE, Passkeys, PasskeySet
from callsheet.service import Service

from .sessions import Sessions, SessionStore
from .step_up import Challenges, LocalStepUp, PassphraseCheck, Signatures, StepUp
from .templating import Templates

HOST = "localhost"
COOKIE = "callsheet-desk"

Clock = Callable[[], float]
_CHECKS: WeakKeyDictionary[Service, PassphraseCheck] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskState:
    """What every desk has. `set_paused` stops all submissions or ends that; `cookie` is the name of the session's.

    `is_local`: the desk runs on the person's own computer, which has the files of the clips. `name_owner` names who
    asked for a sheet, where that can be somebody else.
    """

    service: Service
    sessions: SessionStore
    step_up: StepUp
    passkeys: PasskeySet
    templates: Templates
    set_paused: Callable[[bool], None]
    origin: str
    cookie: str
    is_local: bool
    name_owner: Callable[[str], str] = lambda _sheet_id: ""

    @property
    def host(self) -> str:
        """The host and port of the origin."""
        return self.origin.partition("://")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDeskState(DeskState):
    """One run of the desk on this computer."""

    sessions: Sessions
    passkeys: Passkeys
    passphrase_check: PassphraseCheck


def build_desk_state(service: Service, *, config: Path, verifier: Path, port: int, now: Clock) -> LocalDeskState:
    """The desk on that port, of the home with that configuration. `now` is a monotonic clock."""
    # A passkey needs a host name, so it is not an IP address.
    origin = f"http://{HOST}:{port}"

    def on_pause(wrong: int) -> None:
        service.record_audit("passphrase_refused", "desk", actor=Means.DESK.value, detail={"wrong_tries": str(wrong)})

    # A desk that a process opens again goes on counting wrong tries.
    passphrase_check = _CHECKS.setdefault(service, PassphraseCheck(verifier, now, on_pause))
    kept = Passkeys(config / PASSKEYS_FILE)
    return LocalDeskState(
        service=service,
        sessions=Sessions(now),
        passphrase_check=passphrase_check,
        step_up=LocalStepUp(passphrase_check, Signatures(kept, Challenges(now), origin, service.now)),
        passkeys=kept,
        templates=Templates(service.redactor),
        set_paused=lambda paused: write_pause(config / FILE_NAME, paused=paused),
        origin=origin,
        # The port, because all ports of a host share cookies.
        cookie=f"{COOKIE}-{port}",
        is_local=True,
    )
