"""The desk's routes. A GET changes nothing; every action is a POST."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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

_PAGES: tuple[tuple[str, View], ...] = (
    ("/", home.page_view),
    ("/live", home.fragment),
    ("/sheets/{sheet_id}", sheets.page_view),
    ("/sheets/{sheet_id}/pictures/{number:int}", sheets.picture),
    ("/tasks", tasks.list_page),
    ("/tasks/live", tasks.list_fragment),
    ("/tasks/{task_id}", tasks.page_view),
    ("/tasks/{task_id}/live", tasks.fragment),
    ("/tasks/{task_id}/models", verbs.models_page),
    ("/spending", records.spending_page),
    ("/passkeys", passkeys.page_view),
    ("/audit", records.audit_page),
)

_ACTIONS: tuple[tuple[str, View], ...] = (
    ("/sheets/{sheet_id}/approve", sheets.approve),
    ("/sheets/{sheet_id}/decline", sheets.decline),
    ("/sheets/{sheet_id}/challenge", sheets.challenge),
    ("/sheets/{sheet_id}/send", sheets.send),
    ("/sheets/{sheet_id}/renew", verbs.renew),
    ("/tasks/{task_id}/again", verbs.again),
    ("/tasks/{task_id}/resolve", verbs.resolve),
    ("/tasks/{task_id}/resolve/challenge", verbs.resolve_challenge),
    ("/dismiss", verbs.dismiss),
    ("/pause", verbs.pause),
    ("/resume", verbs.resume),
    ("/resume/challenge", verbs.resume_challenge),
    ("/sample", verbs.sample),
    ("/passkeys", passkeys.register),
    ("/passkeys/challenge", passkeys.registration_options),
    ("/passkeys/{passkey_id}/remove", passkeys.remove),
)

_LOCAL_PAGES: tuple[tuple[str, View], ...] = (
    ("/tasks/{task_id}/clip", tasks.clip),
    ("/tasks/{task_id}/poster", tasks.poster),
    ("/tasks/{task_id}/contact-sheet", tasks.contact_sheet),
    ("/allowances", allowances.page_view),
)
"""What only the desk on a person's own computer has: the files, a passphrase and allowances."""

_LOCAL_ACTIONS: tuple[tuple[str, View], ...] = (
    ("/tasks/{task_id}/reveal", verbs.reveal),
    ("/keys/{gateway}/open", tasks.open_key),
    ("/allowances", allowances.create),
    ("/allowances/challenge", allowances.challenge),
    ("/allowances/{allowance_id}/revoke", allowances.revoke),
    ("/sign-out", sign_in.sign_out),
)


def build_app(state: LocalDeskState) -> ASGIApp:
    """The whole desk as an ASGI application."""
    return DeskMiddleware(Starlette(routes=_routes(state)), host=state.host, origin=state.origin)


def pages(state: DeskState, views: Iterable[tuple[str, View]]) -> list[Route]:
    """Pages for signed-in sessions."""
    return [Route(path, get_endpoint(state, view), methods=["GET"]) for path, view in views]


def actions(state: DeskState, views: Iterable[tuple[str, View]]) -> list[Route]:
    """Where forms of signed-in sessions are posted to."""
    return [Route(path, post_endpoint(state, view), methods=["POST"]) for path, view in views]


def build_routes(state: DeskState, own: Sequence[Route]) -> list[Route]:
    """The routes of a desk: its own, which come first, and those that every desk has."""
    return [
        *own,
        *pages(state, _PAGES),
        *actions(state, _ACTIONS),
        Route("/static/{name}", _static_file, methods=["GET"]),
        Route("/favicon.ico", _icon, methods=["GET"]),
        *pages(state, [("/{rest:path}", _not_found)]),
    ]


def _routes(state: LocalDeskState) -> list[Route]:
    own = [
        *pages(state, _LOCAL_PAGES),
        *actions(state, _LOCAL_ACTIONS),
        Route("/sign-in", sign_in.sign_in_page(state), methods=["GET"]),
        Route("/sign-in", sign_in.sign_in(state), methods=["POST"]),
        Route("/session", sign_in.session_status(state), methods=["GET"]),
        Route("/session", sign_in.exchange(state), methods=["POST"]),
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
