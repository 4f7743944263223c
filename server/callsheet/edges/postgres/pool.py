"""A bounded number of connections, each used by one caller at a time.

asyncpg's own pool can give one connection to two callers when it is cut at the moment at which it is released: it then
releases what somebody else has taken meanwhile. Their transactions would mix, and they are about money.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import asyncpg

LOCK_SECONDS = 5
STATEMENT_SECONDS = 10
CONNECT_SECONDS = 5.0
WAIT_SECONDS = STATEMENT_SECONDS + LOCK_SECONDS
MOST_CONNECTIONS = 10
UNUSED_SECONDS = 300.0
"""What was not used for so long may have been cut on its way without a word."""


class Pool:
    """All of it runs in one event loop."""

    def __init__(self, dsn: str, settings: dict[str, Any]) -> None:
        self._dsn = dsn
        self._settings = settings
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self._turn = asyncio.Lock()
        self._free: list[tuple[Any, float]] = []

    async def acquire(self, alone: bool = False) -> Any:
        """A connection for this caller alone; the one used last, else a new one.

        Those that will lock the tenant's row take turns before: waiting needs no connection, so readers find one. And
        of a process that is frozen, one connection at most waits for that row, and gets it for nothing.
        """
        async with asyncio.timeout(WAIT_SECONDS):
            if alone:
                await self._turn.acquire()
            try:
                await self._room.acquire()
            except BaseException:
                self._end_turn(alone)
                raise
        try:
            while self._free:
                connection, since = self._free.pop()
                if not connection.is_closed() and time.monotonic() - since < UNUSED_SECONDS:
                    return connection
                connection.terminate()
            settings = {"timeout": CONNECT_SECONDS, "command_timeout": WAIT_SECONDS, **self._settings}
            return await connect(self._dsn, **settings)
        except BaseException:
            self._room.release()
            self._end_turn(alone)
            raise

    async def release(self, connection: Any, alone: bool = False) -> None:
        """Give it back, once. One that is left in a transaction is closed."""
        if connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
        else:
            self._free.append((connection, time.monotonic()))
        self._room.release()
        self._end_turn(alone)

    def _end_turn(self, alone: bool) -> None:
        if alone:
            self._turn.release()

    async def close(self) -> None:
        """Close what nobody uses, after a moment for what is about to be given back. The pool is not used again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                for _ in range(MOST_CONNECTIONS):
                    await self._room.acquire()
        while self._free:
            await self._free.pop()[0].close(timeout=CONNECT_SECONDS)


async def connect(dsn: str, **settings: Any) -> Any:
    """A connection. Of an address that cannot be read, the driver's own errors may quote the password."""
    try:
        return await asyncpg.connect(dsn, **settings)
    except (ValueError, OverflowError):
        raise asyncpg.ClientConfigurationError("the address cannot be read") from None
