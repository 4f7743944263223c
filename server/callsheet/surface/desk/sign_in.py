"""Sign-in with the bearer of this start or with the passphrase, and sign-out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.status import HTTP_303_SEE_OTHER

from callsheet.errors import CallsheetError, SetupProblem

from .requests import RequestContext, http_status, page_values, read_form, render_error
from .sessions import SESSION_SECONDS
from .state import LocalDeskState

Endpoint = Callable[[Request], Awaitable[Response]]

_OWN_PATH = re.compile(r"/(?:(?:sheets|tasks)/[A-Za-z0-9_]{1,64}|tasks|spending|allowances|passkeys|audit)?")


def own_path(path: str) -> str:
    """Where to go after sign-in: only one of our own pages."""
    return path if _OWN_PATH.fullmatch(path) else "/"


def sign_in_page(state: LocalDeskState) -> Endpoint:
    """The sign-in form; our script uses the bearer if the address contains one."""

    async def endpoint(request: Request) -> Response:
        return _render(state, own_path(request.query_params.get("next", "/")))

    return endpoint


def sign_in(state: LocalDeskState) -> Endpoint:
    """Begin a session with the passphrase. There is no CSRF token yet; Origin and Host were checked before."""

    async def endpoint(request: Request) -> Response:
        following = "/"
        try:
            form = await read_form(request)
            following = own_path(form.get("next", "/"))
            await state.passphrase_check.check(form.get("passphrase", ""))
        except CallsheetError as error:
            return _render(state, following, error)
        return _start_session(state, RedirectResponse(following, HTTP_303_SEE_OTHER), state.sessions.begin())

    return endpoint


def exchange(state: LocalDeskState) -> Endpoint:
    """Begin a session with the bearer, once."""

    async def endpoint(request: Request) -> Response:
        try:
            form = await read_form(request)
        except CallsheetError as error:
            return JSONResponse({"error": render_error(error)}, 413)
        cookie = state.sessions.exchange(form.get("key", ""))
        if cookie is None:
            return JSONResponse({"error": {"message": "That address was already used or has expired."}}, 403)
        return _start_session(state, JSONResponse({"next": own_path(form.get("next", "/"))}), cookie)

    return endpoint


def session_status(state: LocalDeskState) -> Endpoint:
    """Whether this browser is signed in. After a link from another site, the first request carries no cookie."""

    async def endpoint(request: Request) -> Response:
        signed_in = state.sessions.find(request.cookies.get(state.cookie, "")) is not None
        return JSONResponse({"signed_in": signed_in})

    return endpoint


async def sign_out(context: RequestContext) -> Response:
    """End the session."""
    context.state.sessions.end(context.request.cookies.get(context.state.cookie, ""))
    answer = RedirectResponse("/sign-in", HTTP_303_SEE_OTHER)
    answer.delete_cookie(context.state.cookie, path="/", httponly=True, samesite="strict")
    return answer


def _start_session(state: LocalDeskState, answer: Response, cookie: str) -> Response:
    answer.set_cookie(state.cookie, cookie, max_age=int(SESSION_SECONDS), path="/", httponly=True, samesite="strict")
    return answer


def _render(state: LocalDeskState, following: str, error: CallsheetError | None = None) -> Response:
    setup = None
    try:
        known = state.passphrase_check.has_passphrase()
    except SetupProblem as problem:
        known, setup = False, render_error(problem)
    text = state.templates.render(
        "sign_in.html",
        **page_values(state, is_signed_in=False),
        next=following,
        has_passphrase=known,
        setup=setup,
        error=render_error(error) if error else None,
    )
    return HTMLResponse(text, http_status(error) if error else 200)
