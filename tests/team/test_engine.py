"""Which workers are alive, who takes what, what wakes whom, and whose time it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import anyio
import pytest

from callsheet.core.consent import Caps
from callsheet.core.spending import SpendTerms
from callsheet.core.tasks import Sheet, SheetEvent
from callsheet.edges.clock import SystemClock
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.clock import DatabaseClock
from callsheet.edges.postgres.database import PostgresDatabase, open_portals
from callsheet.edges.postgres.leases import PostgresLeases
from callsheet.edges.postgres.pool import MOST_CONNECTIONS
from callsheet.edges.postgres.wakeups import PostgresWakeups
from callsheet.edges.postgres.worker import build_worker
from callsheet.edges.process.runner import MOST_POLLS
from callsheet.errors import LedgerProblem
from samples import START, a_task, add_approved
from team.postgres import Server, run_server

Open = Callable[[], PostgresDatabase]
WINDOWS = (START - 1000, START - 10_000)


@pytest.fixture
def open_database(dsn: str, tenant: str) -> Iterator[Open]:
    """Opens the tenant's database, as another process would."""
    opened: list[PostgresDatabase] = []

    def make() -> PostgresDatabase:
        opened.append(PostgresDatabase(dsn, tenant=tenant))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def terms_for(sheet: Sheet) -> SpendTerms:
    """Without caps."""
    return SpendTerms(sheet.binding.digest, Caps(per_day=None, per_month=None), WINDOWS)


def expire(database: PostgresDatabase, runner_id: str) -> None:
    """What ten seconds without a renewal do."""
    with database.transaction() as db:
        db.execute("UPDATE worker SET ends_at = ends_at - 10.5 WHERE id = ?", (runner_id,))


def some_tasks(ledger: SqlLedger, count: int, owner: str) -> None:
    """Waiting tasks of a web replica, due long ago."""
    for number in range(count):
        sheet = add_approved(ledger, f"sheet_{number}")
        ledger.spend(sheet.id, task=a_task(sheet, f"task_{number}", owner=owner), terms=terms_for(sheet), now=START)


def test_a_lease_lives_as_long_as_it_is_renewed(open_database: Open) -> None:
    """By the database's clock; a release ends it at once, and a replica that does not work never has one."""
    mine, other = PostgresLeases(open_database(), "mine"), PostgresLeases(open_database(), "other")
    web = PostgresLeases(open_database(), "web", works=False)
    mine.hold()
    web.hold()

    assert [mine.is_alive(name) for name in ("mine", "other", "web", None)] == [True, False, False, False]
    assert (mine.others_live(), other.others_live(), web.others_live()) == (False, True, True)
    assert not web.is_alive("web")
    expire(open_database(), "mine")
    assert not other.is_alive("mine")
    PostgresLeases(open_database(), "mine").hold()
    assert other.is_alive("mine")
    mine.release()
    assert not other.is_alive("mine")
    assert mine.is_alive("mine"), "a worker does not adopt its own tasks"


async def run_workers(names: list[str], open_database: Open, seconds: float) -> dict[str, list[str]]:
    """Workers with a `run_task` that takes a moment; what each of them ran."""
    await open_portals()
    ran: dict[str, list[str]] = {name: [] for name in names}
    done = anyio.Event()
    async with anyio.create_task_group() as group:
        for name in names:
            database = open_database()
            ledger = SqlLedger(database)

            async def run(task_id: str, name: str = name, ledger: SqlLedger = ledger) -> None:
                ran[name].append(task_id)
                if sum(map(len, ran.values())) >= 3 * MOST_POLLS:
                    done.set()
                await anyio.sleep(0.05)
                ledger.touch(task_id, now=START, changes={"next_at": time.time() + 100})

            worker = build_worker(
                ledger=lambda ledger=ledger: ledger,
                clock=SystemClock(),
                leases=PostgresLeases(database, name),
                wakeups=PostgresWakeups(database, listen=None),
                run_task=run,
            )
            group.start_soon(worker.watch)
        with anyio.move_on_after(seconds):
            await done.wait()
        group.cancel_scope.cancel()
    return ran


async def test_every_worker_finds_something_to_do(open_database: Open) -> None:
    """One that was there first takes what it can start, and leaves the rest; nothing is run by two."""
    some_tasks(SqlLedger(open_database()), 3 * MOST_POLLS, owner="a-web-replica")

    ran = await run_workers(["one", "two", "three"], open_database, 60)

    everything = [task for tasks in ran.values() for task in tasks]
    assert len(everything) == len(set(everything)) == 3 * MOST_POLLS
    assert min(map(len, ran.values())) >= 1


def test_adopting_is_bounded(open_database: Open) -> None:
    """So many, and what is due first."""
    ledger = SqlLedger(open_database())
    some_tasks(ledger, 3, owner="gone")
    ledger.touch("task_1", now=START, changes={"next_at": START - 100})

    assert ledger.adopt("gone", "me", most=1) == 1
    assert [task.id for task in ledger.tasks() if task.owner == "me"] == ["task_1"]
    assert ledger.adopt("gone", "me") == 2


