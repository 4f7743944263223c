"""The desk's routes. A GET changes nothing; every action is a POST."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from callsheet.errors import UnknownThing

from . import allowances, home, passkeys, records, sheets, sign_in, tasks, verbs
from .middleware import DeskMiddleware
from .requests import RequestContext, View, get_endpoint, post_endpoint
from .state import DeskState, LocalDeskState
from .templating import static_files


def build_app(state: LocalDeskState) -> ASGIApp:
    """The whole desk as an ASGI application."""
    return DeskMiddleware(Starlette(routes=_routes(state)), host=state.host, origin=state.origin)


def page_route(state: DeskState, path: str, view: View) -> Route:
    """A page for signed-in sessions."""
    return Route(path, get_endpoint(state, view), methods=["GET"])


def form_route(state: DeskState, path: str, view: View) -> Route:
    """Where a form of a signed-in session is posted to."""
    return Route(path, post_endpoint(state, view), methods=["POST"])


def build_routes(state: DeskState, own: Sequence[Route]) -> list[Route]:
    """The routes of a desk: its own, which come first, and those that every desk has."""

    def get(path: str, view: View) -> Route:
        return page_route(state, path, view)

    def post(path: str, view: View) -> Route:
        return form_route(state, path, view)

    return [
        *own,
        get("/", home.page_view),
        get("/live", home.fragment),
        get("/sheets/{sheet_id}", sheets.page_view),
        get("/sheets/{sheet_id}/pictures/{number:int}", sheets.picture),
        post("/sheets/{sheet_id}/approve", sheets.approve),
        post("/sheets/{sheet_id}/decline", sheets.decline),
        post("/sheets/{sheet_id}/challenge", sheets.challenge),
        post("/sheets/{sheet_id}/send", sheets.send),
        post("/sheets/{sheet_id}/renew", verbs.renew),
        get("/tasks", tasks.list_page),
        get("/tasks/live", tasks.list_fragment),
        get("/tasks/{task_id}", tasks.page_view),
        get("/tasks/{task_id}/live", tasks.fragment),
        get("/tasks/{task_id}/models", verbs.models_page),
        post("/tasks/{task_id}/again", verbs.again),
        post("/tasks/{task_id}/resolve", verbs.resolve),
        post("/tasks/{task_id}/resolve/challenge", verbs.resolve_challenge),
        post("/dismiss", verbs.dismiss),
        post("/pause", verbs.pause),
        post("/resume", verbs.resume),
        post("/resume/challenge", verbs.resume_challenge),
        post("/sample", verbs.sample),
        get("/spending", records.spending_page),
        get("/passkeys", passkeys.page_view),
        post("/passkeys", passkeys.register),
        post("/passkeys/challenge", passkeys.registration_options),
        post("/passkeys/{passkey_id}/remove", passkeys.remove),
        get("/audit", records.audit_page),
        Route("/static/{name}", _static_file, methods=["GET"]),
        Route("/favicon.ico", _icon, methods=["GET"]),
        get("/{rest:path}", _not_found),
    ]


def _routes(state: LocalDeskState) -> list[Route]:
    """Those of the desk on the person's own computer: it has the files, a passphrase and allowances."""
    own = [
        page_route(state, "/tasks/{task_id}/clip", tasks.clip),
        page_route(state, "/tasks/{task_id}/poster", tasks.poster),
        page_route(state, "/tasks/{task_id}/contact-sheet", tasks.contact_sheet),
        form_route(state, "/tasks/{task_id}/reveal", verbs.reveal),
        form_route(state, "/keys/{gateway}/open", tasks.open_key),
        page_route(state, "/allowances", allowances.page_view),
        form_route(state, "/allowances", allowances.create),
        form_route(state, "/allowances/challenge", allowances.challenge),
        form_route(state, "/allowances/{allowance_id}/revoke", allowances.revoke),
        Route("/sign-in", sign_in.sign_in_page(state), methods=["GET"]),
        Route("/sign-in", sign_in.sign_in(state), methods=["POST"]),
        Route("/session", sign_in.session_status(state), methods=["GET"]),
        Route("/session", sign_in.exchange(state), methods=["POST"]),
        form_route(state, "/sign-out", sign_in.sign_out),
    ]
    return build_routes(state, own)


async def _not_found(_: RequestContext) -> Response:
    raise UnknownThing("There is no such page.", next_step="Go back to the desk.")


async def _static_file(request: Request) -> Response:
    found = static_files().get(request.path_params["name"])
    if found is None:
        return PlainTextResponse("There is no such file.\n", 404)
    content, kind = found
    return Response(content, media_type=kind)


async def _icon(_: Request) -> Response:
    return RedirectResponse("/static/icon.svg")
