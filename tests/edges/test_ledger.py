"""The ledger: what it stores survives, what it refuses changes nothing."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from callsheet.core.consent.approval import Means
from callsheet.core.consent.policy import Caps, Mode
from callsheet.core.spending.limits import Slots, SpendTerms
from callsheet.core.tasks.models import Clip, Problem, Sheet, Task
from callsheet.core.tasks.states import IllegalEvent, SheetEvent, SheetState, TaskEvent, TaskId, TaskState
from callsheet.edges.ledger import connection
from callsheet.edges.ledger.ledger import Ledger
from callsheet.errors import LedgerProblem, NotApproved, PolicyRefusal, UnknownThing
from workspace import START, Workspace, draft

WINDOWS = (START - 1000, START - 1000)


def a_task(sheet: Sheet, name: str = "t1", **changes: object) -> Task:
    """A waiting live task of that sheet."""
    task = Task(
        id=TaskId(name),
        sheet_id=sheet.id,
        mode=Mode.LIVE,
        gateway="poyo",
        model="sora-2-official",
        state=TaskState.WAITING,
        reserve_micros=240_000,
        created_at=START,
        updated_at=START,
        next_at=START,
        owner="me",
    )
    return replace(task, **changes)


@pytest.fixture
def ledger(workspace: Workspace) -> Ledger:
    """The ledger of a live install."""
    workspace.go_live()
    return workspace.service().deps.ledger()


@pytest.fixture
def sheet(workspace: Workspace, ledger: Ledger) -> Sheet:
    """An approved sheet in it."""
    service = workspace.service()
    sheet_id = draft(service)
    return ledger.move_sheet(sheet_id, SheetEvent.APPROVED, now=START, by=Means.TERMINAL)


def spend(ledger: Ledger, sheet: Sheet, task: Task | None = None, caps: Caps | None = None) -> Task:
    """Spend the sheet on that task, bound as it is."""
    return ledger.spend(
        sheet.id,
        task=task or a_task(sheet),
        terms=SpendTerms(sheet.binding.digest, caps or Caps(), WINDOWS),
        now=START,
    )


def test_a_sheet_comes_back_as_it_was_stored(ledger: Ledger, sheet: Sheet) -> None:
    """In another process too."""
    assert Ledger(ledger.path).sheet(sheet.id) == sheet
    assert sheet.approved_by is Means.TERMINAL
    assert sheet.price.usd == Decimal("0.24")


def test_a_task_comes_back_as_it_was_stored(ledger: Ledger, sheet: Sheet) -> None:
    """With its problem and its clip."""
    spend(ledger, sheet)
    changes = {
        "problem": Problem("x", "y", "unknown", "said"),
        "clip": Clip("/a", 1, "b", 4.0, 2, 3, "/c", "/d"),
        "percent": 7,
    }

    stored = ledger.touch("t1", now=START + 1, changes=changes)

    assert Ledger(ledger.path).task("t1") == stored
    assert stored.clip == changes["clip"]
    assert stored.problem == changes["problem"]


def test_spending_twice_returns_the_same_task(ledger: Ledger, sheet: Sheet) -> None:
    """The second task is never made."""
    first = spend(ledger, sheet)

    assert spend(ledger, sheet, a_task(sheet, "t2")) == first
    assert [task.id for task in ledger.tasks()] == ["t1"]


def test_forty_threads_in_two_ledgers_spend_one_sheet_once(ledger: Ledger, sheet: Sheet) -> None:
    """Whoever wins, there is one task."""
    other = Ledger(ledger.path)
    found: list[Task] = []
    barrier = threading.Barrier(40)

    def race(number: int) -> None:
        barrier.wait()
        found.append(spend((ledger, other)[number % 2], sheet, a_task(sheet, f"t{number}")))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 40
    assert len({task.id for task in found}) == 1
    assert len(ledger.tasks(limit=100)) == 1


@pytest.mark.parametrize("state", [SheetEvent.DECLINED, SheetEvent.EXPIRED])
def test_a_sheet_that_is_not_approved_cannot_be_spent(ledger: Ledger, sheet: Sheet, state: SheetEvent) -> None:
    """And nothing is left behind."""
    ledger.move_sheet(sheet.id, state, now=START)

    with pytest.raises(NotApproved):
        spend(ledger, sheet)
    assert ledger.tasks() == []


def test_a_binding_that_changed_cannot_be_spent(ledger: Ledger, sheet: Sheet) -> None:
    """One other byte in any part is another digest."""
    with pytest.raises(NotApproved, match="has changed"):
        ledger.spend(sheet.id, task=a_task(sheet), terms=SpendTerms("00", Caps(), WINDOWS), now=START)
    assert ledger.sheet(sheet.id).state is SheetState.APPROVED


def test_breaking_a_cap_leaves_the_sheet_unspent(ledger: Ledger, sheet: Sheet) -> None:
    """So that it can be spent when there is room."""
    with pytest.raises(PolicyRefusal):
        spend(ledger, sheet, caps=Caps(per_clip=Decimal("0.10")))

    assert ledger.sheet(sheet.id).state is SheetState.APPROVED
    assert ledger.tasks() == []


def test_an_illegal_event_changes_nothing(ledger: Ledger, sheet: Sheet) -> None:
    """Neither on a task nor on a sheet."""
    before = spend(ledger, sheet)

    with pytest.raises(IllegalEvent):
        ledger.advance("t1", TaskEvent.CLIP_SAVED, now=START, changes={"percent": 9})
    with pytest.raises(IllegalEvent):
        ledger.move_sheet(sheet.id, SheetEvent.APPROVED, now=START)
    assert ledger.task("t1") == before


def test_an_answer_of_another_attempt_is_not_taken(ledger: Ledger, sheet: Sheet) -> None:
    """A zombie cannot overwrite what a later attempt did."""
    spend(ledger, sheet)
    ledger.claim("t1", attempt="first", deadline=START + 9, now=START, slots=Slots(5, 5))

    with pytest.raises(IllegalEvent):
        ledger.advance("t1", TaskEvent.ACCEPTED, now=START, attempt="other", changes={})
    assert ledger.task("t1").state is TaskState.SUBMITTING


def test_a_late_answer_of_the_same_attempt_still_wins(ledger: Ledger, sheet: Sheet) -> None:
    """Unknown becomes accepted."""
    spend(ledger, sheet)
    ledger.claim("t1", attempt="a", deadline=START + 9, now=START, slots=Slots(5, 5))
    ledger.advance("t1", TaskEvent.ANSWER_LOST, now=START + 10, attempt="a", changes={})

    task = ledger.advance("t1", TaskEvent.ACCEPTED, now=START + 11, attempt="a", changes={"gateway_task_id": "g"})

    assert task.state is TaskState.QUEUED
    assert ledger.task_named("poyo", "g") == task


def test_pace_is_exact_over_several_ledgers(ledger: Ledger) -> None:
    """A burst, then one request per interval, whoever asks."""
    other = Ledger(ledger.path)

    waits = [(ledger, other)[n % 2].reserve_pace("k", interval=2.0, burst=3, now=START) for n in range(6)]

    assert waits == [0, 0, 0, 2.0, 4.0, 6.0]


def test_tasks_of_an_owner_that_is_gone_are_adopted(ledger: Ledger, sheet: Sheet) -> None:
    """Only the open ones."""
    spend(ledger, sheet)

    assert ledger.owners() == ["me"]
    assert ledger.adopt("me", "you") == 1
    assert ledger.due("you", now=START, limit=5) == ["t1"]
    assert ledger.next_due("you") == START
    assert ledger.due("me", now=START, limit=5) == []


def test_history_tells_what_happened_in_order(ledger: Ledger, sheet: Sheet) -> None:
    """Of sheets and of tasks."""
    spend(ledger, sheet)

    assert [entry["kind"] for entry in ledger.history(sheet.id)] == ["drafted", "approved"]
    assert [entry["kind"] for entry in ledger.history("t1")] == ["created"]


def test_unknown_ids_are_named_as_such(ledger: Ledger) -> None:
    """With the tool that lists what there is."""
    with pytest.raises(UnknownThing, match="list_tasks"):
        ledger.touch("nothing", now=START, changes={"percent": 1})
    with pytest.raises(UnknownThing, match="explain_payload"):
        ledger.move_sheet("nothing", SheetEvent.APPROVED, now=START)


def test_the_file_is_private(ledger: Ledger) -> None:
    """Nobody else on the machine reads prompts or links."""
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700


def test_a_file_that_is_no_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    """With the advice to keep it."""
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"this is not a database, but it is long enough to look like one" * 40)

    with pytest.raises(LedgerProblem, match=r"not a database.*Nothing was sent.*keep it"):
        Ledger(path)
    assert path.read_bytes().startswith(b"this is not")


def test_a_newer_schema_is_refused(ledger: Ledger) -> None:
    """An old program does not guess at new columns."""
    with sqlite3.connect(ledger.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(LedgerProblem, match="newer version"):
        Ledger(ledger.path)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The place of the ledger is part of the message."""
    (tmp_path / "data").write_text("a file where a directory should be")

    with pytest.raises(LedgerProblem, match="data"):
        Ledger(tmp_path / "data" / "ledger.sqlite3")