async def heard_after(open_database: Open, dsn: str | None, act: Callable[[SqlLedger], object]) -> float:
    """How long a waiter in one process waits for what another one does; 60 s where nothing is heard."""
    wakeups = PostgresWakeups(open_database(), listen=dsn)
    other = SqlLedger(open_database())
    wait = wakeups.waiter()
    # What is heard first is that it listens now.
    await wait(60)
    began = time.monotonic()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, act, other)
        await wait(60)
    return time.monotonic() - began


@pytest.mark.parametrize("act", ["spend", "decline"])
async def test_what_another_process_stores_wakes(open_database: Open, dsn: str, act: str) -> None:
    """A new task and a changed sheet, in well under the pause between two looks."""
    sheet = add_approved(SqlLedger(open_database()))

    def spend(ledger: SqlLedger) -> None:
        ledger.spend(sheet.id, task=a_task(sheet), terms=terms_for(sheet), now=START)

    def decline(ledger: SqlLedger) -> None:
        ledger.move_sheet(sheet.id, SheetEvent.DECLINED, now=START)

    assert await heard_after(open_database, dsn, spend if act == "spend" else decline) < 1.0


async def test_without_an_ear_there_is_a_look_every_two_seconds(open_database: Open) -> None:
    """Behind a pooler in transaction mode."""
    began = time.monotonic()
    await PostgresWakeups(open_database(), listen=None).wait(60)
    assert 1.5 < time.monotonic() - began < 5


async def test_what_changes_between_two_waits_is_not_missed(open_database: Open) -> None:
    """The ledger's calls let others run, so a runner may hear of a change while it looks."""
    wakeups = PostgresWakeups(open_database(), listen=None)
    wait = wakeups.waiter()
    wakeups.notify()

    began = time.monotonic()
    await wait(60)
    assert time.monotonic() - began < 0.5


async def test_an_ear_hears_again_after_a_crash_of_the_server() -> None:
    """It connects again, and says so, since something may have changed meanwhile."""
    with run_server() as server:
        dsn = await anyio.to_thread.run_sync(server.create)
        database = PostgresDatabase(dsn)
        try:
            wait = PostgresWakeups(database, listen=dsn).waiter()
            await wait(60)
            await anyio.to_thread.run_sync(crash, server)
            await wait(60)
        finally:
            database.close()


def crash(server: Server) -> None:
    """At once, and up again."""
    server.stop("immediate")
    server.start()


def test_the_clock_is_the_database_s(open_database: Open) -> None:
    """A machine whose clock is an hour late says the same; one whose clock jumps measures again."""
    real = time.time
    shift = -3600.0
    clock = DatabaseClock(open_database(), wall=lambda: real() + shift)

    assert abs(clock.now() - real()) < 0.5
    shift = 7200.0
    assert clock.now() > real() + 3600, "late is safe until it has measured"
    deadline = time.monotonic() + 20
    while abs(clock.now() - real()) > 0.5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert abs(clock.now() - real()) < 0.5
    shift = -7200.0
    assert clock.now() > real() - 0.5, "time does not go back"


def test_without_a_database_there_is_no_time() -> None:
    """What cannot know the time sends nothing."""
    with pytest.raises(LedgerProblem):
        DatabaseClock(PostgresDatabase("postgresql://callsheet@127.0.0.1:1/nothing")).now()


async def test_tasks_of_one_loop_do_not_wait_for_each_other_for_ever(open_database: Open) -> None:
    """A call in a task that nobody gave a portal would block those that hold all connections, or the lock."""
    await open_portals()
    database = open_database()
    ledger = SqlLedger(database)
    sheets = [add_approved(ledger, f"sheet_{number}").id for number in range(40)]

    async def change(sheet_id: str) -> None:
        ledger.move_sheet(sheet_id, SheetEvent.DECLINED, now=START)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for sheet_id in sheets:
                group.start_soon(change, sheet_id)
    assert {ledger.sheet(sheet_id).state.value for sheet_id in sheets} == {"declined"}


def count(database: PostgresDatabase, query: str) -> int:
    """What it counts now: a transaction would see the same activity again and again."""
    with database.reading() as db:
        return int(db.execute(query).fetchone()[0])


def test_readers_find_a_connection_while_writers_wait(open_database: Open) -> None:
    """More writers than a process has connections wait for the tenant's row: a lease must still be renewed."""
    database, holder, watcher = open_database(), open_database(), open_database()
    done: list[int] = []

    def write(number: int) -> None:
        with database.transaction() as db:
            db.execute("SELECT 1")
        done.append(number)

    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    writers = [threading.Thread(target=write, args=(number,)) for number in range(3 * MOST_CONNECTIONS)]
    with holder.transaction():
        for writer in writers:
            writer.start()
        while count(watcher, waiting) == 0:
            pass
        for _ in range(10):
            assert count(database, waiting) == 1, "a process that is frozen now holds up others once"
        assert done == []
    for writer in writers:
        writer.join(30)
    assert sorted(done) == list(range(3 * MOST_CONNECTIONS))
