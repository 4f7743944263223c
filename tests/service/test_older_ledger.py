"""A ledger that lost its end, or an older copy in its place: nothing is paid for twice or lost in silence."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from callsheet.core.consent import Means, Mode
from callsheet.core.sent import Sent
from callsheet.core.shot import Shot
from callsheet.core.tasks import SheetState, TaskState
from callsheet.edges.ledger.ledger import SqliteLedger
from callsheet.errors import Action, InvalidRequest, LedgerOlder, LedgerProblem, OutcomeUnknown, SetupProblem
from callsheet.service import Draft, Service
from callsheet.service.diagnostics.installation import Grade, Install
from callsheet.service.polling import run_task
from callsheet.service.submission import ATTEMPT_SECONDS, submit
from workspace import SHOT, Workspace, accepted, draft

NAME = "ledger.sqlite3"


def data(workspace: Workspace) -> Path:
    """Where the ledger is."""
    return workspace.ledger_file.parent


def marks(workspace: Workspace) -> list[Path]:
    """The marks of the install."""
    return sorted((workspace.home / "state" / "sent").glob("*.json"))


def approved(workspace: Workspace, service: Service, shot: Shot = SHOT) -> str:
    """A live sheet that a person approved."""
    sheet_id = draft(service, shot)
    service.approve(sheet_id, by=Means.TERMINAL)
    return sheet_id


async def sent(workspace: Workspace, service: Service, sheet_id: str) -> str:
    """Submit it; the gateway accepts."""
    workspace.gateway.replies.append(accepted(f"job-{sheet_id}"))
    report = submit(service.deps, sheet_id).report
    assert report is not None
    await run_task(service.deps, report.task.id)
    assert service.task(report.task.id).task.state is TaskState.QUEUED
    return report.task.id


def keep_copy(workspace: Workspace, service: Service, to: Path) -> None:
    """A whole copy of the ledger as it is now."""
    with sqlite3.connect(data(workspace) / NAME) as db:
        db.execute("VACUUM INTO ?", (str(to),))
    db.close()


def restore(workspace: Workspace, copy: Path | None) -> Service:
    """Put the copy, or nothing, in the ledger's place and start again."""
    for path in data(workspace).glob(f"{NAME}*"):
        path.unlink()
    if copy is not None:
        shutil.copy(copy, data(workspace) / NAME)
    return workspace.service()


@pytest.fixture
def service(workspace: Workspace) -> Service:
    """A live install."""
    workspace.go_live()
    return workspace.service()