def test_a_full_disk_refuses_and_keeps_what_was_stored(ledger: Ledger, sheet: Sheet) -> None:
    """The page limit stands in for a full disk: SQLite reports both the same way."""
    ledger._db.execute("PRAGMA max_page_count = 1")

    with pytest.raises(LedgerProblem, match=r"full.*Free some disk space"):  # noqa: PT012 - which row fills it is not known
        for number in range(2000):
            ledger.add_sheet(replace(sheet, id=f"s{number}", take=number + 2, shown="x" * 4000), now=START)
    assert Ledger(ledger.path).sheet(sheet.id) == sheet


def test_a_trail_to_which_others_add_while_it_is_checked_is_not_called_broken(tmp_path: Path) -> None:
    """Another process writes an entry between any two looks of the one that checks."""
    mine, others = Ledger(tmp_path / "ledger.sqlite3"), Ledger(tmp_path / "ledger.sqlite3")
    mine.consent.record("key_sealed", "poyo", actor="terminal", now=START)
    written: list[None] = []

    def meddle(statement: str) -> None:
        if statement.startswith("SELECT * FROM audit ORDER BY seq"):
            written.append(others.consent.record("key_sealed", "apixo", actor="terminal", now=START + 1))

    mine._db.set_trace_callback(meddle)
    verdict = mine.consent.verify()
    mine._db.set_trace_callback(None)

    assert (len(written), verdict.broken, verdict.entries) == (1, None, 1)
    assert (mine.consent.verify().broken, mine.consent.verify().entries) == (None, 2)


