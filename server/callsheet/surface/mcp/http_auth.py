"""Checks every request of the HTTP transport before its body is read.

Any program on the computer, and any page in its browser, can reach a loopback port. So a request must name the host
that is served (otherwise a page could reach it under its own name), must come from no foreign page, and must carry
the token.
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
UNAUTHORIZED = "The token is missing or wrong. It is in the private file that the server printed when it started.\n"
ENDING = "Callsheet is stopping. This request did nothing; no money was spent. Try again after the next start.\n"


def loopback_only(port: int) -> TransportSecuritySettings:
    """The host names of the port, and the pages that may call it: only its own."""
    names = (f"127.0.0.1:{port}", f"localhost:{port}")
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=list(names),
        allowed_origins=[f"http://{name}" for name in names],
    )


class TokenMiddleware:
    """Refuses every request without the token, and after `close` every request."""

    def __init__(self, inner: ASGIApp, *, token: str, allowed: TransportSecuritySettings) -> None:
        self._inner = inner
        self._expected = b"Bearer " + token.encode("ascii")
        self._host_check = TransportSecurityMiddleware(allowed)
        self._closed = False

    def close(self) -> None:
        """Refuse new requests; those under way may finish."""
        self._closed = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on an authorized request, and the server's own lifespan events."""
        refusal = None if scope["type"] == "lifespan" else await self._refusal(scope)
        if refusal is None:
            await self._inner(scope, receive, send)
            return
        await _drain(receive)
        await refusal(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        if scope["type"] != "http":
            return PlainTextResponse("Only HTTP is served here.\n", status_code=400)
        # A repeated header leaves open who is asking, and no honest client sends it.
        singles = [name for name, _ in scope["headers"] if name in (b"host", b"origin", b"authorization")]
        if len(singles) != len(set(singles)):
            return PlainTextResponse("A header appears twice.\n", status_code=400)
        request = Request(scope)
        if (refusal := await self._host_check.validate_request(request)) is not None:
            return refusal
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._expected):
            return PlainTextResponse(UNAUTHORIZED, status_code=401, headers={"www-authenticate": CHALLENGE})
        if self._closed:
            return PlainTextResponse(ENDING, status_code=503, headers={"retry-after": "10"})
        return None


async def _drain(receive: Receive) -> None:
    """Read a little of the unwanted body: closing the connection with it unread could lose the refusal."""
    left = MOST_DRAINED_BYTES
    with anyio.move_on_after(LONGEST_DRAIN_SECONDS):
        while left > 0:
            message = await receive()
            if not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))
