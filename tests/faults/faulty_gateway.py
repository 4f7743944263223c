"""A gateway over raw TCP that misbehaves in one chosen way, and remembers every request that came whole.

It shares no code with the program, so that what it saw is evidence. A request counts when its last byte
has come: that is when a gateway may charge.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

STATUS_PATH = re.compile(r"/(?:api/generate/status|api/v1/statusTask|v1/tasks)/")
TASK_ID = "task-unified-1-abc"


@dataclass(frozen=True)
class Received:
    """One complete request."""

    method: str
    path: str
    fields: dict[str, str]
    body: bytes


class Visit:
    """One connection, and what a play may do to whoever called."""

    def __init__(self, gateway: FaultyGateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._gateway = gateway
        self._reader = reader
        self._writer = writer

    @property
    def elsewhere(self) -> int:
        """The port of another gateway, to send callers to."""
        return self._gateway.elsewhere

    async def read(self) -> Received:
        """The next complete paid request; free ones before it are answered. `IncompleteReadError` at the end."""
        while True:
            found = await self.read_any()
            if found.method == "POST":
                return found
            await self.reply({}, 404)

    async def read_any(self) -> Received:
        """The next complete request of any kind, which is remembered."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ", 2)
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(fields.get("content-length", "0")))
        found = Received(method, path, fields, body)
        self._gateway.received.append(found)
        return found

    async def read_some(self, count: int) -> None:
        """Take that many bytes of a paid request and no more; a caller who only asks is turned away."""
        start = await self._reader.readexactly(4)
        if start == b"GET ":
            raise EOFError
        await self._reader.readexactly(count - 4)

    async def send(self, data: bytes) -> None:
        """Write bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self, body: object, status: int = 200, **fields: str) -> None:
        """A whole JSON answer; `_` in a field's name stands for `-`."""
        data = json.dumps(body).encode()
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{lines}content-length: {len(data)}\r\n\r\n"
        await self.send(head.encode() + data)

    def reset(self) -> None:
        """Throw the connection away with a TCP reset."""
        found: socket.socket = self._writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def hang(self) -> None:
        """Say nothing until the caller goes away."""
        await self._reader.read()


Play = Callable[[Visit], Awaitable[None]]


async def behave(visit: Visit) -> None:
    """A gateway in good health: it takes every job on, and each one is filming for ever."""
    while True:
        request = await visit.read_any()
        state = "running" if STATUS_PATH.match(request.path) else "not_started"
        # One answer in the words of all four gateways.
        data = {"task_id": TASK_ID, "taskId": TASK_ID, "status": state, "state": "processing"}
        await visit.reply({"code": 200, "data": data, "id": TASK_ID, "status": "processing"})


@dataclass
class FaultyGateway:
    """Listens on one port of loopback; what it does to a caller is the play that is on."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    visits: int = 0
    elsewhere: int = 0
    _server: asyncio.Server | None = None
    _visitors: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def paid(self) -> list[Received]:
        """The complete requests that may cost money."""
        return [request for request in self.received if request.method == "POST"]

    def reserve_port(self) -> None:
        """Choose a free port without listening on it."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    async def open(self, play: Play, context: ssl.SSLContext | None = None) -> None:
        """Begin to listen."""

        async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._visitors.add(task)
            self.visits += 1
            try:
                await play(Visit(self, reader, writer))
            except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
                # The caller left, or `close` drops it; either way the visit is over.
                return
            finally:
                self._visitors.discard(task)
                writer.close()

        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Small, so that a large request cannot vanish into the buffers while nobody reads it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        listener.bind(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(visited, sock=listener, ssl=context, limit=4096)
        self.port = listener.getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every caller."""
        if self._server is not None:
            self._server.close()
            visitors = list(self._visitors)
            for visitor in visitors:
                visitor.cancel()
            await asyncio.gather(*visitors, return_exceptions=True)
            self._server = None
