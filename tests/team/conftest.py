"""A PostgreSQL server for the tests of team mode, one for each process that runs tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from callsheet.core.tasks import Sheet
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.schema import migrate
from callsheet.service.ports import Ledger
from samples import add_approved
from team.postgres import WHY_NOT, Server, find_programs, run_server

OpenLedger = Callable[[], Ledger]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running server."""
    if find_programs() is None:
        pytest.skip(WHY_NOT)
    with run_server() as server:
        yield server


@pytest.fixture(scope="session")
def dsn(postgres: Server) -> str:
    """A database."""
    return postgres.create()


@pytest.fixture
def tenant(dsn: str) -> str:
    """A new tenant in it, with its tables."""
    name = f"t{uuid.uuid4().hex[:16]}"
    database = PostgresDatabase(dsn, tenant=name)
    migrate(database)
    database.close()
    return name


@pytest.fixture
def make_ledger(dsn: str, tenant: str) -> Iterator[OpenLedger]:
    """Opens the same store again with each call, as another process would."""
    opened: list[SqlLedger] = []

    def make() -> Ledger:
        opened.append(SqlLedger(PostgresDatabase(dsn, tenant=tenant)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def ledger(make_ledger: OpenLedger) -> Ledger:
    """An empty ledger."""
    return make_ledger()


@pytest.fixture
def sheet(ledger: Ledger) -> Sheet:
    """An approved sheet in it."""
    return add_approved(ledger)
