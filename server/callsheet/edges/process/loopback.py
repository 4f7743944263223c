"""Serves over HTTP: a listening socket, on loopback in local mode, and a web server that does not handle signals.

The sandbox, the desk and MCP over HTTP use it. Uvicorn is imported when used.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HOST = "127.0.0.1"
HOST_6 = "::1"


def bind_loopback(port: int, *, host: str = HOST) -> socket.socket:
    """A socket that listens on `host`, a loopback address; port 0 takes a free one. Raises `OSError`."""
    return bind(host, port)


def bind(host: str, port: int) -> socket.socket:
    """The same on any address; of IPv6, only that."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, the event loop turns Nagle's algorithm off; else small answers are sent 40 ms later.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            # On Windows this option would let another program take over the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def build_web_server(app: Any, *, ready: asyncio.Event | None = None, **options: Any) -> Any:
    """A `uvicorn.Server` for that ASGI application, without logs of requests; `ready` is set once it listens.

    Connections without a whole request are bounded in time and number. `options` are those of `uvicorn.Config` that
    differ.
    """
    import uvicorn

    from .http_protocol import BoundedProtocol

    class Server(uvicorn.Server):
        """Does not handle signals."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if ready is not None:
                ready.set()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    usual: dict[str, Any] = {
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "log_level": "warning",
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
    }
    return Server(uvicorn.Config(app, **(usual | options)))
