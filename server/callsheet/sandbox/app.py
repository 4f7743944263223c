"""Builds the ASGI application: four gateways under their ids, films under `/files`.

The order of the checks: host name, path, size, key, rate, then the gateway's own. Every request that
was read to its end is logged before it is answered. Starlette is imported when used.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qsl

from callsheet.sandbox.fakes.protocol import Page, Reason, Refusal

from .context import Call, House, Outcome
from .fakes import STAGES
from .read_routes import answer_file, answer_page, answer_status
from .replies import Receive, Scope, Send, Whole
from .store import LoggedRequest
from .submit_route import answer_submit

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answerer = Callable[[House, Call], Outcome | Awaitable[Outcome]]

LARGEST_BODY = 1024 * 1024
_LOOPBACK_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)


def build_app(house: House) -> App:
    """The whole sandbox as one ASGI application."""
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route

    mounts: list[Any] = [Mount(f"/{gateway}", routes=_routes(house, gateway)) for gateway in STAGES]
    film = _Endpoint(house, answer_file, needs_key=False, kind="file")
    return _HostGate(Starlette(routes=[*mounts, Route("/files/{gateway}/{name}", film, methods=["GET"])]))


def _routes(house: House, gateway: str) -> list[Any]:
    from starlette.routing import Route

    stage = STAGES[gateway]
    make = partial(_Endpoint, house, gateway=gateway)
    return [
        Route(stage.SUBMIT_PATH, make(answer_submit, kind="submit"), methods=["POST"]),
        Route(stage.STATUS_PATH, make(answer_status), methods=["GET"]),
        *(
            Route(page.path, make(_page_answerer(page), needs_key=page.needs_key), methods=["GET"])
            for page in stage.PAGES
        ),
        Route("/{rest:path}", make(_answer_nothing, needs_key=False)),
    ]


def _page_answerer(page: Page) -> Answerer:
    return lambda house, call: answer_page(house, call, page)


def _answer_nothing(house: House, call: Call) -> Outcome:
    return call.refuse(Refusal(Reason.UNKNOWN_PATH))


@dataclass(frozen=True, slots=True)
class _HostGate:
    """Lets in requests for loopback names alone: a page on a rebound host name gets nothing."""

    app: App

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _LOOPBACK_HOST.fullmatch(_header(scope, b"host")):
            refusal = Whole(421, b"The sandbox answers on loopback names only.\n", "text/plain; charset=utf-8")
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One route: reads the request, asks for the key and the rate, has it answered, logs it, answers."""

    house: House
    answer: Answerer
    gateway: str = ""
    needs_key: bool = True
    kind: Literal["submit", "read", "file"] = "read"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self.gateway or scope["path_params"].get("gateway", "")
        if gateway not in STAGES:
            await Whole(404, b"No such file.\n", "text/plain; charset=utf-8")(scope, receive, send)
            return
        body = await _read_body(receive)
        if body is None:
            return
        call = _read_call(scope, gateway, body[:LARGEST_BODY])
        outcome = self._turn_away(call, too_large=len(body) > LARGEST_BODY)
        if outcome is None:
            answered = self.answer(self.house, call)
            outcome = answered if isinstance(answered, Outcome) else await answered
        self._log(call, outcome)
        await outcome.reply(scope, receive, send)

    def _turn_away(self, call: Call, *, too_large: bool) -> Outcome | None:
        if too_large:
            return call.refuse(Refusal(Reason.TOO_LARGE), headers=(("connection", "close"),))
        if self.kind == "file":
            return None
        if self.needs_key and call.key is None:
            return call.refuse(Refusal(Reason.UNAUTHORIZED))
        caller = hashlib.sha256(f"{call.gateway}\0{call.key}".encode()).hexdigest()
        wait = self.house.limiter.wait_for(caller, self.house.per_minute(call.gateway))
        if not wait:
            return None
        # EvoLink's own client honours Retry-After; the others document none.
        headers = (("retry-after", str(math.ceil(wait))),) if call.gateway == "evolink" else ()
        return call.refuse(Refusal(Reason.RATE_LIMITED), headers=headers)

    def _log(self, call: Call, outcome: Outcome) -> None:
        self.house.store.log(
            LoggedRequest(
                at=self.house.clock(),
                gateway=call.gateway,
                method=call.method,
                path=call.path,
                body_sha256=call.body_sha256,
                body_bytes=len(call.body),
                status=outcome.reply.status,
                submit=self.kind == "submit",
                task_id=outcome.task_id,
                fault=outcome.fault,
                replayed=outcome.replayed,
            )
        )


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or one byte more than is allowed; None when the caller went away before its end."""
    body = bytearray()
    while len(body) <= LARGEST_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return bytes(body[: LARGEST_BODY + 1])


def _read_call(scope: Scope, gateway: str, body: bytes) -> Call:
    path = str(scope["path"])
    return Call(
        gateway=gateway,
        method=scope["method"],
        path=path if path.startswith("/files/") else path.removeprefix(f"/{gateway}"),
        path_params={name: str(value) for name, value in scope["path_params"].items()},
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=50)),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
        base_url=f"http://{_header(scope, b'host')}",
    )


def _header(scope: Scope, wanted: bytes) -> str:
    found = [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]
    return found[0] if len(found) == 1 else ""


__all__ = ["App", "build_app"]
