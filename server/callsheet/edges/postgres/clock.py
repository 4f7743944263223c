"""The database's clock, which all replicas follow, whatever the clocks of their machines say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from callsheet.edges.clock import SystemClock
from callsheet.errors import LedgerProblem

from .database import PostgresDatabase

MEASURE_SECONDS = 30.0
JUMP_SECONDS = 1.0


class DatabaseClock(SystemClock):
    """The database's time: measured at first use, every 30 s, and when this machine's clock jumps.

    Between two measurements time passes as on this machine, by that of its clocks that went further: one stands still
    while the machine sleeps, and a person may set the other back. Late is safe: what is late is not sent.
    """

    def __init__(self, database: PostgresDatabase, *, wall: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._database = database
        self._wall = wall
        self._measured: tuple[float, float, float] | None = None
        self._again_at = 0.0

    def now(self) -> float:
        """Seconds since the epoch. Waits for the database, and may raise `LedgerProblem`, at the first call alone."""
        at, wall, steady = self._measured or self._measure()
        by_wall, by_steady = self._wall() - wall, time.monotonic() - steady
        is_old = by_steady > MEASURE_SECONDS or abs(by_wall - by_steady) > JUMP_SECONDS
        if is_old and time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + JUMP_SECONDS
            threading.Thread(target=self._measure_again, name="database-clock", daemon=True).start()
        return at + max(by_wall, by_steady)

    def _measure(self) -> tuple[float, float, float]:
        with self._database.reading() as db:
            # The connection is open now, so that the answer takes one trip.
            wall, steady = self._wall(), time.monotonic()
            row = db.execute("SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)").fetchone()
            half = (time.monotonic() - steady) / 2
        self._measured = (row[0], wall + half, steady + half)
        return self._measured

    def _measure_again(self) -> None:
        with suppress(LedgerProblem):
            self._measure()
