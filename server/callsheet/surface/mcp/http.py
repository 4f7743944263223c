"""Serves MCP over streamable HTTP on loopback, behind a token: `callsheet mcp --http PORT`.

Only the transport differs from stdin and stdout. The token is new at each start and is stored in a private file;
neither arguments nor environment contain it, because other programs may read those. Only the command imports this,
so that serving a pipe loads nothing of it.

Every request is checked before its body is read. Any program on the computer, and any page in its browser, can reach a
loopback port. So a request must name the host that is served (otherwise a page could reach it under its own name), must
come from no foreign page, and must carry the token.
"""

from __future__ import annotations

import hmac
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from callsheet.edges.files.files import write_private
from callsheet.edges.process.loopback import HOST, bind_loopback, build_web_server
from callsheet.errors import SetupProblem

from .lifespan import ServerState
from .server import build_mcp_server
from .stdio import configure_log, run_to_end

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from callsheet.service import Service


PATH = "/mcp"
TOKEN_DIRECTORY = "mcp-http"  # noqa: S105 - a directory name
MOST_BODY_BYTES = 1_048_576
MOST_CONNECTIONS = 128
SHUTDOWN_SECONDS = 2


def serve_http(make_service: Callable[[], Service], *, port: int, state: Path) -> None:
    """Serve on that port (0 takes a free one) until a signal ends it; prints the address to stderr.

    Raises `SetupProblem` if the port or the token file is not available; nothing was served then.
    """
    server_state = ServerState(make_service)
    configure_log(server_state)
    server = build_mcp_server(server_state)
    token = secrets.token_urlsafe(32)
    with listen(port) as listener:
        taken = listener.getsockname()[1]
        with _token_file(token, state / TOKEN_DIRECTORY / f"{taken}.token") as file:
            guard = TokenMiddleware(loopback_app(server, taken), token=token, allowed=loopback_only(taken))
            text = (
                f"callsheet: MCP is served at http://{HOST}:{taken}{PATH}\n"
                f"callsheet: each request needs the header `Authorization: Bearer TOKEN`; the token is in {file}\n"
            )
            run_to_end(lambda: _serve(guard, server_state, listener, text), server_state)


def loopback_app(server: MCPServer[ServerState], port: int) -> ASGIApp:
    """The server as an application for that port: host names checked, bodies bounded, no token."""
    return server.streamable_http_app(
        streamable_http_path=PATH, max_request_body_size=MOST_BODY_BYTES, transport_security=loopback_only(port)
    )


def build_mcp_web_server(app: ASGIApp) -> Any:
    """A web server for it: no request log, no version header, no proxy headers, no signal handlers."""
    return build_web_server(
        app, lifespan="on", limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=SHUTDOWN_SECONDS
    )


@contextmanager
def listen(port: int) -> Iterator[socket.socket]:
    """A socket that listens only on loopback; raises `SetupProblem`."""
    try:
        listener = bind_loopback(port)
    except OSError as error:
        raise SetupProblem(
            f"MCP cannot be served on port {port} ({error.strerror or type(error).__name__}).",
            next_step="Choose another port with --http; 0 takes a free one.",
        ) from None
    with listener:
        yield listener


async def _serve(guard: TokenMiddleware, state: ServerState, listener: socket.socket, text: str) -> None:
    web = build_mcp_web_server(guard)
    async with anyio.create_task_group() as group:
        await group.start(_end_on_signal, guard, state, web)
        # Only now: the reader may send the first request, or a signal. Until then the socket queues.
        sys.stderr.write(text)
        sys.stderr.flush()
        await web.serve(sockets=[listener])
        group.cancel_scope.cancel()


async def _end_on_signal(
    guard: TokenMiddleware, state: ServerState, web: Any, *, task_status: TaskStatus[None]
) -> None:
    """Refuse new requests, let paid requests under way be answered, then end. A second signal does not wait."""
    if sys.platform == "win32":
        # There the event loop has no signals; the interpreter ends the process.
        task_status.started()
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            guard.close()
            await state.stop()
            # An open stream would never end.
            state.close_streams()
            web.force_exit = web.should_exit
            web.should_exit = True


@contextmanager
def _token_file(token: str, file: Path) -> Iterator[Path]:
    write_private(file, token.encode("ascii"), what="token file")
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


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
