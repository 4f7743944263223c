"""Builds the ASGI application: four gateways under their ids, endpoints under `/endpoints`, videos under `/files`.

The checks run in this order: host name, path, size, key, rate, then the gateway's own. Every request that
was read completely is logged before it is answered. Starlette is imported when used.
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

from callsheet.sandbox.fakes.protocol import FakeUploader, Page, Reason, Refusal

from .context import AppState, Outcome, Request
from .fakes import FAKES
from .fakes.videos import find_dialect
from .read_routes import answer_file, answer_page, answer_status
from .replies import CompleteReply, Receive, Scope, Send
from .store import LoggedRequest
from .submit_route import answer_submit
from .upload_route import LARGEST_UPLOAD, answer_upload, answer_uploaded_file
from .video_routes import VIDEO_ROUTES, Answerer, answer_endpoint

App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 1024 * 1024
_LOOPBACK_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)


def build_app(state: AppState) -> App:
    """The whole sandbox as one ASGI application."""
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route

    mounts: list[Any] = [Mount(f"/{gateway}", routes=_routes(state, gateway)) for gateway in FAKES]
    video = _Endpoint(state, answer_file, needs_key=False, kind="file")
    picture = _Endpoint(state, answer_uploaded_file, needs_key=False, kind="file")
    files = [
        Route("/files/{gateway}/{name}", video, methods=["GET"]),
        Route("/files/{gateway}/uploads/{name}", picture, methods=["GET"]),
    ]
    return _HostCheck(Starlette(routes=[*mounts, *_endpoint_routes(state), *files]))


def _endpoint_routes(state: AppState) -> list[Any]:
    from starlette.routing import Route

    at = "/endpoints/{endpoint}/v1"
    endpoint = partial(_Endpoint, state, needs_key=False, most=LARGEST_UPLOAD)
    routes = [
        Route(
            at + path,
            endpoint(partial(answer_endpoint, name), kind="submit" if name == "create" else "read"),
            methods=[method],
        )
        for name, (method, path, _) in VIDEO_ROUTES.items()
    ]
    return [*routes, Route(at + "/{rest:path}", endpoint(_answer_nothing))]


def _routes(state: AppState, gateway: str) -> list[Any]:
    from starlette.routing import Route

    fake = FAKES[gateway]
    endpoint = partial(_Endpoint, state, gateway=gateway)
    return [
        Route(fake.SUBMIT_PATH, endpoint(answer_submit, kind="submit"), methods=["POST"]),
        Route(fake.STATUS_PATH, endpoint(answer_status), methods=["GET"]),
        *(
            [Route(fake.UPLOAD_PATH, endpoint(answer_upload, most=LARGEST_UPLOAD), methods=["POST"])]
            if isinstance(fake, FakeUploader)
            else []
        ),
        *(
            Route(page.path, endpoint(_page_answerer(page), needs_key=page.needs_key), methods=["GET"])
            for page in fake.PAGES
        ),
        Route("/{rest:path}", endpoint(_answer_nothing, needs_key=False)),
    ]


def _page_answerer(page: Page) -> Answerer:
    return lambda state, request: answer_page(state, request, page)


def _answer_nothing(state: AppState, request: Request) -> Outcome:
    return request.refuse(Refusal(Reason.UNKNOWN_PATH))


@dataclass(frozen=True, slots=True)
class _HostCheck:
    """Accepts only requests for loopback names, so that a web page on a rebound host name gets nothing."""

    app: App

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _LOOPBACK_HOST.fullmatch(_header(scope, b"host")):
            refusal = CompleteReply(421, b"The sandbox answers on loopback names only.\n", "text/plain; charset=utf-8")
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One route: reads the request, checks key and rate, gets the answer, logs it, sends it."""

    state: AppState
    answer: Answerer
    gateway: str = ""
    needs_key: bool = True
    kind: Literal["submit", "read", "file"] = "read"
    most: int = LARGEST_BODY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = scope["path_params"]
        gateway = self.gateway or names.get("gateway") or f"endpoint-{names.get('endpoint', '')}"
        if gateway not in FAKES and find_dialect(gateway) is None:
            await CompleteReply(404, b"No such file.\n", "text/plain; charset=utf-8")(scope, receive, send)
            return
        body = await _read_body(receive, self.most)
        if body is None:
            return
        request = _read_request(scope, gateway, body[: self.most])
        outcome = self._refuse_early(request, too_large=len(body) > self.most)
        if outcome is None:
            answered = self.answer(self.state, request)
            outcome = answered if isinstance(answered, Outcome) else await answered
        self._log(request, outcome)
        await outcome.reply(scope, receive, send)

    def _refuse_early(self, request: Request, *, too_large: bool) -> Outcome | None:
        if too_large:
            return request.refuse(Refusal(Reason.TOO_LARGE), headers=(("connection", "close"),))
        if self.kind == "file":
            return None
        if self.needs_key and request.key is None:
            return request.refuse(Refusal(Reason.UNAUTHORIZED))
        caller = hashlib.sha256(f"{request.gateway}\0{request.key}".encode()).hexdigest()
        wait = self.state.limiter.wait_for(caller, self.state.per_minute(request.gateway))
        if not wait:
            return None
        # EvoLink's own client honours Retry-After; the others document none.
        headers = (("retry-after", str(math.ceil(wait))),) if request.gateway == "evolink" else ()
        return request.refuse(Refusal(Reason.RATE_LIMITED), headers=headers)

    def _log(self, request: Request, outcome: Outcome) -> None:
        self.state.store.log(
            LoggedRequest(
                at=self.state.clock(),
                gateway=request.gateway,
                method=request.method,
                path=request.path,
                body_sha256=request.body_sha256,
                body_bytes=len(request.body),
                status=outcome.reply.status,
                submit=self.kind == "submit",
                task_id=outcome.task_id,
                fault=outcome.fault,
                replayed=outcome.replayed,
                jobs=outcome.jobs,
                fields=outcome.fields,
            )
        )


async def _read_body(receive: Receive, most: int) -> bytes | None:
    """The whole body, or one byte more than is allowed; None when the caller disconnected before its end."""
    body = bytearray()
    while len(body) <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return bytes(body[: most + 1])


def _read_request(scope: Scope, gateway: str, body: bytes) -> Request:
    path = str(scope["path"])
    return Request(
        gateway=gateway,
        method=scope["method"],
        path=path if path.startswith("/files/") else path.removeprefix(f"/{gateway}"),
        path_params={name: str(value) for name, value in scope["path_params"].items()},
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=50)),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
        base_url=f"http://{_header(scope, b'host')}",
    )


def _header(scope: Scope, parameters: bytes) -> str:
    found = [value.decode("latin-1") for name, value in scope["headers"] if name == parameters]
    return found[0] if len(found) == 1 else ""
