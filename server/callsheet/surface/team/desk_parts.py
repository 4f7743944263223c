"""What a team's desk has in the places of the local desk's parts: sessions as rows, and approval by passkey alone.

Each request acts on behalf of the person of its session, and the ledger shows nothing else; a request without a session
can ask the ledger nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callsheet.core.clips import ClipLinks
from callsheet.core.consent import Means
from callsheet.core.people import Person, Viewer, require_approver
from callsheet.core.tasks import Clip, SheetState
from callsheet.edges.identity.login import RelyingParty
from callsheet.edges.postgres.database import allow_waiting
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.edges.postgres.people import People
from callsheet.edges.postgres.sessions import SessionRow, Sessions, name_session
from callsheet.errors import LedgerProblem, NotApproved
from callsheet.service import Service
from callsheet.surface.desk.requests import MOST_BYTES
from callsheet.surface.desk.sessions import DeskSession
from callsheet.surface.desk.step_up import ChallengeStore, Proof, Signatures
from callsheet.surface.next_steps import in_team

from .config import TeamConfig
from .viewer import as_viewer, current_viewer

FRESH_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class TeamDesk:
    """What the pages need that only a team has. `links` signs the links of a clip that is an object in storage."""

    config: TeamConfig
    service: Service
    people: People
    ledger: TeamLedger
    login: RelyingParty
    links: Callable[[Clip], Awaitable[ClipLinks | None]]

    @property
    def is_secure(self) -> bool:
        """Whether cookies are for https alone."""
        return self.config.public_url.startswith("https://")

    def name_owner(self, sheet_id: str) -> str:
        """Who asked for a sheet."""
        owner = self.people.find(self.ledger.owner(sheet_id))
        return owner.name if owner else ""


@dataclass(frozen=True, slots=True)
class PresentSessions:
    """The session of the present request, which was looked up once, with the person on whose behalf it acts."""

    rows: Sessions
    _present: ContextVar[SessionRow | None] = field(default_factory=lambda: ContextVar("session", default=None))

    def find(self, cookie: str) -> DeskSession | None:
        """That session, if the cookie is its own."""
        found = self._present.get()
        return found if found is not None and found.id == name_session(cookie) else None

    def end(self, cookie: str) -> None:
        """Sign out here."""
        self.rows.end(cookie)

    @contextmanager
    def use(self, session: SessionRow) -> Iterator[None]:
        """Act in that session, on behalf of its person."""
        token = self._present.set(session)
        try:
            with as_viewer(Viewer(session.person)):
                yield
        finally:
            self._present.reset(token)


class SessionMiddleware:
    """Finds the session of each request, and lets the ledger wait without blocking.

    First the whole form is read: a request that was begun before its person was cut off, and is ended after, is late.
    """

    def __init__(self, app: ASGIApp, sessions: PresentSessions, cookie: str, url: str) -> None:
        self._app = app
        self._url = url
        self._sessions = sessions
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await allow_waiting()
        if scope["method"] == "POST":
            receive = await _receive_form(receive)
        try:
            session = self._find(Request(scope))
        except LedgerProblem as problem:
            await PlainTextResponse(f"{problem}\n", 503)(scope, receive, send)
            return
        with in_team(self._url), self._sessions.use(session) if session else nullcontext():
            await self._app(scope, receive, send)

    def _find(self, request: Request) -> SessionRow | None:
        cookie, path = request.cookies.get(self._cookie, ""), request.url.path
        if not cookie or path.startswith("/static/"):
            return None
        return self._sessions.rows.find(cookie, is_act=not path.endswith("/live"))


async def _receive_form(receive: Receive) -> Receive:
    """The same messages again, once all of a form is here, or more of it than a form may have."""
    messages, size, is_whole = [], 0, False
    while not is_whole and size <= MOST_BYTES:
        messages.append(await receive())
        size += len(messages[-1].get("body", b""))
        is_whole = not messages[-1].get("more_body")

    async def replay() -> Message:
        return messages.pop(0) if messages else await receive()

    return replay


@dataclass(frozen=True, slots=True)
class TeamStepUp:
    """A passkey of the signed-in person, who may approve: an approver or admin, with four eyes not of their own."""

    signatures: Signatures
    ledger: TeamLedger
    people: People
    four_eyes: bool

    @property
    def challenges(self) -> ChallengeStore:
        """Those that passkeys sign."""
        return self.signatures.challenges

    def require_permitted(self, sheet_id: str) -> None:
        """Raises `NotApproved`, with who can, unless the present person may approve that sheet, or what has none."""
        viewer, owner = current_viewer(), self.ledger.owner(sheet_id) if sheet_id else ""
        try:
            require_approver(viewer, owner=owner, four_eyes=self.four_eyes)
        except NotApproved as refusal:
            raise NotApproved(refusal.message, next_step=f"Ask {self._name_approvers(viewer)}.") from None
        sheet = self.ledger.sheet(sheet_id) if sheet_id and self.four_eyes else None
        if sheet is not None and sheet.state is SheetState.DRAFTED:
            raise NotApproved(
                "Nobody has asked for this clip yet, and your team wants two people to want it.",
                next_step="Wait until the person who drafted it asks for it.",
            )

    async def prove(self, form: Mapping[str, str], session: DeskSession, subject: str, *, sheet_id: str = "") -> Proof:
        """Check that the person may approve and signed the subject; raises `NotApproved`."""
        self.require_permitted(sheet_id)
        return self.prove_own(form, session, subject)

    def prove_own(self, form: Mapping[str, str], session: DeskSession, subject: str) -> Proof:
        """Check that the person signed the subject, whatever their role; raises `NotApproved`."""
        if not form.get("passkey"):
            raise NotApproved("Only a passkey of yours can do this.", next_step="Use the button for the passkey.")
        used, evidence = self.signatures.check(form["passkey"], session, subject)
        return Proof(Means.PASSKEY, {"who": f"passkey {used.name} of {current_viewer().who}", **evidence})

    def ask(self, session: DeskSession, subject: str, *, sheet_id: str = "") -> dict[str, str]:
        """What the person's passkey must sign."""
        self.require_permitted(sheet_id)
        return self.signatures.ask(session, subject)

    async def confirm(self, form: Mapping[str, str], session: DeskSession) -> None:
        """Raises `NotApproved` unless the person has just signed in, which a stolen session cannot do."""
        if not self.can_confirm(session):
            raise NotApproved("For this you must have signed in a moment ago.", next_step="Sign in again.")

    def can_confirm(self, session: DeskSession) -> bool:
        """Whether the provider saw the person sign in within the last five minutes."""
        return isinstance(session, SessionRow) and self.signatures.time() - session.signed_in_at <= FRESH_SECONDS

    def ways(self) -> dict[str, Any]:
        """A passkey, for those who may approve."""
        viewer = current_viewer()
        if viewer.person is None or not viewer.person.role.approves:
            can = f"Only an approver of your team can do this: {self._name_approvers(viewer)}."
            return {"has_passphrase": False, "has_passkey": False, "no_way": can, "decides": False}
        return self.own_ways()

    def own_ways(self) -> dict[str, Any]:
        """A passkey, for everybody."""
        known = {"has_passphrase": False, "has_passkey": bool(self.signatures.passkeys.all()), "decides": True}
        return {**known, "no_way": "You have no passkey yet.", "add": "/passkeys"}

    def _name_approvers(self, viewer: Viewer) -> str:
        found = [each.name for each in self.people.all() if _can_approve(each) and each != viewer.person]
        return ", ".join(found) or "your administrator for an approver"


def _can_approve(person: Person) -> bool:
    return person.role.approves and person.disabled_at is None


__all__ = ["PresentSessions", "SessionMiddleware", "TeamDesk", "TeamStepUp"]
