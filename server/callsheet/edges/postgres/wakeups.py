"""Wake-ups between processes: the tables ring when something changes, and those who wait here are woken.

A ring is a hint. Where none can be heard, behind a pooler in transaction mode or while the server is away, those who
wait look again every two seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress

import anyio

from .database import PostgresDatabase
from .pool import CONNECT_SECONDS, connect
from .problems import FAILURES

POLL_SECONDS = 2.0
GATHER_SECONDS = 0.05
"""Many rings within that time wake once."""


class PostgresWakeups:
    """Wakes those who wait in this process. `listen` is the address of the server itself; without one, they poll."""

    def __init__(self, database: PostgresDatabase, *, listen: str | None) -> None:
        self._database = database
        self._dsn = listen
        self._listening: Future[None] | None = None
        self._heard: asyncio.TimerHandle | None = None
        self._event: anyio.Event | None = None
        self._changes = 0

    def notify(self) -> None:
        """Wake everybody who waits in this process. Others are woken by what was stored."""
        self._changes += 1
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after that many seconds."""
        self._listen()
        if self._event is None:
            self._event = anyio.Event()
        with anyio.move_on_after(min(seconds, POLL_SECONDS)):
            await self._event.wait()

    def waiter(self) -> Callable[[float], Awaitable[None]]:
        """A `wait` for one caller in a loop, which does not miss what changed since its last return either."""
        seen = self._changes

        async def wait(seconds: float) -> None:
            nonlocal seen
            if seen == self._changes:
                await self.wait(seconds)
            seen = self._changes

        return wait

    def _listen(self) -> None:
        if self._dsn is not None and (self._listening is None or self._listening.done()):
            self._listening = self._database.start(self._hear_all, self._dsn, asyncio.get_running_loop())

    async def _hear_all(self, dsn: str, home: asyncio.AbstractEventLoop) -> None:
        """Runs in the event loop of the connections until the database is closed, on a connection of its own."""
        here = asyncio.get_running_loop()

        def ring() -> None:
            self._heard = None
            # The loop of those who wait may have ended.
            with suppress(RuntimeError):
                home.call_soon_threadsafe(self.notify)

        def hear(*_: object) -> None:
            if self._heard is None:
                self._heard = here.call_later(GATHER_SECONDS, ring)

        while not home.is_closed():
            with suppress(*FAILURES):
                connection, cut = await connect(dsn, timeout=CONNECT_SECONDS), asyncio.Event()
                try:
                    connection.add_termination_listener(lambda _, cut=cut: cut.set())
                    await connection.add_listener(f"callsheet_{self._database.tenant}", hear)
                    # Something may have changed while nobody listened.
                    hear()
                    await cut.wait()
                finally:
                    connection.terminate()
            await asyncio.sleep(POLL_SECONDS)
