"""Which workers are alive: rows that end ten seconds after their last renewal, by the database's clock.

A lease decides who works on a task, never what may be paid: a worker that was frozen past its lease and goes on finds
each state change refused that another made meanwhile.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress

from callsheet.errors import LedgerProblem

from .database import PostgresDatabase

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
FORGET_SECONDS = 3600.0
_NOW = "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"


class PostgresLeases:
    """A lease of a worker. A replica that does not work holds none, so workers adopt its new tasks soon."""

    def __init__(self, database: PostgresDatabase, runner_id: str | None = None, *, works: bool = True) -> None:
        self.runner_id = runner_id or secrets.token_hex(8)
        self._database = database
        self._works = works
        self._renew_at = 0.0

    def hold(self) -> None:
        """Take the lease or renew it; nothing where that is not needed yet. Raises `LedgerProblem`."""
        now = time.monotonic()
        if not self._works or now < self._renew_at:
            return
        with self._database.transaction(lasting=False, alone=False) as db:
            db.execute(
                f"INSERT INTO worker (id, ends_at) VALUES (?, {_NOW} + {LEASE_SECONDS})"
                " ON CONFLICT (id) DO UPDATE SET ends_at = excluded.ends_at",
                (self.runner_id,),
            )
        self._renew_at = now + RENEW_SECONDS

    def release(self) -> None:
        """End it, so that others adopt this worker's tasks immediately. Never raises."""
        self._renew_at = 0.0
        with suppress(LedgerProblem), self._database.transaction(lasting=False, alone=False) as db:
            ended = f"ends_at < {_NOW} - {FORGET_SECONDS}"
            db.execute(f"DELETE FROM worker WHERE id = ? OR {ended}", (self.runner_id,))

    def is_alive(self, runner_id: str | None) -> bool:
        """Whether that worker's lease has not ended."""
        if runner_id == self.runner_id:
            return self._works
        return self._any("id = ?", runner_id or "")

    def others_live(self) -> bool:
        """Whether another worker's lease has not ended."""
        return self._any("id <> ?", self.runner_id)

    def _any(self, which: str, runner_id: str) -> bool:
        with self._database.reading() as db:
            found = f"SELECT 1 FROM worker WHERE {which} AND ends_at > {_NOW} LIMIT 1"
            return db.execute(found, (runner_id,)).fetchone() is not None
