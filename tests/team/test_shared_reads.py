"""Many reads for one answer: one transaction, each read once, nothing waits for the row of all writers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from callsheet.core.people import Role
from callsheet.core.shot import Shot
from callsheet.core.tasks import SHEET_LIFETIME, SheetEvent, SheetState
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase, open_portals
from callsheet.edges.postgres.people import People
from callsheet.edges.postgres.pool import MOST_CONNECTIONS
from callsheet.errors import LedgerProblem
from callsheet.service import Draft, Service
from workspace import Workspace, make_workspace

MOST_TRIPS = {"new shot": 26, "same shot": 14, "pending": 4}
"""To the server, for one answer."""
WAITING = 5


class Counting(PostgresDatabase):
    """Counts the times that a caller waits for the server."""

    trips = 0

    def run(self, function: Callable[..., Any], *values: Any) -> Any:
        """As usual."""
        self.trips += 1
        return super().run(function, *values)


@pytest.fixture
def database(dsn: str, tenant: str) -> Iterator[Counting]:
    """An empty tenant."""
    opened = Counting(dsn, tenant=tenant)
    yield opened
    opened.close()


@pytest.fixture
def install(tmp_path: Path, database: Counting) -> Workspace:
    """A live install over it."""
    ledger, made = SqlLedger(database), make_workspace(tmp_path)
    made.open_ledger = lambda _: ledger
    made.go_live()
    return made


def draft(service: Service, number: int = 0) -> str:
    """A shot of that number; its sheet."""
    shot = Shot.of(f"A paper boat, number {number}.", duration_seconds=4)
    explained = service.explain(Draft(shot, gateway="poyo", model="sora-2-official"))
    assert explained.sheet is not None, explained.findings
    return explained.sheet.id


def test_an_answer_takes_few_trips_to_the_server(install: Workspace, database: Counting) -> None:
    """However often it needs the same thing, and for what waits not one for each sheet and thing."""
    service, trips = install.service(), dict[str, int]()

    def count(name: str, answer: Callable[[], object]) -> None:
        before = database.trips
        answer()
        trips[name] = database.trips - before

    draft(service)
    count("new shot", lambda: draft(service, 1))
    count("same shot", lambda: draft(service, 1))
    for number in range(WAITING):
        service.deps.ledger().move_sheet(draft(service, number), SheetEvent.ASKED, now=service.now())
    count("pending", service.pending)

    assert {name: most for name, most in MOST_TRIPS.items() if trips[name] > most} == {}, trips
    assert len(service.pending()) == WAITING


def test_a_block_sees_what_it_saw_first_until_it_writes(database: Counting, dsn: str, tenant: str) -> None:
    """As in a snapshot; its own change shows it everything that has changed."""
    elsewhere = PostgresDatabase(dsn, tenant=tenant)
    other, here = People(elsewhere), People(database)
    ann = here.sign_in("i", "ann", name="ann", team="red", role=Role.MEMBER, now=1.0, said_at=1.0)
    with database.together():
        assert here.find(ann.id).disabled_at is None
        other.cut_off(ann.id, now=2.0)
        assert here.find(ann.id).disabled_at is None
        here.add_agent_token(ann.id, "a hash", name="x", now=3.0, ends_at=9.0)
        assert here.find(ann.id).disabled_at == 2.0
    with database.together():
        other.let_in(ann.id)
        assert here.find(ann.id).disabled_at is None
    elsewhere.close()


def test_a_block_goes_on_after_a_read_that_failed(database: Counting) -> None:
    """The transaction of the failure is over, and its connection is given back."""
    with database.together():
        for _ in range(MOST_CONNECTIONS + 1):
            with pytest.raises(LedgerProblem), database.reading() as db:
                db.execute("SELECT 1 FROM there_is_none")
        with database.reading() as db:
            assert db.execute("SELECT paused FROM tenant").fetchone()[0] is False


def test_blocks_that_read_and_then_write_never_wait_for_each_others_connections(database: Counting) -> None:
    """As many at the same moment as there are connections: a block has one at most."""
    people, many = People(database), MOST_CONNECTIONS
    barrier = threading.Barrier(many)

    def work(number: int) -> bool:
        with database.together():
            found = people.find("nobody")
            barrier.wait(30)
            people.sign_in("i", str(number), name="x", team="red", role=Role.MEMBER, now=1.0, said_at=1.0)
        return found is None

    with ThreadPoolExecutor(many) as pool:
        assert all(pool.map(work, range(many), timeout=60))
    assert len(people.all()) == many


async def test_a_cancelled_caller_leaves_no_connection_behind(database: Counting) -> None:
    """A block is never cut in the middle."""
    await open_portals()
    people, finished = People(database), 0
    for _ in range(MOST_CONNECTIONS + 1):
        with anyio.CancelScope() as scope:
            with database.together():
                scope.cancel()
                assert people.find("nobody") is None
                finished += 1
            await anyio.lowlevel.checkpoint()
    assert finished == MOST_CONNECTIONS + 1
    assert people.all() == []


@pytest.mark.parametrize("what", ["new", "same", "too old", "declined"])
def test_no_draft_waits_for_the_row_of_all_writers(
    install: Workspace, database: Counting, dsn: str, tenant: str, what: str
) -> None:
    """A frozen process may hold that row for seconds."""
    service = install.service()
    first = draft(service)
    if what == "too old":
        install.clock.time += SHEET_LIFETIME + 1
    if what == "declined":
        service.decline(first)
    other = PostgresDatabase(dsn, tenant=tenant)
    with other.transaction(), ThreadPoolExecutor(1) as pool:
        found = pool.submit(draft, service, 1 if what == "new" else 0).result(4)
    other.close()

    assert (found == first) is (what == "same")
    states = {"too old": SheetState.EXPIRED, "declined": SheetState.DECLINED}
    assert service.sheet(first).state is states.get(what, SheetState.DRAFTED)


def test_a_sheet_moves_only_from_the_state_that_was_read(install: Workspace, dsn: str, tenant: str) -> None:
    """It expires without the row of all writers, so an approval at that moment must not bring it back."""
    service = install.service()
    sheet_id, ledger = draft(service), SqlLedger(PostgresDatabase(dsn, tenant=tenant))
    moves = [SheetEvent.EXPIRED, SheetEvent.ASKED, SheetEvent.DECLINED] * 4
    barrier = threading.Barrier(len(moves))

    def move(event: SheetEvent) -> str:
        barrier.wait(30)
        try:
            return ledger.move_sheet(sheet_id, event, now=1.0).state.value
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(len(moves)) as pool:
        results = list(pool.map(move, moves))
    kinds = [row["kind"] for row in ledger.history(sheet_id)][1:]
    assert len(kinds) == len(moves) - results.count("IllegalEvent")
    assert sum(kind in ("expired", "declined") for kind in kinds) == 1
    ledger.close()
