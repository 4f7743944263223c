"""Serves the desk on both loopback addresses until it is cancelled.

A browser may use either address for `localhost`. If another program could listen on one of them, the desk does
not start. Uvicorn is imported when used, with no access log and without signal handlers.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import anyio
import anyio.to_thread

from callsheet.edges.process.locks import find_desk, hold_desk, write_address
from callsheet.edges.process.loopback import HOST_6, bind_loopback, build_web_server
from callsheet.errors import SetupProblem
from callsheet.service import Service

from .application import build_app
from .state import LocalDeskState, build_desk_state

SHUTDOWN_SECONDS = 1
ATTEMPTS = 20
NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

OnOpen = Callable[[str], object]


async def serve(service: Service, *, config: Path, state_dir: Path, verifier: Path, port: int, on_open: OnOpen) -> None:
    """Serve until cancelled. `on_open` gets the address with its bearer as soon as the desk answers.

    Raises `SetupProblem` when a desk is already open or the port is taken. The caller starts the runner.
    """
    with hold_desk(state_dir) as acquired:
        if not acquired:
            raise SetupProblem(
                f"A desk is already open at {find_desk(state_dir) or 'an address that cannot be read'}.",
                next_step="Open it there and sign in with the approval passphrase, or stop it with Ctrl-C first.",
            )
        with ExitStack() as stack:
            listeners = [stack.enter_context(listener) for listener in listen(port)]
            number = listeners[0].getsockname()[1]
            state = build_desk_state(service, config=config, verifier=verifier, port=number, now=time.monotonic)
            await _serve_desk(state, listeners, state_dir, on_open)


async def _serve_desk(state: LocalDeskState, listeners: list[socket.socket], state_dir: Path, on_open: OnOpen) -> None:
    ready = asyncio.Event()
    server = build_web_server(
        build_app(state), ready=ready, log_level="error", timeout_graceful_shutdown=SHUTDOWN_SECONDS
    )
    serving = asyncio.create_task(server.serve(sockets=listeners))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if ready.is_set():
            write_address(state_dir, f"{state.origin}/")
            on_open(f"{state.origin}/#key={state.sessions.bearer}")
            await anyio.to_thread.run_sync(state.templates.prepare)
        await asyncio.shield(serving)
    finally:
        waiting.cancel()
        server.should_exit = True
        with anyio.CancelScope(shield=True):
            await serving


def listen(port: int) -> list[socket.socket]:
    """Sockets on 127.0.0.1 and, where there is one, ::1, with the same port; 0 takes a free one."""
    for _ in range(ATTEMPTS if port == 0 else 1):
        sockets: list[socket.socket] = []
        try:
            sockets.append(bind_loopback(port))
            _add_second(sockets)
        except OSError as error:
            for opened in sockets:
                opened.close()
            failure = error
            if error.errno != errno.EADDRINUSE:
                break
        else:
            return sockets
    raise SetupProblem(
        f"Cannot listen on {f'port {port}' if port else 'a free port'}: {failure.strerror or type(failure).__name__}.",
        next_step="Choose another port with --port, or omit --port.",
    ) from None


def _add_second(sockets: list[socket.socket]) -> None:
    try:
        sockets.append(bind_loopback(sockets[0].getsockname()[1], host=HOST_6))
    except OSError as error:
        # A computer without IPv6 has no second loopback address, so no other program can listen on it.
        if error.errno not in NO_SUCH_ADDRESS:
            raise
