"""The real desk on a real port, in a thread of its own, with the sandbox behind it; for tests in a browser."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from desk_client import PASSPHRASE, set_passphrase
from playwright.sync_api import Browser, Page, sync_playwright

from callsheet.compose import Surroundings, build_program, build_service
from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import OPEN_STATES
from callsheet.edges.clock import SystemClock
from callsheet.service import Draft, Service
from workspace import account_of, trust

Result = TypeVar("Result")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_SECONDS = 60.0
PROMPTS = (
    "A red kite over dunes at dusk, slow pan to the left, warm light, long shadows on the sand.",
    "Rain on the window of a night tram; the city blurs into orange and blue.",
    "Close-up: a potter's hands open a clay bowl on the wheel, morning light from the left.",
)
POLICY = "[sandbox]\nasks = true\nspeed = 600\n"


@dataclass
class DeskServer:
    """A home with a desk that is open. `url` has the bearer of this start, which works once."""

    home: Path
    url: str
    environ: Mapping[str, str]

    @property
    def origin(self) -> str:
        """The desk's own address."""
        return self.url.partition("/#")[0]

    def service(self) -> Service:
        """Another process on the same home: an agent's."""
        return build_service(surroundings(self.home, self.environ))

    def ask(self, prompt: str, *, gateway: str = "poyo", model: str = "sora-2-official") -> str:
        """An agent drafts a sheet and asks for it; returns the sheet's id."""
        service = self.service()
        explanation = service.explain(Draft(Shot.of(prompt, duration_seconds=4), gateway=gateway, model=model))
        assert explanation.sheet is not None, explanation.findings
        run_apart(submit, service, explanation.sheet.id)
        return explanation.sheet.id

    def generate_clip(self, sheet_id: str) -> str:
        """A person approves the sheet elsewhere and the agent submits it; returns the task's id."""
        service = self.service()
        service.approve(sheet_id, by=Means.TERMINAL)
        return run_apart(submit, service, sheet_id)

    def wait_for(self, task_id: str) -> None:
        """Until the desk has followed the task to its end."""
        service = self.service()

        async def ended() -> None:
            with anyio.fail_after(TIMEOUT_SECONDS):
                while service.task(task_id).task.state in OPEN_STATES:
                    await service.deps.changes.wait(0.2)

        run_apart(ended)


def surroundings(home: Path, environ: Mapping[str, str]) -> Surroundings:
    """A process on that home, in no project."""
    return Surroundings(
        {"CALLSHEET_HOME": str(home), **environ}, Path("/nowhere"), SystemClock(), account_home=account_of(home)
    )


def run_apart(work: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
    """Run something asynchronous in a thread of its own: in this one Playwright's loop is running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, work, *arguments).result()


async def submit(service: Service, sheet_id: str) -> str:
    """Submit without waiting; the id of the task, empty when a person is needed."""
    submission = await service.submit(sheet_id, wait_seconds=0)
    return submission.report.task.id if submission.report else ""


@contextmanager
def open_desk_server(home: Path, policy: str = POLICY, **environ: str) -> Iterator[DeskServer]:
    """A desk that serves while the block runs."""
    path = home / "config" / "policy.toml"
    path.parent.mkdir(parents=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(policy, encoding="utf-8")
    trust(home, policy)
    set_passphrase(home)
    program = build_program(surroundings(home, environ))
    urls: list[str] = []
    opened, failed, closing = threading.Event(), [], []

    def on_open(url: str) -> None:
        urls.append(url)
        opened.set()

    async def serve() -> None:
        service = program.build_service()
        with anyio.CancelScope() as scope:
            closing.append((anyio.lowlevel.current_token(), scope))
            async with service.running():
                await program.serve_desk(service, port=0, on_open=on_open)

    def run() -> None:
        try:
            anyio.run(serve)
        except BaseException as error:
            failed.append(error)
        finally:
            opened.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert opened.wait(TIMEOUT_SECONDS)
        assert not failed, failed
        yield DeskServer(home, urls[0], environ)
    finally:
        token, scope = closing[0]
        anyio.from_thread.run_sync(scope.cancel, token=token)
        thread.join(TIMEOUT_SECONDS)
    assert not failed, failed


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium of this computer; skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on this computer")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Page, desk_server: DeskServer) -> None:
    """With the passphrase: the bearer works only once."""
    page.goto(f"{desk_server.origin}/sign-in")
    page.get_by_label("Approval passphrase").fill(PASSPHRASE)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{desk_server.origin}/")
