"""A browser that is a plain client: it keeps cookies, sends the headers of a same-origin page, and follows nothing."""

from __future__ import annotations

import html
import json
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from callsheet.compose import VERIFIER_FILE
from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.edges.files.files import write_private
from callsheet.edges.keys.passphrase import create_verifier
from callsheet.service import Service
from callsheet.surface.desk.application import build_app
from callsheet.surface.desk.state import DeskState, build_desk_state
from samples import CHEAP
from workspace import SHOT, Workspace, draft

PORT = 43117
ORIGIN = f"http://localhost:{PORT}"
PASSPHRASE = "a quiet slate of wild geese"


@dataclass
class Steady:
    """A monotonic clock; the test moves it."""

    time: float = 100.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Desk:
    """One start of the desk over one install, without a socket."""

    workspace: Workspace
    service: Service
    state: DeskState
    clock: Steady
    client: httpx2.AsyncClient
    headers: dict[str, str] = field(default_factory=lambda: {"origin": ORIGIN})

    async def sign_in(self) -> str:
        """Use the bearer; returns the session's CSRF token."""
        answer = await self.post("/session", key=self.state.sessions.bearer or "")
        assert answer.status_code == 200, answer.text
        return await self.token()

    async def token(self) -> str:
        """The CSRF token as it stands in a page."""
        found = re.search(r'name="csrf" value="([^"]+)"', await self.read("/"))
        assert found is not None
        return found[1]

    def cookie(self) -> str:
        """The session's cookie as a browser sends it."""
        return "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())

    def digest(self, sheet_id: str) -> str:
        """What a sheet is bound to, as its page has it in the form."""
        sheet = self.service.deps.ledger().sheet(sheet_id)
        return sheet.binding.digest if sheet is not None else ""

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """Fetch an address as a page of ours would."""
        return await self.client.get(path, headers=headers)

    async def read(self, path: str) -> str:
        """A page's text; it must be there."""
        answer = await self.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.text

    async def post(self, path: str, **fields: str) -> httpx2.Response:
        """Post a form as a page of ours would: with what it showed, if it is about a sheet or an allowance."""
        about = re.fullmatch(r"/sheets/(\w+)/(?:approve|challenge)", path)
        if about is not None and "shown" not in fields:
            fields["shown"] = self.digest(about[1])
        if path in ("/allowances", "/allowances/challenge"):
            fields = {"shown": self.service.deps.policy().version, "once": secrets.token_hex(8), **fields}
        return await self.client.post(path, data=fields, headers=self.headers)


def open_desk(workspace: Workspace) -> Desk:
    """The desk over a studio's install."""
    service, clock = workspace.service(), Steady()
    config = workspace.home / "config"
    state = build_desk_state(service, config=config, verifier=config / VERIFIER_FILE, port=PORT, now=clock)
    transport = httpx2.ASGITransport(app=build_app(state))
    return Desk(workspace, service, state, clock, httpx2.AsyncClient(transport=transport, base_url=ORIGIN))


def set_passphrase(home: Path) -> None:
    """A person has chosen a passphrase; its verifier is a cheap one, so that tests are quick."""
    line = create_verifier(PASSPHRASE, CHEAP)
    write_private(home / "config" / VERIFIER_FILE, line.encode(), what="verifier")


async def ask(desk: Desk, shot: Shot = SHOT) -> str:
    """An agent drafts a shot and asks for it; the id of the sheet that waits."""
    sheet_id = draft(desk.service, shot)
    submission = await desk.service.submit(sheet_id, wait_seconds=0)
    assert submission.status == "approval_needed"
    return sheet_id


async def generate_clip(desk: Desk) -> str:
    """A live task that was approved and sent; the watcher runs until the gateway has answered."""
    sheet_id = draft(desk.service)
    desk.service.approve(sheet_id, by=Means.DESK)
    async with desk.service.running():
        submission = await desk.service.submit(sheet_id, wait_seconds=5)
    assert submission.report is not None
    return submission.report.task.id


def seen(page: str) -> str:
    """What a person reads on a page: its text without the tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def data(answer: httpx2.Response) -> dict[str, object]:
    """A JSON answer."""
    found = json.loads(answer.text)
    assert isinstance(found, dict)
    return found
