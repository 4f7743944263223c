"""A request with a session, and the two kinds of endpoint: reading a page and posting a form.

Reading changes nothing. Posting needs the session's token in the form, and ends with a redirect. Every error
becomes a page that says what happened, whether anything was sent or spent, and what to do.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.status import HTTP_303_SEE_OTHER

from callsheet.core.consent import Policy
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

from .sessions import DeskSession, is_csrf_valid
from .state import DeskState

MOST_BYTES = 65_536
MOST_FIELDS = 200
FORM = "application/x-www-form-urlencoded"

log = logging.getLogger(__name__)


class Form(dict[str, str]):
    """A posted form; `all_values` returns all values of a field that occurs more than once."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def all_values(self, name: str) -> tuple[str, ...]:
        """All values of that field, in order."""
        return tuple(value for key, value in self._pairs if key == name)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request of a signed-in session."""

    state: DeskState
    request: Request
    session: DeskSession
    form: Form

    @property
    def now(self) -> float:
        """The time by the program's clock."""
        return self.state.service.now()

    def path_param(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])

    def page(self, template: str, *, status: int = 200, count: int | None = None, **values: Any) -> Response:
        """Render a page; `count` is how many sheets wait, where that is known already."""
        text = self.state.templates.render(template, **self._page_values(count), **values)
        return HTMLResponse(text, status)

    def fragment(self, template: str, **values: Any) -> Response:
        """Render the part of a page that updates automatically."""
        return HTMLResponse(self.state.templates.render(template, csrf=self.session.csrf, **values))

    def redirect(self, path: str, notice: str = "") -> Response:
        """Redirect after an action, with a notice on the next page."""
        if notice:
            self.session.add_notice(notice)
        return RedirectResponse(path, HTTP_303_SEE_OTHER)

    def _page_values(self, count: int | None) -> dict[str, Any]:
        return {
            **page_values(self.state, is_signed_in=True, count=count),
            "csrf": self.session.csrf,
            "notices": self.session.take_notices(),
            "path": self.request.url.path,
        }


View = Callable[[RequestContext], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def page_values(state: DeskState, *, is_signed_in: bool, count: int | None = None) -> dict[str, Any]:
    """What every page shows: the mode and, for a session alone, how many sheets wait (`count` of them if known)."""
    policy = read_policy(state)
    waiting = count or 0
    if policy is not None and is_signed_in and count is None:
        try:
            waiting = len(state.service.pending())
        except CallsheetError:
            # The page itself says what is wrong with the ledger.
            waiting = 0
    paused = policy is not None and policy.paused
    mode = policy.mode.value if policy else "unknown"
    shown = {"mode": mode, "paused": paused, "waiting_count": waiting, "signed_in": is_signed_in}
    return shown if is_signed_in else {**shown, "notices": [], "path": "", "csrf": ""}


def read_policy(state: DeskState) -> Policy | None:
    """The current policy; None when it cannot be used."""
    try:
        return state.service.policy
    except SetupProblem:
        return None


def get_endpoint(state: DeskState, view: View) -> Endpoint:
    """A page for a signed-in session; others are sent to sign in."""

    async def endpoint(request: Request) -> Response:
        session = state.sessions.find(request.cookies.get(state.cookie, ""))
        if session is None:
            return _redirect_to_sign_in(request)
        return await _answer(RequestContext(state, request, session, Form([])), view)

    return endpoint


def post_endpoint(state: DeskState, view: View) -> Endpoint:
    """A form of a signed-in session, with the session's token in it."""

    async def endpoint(request: Request) -> Response:
        session = state.sessions.find(request.cookies.get(state.cookie, ""))
        if session is None:
            return _refuse(state, request, 401, "You are no longer signed in.")
        try:
            form = await read_form(request)
        except CallsheetError as error:
            return _refuse(state, request, 413, error.message)
        if not is_csrf_valid(session, form.get("csrf", "")):
            return _refuse(state, request, 403, "This form belongs to another session.")
        return await _answer(RequestContext(state, request, session, form), view)

    return endpoint


async def read_form(request: Request) -> Form:
    """The fields of a posted form; raises `InvalidRequest` when it is too large."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise InvalidRequest("The form is too large.", next_step="Send less.")
    except ClientDisconnect:
        body = b""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return Form([])
    try:
        return Form(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise InvalidRequest("The form has too many fields.", next_step="Send less.") from None


def render_error(error: CallsheetError) -> dict[str, str]:
    """An error for a page: what happened, whether money was spent, what to do."""
    return {
        "message": error.message,
        "fate": FATE_SENTENCES[error.fate],
        "next_step": for_person(error.next_step),
        "code": error.error_code,
    }


def http_status(error: CallsheetError) -> int:
    """The HTTP status for an error."""
    if isinstance(error, UnknownThing):
        return 404
    if isinstance(error, NotApproved):
        return 403
    return 422 if isinstance(error, InvalidRequest) else 409


def wants_json(request: Request) -> bool:
    """Whether our script sent the request, which expects JSON."""
    return "application/json" in request.headers.get("accept", "")


def error_response(context: RequestContext, error: CallsheetError) -> Response:
    """An error as an answer."""
    if wants_json(context.request):
        redacted = {name: context.state.service.redactor().text(text) for name, text in render_error(error).items()}
        return JSONResponse({"error": redacted}, http_status(error))
    return context.page("problem.html", status=http_status(error), error=render_error(error))


async def _answer(context: RequestContext, view: View) -> Response:
    try:
        return await view(context)
    except CallsheetError as error:
        return error_response(context, error)
    except Exception as error:
        # A traceback may contain a prompt, so only the type and an id are logged.
        error_id = secrets.token_hex(4)
        log.error("a page failed: %s, id %s", type(error).__name__, error_id)  # noqa: TRY400 - see above
        mistake = SetupProblem(
            f"Internal error: {type(error).__name__}, id {error_id}.",
            next_step="Check your tasks before you try again, and report this error.",
            fate=Fate.UNKNOWN,
        )
        if wants_json(context.request):
            return JSONResponse({"error": render_error(mistake)}, 500)
        # Plain text: rendering a page may be what failed.
        return PlainTextResponse(f"{mistake}\n", 500)


def _refuse(state: DeskState, request: Request, status: int, message: str) -> Response:
    """A refusal before any action: a page with a link back, or JSON for our script."""
    error = {"message": message, "fate": "Nothing was changed.", "next_step": "Go back to the desk.", "code": ""}
    if wants_json(request):
        return JSONResponse({"error": error}, status)
    text = state.templates.render("problem.html", **page_values(state, is_signed_in=False), error=error)
    return HTMLResponse(text, status)


def _redirect_to_sign_in(request: Request) -> Response:
    if request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return PlainTextResponse("You are not signed in.\n", 401)
    return RedirectResponse(f"/sign-in?next={request.url.path}", HTTP_303_SEE_OTHER)
