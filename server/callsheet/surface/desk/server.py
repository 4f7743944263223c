"""Serves the desk on loopback until it is cancelled: on both loopback addresses, under one name.

A browser may take either address for `localhost`, so both are ours or the desk does not start: on the other one
somebody else could listen. Uvicorn is imported when used, with no access log and without signal handlers.
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

from callsheet.edges.process.desk_lock import find_desk, hold_desk, tell_address
from callsheet.edges.process.loopback import HOST_6, bind_loopback, make_web_server
from callsheet.errors import SetupProblem
from callsheet.service import Service

from .application import build_app
from .state import DeskState, build_desk_state

PASSKEYS_FILE = "passkeys.json"
SHUTDOWN_SECONDS = 1
ATTEMPTS = 20
NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

OnOpen = Callable[[str], object]


async def serve(service: Service, *, config: Path, state: Path, verifier: Path, port: int, on_open: OnOpen) -> None:
    """Serve until cancelled. `on_open` is told the address with its bearer as soon as it answers.

    Raises `SetupProblem` when a desk is open already or the port cannot be had. The caller runs the watcher.
    """
    with hold_desk(state) as alone:
        if not alone:
            raise SetupProblem(
                f"A desk is open already, at {find_desk(state) or 'an address that cannot be read'}.",
                next_step="Open it there and sign in with the approval passphrase, or end it with Ctrl-C first.",
            )
        with ExitStack() as stack:
            listeners = [stack.enter_context(listener) for listener in listen(port)]
            number = listeners[0].getsockname()[1]
            office = build_desk_state(
                service, passkeys=config / PASSKEYS_FILE, verifier=verifier, port=number, now=time.monotonic
            )
            await _serve_office(office, listeners, state, on_open)


async def _serve_office(office: DeskState, listeners: list[socket.socket], state: Path, on_open: OnOpen) -> None:
    ready = asyncio.Event()
    server = make_web_server(
        build_app(office), ready=ready, log_level="error", timeout_graceful_shutdown=SHUTDOWN_SECONDS
    )
    serving = asyncio.create_task(server.serve(sockets=listeners))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if ready.is_set():
            tell_address(state, f"{office.origin}/")
            on_open(f"{office.origin}/#key={office.sessions.bearer}")
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
        f"The port {port or 'that was free'} on loopback cannot be had ({failure.strerror or type(failure).__name__}).",
        next_step="Choose another one with --port, or leave it out.",
    ) from None


def _add_second(sockets: list[socket.socket]) -> None:
    try:
        sockets.append(bind_loopback(sockets[0].getsockname()[1], host=HOST_6))
    except OSError as error:
        # A computer without IPv6 has no second loopback address, so nobody else can have it either.
        if error.errno not in NO_SUCH_ADDRESS:
            raise


__all__ = ["listen", "serve"]
