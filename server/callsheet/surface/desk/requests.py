"""A request with a session, and the two ways in which one becomes an answer: reading a page, and posting a form.

Reading changes nothing. Posting needs the session's token in the form, and ends with a redirect. Whatever goes
wrong becomes a page that says what happened, whether anything was sent or spent, and what to do.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.status import HTTP_303_SEE_OTHER

from callsheet.core.consent.approval import Need, decide_need
from callsheet.core.consent.policy import Mode, Policy
from callsheet.errors import (
    FATE_SENTENCES,
    CallsheetError,
    Fate,
    InvalidRequest,
    NotApproved,
    SetupProblem,
    UnknownThing,
)
from callsheet.surface.next_steps import for_person
from callsheet.surface.text import in_commands

from .sessions import Session, is_csrf_valid
from .state import DeskState

MOST_BYTES = 65_536
MOST_FIELDS = 200
FORM = "application/x-www-form-urlencoded"

log = logging.getLogger(__name__)


class Form(dict[str, str]):
    """A posted form; `every` has all values of a field that may come more than once."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def every(self, name: str) -> tuple[str, ...]:
        """All values of that field, in order."""
        return tuple(value for key, value in self._pairs if key == name)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request by somebody who is signed in."""

    office: DeskState
    request: Request
    session: Session
    form: Form

    @property
    def now(self) -> float:
        """The time by the program's clock."""
        return self.office.service.deps.clock.now()

    def named(self, part: str) -> str:
        """A part of the address."""
        return str(self.request.path_params[part])

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Draw a page."""
        text = self.office.paper.render(template, **self._around(), **values)
        return HTMLResponse(text, status)

    def part(self, template: str, **values: Any) -> Response:
        """Draw a part of a page, for one that keeps itself up to date."""
        return HTMLResponse(self.office.paper.render(template, csrf=self.session.csrf, **values))

    def go(self, path: str, notice: str = "") -> Response:
        """After something was done: on to a page that says so."""
        if notice:
            self.session.notices.append(notice)
        return RedirectResponse(path, HTTP_303_SEE_OTHER)

    def _around(self) -> dict[str, Any]:
        return {
            **surroundings(self.office),
            "csrf": self.session.csrf,
            "notices": self.session.take_notices(),
            "path": self.request.url.path,
            "signed_in": True,
        }


View = Callable[[Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def surroundings(office: DeskState) -> dict[str, Any]:
    """What every page shows: the mode, unmistakably, and what waits."""
    policy = read_policy(office)
    waiting = 0
    if policy is not None:
        try:
            waiting = len(office.service.pending())
        except CallsheetError:
            # The page itself says what is wrong with the ledger.
            waiting = 0
    asks = policy is not None and decide_need(policy, Mode.SANDBOX) is Need.PERSON
    return {"mode": policy.mode.value if policy else "unknown", "asks": asks, "waiting_count": waiting}


def read_policy(office: DeskState) -> Policy | None:
    """The policy as it is now, None when it cannot be used."""
    try:
        return office.service.deps.policy()
    except SetupProblem:
        return None


def reading(office: DeskState, view: View) -> Endpoint:
    """A page for those who are signed in; others are led to where they can."""

    async def endpoint(request: Request) -> Response:
        session = office.sessions.find(request.cookies.get(office.cookie, ""))
        if session is None:
            return _lead_in(request)
        return await _answer(Visit(office, request, session, Form([])), view)

    return endpoint


def posting(office: DeskState, view: View) -> Endpoint:
    """A form of those who are signed in, with their session's token in it."""

    async def endpoint(request: Request) -> Response:
        session = office.sessions.find(request.cookies.get(office.cookie, ""))
        if session is None:
            return _turn_away(office, request, 401, "Nobody is signed in here any more.")
        try:
            form = await read_form(request)
        except CallsheetError as error:
            return _turn_away(office, request, 413, error.message)
        if not is_csrf_valid(session, form.get("csrf", "")):
            return _turn_away(office, request, 403, "That form is not from this session.")
        return await _answer(Visit(office, request, session, form), view)

    return endpoint


async def read_form(request: Request) -> Form:
    """The fields of a posted form; raises `InvalidRequest` for what is too large or no form."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise InvalidRequest("That is more than any form here holds.", next_step="Send less.")
    except ClientDisconnect:
        body = b""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return Form([])
    try:
        return Form(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise InvalidRequest("That form has too many fields.", next_step="Send less.") from None


def said(error: CallsheetError) -> dict[str, str]:
    """An error in the words of the desk: what happened, what became of the money, what to do."""
    return {
        "message": in_commands(error.message),
        "fate": FATE_SENTENCES[error.fate],
        "next_step": in_commands(for_person(error.next_step)),
        "code": error.error_code,
    }


def status_of(error: CallsheetError) -> int:
    """The HTTP status for an error."""
    if isinstance(error, UnknownThing):
        return 404
    if isinstance(error, NotApproved):
        return 403
    return 422 if isinstance(error, InvalidRequest) else 409


def wants_data(request: Request) -> bool:
    """Whether our script asks, rather than the browser for a page."""
    return "application/json" in request.headers.get("accept", "")


def told(visit: Visit, error: CallsheetError) -> Response:
    """An error as an answer."""
    if wants_data(visit.request):
        redacted = {name: visit.office.service.redactor().text(text) for name, text in said(error).items()}
        return JSONResponse({"error": redacted}, status_of(error))
    return visit.page("problem.html", status=status_of(error), error=said(error))


async def _answer(visit: Visit, view: View) -> Response:
    try:
        return await view(visit)
    except CallsheetError as error:
        return told(visit, error)
    except Exception as error:
        # A traceback may hold a prompt, so the type and an id must do.
        error_id = secrets.token_hex(4)
        log.error("a page failed: %s, id %s", type(error).__name__, error_id)  # noqa: TRY400 - see above
        mistake = SetupProblem(
            f"A mistake in the program: {type(error).__name__}, id {error_id}.",
            next_step="Look at the tasks before you try again, and report it.",
            fate=Fate.UNKNOWN,
        )
        if wants_data(visit.request):
            return JSONResponse({"error": said(mistake)}, 500)
        # Not as a page: what every page shows may be what failed.
        return PlainTextResponse(f"{mistake}\n", 500)


def _turn_away(office: DeskState, request: Request, status: int, message: str) -> Response:
    """Nothing was done; said to a person as a page with a way back, and to our script as data."""
    error = {"message": message, "fate": "Nothing was changed.", "next_step": "Go back to the desk.", "code": ""}
    if wants_data(request):
        return JSONResponse({"error": error}, status)
    # How much waits is for those who are signed in.
    around = {**surroundings(office), "waiting_count": 0, "notices": [], "path": "", "csrf": "", "signed_in": False}
    return HTMLResponse(office.paper.render("problem.html", **around, error=error), status)


def _lead_in(request: Request) -> Response:
    if request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return PlainTextResponse("Nobody is signed in here.\n", 401)
    return RedirectResponse(f"/sign-in?next={request.url.path}", HTTP_303_SEE_OTHER)


Facts = Mapping[str, Any]

__all__ = [
    "Endpoint",
    "Facts",
    "Form",
    "View",
    "Visit",
    "posting",
    "read_form",
    "read_policy",
    "reading",
    "said",
    "status_of",
    "surroundings",
    "told",
    "wants_data",
]
