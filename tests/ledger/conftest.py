"""The ledgers that the contract is checked on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from callsheet.core.tasks import Sheet
from callsheet.edges.ledger.ledger import SqliteLedger
from callsheet.service.ports import Ledger
from samples import add_approved

OpenLedger = Callable[[], Ledger]

LEDGERS: dict[str, Callable[[Path], Ledger]] = {
    "sqlite": lambda directory: SqliteLedger(directory / "ledger.sqlite3"),
}


@pytest.fixture(params=sorted(LEDGERS))
def make_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLedger:
    """Opens the same store again with each call, as another process would."""
    return lambda: LEDGERS[request.param](tmp_path)


@pytest.fixture
def ledger(make_ledger: OpenLedger) -> Ledger:
    """An empty ledger."""
    return make_ledger()


@pytest.fixture
def sheet(ledger: Ledger) -> Sheet:
    """An approved sheet in it."""
    return add_approved(ledger)
