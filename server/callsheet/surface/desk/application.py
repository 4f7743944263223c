"""The desk's routes. A GET changes nothing; every action is a POST."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from callsheet.errors import UnknownThing

from . import allowances, home, passkeys, records, sheets, sign_in, tasks, verbs
from .middleware import DeskMiddleware
from .requests import RequestContext, View, get_endpoint, post_endpoint
from .state import DeskState
from .templating import static_files


def build_app(state: DeskState) -> ASGIApp:
    """The whole desk as an ASGI application."""
    return DeskMiddleware(Starlette(routes=_routes(state)), host=state.host, origin=state.origin)


def _routes(state: DeskState) -> list[BaseRoute]:
    def get(path: str, view: View) -> Route:
        return Route(path, get_endpoint(state, view), methods=["GET"])

    def post(path: str, view: View) -> Route:
        return Route(path, post_endpoint(state, view), methods=["POST"])

    return [
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
        get("/tasks/{task_id}/clip", tasks.clip),
        get("/tasks/{task_id}/poster", tasks.poster),
        get("/tasks/{task_id}/contact-sheet", tasks.contact_sheet),
        get("/tasks/{task_id}/models", verbs.models_page),
        post("/tasks/{task_id}/again", verbs.again),
        post("/tasks/{task_id}/resolve", verbs.resolve),
        post("/tasks/{task_id}/resolve/challenge", verbs.resolve_challenge),
        post("/tasks/{task_id}/reveal", verbs.reveal),
        post("/dismiss", verbs.dismiss),
        post("/pause", verbs.pause),
        post("/resume", verbs.resume),
        post("/resume/challenge", verbs.resume_challenge),
        post("/sample", verbs.sample),
        post("/keys/{gateway}/open", tasks.open_key),
        get("/spending", records.spending_page),
        get("/allowances", allowances.page_view),
        post("/allowances", allowances.create),
        post("/allowances/challenge", allowances.challenge),
        post("/allowances/{allowance_id}/revoke", allowances.revoke),
        get("/passkeys", passkeys.page_view),
        post("/passkeys", passkeys.register),
        post("/passkeys/challenge", passkeys.registration_options),
        post("/passkeys/{passkey_id}/remove", passkeys.remove),
        get("/audit", records.audit_page),
        Route("/sign-in", sign_in.sign_in_page(state), methods=["GET"]),
        Route("/sign-in", sign_in.sign_in(state), methods=["POST"]),
        Route("/session", sign_in.session_status(state), methods=["GET"]),
        Route("/session", sign_in.exchange(state), methods=["POST"]),
        post("/sign-out", sign_in.sign_out),
        Route("/static/{name}", _static_file, methods=["GET"]),
        Route("/favicon.ico", _icon, methods=["GET"]),
        get("/{rest:path}", _not_found),
    ]


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
