"""SQLite as the ledger's database: one file, whose writers wait for each other."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from .connection import SqliteConnection, ledger_problem
from .rows import MalformedRow


class SqliteDatabase:
    """One open file. Safe to call from several threads. Writers are always alone."""

    def __init__(self, path: Path, connect: Callable[[Path], SqliteConnection]) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._guarded():
            self._db = connect(path)
        # Closes a forgotten file too, at the latest when the program ends.
        self._closing = weakref.finalize(self, self._db.close)

    def close(self) -> None:
        """Close the file. It cannot be used afterwards."""
        self._closing()

    @contextmanager
    def transaction(self, *, lasting: bool = True, alone: bool = True) -> Iterator[SqliteConnection]:
        """One immediate transaction. Without `lasting`, its commit does not wait for the disk."""
        with self._guarded(), self._lock:
            if not lasting:
                self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                if not lasting:
                    self._db.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def reading(self) -> Iterator[SqliteConnection]:
        """Outside a transaction or snapshot, each read sees its own moment."""
        with self._guarded(), self._lock:
            yield self._db

    def together(self) -> AbstractContextManager[None]:
        """A read of a file costs nothing that could be shared."""
        return nullcontext()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One read transaction."""
        with self._guarded(), self._lock:
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    def settle(self) -> bool:
        """Put the whole write-ahead log into the main file and empty it."""
        with self.reading() as db:
            return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def shrink(self) -> None:
        """Put what can be of the log into the main file."""
        with self.reading() as db:
            db.execute("PRAGMA wal_checkpoint")

    def check(self) -> str:
        """By SQLite's own check."""
        with self.reading() as db:
            return str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, MalformedRow) as error:
            raise ledger_problem(self.path, error) from error
