"""The replies of the sandbox: JSON, HTML, a file, a truncated file, a closed connection, no answer.

Each reply is an ASGI application. The connection is reached through `scope["callsheet.transport"]`,
which `server` sets. A reply that closes it waits until the server has noticed, so that the server
sends no answer of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from callsheet.sandbox.fakes.protocol import Answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[str, str], ...]

TRANSPORT_KEY = "callsheet.transport"


class Reply(Protocol):
    """Something that answers one request. `status` is 0 when there is no HTTP answer."""

    @property
    def status(self) -> int: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


@dataclass(frozen=True, slots=True)
class CompleteReply:
    """A complete answer in one piece."""

    status: int
    body: bytes
    media_type: str
    headers: Headers = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = (
            ("content-type", self.media_type),
            ("content-length", str(len(self.body))),
            ("x-content-type-options", "nosniff"),
            *self.headers,
        )
        await send(_start(self.status, headers))
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body, "more_body": False})


@dataclass(frozen=True, slots=True)
class VideoReply:
    """A video from the cache, with `Range`, `If-Range` and `HEAD`. `etag` is strong: it names the bytes."""

    path: Path
    etag: str
    status: int = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import FileResponse

        headers = {"etag": f'"{self.etag}"', "cache-control": "private", "x-content-type-options": "nosniff"}
        await FileResponse(self.path, headers=headers, media_type="video/mp4")(scope, receive, send)


@dataclass(frozen=True, slots=True)
class TruncatedReply:
    """Half of a file under the `Content-Length` of the whole file; then the connection closes."""

    body: bytes
    status: int = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(_start(200, (("content-type", "video/mp4"), ("content-length", str(len(self.body))))))
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        scope[TRANSPORT_KEY].close()
        await _disconnected(receive)


@dataclass(frozen=True, slots=True)
class DroppedConnection:
    """No answer: the connection is closed immediately."""

    status: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[TRANSPORT_KEY].abort()
        await _disconnected(receive)


@dataclass(frozen=True, slots=True)
class NoReply:
    """No answer: the connection stays open until the caller disconnects or the sandbox closes."""

    closing: asyncio.Event
    status: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        waits = [asyncio.ensure_future(_disconnected(receive)), asyncio.ensure_future(self.closing.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        await DroppedConnection()(scope, receive, send)


def json_reply(answer: Answer, *, headers: Headers = ()) -> CompleteReply:
    """The answer of a fake gateway as JSON bytes; a bare text is sent as text."""
    if isinstance(answer.body, str):
        return CompleteReply(answer.status, answer.body.encode(), "text/plain; charset=utf-8", answer.headers)
    body = json.dumps(answer.body, ensure_ascii=True).encode()
    return CompleteReply(answer.status, body, "application/json", (*answer.headers, *headers))


def html_reply() -> CompleteReply:
    """An HTML page, where JSON or a video was expected."""
    page = b"<!doctype html><title>Just a moment</title><h1>Just a moment...</h1><p>A page from the sandbox.</p>\n"
    return CompleteReply(200, page, "text/html; charset=utf-8")


def _start(status: int, headers: Headers) -> Message:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
