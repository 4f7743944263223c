"""How a person gets a session: by the bearer of this start, or by the passphrase. And how it ends."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.status import HTTP_303_SEE_OTHER

from callsheet.errors import CallsheetError, SetupProblem

from .requests import Visit, read_form, said, status_of, surroundings
from .sessions import SESSION_SECONDS
from .state import DeskState

Endpoint = Callable[[Request], Awaitable[Response]]

_OWN_PATH = re.compile(r"/(?:(?:sheets|tasks)/[A-Za-z0-9_]{1,64}|tasks|spending|allowances|passkeys|audit)?")


def own_path(named: str) -> str:
    """Where to go after signing in: one of our own pages, never an address that somebody wrote."""
    return named if _OWN_PATH.fullmatch(named) else "/"


def sign_in_page(office: DeskState) -> Endpoint:
    """Offers the passphrase; our script uses the bearer if the address brought one."""

    async def endpoint(request: Request) -> Response:
        return _draw(office, own_path(request.query_params.get("next", "/")))

    return endpoint


def sign_in(office: DeskState) -> Endpoint:
    """A session for the passphrase. It has no token yet, so Origin and Host must do; they are checked before."""

    async def endpoint(request: Request) -> Response:
        following = "/"
        try:
            form = await read_form(request)
            following = own_path(form.get("next", "/"))
            await office.door.check(form.get("passphrase", ""))
        except CallsheetError as error:
            return _draw(office, following, error)
        return _enter(office, RedirectResponse(following, HTTP_303_SEE_OTHER), office.sessions.begin())

    return endpoint


def exchange(office: DeskState) -> Endpoint:
    """A session for the bearer, once."""

    async def endpoint(request: Request) -> Response:
        try:
            form = await read_form(request)
        except CallsheetError as error:
            return JSONResponse({"error": said(error)}, 413)
        cookie = office.sessions.exchange(form.get("key", ""))
        if cookie is None:
            return JSONResponse({"error": {"message": "That address was used before, or is too old."}}, 403)
        return _enter(office, JSONResponse({"next": own_path(form.get("next", "/"))}), cookie)

    return endpoint


def look(office: DeskState) -> Endpoint:
    """Whether this browser is signed in: after a link from elsewhere, its first request brings no cookie."""

    async def endpoint(request: Request) -> Response:
        signed_in = office.sessions.find(request.cookies.get(office.cookie, "")) is not None
        return JSONResponse({"signed_in": signed_in})

    return endpoint


async def sign_out(visit: Visit) -> Response:
    """End the session."""
    visit.office.sessions.end(visit.request.cookies.get(visit.office.cookie, ""))
    answer = RedirectResponse("/sign-in", HTTP_303_SEE_OTHER)
    answer.delete_cookie(visit.office.cookie, path="/", httponly=True, samesite="strict")
    return answer


def _enter(office: DeskState, answer: Response, cookie: str) -> Response:
    answer.set_cookie(office.cookie, cookie, max_age=int(SESSION_SECONDS), path="/", httponly=True, samesite="strict")
    return answer


def _draw(office: DeskState, following: str, error: CallsheetError | None = None) -> Response:
    around = {**surroundings(office), "notices": [], "path": "/sign-in", "csrf": "", "signed_in": False}
    # How much waits is for those who are signed in.
    around["waiting_count"] = 0
    setup = None
    try:
        known = office.door.has_passphrase()
    except SetupProblem as problem:
        known, setup = False, said(problem)
    text = office.paper.render(
        "sign_in.html",
        **around,
        next=following,
        has_passphrase=known,
        setup=setup,
        error=said(error) if error else None,
    )
    return HTMLResponse(text, status_of(error) if error else 200)


__all__ = ["exchange", "look", "own_path", "sign_in", "sign_in_page", "sign_out"]
