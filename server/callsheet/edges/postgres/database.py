"""PostgreSQL as the ledger's database: one schema for each tenant, so that no statement reaches another tenant's rows.

The ledger's calls are synchronous and its connections are not. They run in an event loop of their own thread. A caller
in a task that has a greenback portal (`open_portals`) waits for them without blocking its event loop; any other caller
blocks.

Transactions that are alone lock the tenant's row, as writers of SQLite lock the file: sums are exact and the audit
trail has no gaps. Nothing cancels a transaction: a cancellation strikes after its commit. Every limit is set inside
the transaction, so a pooler in transaction mode works.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
import greenback
from anyio.from_thread import start_blocking_portal

from callsheet.edges.ledger.database import Values
from callsheet.edges.ledger.rows import MalformedRow
from callsheet.edges.traces import CLIENT, is_inside, span
from callsheet.errors import LedgerProblem

from .pool import LOCK_SECONDS, STATEMENT_SECONDS, Pool
from .problems import BROKEN, FAILURES, database_problem

IDLE_SECONDS = 5
"""A process that is frozen inside a transaction must not hold a tenant for longer."""

Got = TypeVar("Got")
_PLACEHOLDER = re.compile(r"'[^']*'|(?P<next>\?)|:(?P<name>\w+)")
_SCHEMA = re.compile(r"[a-z][a-z0-9_]{0,47}")
_COUNTED = re.compile(r"\d+$")


@lru_cache(maxsize=1024)
def number_placeholders(statement: str) -> tuple[str, tuple[str, ...]]:
    """The statement with `$1`, `$2`… for its placeholders, and the names in that order; empty ones by position."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found["next"]:
            names.append("")
            return f"${len(names)}"
        name = found["name"]
        if name is None:
            return found[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACEHOLDER.sub(number, statement), tuple(names)


def _place(names: tuple[str, ...], values: Values) -> list[Any]:
    return [values[name] for name in names] if isinstance(values, Mapping) else list(values)


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement returned."""

    found: list[Any]
    rowcount: int
    _next: Iterator[Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_next", iter(self.found))

    def fetchone(self) -> Any:
        """The next row."""
        return next(self._next, None)

    def fetchall(self) -> list[Any]:
        """The other rows."""
        return list(self._next)

    def __iter__(self) -> Iterator[Any]:
        return self._next


class PostgresConnection:
    """One connection inside a transaction of one tenant."""

    def __init__(self, run: Callable[..., Any], connection: Any) -> None:
        self._run = run
        self.raw = connection

    @property
    def name(self) -> str:
        """A name for this tenant that a copy of it has too."""
        return str(self.execute("SELECT name FROM tenant").fetchone()[0])

    def execute(self, statement: str, values: Values = ()) -> Rows:
        """Run one statement and wait for its rows."""
        text, names = number_placeholders(statement)
        placed = _place(names, values)
        if text.lstrip()[:6].upper() == "SELECT" or " RETURNING " in text:
            found = self._run(self.raw.fetch, text, *placed)
            return Rows(found, len(found))
        counted = _COUNTED.search(self._run(self.raw.execute, text, *placed))
        return Rows([], int(counted[0]) if counted else 0)

    def executemany(self, statement: str, values: Iterable[Values]) -> None:
        """Run one statement for each of these values."""
        text, names = number_placeholders(statement)
        self._run(self.raw.executemany, text, [_place(names, each) for each in values])

    def count_audited(self) -> int:
        """By a row that counts with each entry and is never deleted."""
        return int(self.execute("SELECT audited FROM tenant").fetchone()[0])


class SharedReads(PostgresConnection):
    """The reads of one block in one transaction, which begins with the first; an equal one is not sent again."""

    def __init__(self, run: Callable[..., Any], begin: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(run, None)
        self._begin = begin
        self._known: dict[tuple[str, tuple[Any, ...]], list[Any]] = {}

    def execute(self, statement: str, values: Values = ()) -> Rows:
        """The rows of that query, as this block saw them first."""
        text, names = number_placeholders(statement)
        key = text, tuple(_place(names, values))
        if key not in self._known:
            self._known[key] = self._run(self._fetch, *key)
        found = self._known[key]
        return Rows(found, len(found))

    def forget(self) -> Any:
        """The connection that is to be given back, if there is one; what follows is read again."""
        self._known.clear()
        raw, self.raw = self.raw, None
        return raw

    async def _fetch(self, text: str, placed: tuple[Any, ...]) -> list[Any]:
        if self.raw is None:
            self.raw = await self._begin()
        return list(await self.raw.fetch(text, *placed))


class PostgresDatabase:
    """One tenant of a database. Safe to call from several threads and tasks. Opens nothing until first use.

    `pooled` says that a pooler in transaction mode stands before the server: nothing may outlive a transaction.
    """

    def __init__(self, dsn: str, *, tenant: str = "callsheet", pooled: bool = False) -> None:
        if not _SCHEMA.fullmatch(tenant):
            raise LedgerProblem(
                f"A tenant's name is a schema of the database: {tenant!r} cannot be one.",
                next_step="Use lower-case letters, digits and underscores, and a letter first; at most 48.",
            )
        self.tenant = tenant
        # Shown in messages: without its password.
        host, name = _read_names(dsn)
        self.path = Path(f"postgresql/{host}/{name}/{tenant}")
        self._described = {"db.system.name": "postgresql", "db.namespace": f"{name}|{tenant}"}
        self._make_pool = partial(Pool, dsn, {"statement_cache_size": 0} if pooled else {})
        self._pool = self._make_pool()
        self._open = ExitStack()
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._current: ContextVar[PostgresConnection | None] = ContextVar("connection", default=None)
        self._shared: ContextVar[SharedReads | None] = ContextVar("shared", default=None)

    def run(self, function: Callable[..., Coroutine[Any, Any, Got] | Awaitable[Got]], *values: Any) -> Got:
        """Call that in the connections' event loop, and wait for it as this caller can."""
        future = self.start(function, *values)
        if greenback.has_portal():
            waited: Got = greenback.await_(asyncio.wrap_future(future))
            return waited
        done: Got = future.result()
        return done

    def start(self, function: Callable[..., Coroutine[Any, Any, Got] | Awaitable[Got]], *values: Any) -> Future[Got]:
        """Call that in the connections' event loop, without waiting; `close` cancels it."""
        with self._starting:
            if self._loop is None:
                portal = self._open.enter_context(start_blocking_portal("asyncio"))
                self._loop = portal.call(asyncio.get_running_loop)
        return asyncio.run_coroutine_threadsafe(_await(function, values), self._loop)

    def acquire(self, *, alone: bool = False) -> Any:
        """A connection of the pool, to be released in the same way."""
        return self.run(self._pool.acquire, alone)

    def release(self, raw: Any, *, alone: bool = False) -> None:
        """Give a connection back."""
        self.run(self._pool.release, raw, alone)

    def close(self) -> None:
        """Close all connections. A later call opens new ones."""
        if self._loop is not None:
            with suppress(Exception):
                self.run(self._pool.close)
        self._pool, self._loop = self._make_pool(), None
        self._open.close()

    @contextmanager
    def transaction(self, *, lasting: bool = True, alone: bool = True) -> Iterator[PostgresConnection]:
        """Without `lasting`, the commit does not wait for the disk; one that is `alone` holds the tenant's row.

        What an idle process renews makes no trace of its own, nor does reading, which is done dozens of times a call.
        """
        self._end_shared()
        traced = span("ledger write", CLIENT, self._described) if alone or is_inside() else nullcontext()
        began = ["BEGIN", *self._limits()]
        if not lasting:
            began.append("SET LOCAL synchronous_commit = off")
        if alone:
            began.append("SELECT name FROM tenant FOR UPDATE")
        with self._guarded(), traced, self._begun(began, alone=alone) as db:
            yield db

    @contextmanager
    def reading(self) -> Iterator[PostgresConnection]:
        """A read-only transaction, or the one that this caller is in."""
        current = self._current.get()
        if current is not None:
            yield current
            return
        with self.together():
            try:
                with self._guarded():
                    yield self._need_shared()
            except BaseException:
                self._end_shared()
                raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """Reads in the block share one transaction, and what was read once is not read again before the block writes.

        The block waits for nothing but this database, and nothing cancels it.
        """
        if self._shared.get() is not None:
            yield
            return
        with anyio.CancelScope(shield=True) if greenback.has_portal() else ExitStack():
            statements = "; ".join(["BEGIN READ ONLY", *self._limits()])
            token = self._shared.set(SharedReads(self.run, partial(self._begin, statements, False)))
            try:
                yield
            finally:
                self._end_shared()
                self._shared.reset(token)

    def _need_shared(self) -> SharedReads:
        shared = self._shared.get()
        assert shared is not None
        return shared

    def _end_shared(self) -> None:
        """Before the block writes, after a failure, and at its end. Nobody waits for the end of reads."""
        shared = self._shared.get()
        raw = shared.forget() if shared else None
        if raw is not None:
            self.start(self._finish, raw, "ROLLBACK", False)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One read transaction that sees one moment."""
        self._end_shared()
        began = ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", *self._limits()]
        with self._guarded(), self._begun(began):
            yield

    def settle(self) -> bool:
        """A commit is as safe as the server makes it."""
        return True

    def shrink(self) -> None:
        """The server reclaims the space itself."""

    def check(self) -> str:
        """Whether the server answers and the tables are there; its files are the server's own concern."""
        with self.reading() as db:
            db.execute("SELECT audited FROM tenant")
        return "ok"

    def _limits(self) -> list[str]:
        return [
            f"SET LOCAL search_path TO {self.tenant}, pg_catalog",
            f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'",
            f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'",
            f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'",
        ]

    @contextmanager
    def _begun(self, began: list[str], *, alone: bool = False) -> Iterator[PostgresConnection]:
        """A transaction on a connection of its own. No cancellation enters it."""
        with anyio.CancelScope(shield=True) if greenback.has_portal() else ExitStack():
            raw = self.run(self._begin, "; ".join(began), alone)
            try:
                db = PostgresConnection(self.run, raw)
                token = self._current.set(db)
                try:
                    yield db
                finally:
                    self._current.reset(token)
            except BaseException:
                with suppress(*FAILURES):
                    self.run(self._finish, raw, "ROLLBACK", alone)
                raise
            self.run(self._finish, raw, "COMMIT", alone)

    async def _begin(self, statements: str, alone: bool) -> Any:
        """A connection on which the transaction has begun; on a new one where the first had been cut meanwhile."""
        for last in (False, True):
            raw = await self._pool.acquire(alone)
            try:
                await raw.execute(statements)
            except BaseException as error:
                await self._pool.release(raw, alone)
                if last or not isinstance(error, BROKEN):
                    raise
            else:
                return raw
        raise AssertionError("unreachable")

    async def _finish(self, raw: Any, statement: str, alone: bool) -> None:
        try:
            await raw.execute(statement)
        finally:
            await self._pool.release(raw, alone)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (*FAILURES, MalformedRow) as error:
            raise database_problem(error) from None


async def allow_waiting() -> None:
    """From now on, the ledger's calls of this task wait without blocking the event loop."""
    await greenback.ensure_portal()


async def open_portals() -> None:
    """Give a portal to this task, and to each task that starts in this event loop from now on.

    A process of a team calls it first. A task without one would block the loop, and with it the tasks that hold the
    connection or the lock that it waits for.
    """

    def start(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        greenback.bestow_portal(task)
        return task

    asyncio.get_running_loop().set_task_factory(start)
    await greenback.ensure_portal()


async def _await(function: Callable[..., Awaitable[Got]], values: tuple[Any, ...]) -> Got:
    return await function(*values)


def _read_names(dsn: str) -> tuple[str, str]:
    """Host and database, to be shown: of a password that is not encoded as it should be, nothing is in them."""
    with suppress(ValueError):
        parts = urlsplit(dsn)
        if parts.scheme in {"postgres", "postgresql"}:
            return parts.hostname or "socket", re.split("[/@]", parts.path)[-1]
    return "unknown", "unknown"