async def test_the_claim_is_in_the_main_file_when_the_request_goes_out(workspace: Workspace, service: Service) -> None:
    """Whoever has only that file sees the spent sheet and its attempt; the log is empty, the mark on disk."""
    sheet_id = approved(workspace, service)
    seen: list[tuple[str, str, int, bool, int]] = []

    def look(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            alone = workspace.home / "alone.sqlite3"
            shutil.copy(data(workspace) / NAME, alone)
            with sqlite3.connect(alone) as db:
                row = db.execute("SELECT s.state, t.state FROM sheet s JOIN task t ON t.sheet_id = s.id").fetchone()
            db.close()
            [mark] = marks(workspace)
            log = (data(workspace) / f"{NAME}-wal").stat().st_size
            seen.append((*row, log, sheet_id in mark.read_text(), stat.S_IMODE(mark.stat().st_mode)))
        return accepted()

    workspace.gateway.on_request = look
    report = submit(service.deps, sheet_id).report
    assert report is not None
    await run_task(service.deps, report.task.id)

    assert seen == [("spent", "submitting", 0, True, 0o600)]


async def test_the_mark_holds_no_prompt_and_no_key(workspace: Workspace, service: Service) -> None:
    """It names the sheet, the task, the attempt, the latest entry of the trail, and the ledger."""
    sheet_id = approved(workspace, service)
    task_id = await sent(workspace, service, sheet_id)

    [mark] = marks(workspace)
    checksum, text = mark.read_text().splitlines()
    values = json.loads(text)

    task = service.task(task_id).task
    assert len(checksum) == 64
    assert values["path"] == str(data(workspace).resolve() / NAME)
    assert values["entry"] == service.audit(limit=1)[0].seq
    assert [(item["sheet_id"], item["task_id"], item["attempt"]) for item in values["requests"]] == [
        (sheet_id, task_id, task.attempt)
    ]
    assert SHOT.prompt not in text
    assert workspace.environ["POYO_API_KEY"] not in text


async def test_the_mark_names_the_latest_request_first_whatever_the_clock_says(
    workspace: Workspace, service: Service
) -> None:
    """So the one that is about to go out is among those that a mark has room for."""
    first = await sent(workspace, service, approved(workspace, service))
    service.deps.ledger().touch(first, now=service.now(), changes={"deadline": service.now() + 3600})
    later = await sent(workspace, service, approved(workspace, service, Shot.of("A heron.", duration_seconds=4)))

    [mark] = marks(workspace)
    requests = json.loads(mark.read_text().splitlines()[1])["requests"]
    assert [request["task_id"] for request in requests] == [later, first]


@pytest.mark.network
async def test_the_sandbox_leaves_no_mark(workspace: Workspace) -> None:
    """A rehearsal costs nothing, so nothing needs to be known of it."""
    service = workspace.service()
    workspace.gateway.on_request = lambda _: accepted()
    async with service.running():
        report = (await service.submit(draft(service))).report

    assert report is not None
    assert report.task.gateway_task_id is not None
    assert marks(workspace) == []


OLDER: dict[str, Callable[[Workspace, Path], Service]] = {
    "a copy": restore,
    "none": lambda workspace, _: restore(workspace, None),
    "an empty file": lambda workspace, copy: restore(workspace, _empty(copy)),
}


def _empty(copy: Path) -> Path:
    copy.write_bytes(b"")
    return copy


@pytest.mark.parametrize("kind", sorted(OLDER))
async def test_an_older_ledger_sends_nothing_live(
    workspace: Workspace, service: Service, tmp_path: Path, kind: str
) -> None:
    """The approval is in the copy; the request that it led to is not. It is not sent again, and its sheet is named."""
    sheet_id = approved(workspace, service)
    keep_copy(workspace, service, tmp_path / "copy")
    await sent(workspace, service, sheet_id)

    service = OLDER[kind](workspace, tmp_path / "copy")
    explanation = service.explain(Draft(shot=SHOT, gateway="poyo", model="sora-2-official"))

    assert explanation.sheet is not None
    assert (explanation.status, explanation.blocked[0].code) == ("blocked", "older_ledger")
    with pytest.raises(LedgerOlder) as caught:
        submit(service.deps, explanation.sheet.id)
    assert (caught.value.error_code, caught.value.unknown) == ("older_ledger", (sheet_id,))
    assert caught.value.next_step.action is Action.ACCEPT_LEDGER
    assert len(workspace.gateway.paid) == 1


@pytest.mark.parametrize(("count", "more"), [(5, ""), (7, " and 2 more;")])
async def test_every_forgotten_sheet_is_in_the_error_and_the_first_five_are_named(
    workspace: Workspace, service: Service, count: int, more: str
) -> None:
    """The text stays short."""
    await sent(workspace, service, approved(workspace, service))
    [mark] = marks(workspace)
    values = json.loads(mark.read_text().splitlines()[1])
    [request] = values["requests"]
    forgotten = [f"sheet_{number}" for number in range(count)]
    values["requests"] = [{**request, "task_id": f"task of {name}", "sheet_id": name} for name in forgotten]
    write_mark(mark, values)

    with pytest.raises(LedgerOlder) as caught:
        service.deps.sent.require_current()

    assert caught.value.unknown == tuple(forgotten)
    assert f"{', '.join(forgotten[:5])}{more}" in caught.value.message
    assert (" more" in caught.value.message) == bool(more)


async def test_a_copy_in_which_the_task_still_waits_sends_nothing(
    workspace: Workspace, service: Service, tmp_path: Path
) -> None:
    """However often it is tried: a new attempt does not make up for the one that is missing."""
    sheet_id = approved(workspace, service)
    report = submit(service.deps, sheet_id).report
    assert report is not None
    keep_copy(workspace, service, tmp_path / "copy")
    workspace.gateway.replies = [accepted()]
    await run_task(service.deps, report.task.id)

    service = restore(workspace, tmp_path / "copy")
    for _ in range(4):
        await run_task(service.deps, report.task.id)
        workspace.clock.time += ATTEMPT_SECONDS

    task = service.task(report.task.id).task
    assert (task.state, task.attempts) == (TaskState.WAITING, 0)
    assert task.problem is not None
    assert (task.problem.code, task.problem.fate) == ("older_ledger", "nothing_sent")
    assert len(workspace.gateway.paid) == 1


async def test_a_ledger_that_goes_back_between_the_claim_and_the_request_is_noticed(
    workspace: Workspace, service: Service
) -> None:
    """The mark is compared in the same step in which it is written."""
    other = approved(workspace, service, Shot.of("A heron on one leg, at dawn.", duration_seconds=4))
    await sent(workspace, service, other)
    claimed_in = service.deps.ledger()
    report = submit(service.deps, approved(workspace, service)).report
    assert report is not None
    [mark] = marks(workspace)
    values = json.loads(mark.read_text().splitlines()[1])
    values["requests"][0]["attempt"] = "another"
    write_mark(mark, values)

    await run_task(service.deps, report.task.id)

    task = claimed_in.task(report.task.id)
    assert task is not None
    assert (task.state, task.gateway_task_id) == (TaskState.WAITING, None)
    assert len(workspace.gateway.paid) == 1


def write_mark(path: Path, values: dict[str, object]) -> None:
    """A whole mark with other content, as another version of it would be."""
    import hashlib

    text = json.dumps(values, sort_keys=True)
    path.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
async def test_a_damaged_mark_sends_nothing_until_a_person_accepts_the_ledger(
    workspace: Workspace, service: Service, damage: str
) -> None:
    """Then what was missing cannot be named; the ledger itself is current, and afterwards all is as before."""
    task_id = await sent(workspace, service, approved(workspace, service))
    other = draft(service, Shot.of("A heron on one leg, at dawn.", duration_seconds=4))
    [mark] = marks(workspace)
    whole = mark.read_bytes()
    changed = {"flip": whole[:90] + bytes([whole[90] ^ 4]) + whole[91:], "cut": whole[:-1], "empty": b""}
    mark.write_bytes(changed[damage])

    with pytest.raises(LedgerOlder) as caught:
        service.approve(other, by=Means.TERMINAL)
    assert caught.value.unknown == ()

    assert list(service.accept_ledger(list)) == []
    service.approve(other, by=Means.TERMINAL)
    await sent(workspace, service, other)
    assert service.task(task_id).task.state is TaskState.QUEUED


WRONG = {
    "path": [[], 5, None],
    "origin": [[1], None],
    "entry": ["9", None, 2**80, -1, float("nan"), True],
    "seal": [5, {}],
    "requests": [5, "abc", [5], None],
    "task_id": [[], {}, None],
    "attempts": ["1", 2**80, -1],
    "reserve_micros": [-240_000, "x", 0.5],
    "deadline": [float("nan"), float("inf"), "soon"],
    "binding": [[], "x", {}],
    "take": [{}, "x", 1],
    "mode": ["sandbox", "zz", None],
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_mark_whose_values_no_version_wrote_counts_as_damaged(
    workspace: Workspace, service: Service, name: str
) -> None:
    """Its checksum is right. It is no mistake of the program, sends nothing, and is gone once a person accepts."""
    await sent(workspace, service, approved(workspace, service))
    [mark] = marks(workspace)
    values = json.loads(mark.read_text().splitlines()[1])
    request = values["requests"][0]
    place = next(table for table in (values, request, request["binding"]) if name in table)

    for wrong in WRONG[name]:
        place[name] = wrong
        write_mark(mark, values)
        with pytest.raises(LedgerOlder):
            service.deps.sent.require_current()
        assert list(service.accept_ledger(list)) == []
        service.deps.sent.require_current()


async def test_a_mark_never_grows_beyond_what_is_read(workspace: Workspace, service: Service) -> None:
    """An address as long as one may be, thirty times: the mark names fewer, and the next request goes out."""
    address = f"https://proxy.example.com/{'a' * 1900}"
    free = '[caps]\nper_clip = "none"\nper_day = "none"\nper_month = "none"\nconcurrent = 900\n'
    workspace.go_live(f'{free}[gateways.poyo]\nbase_url = "{address}"')
    workspace.gateway.on_request = lambda request: (
        accepted(f"job-{len(workspace.gateway.paid)}") if request.method == "POST" else httpx2.Response(404)
    )
    for number in range(30):
        sheet_id = approved(workspace, service, Shot.of(f"Heron {number}.", duration_seconds=4))
        report = submit(service.deps, sheet_id).report
        assert report is not None
        await run_task(service.deps, report.task.id)
        workspace.clock.time += 60

    [mark] = marks(workspace)
    assert len(workspace.gateway.paid) == 30
    assert report.task.id in mark.read_text()
    service.deps.sent.require_current()


def test_a_new_ledger_has_sent_nothing_and_is_like_no_other(tmp_path: Path) -> None:
    """Without a first entry in the trail only its path says whose mark it is."""
    one, two = (SqliteLedger(tmp_path / name / NAME).sent.read() for name in ("one", "two"))

    assert one == Sent(str(tmp_path.resolve() / "one" / NAME), "", 0, "", ())
    assert not one.is_about(two)
    assert one.is_about(replace(one, origin="a hash"))


async def test_a_mark_that_others_can_read_sends_nothing_and_is_not_called_damaged(
    workspace: Workspace, service: Service
) -> None:
    """The person closes it again; there is nothing to accept."""
    await sent(workspace, service, approved(workspace, service))
    other = draft(service, Shot.of("A heron on one leg, at dawn.", duration_seconds=4))
    [mark] = marks(workspace)
    mark.chmod(0o644)

    with pytest.raises(SetupProblem):
        service.approve(other, by=Means.TERMINAL)
    with pytest.raises(SetupProblem):
        service.accept_ledger(list)
    mark.chmod(0o600)
    service.approve(other, by=Means.TERMINAL)


async def test_a_mark_that_cannot_be_written_sends_nothing(workspace: Workspace, service: Service) -> None:
    """The task waits, nothing was sent, and it goes out when the disk works again."""
    report = submit(service.deps, approved(workspace, service)).report
    assert report is not None
    place = workspace.home / "state" / "sent"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file where the directory should be")

    await run_task(service.deps, report.task.id)
    task = service.task(report.task.id).task
    assert (task.state, task.attempts) == (TaskState.WAITING, 1)
    assert task.problem is not None
    assert (task.problem.code, task.problem.fate) == ("unreachable", "nothing_sent")
    assert workspace.gateway.paid == []

    place.unlink()
    workspace.gateway.replies = [accepted()]
    workspace.clock.time = task.next_at
    await run_task(service.deps, report.task.id)
    assert service.task(report.task.id).task.state is TaskState.QUEUED


@pytest.mark.slow
async def test_a_ledger_that_another_process_reads_is_not_stored_whole_and_sends_nothing(
    workspace: Workspace, service: Service
) -> None:
    """A reader in the middle of the log keeps it from being emptied; when it has gone, the task is sent."""
    report = submit(service.deps, approved(workspace, service)).report
    assert report is not None
    reader = sqlite3.connect(data(workspace) / NAME, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM task").fetchone()

    await run_task(service.deps, report.task.id)
    task = service.task(report.task.id).task
    assert (task.state, workspace.gateway.paid) == (TaskState.WAITING, [])
    assert marks(workspace) == []

    reader.close()
    workspace.gateway.replies = [accepted()]
    workspace.clock.time = task.next_at
    await run_task(service.deps, report.task.id)
    assert service.task(report.task.id).task.state is TaskState.QUEUED


@pytest.mark.parametrize("kind", sorted(OLDER))
async def test_after_a_person_accepts_the_ledger_the_forgotten_is_of_unknown_outcome(
    workspace: Workspace, service: Service, tmp_path: Path, kind: str
) -> None:
    """It counts against the caps, holds its shot, can be followed under its id, and lets other shots be paid for."""
    sheet_id = approved(workspace, service)
    keep_copy(workspace, service, tmp_path / "copy")
    task_id = await sent(workspace, service, sheet_id)
    service = OLDER[kind](workspace, tmp_path / "copy")
    workspace.clock.time += 10
    service.explain(Draft(shot=SHOT, gateway="poyo", model="sora-2-official"))

    assert [request.task_id for request in service.deps.sent.forgotten()] == [task_id]
    assert [request.task_id for request in service.accept_ledger(list)] == [task_id]

    task = service.task(task_id).task
    assert (task.state, task.sheet_id) == (TaskState.OUTCOME_UNKNOWN, sheet_id)
    sheet = service.sheet(sheet_id)
    assert (sheet.state, sheet.shot.prompt) == (SheetState.SPENT, SHOT.prompt if kind == "a copy" else "")
    assert [request.task_id for request in service.deps.ledger().sent.read().requests] == [task_id]
    assert [entry.action for entry in service.audit(limit=2)] == ["older_ledger_accepted", "readmitted"]
    assert service.spending(Mode.LIVE).this_month == Decimal("0.24")
    with pytest.raises(InvalidRequest):
        service.accept_ledger(list)
    assert service.verify_audit().broken is None
    assert service.explain(Draft(shot=SHOT, gateway="poyo", model="sora-2-official")).status == "held"
    for drafted in service.sheets([SheetState.DRAFTED]):
        with pytest.raises(OutcomeUnknown):
            service.approvable(drafted.id)
    await sent(workspace, service, approved(workspace, service, Shot.of("A heron, at dawn.", duration_seconds=4)))
    assert service.resolve(task_id, accepted_as="job-found").state is TaskState.QUEUED


async def test_accepting_an_older_ledger_ends_what_it_may_have_forgotten_the_end_of(
    workspace: Workspace, service: Service, tmp_path: Path
) -> None:
    """Approvals, allowances and waiting tasks: each may have been taken back, used or sent since."""
    service.allow(("poyo/sora-2-official",), clips=3, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    sheets = [approved(workspace, service, Shot.of(f"Heron {n}, at dawn.", duration_seconds=4)) for n in range(3)]
    report = submit(service.deps, sheets[0]).report
    assert report is not None
    keep_copy(workspace, service, tmp_path / "copy")
    await sent(workspace, service, sheets[1])

    service = restore(workspace, tmp_path / "copy")
    service.accept_ledger(list)

    assert [service.sheet(sheet_id).state for sheet_id in sheets] == ["spent", "spent", "expired"]
    assert service.task(report.task.id).task.state is TaskState.OUTCOME_UNKNOWN
    assert service.allowances(only_open=True) == []
    assert service.verify_audit().broken is None


TAKEN_BACK: dict[str, Callable[[Service, str, str], object]] = {
    "a yes": lambda service, sheet_id, _: service.decline(sheet_id),
    "an allowance": lambda service, _, allowance: service.revoke(allowance, by=Means.TERMINAL),
    "a task that waits": lambda service, sheet_id, _: service.resolve(
        submit(service.deps, sheet_id).report.task.id, accepted_as=None
    ),
}


@pytest.mark.parametrize("what", TAKEN_BACK)
def test_what_a_person_takes_back_stays_so_without_the_log(workspace: Workspace, service: Service, what: str) -> None:
    """After a kill, the write-ahead log is damaged or gone: the main file has the no."""
    allowance = service.allow(("poyo/sora-2-pro-official",), clips=1, up_to=Decimal(1), seconds=60, by=Means.TERMINAL)
    sheet_id = approved(workspace, service)
    TAKEN_BACK[what](service, sheet_id, allowance.id)

    shutil.copy(data(workspace) / NAME, workspace.home / "alone.sqlite3")
    with sqlite3.connect(workspace.home / "alone.sqlite3") as db:
        [state] = db.execute("SELECT state FROM sheet WHERE id = ?", (sheet_id,)).fetchone()
        task = db.execute("SELECT state FROM task").fetchone()
        [revoked] = db.execute("SELECT revoked_at FROM allowance").fetchone()
    db.close()

    found = {"a yes": state == "declined", "an allowance": revoked is not None, "a task that waits": bool(task)}
    assert found[what]
    assert task is None or task == ("abandoned",)


async def test_what_was_pruned_is_not_forgotten(workspace: Workspace, service: Service) -> None:
    """The trail of consent is never pruned, and tells that the task was there."""
    task_id = await sent(workspace, service, approved(workspace, service))
    service.resolve(task_id, accepted_as=None)
    workspace.clock.time += 90 * 86_400

    assert service.prune(service.prune_limits(30 * 86_400)).tasks == 1
    assert service.deps.sent.forgotten() == ()
    await sent(workspace, service, approved(workspace, service, Shot.of("A heron, at dawn.", duration_seconds=4)))


@pytest.mark.network
async def test_doctor_lists_what_the_ledger_forgot(workspace: Workspace, service: Service, tmp_path: Path) -> None:
    """Each as a problem of its own, with the command that a person runs; and it says how a ledger is copied."""
    sheet_id = approved(workspace, service)
    keep_copy(workspace, service, tmp_path / "copy")
    task_id = await sent(workspace, service, sheet_id)
    config = workspace.home / "config"

    def look(service: Service) -> dict[str, tuple[Grade, str, Action]]:
        from callsheet.edges.files.paths import find_paths

        paths = find_paths(workspace.environ, account_home=None)
        checks = service.check_up(
            Install(paths, config / "policy.toml", config / "approval-verifier", workspace.environ)
        )
        return {check.name: (check.grade, check.text, check.next_step.action) for check in checks}

    assert "Sent" not in look(service)
    found = look(restore(workspace, tmp_path / "copy"))

    assert (found["Sent"][0], found["Sent"][2]) == (Grade.PROBLEM, Action.ACCEPT_LEDGER)
    assert sheet_id in found["Unknown outcome"][1]
    assert task_id in found["Unknown outcome"][1]
    assert ".backup" in found["Ledger copies"][1]


async def test_another_ledger_with_the_same_state_directory_is_not_confused(
    workspace: Workspace, service: Service, tmp_path: Path
) -> None:
    """A mark speaks of the ledger in its place and of copies of it, of no other; a copy elsewhere is compared."""
    from callsheet.edges.process.sent_mark import FileMark

    draft(service)
    keep_copy(workspace, service, tmp_path / "early.sqlite3")
    sheet_id = approved(workspace, service)
    keep_copy(workspace, service, tmp_path / "copy.sqlite3")
    await sent(workspace, service, sheet_id)
    place = workspace.home / "state" / "sent"

    for name, behind in (("other.sqlite3", ()), ("early.sqlite3", ()), ("copy.sqlite3", (sheet_id,))):
        ledger = SqliteLedger(tmp_path / name)
        mark = FileMark(place, lambda ledger=ledger: ledger)
        assert tuple(request.sheet_id for request in mark.forgotten()) == behind


@pytest.mark.parametrize("column", ["state", "problem", "clip", "mode"])
async def test_a_damaged_row_is_a_problem_of_the_ledger_and_the_other_tasks_go_on(
    workspace: Workspace, service: Service, column: str
) -> None:
    """Bytes that no version wrote, in a page whose structure is whole."""
    bad = await sent(workspace, service, approved(workspace, service))
    good = await sent(workspace, service, approved(workspace, service, Shot.of("A heron.", duration_seconds=4)))
    with sqlite3.connect(data(workspace) / NAME) as db:
        db.execute(f"UPDATE task SET {column} = 'qveued' WHERE id = ?", (bad,))
    db.close()

    with pytest.raises(LedgerProblem):
        service.task(bad)
    with pytest.raises(LedgerProblem):
        await run_task(service.deps, bad)
    assert service.task(good).task.state is TaskState.QUEUED
