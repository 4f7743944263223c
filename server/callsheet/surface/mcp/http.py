"""Serving MCP over streamable HTTP on loopback, behind a token: `callsheet mcp --http PORT`.

The server object, its gates and the run that follows tasks are those of standard input and output; only the way
in differs. The token is made at each start and lies in a private file; neither arguments nor environment hold it,
for others may read those. Imported by the command alone, so that serving a pipe loads nothing of it.
"""

from __future__ import annotations

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

from callsheet.edges.files.files import write_private
from callsheet.edges.process.loopback import HOST, bind_loopback, build_web_server
from callsheet.errors import SetupProblem

from .http_auth import Guard, loopback_only
from .lifespan import Backstage
from .run import assemble, log_plainly, run_to_end

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from callsheet.service import Service

    from .server import CallsheetServer

PATH = "/mcp"
TOKEN_DIRECTORY = "mcp-http"  # noqa: S105 - where it lies
MOST_BODY_BYTES = 1_048_576
MOST_AT_ONCE = 128
SHUTDOWN_SECONDS = 2


def serve_http(make_service: Callable[[], Service], *, port: int, state: Path) -> None:
    """Serve on that port (0 takes a free one) until a signal ends it; says on stderr where it is.

    Raises `SetupProblem` where the port or the file for the token cannot be had; nothing was served then.
    """
    backstage = Backstage(make_service)
    log_plainly(backstage)
    server = assemble(backstage)
    token = secrets.token_urlsafe(32)
    with listen(port) as listener:
        taken = listener.getsockname()[1]
        with _kept_private(token, state / TOKEN_DIRECTORY / f"{taken}.token") as file:
            guard = Guard(loopback_app(server, taken), token=token, allowed=loopback_only(taken))
            told = (
                f"callsheet: MCP is served at http://{HOST}:{taken}{PATH}\n"
                f"callsheet: each request needs the header `Authorization: Bearer TOKEN`; the token is in {file}\n"
            )
            run_to_end(lambda: _serve(guard, server, listener, told), backstage)


def loopback_app(server: CallsheetServer, port: int) -> ASGIApp:
    """The server as an application for that port: names checked, bodies bounded, no token asked for."""
    return server.streamable_http_app(
        streamable_http_path=PATH, max_request_body_size=MOST_BODY_BYTES, transport_security=loopback_only(port)
    )


def make_mcp_server(app: ASGIApp) -> Any:
    """A web server for it: it logs no request, names no version, believes no proxy and leaves signals alone."""
    return build_web_server(
        app, lifespan="on", limit_concurrency=MOST_AT_ONCE, timeout_graceful_shutdown=SHUTDOWN_SECONDS
    )


@contextmanager
def listen(port: int) -> Iterator[socket.socket]:
    """A socket that listens on loopback alone; raises `SetupProblem`."""
    try:
        listener = bind_loopback(port)
    except OSError as error:
        raise SetupProblem(
            f"MCP cannot be served on port {port} ({error.strerror or type(error).__name__}).",
            next_step="Choose another port with --http; 0 takes a free one.",
        ) from None
    with listener:
        yield listener


async def _serve(guard: Guard, server: CallsheetServer, listener: socket.socket, told: str) -> None:
    web = make_mcp_server(guard)
    async with anyio.create_task_group() as group:
        await group.start(_end_on_signal, guard, server, web)
        # Only now: whoever reads it may send the first request, or a signal. Until then the socket queues.
        sys.stderr.write(told)
        sys.stderr.flush()
        await web.serve(sockets=[listener])
        group.cancel_scope.cancel()


async def _end_on_signal(guard: Guard, server: CallsheetServer, web: Any, *, task_status: TaskStatus[None]) -> None:
    """Let nobody new in, let paid requests on their way be answered, then end. A second signal waits for nobody."""
    if sys.platform == "win32":
        # There the event loop has no signals; the interpreter's own way ends it.
        task_status.started()
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            guard.close()
            await server.backstage.stop()
            # A stream that is listened to would be open for ever.
            server.subscriptions.close()
            web.force_exit = web.should_exit
            web.should_exit = True


@contextmanager
def _kept_private(token: str, file: Path) -> Iterator[Path]:
    write_private(file, token.encode("ascii"), what="token file")
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
