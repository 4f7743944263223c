"""What the ledger needs of a database.

The statements of this package are written once for all databases: placeholders are `?` in order or `:name`, and what
differs is a function of that database or a member here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

Values = Sequence[Any] | Mapping[str, Any]


class Result(Protocol):
    """What a statement returned. A row is read by name or position."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """An open connection inside a transaction. `name` tells this store from a copy of it in another place."""

    @property
    def name(self) -> str: ...
    def execute(self, statement: str, values: Values = ...) -> Result: ...
    def executemany(self, statement: str, values: Iterable[Values]) -> object: ...
    def count_audited(self) -> int:
        """How many entries the audit trail was ever given, by a count that no deletion of rows changes."""


class Database(Protocol):
    """A store of one ledger. Raises `LedgerProblem` for each failure, also for one in the body of a block."""

    @property
    def path(self) -> Path: ...
    def transaction(self, *, lasting: bool = True, alone: bool = True) -> AbstractContextManager[Connection]:
        """One transaction. One that is `alone` waits for others; a power failure may undo one that is not `lasting`."""

    def reading(self) -> AbstractContextManager[Connection]:
        """For reads; inside a transaction of the same caller, they see what that has written."""

    def together(self) -> AbstractContextManager[None]:
        """Reads in the block may share one transaction, and an equal one its answer, until the block writes."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Reads in the block see one moment, whatever others write meanwhile. The block must not write."""

    def settle(self) -> bool:
        """Move everything that is stored into the main file; False where a reader prevents that."""

    def shrink(self) -> None:
        """After many rows were removed."""

    def check(self) -> str:
        """Check the whole store, indexes included: `ok`, or the first problem found."""

    def close(self) -> None: ...