def test_an_old_schema_is_copied_before_it_is_changed(ledger: Ledger, sheet: Sheet, tmp_path: Path) -> None:
    """And the copy is a whole ledger of its own."""
    old = tmp_path / "old.sqlite3"
    with sqlite3.connect(ledger.path) as db:
        db.execute("VACUUM INTO ?", (str(old),))
    db.close()
    later = (*connection.MIGRATIONS, ("CREATE TABLE later (x TEXT) STRICT",))

    database = connection.open_database(old, migrations=later)
    tables = {row["name"] for row in database.execute("SELECT name FROM sqlite_master")}
    database.close()

    assert "later" in tables
    backup = old.with_name(f"old.sqlite3.before-version-{len(later)}")
    assert Ledger(backup).sheet(sheet.id) == sheet
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_a_copy_that_was_cut_short_is_not_taken_for_one(ledger: Ledger, sheet: Sheet, tmp_path: Path) -> None:
    """A full disk, or a program that was ended: the next start makes a whole copy before it changes anything."""
    for number in range(400):
        ledger.add_sheet(replace(sheet, id=f"s{number}", take=number + 2, shown="x" * 4000), now=START)
    version = len(connection.MIGRATIONS)
    old, later = tmp_path / "old.sqlite3", (*connection.MIGRATIONS, ("CREATE TABLE later (x TEXT) STRICT",))
    backup = tmp_path / f"old.sqlite3.before-version-{version + 1}"
    with closing(sqlite3.connect(ledger.path)) as db:
        db.execute("VACUUM INTO ?", (str(old),))
    with closing(sqlite3.connect(old)) as db:
        db.set_progress_handler(lambda: True, 1000)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            connection._back_up(db, old, version)
    assert list(tmp_path.glob("*before*")) == []

    connection.open_database(old, migrations=later).close()

    with closing(sqlite3.connect(backup)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        assert db.execute("SELECT count(*) FROM sheet").fetchone() == (401,)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_a_damaged_page_is_found_at_the_start(ledger: Ledger, sheet: Sheet) -> None:
    """Before anything is read from it or sent because of it."""
    ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    content = bytearray(ledger.path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    ledger.path.write_bytes(content)

    with pytest.raises(LedgerProblem, match=r"malformed.*keep it"):
        Ledger(ledger.path)


@pytest.mark.parametrize(("kind", "refused"), [("nfs4", True), ("fuse.sshfs", True), ("ext4", False), ("tmpfs", False)])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str, refused: bool) -> None:
    """The innermost mount decides; spaces in its name are escaped."""
    home = tmp_path / "my home" / "data"
    home.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    escaped = str(home.parent).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {escaped} {kind} rw 0 0\n", encoding="utf-8")

    if refused:
        with pytest.raises(LedgerProblem, match="network file system"):
            connection.require_local_disk(home, mounts=mounts)
    else:
        connection.require_local_disk(home, mounts=mounts)
        connection.require_local_disk(home, mounts=tmp_path / "none")
