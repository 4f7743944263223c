"""The desk's addresses, each with what it does. A GET changes nothing; what acts is posted."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from callsheet.errors import UnknownThing

from . import allowances, audit, home, media, passkeys, sealed, sheets, sign_in, spending, tasks
from .middleware import DeskMiddleware
from .requests import View, Visit, posting, reading
from .state import DeskState
from .templating import static_files


def build_app(office: DeskState) -> ASGIApp:
    """The whole desk as an ASGI application."""
    return DeskMiddleware(Starlette(routes=_routes(office)), host=office.host, origin=office.origin)


def _routes(office: DeskState) -> list[BaseRoute]:
    def get(path: str, view: View) -> Route:
        return Route(path, reading(office, view), methods=["GET"])

    def post(path: str, view: View) -> Route:
        return Route(path, posting(office, view), methods=["POST"])

    return [
        get("/", home.show),
        get("/live", home.live),
        get("/sheets/{sheet_id}", sheets.show),
        post("/sheets/{sheet_id}/approve", sheets.approve),
        post("/sheets/{sheet_id}/decline", sheets.decline),
        post("/sheets/{sheet_id}/challenge", sheets.challenge),
        get("/tasks", tasks.show_all),
        get("/tasks/live", tasks.live_all),
        get("/tasks/{task_id}", tasks.show),
        get("/tasks/{task_id}/live", tasks.live),
        get("/tasks/{task_id}/clip", media.clip),
        get("/tasks/{task_id}/poster", media.poster),
        get("/tasks/{task_id}/contact-sheet", media.contact_sheet),
        post("/keys/{gateway}/open", sealed.open_key),
        get("/spending", spending.show),
        get("/allowances", allowances.show),
        post("/allowances", allowances.allow),
        post("/allowances/challenge", allowances.challenge),
        post("/allowances/{allowance_id}/revoke", allowances.revoke),
        get("/passkeys", passkeys.show),
        post("/passkeys", passkeys.register),
        post("/passkeys/challenge", passkeys.offer),
        post("/passkeys/{passkey_id}/remove", passkeys.remove),
        get("/audit", audit.show),
        Route("/sign-in", sign_in.sign_in_page(office), methods=["GET"]),
        Route("/sign-in", sign_in.sign_in(office), methods=["POST"]),
        Route("/session", sign_in.look(office), methods=["GET"]),
        Route("/session", sign_in.exchange(office), methods=["POST"]),
        post("/sign-out", sign_in.sign_out),
        Route("/static/{name}", _static, methods=["GET"]),
        Route("/favicon.ico", _icon, methods=["GET"]),
        get("/{rest:path}", _nowhere),
    ]


async def _nowhere(_: Visit) -> Response:
    raise UnknownThing("There is no such page.", next_step="Go back to the desk.")


async def _static(request: Request) -> Response:
    found = static_files().get(request.path_params["name"])
    if found is None:
        return PlainTextResponse("There is no such file.\n", 404)
    content, kind = found
    return Response(content, media_type=kind)


async def _icon(_: Request) -> Response:
    return RedirectResponse("/static/icon.svg")


__all__ = ["build_app"]
