"""Real servers for the tests of team mode: PostgreSQL and an OpenID provider, skipped where they are not installed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from real_provider import RealProvider

from callsheet.core.tasks import Sheet
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.schema import migrate
from callsheet.service.ports import Ledger
from samples import add_approved
from servers.other_servers import OIDC_INSTALLED, oidc
from team.postgres import WHY_NOT, Server, find_programs, run_server

OpenLedger = Callable[[], Ledger]


@pytest.fixture(scope="session")
def until_end(request: pytest.FixtureRequest) -> ExitStack:
    """What is opened in it is closed after the last test, and so by no test."""
    stack = ExitStack()
    request.config.add_cleanup(stack.close)
    return stack


@pytest.fixture(scope="session")
def postgres(until_end: ExitStack) -> Server:
    """A running server."""
    if find_programs() is None:
        pytest.skip(WHY_NOT)
    return until_end.enter_context(run_server())


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


@pytest.fixture(scope="session")
def real_provider(tmp_path_factory: pytest.TempPathFactory, until_end: ExitStack) -> RealProvider:
    """One for all tests: each registers the clients that it needs, and signs in with a browser of its own."""
    if not OIDC_INSTALLED:
        pytest.skip("oidc-provider is not installed: `make .servers/.oidc` does it")
    return RealProvider(until_end.enter_context(oidc(tmp_path_factory.mktemp("oidc") / "run")))
