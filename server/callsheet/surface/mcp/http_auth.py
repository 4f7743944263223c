"""The door of the HTTP transport: who may knock, and who is let in. Judged before any body is looked at.

Any program of the computer, and any page in its browser, can reach a port on loopback. So a request must name the
host that is served (or a page could reach it under a name of its own), come from no foreign page, and carry the
token. Only `over_http` uses this.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import anyio
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

MOST_DRAINED_BYTES = 65_536
LONGEST_DRAIN_SECONDS = 1.0
CHALLENGE = 'Bearer realm="callsheet"'
TURNED_AWAY = "The token is missing or wrong. It is in the private file that the server named when it started.\n"
ENDING = "Callsheet is ending. Nothing of this request was done; no money was spent. Try again after its next start.\n"


def loopback_only(port: int) -> TransportSecuritySettings:
    """The names under which the port is served, and the pages that may call it: its own alone."""
    names = (f"127.0.0.1:{port}", f"localhost:{port}")
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=list(names),
        allowed_origins=[f"http://{name}" for name in names],
    )


class Guard:
    """An application that lets nobody through without the token. `close` turns all away who come later."""

    def __init__(self, inner: ASGIApp, *, token: str, allowed: TransportSecuritySettings) -> None:
        self._inner = inner
        self._expected = b"Bearer " + token.encode("ascii")
        self._names = TransportSecurityMiddleware(allowed)
        self._closed = False

    def close(self) -> None:
        """Let in nobody any more; whoever is inside may finish."""
        self._closed = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass. Starting and ending are the server's own affair."""
        refusal = None if scope["type"] == "lifespan" else await self._refusal(scope)
        if refusal is None:
            await self._inner(scope, receive, send)
            return
        await _drain(receive)
        await refusal(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        if scope["type"] != "http":
            return PlainTextResponse("Only HTTP is spoken here.\n", status_code=400)
        # Twice the same header is a quarrel about who is asking, and nobody honest sends it.
        singles = [name for name, _ in scope["headers"] if name in (b"host", b"origin", b"authorization")]
        if len(singles) != len(set(singles)):
            return PlainTextResponse("A header appears twice.\n", status_code=400)
        request = Request(scope)
        if (refusal := await self._names.validate_request(request)) is not None:
            return refusal
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._expected):
            return PlainTextResponse(TURNED_AWAY, status_code=401, headers={"www-authenticate": CHALLENGE})
        if self._closed:
            return PlainTextResponse(ENDING, status_code=503, headers={"retry-after": "10"})
        return None


async def _drain(receive: Receive) -> None:
    """Take in a little of a body that nobody wants: closing on it unread would lose the refusal on its way out."""
    left = MOST_DRAINED_BYTES
    with anyio.move_on_after(LONGEST_DRAIN_SECONDS):
        while left > 0:
            message = await receive()
            if not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))
