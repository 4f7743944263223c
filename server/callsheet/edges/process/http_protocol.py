"""Uvicorn's HTTP protocol, with bounds on connections that hold no whole request. Imports uvicorn.

Any program on the computer can open connections to a loopback port and then send nothing, or half of a request. Such a
connection may take only so long, and only so many may be open: for one more, the oldest of them is closed. So they
never use up what the server allows, and a caller who sends its request is answered.
"""

from __future__ import annotations

import asyncio
from operator import itemgetter

from uvicorn.protocols.http.h11_impl import H11Protocol


class BoundedProtocol(H11Protocol):
    """One connection. `deadline` runs while no whole request is here, its body included."""

    request_seconds = 20.0
    most_waiting = 64
    """Well below the connections that MCP allows, and below 256 open files, the limit on macOS."""

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit_waiting()
        waiting = [
            (other.deadline.when(), other.transport)
            for other in self.connections
            if isinstance(other, BoundedProtocol) and other.deadline is not None and not other.transport.is_closing()
        ]
        if len(waiting) > self.most_waiting:
            _, oldest = min(waiting, key=itemgetter(0))
            oldest.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._limit_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._limit_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_limit()

    def _limit_waiting(self) -> None:
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way and not self.cycle.more_body:
            self._end_limit()
        elif self.deadline is None and not self.transport.is_closing():
            self.deadline = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _end_limit(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class ProxiedProtocol(BoundedProtocol):
    """One connection of a proxy, which keeps it for the next request of anybody.

    It must end later here than there, where 60 seconds are usual: else a request arrives while it is being closed. And
    a proxy may open more together than one person's computer would.
    """

    keep_alive_seconds = 75
    request_seconds = 80.0
    most_waiting = 512
    """Below 1024 open files, the limit on Linux unless it was raised."""


__all__ = ["BoundedProtocol", "ProxiedProtocol"]
