"""The runner: who calls `run_task` and when. The ledger decides the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio.lowlevel
import pytest

from callsheet.core.spending import Slots
from callsheet.core.tasks import Task, TaskEvent
from callsheet.edges.ledger.ledger import SqliteLedger
from callsheet.edges.process.locks import FileLeases
from callsheet.edges.process.runner import MOST_POLLS, Runner
from callsheet.service import Service
from callsheet.service.submission import submit
from workspace import START, Workspace, draft

HOLD_A_LOCK = """
import sys, pathlib
from callsheet.edges.process.locks import FileLeases
lock = FileLeases(pathlib.Path(sys.argv[1]), "other")
lock.hold()
print("held", flush=True)
sys.stdin.read()
"""


def some_tasks(workspace: Workspace, service: Service, count: int) -> list[Task]:
    """That many open sandbox tasks of the service's own runner, due now."""
    tasks = []
    for _ in range(count):
        task_id = submit(service.deps, draft(service)).report.task.id
        tasks.append(service.deps.ledger().task(task_id))
    return tasks


class Runs:
    """Stands for `run_task`: remembers what was run and marks it as not due any more."""

    def __init__(self, workspace: Workspace, ledger: SqliteLedger) -> None:
        self.workspace = workspace
        self.ledger = ledger
        self.seen: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, task_id: str) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.seen.append(task_id)
        await anyio.lowlevel.checkpoint()
        now = self.workspace.clock.now()
        self.ledger.touch(task_id, now=now, changes={"next_at": now + 100})
        self.at_once -= 1


async def watch(workspace: Workspace, ledger: SqliteLedger, lock: FileLeases, run: object, *, rounds: int = 30) -> None:
    """Run a runner for that many rounds of its loop."""
    left = rounds

    async def wait_for_change(seconds: float) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            runner.stop()
        await anyio.lowlevel.checkpoint()

    runner = Runner(
        ledger=lambda: ledger, clock=workspace.clock, leases=lock, run_task=run, wait_for_change=wait_for_change
    )
    with anyio.fail_after(20):
        await runner.watch()


def lock_of(workspace: Workspace, service: Service) -> FileLeases:
    """The lock of the service's own runner."""
    return FileLeases(workspace.home / "state" / "runners", service.deps.runner_id)


async def test_what_is_due_is_run_once_and_not_before_its_time(workspace: Workspace) -> None:
    """A task put off to later is left alone until then."""
    service = workspace.service()
    ledger = service.deps.ledger()
    first, second = some_tasks(workspace, service, 2)
    ledger.touch(second.id, now=START, changes={"next_at": START + 50})
    runs = Runs(workspace, ledger)

    await watch(workspace, ledger, lock_of(workspace, service), runs)
    assert runs.seen == [first.id]
    workspace.clock.time += 60
    await watch(workspace, ledger, lock_of(workspace, service), runs)

    assert runs.seen == [first.id, second.id]


async def test_only_so_many_tasks_run_at_once(workspace: Workspace) -> None:
    """The rest is taken up as places become free; none is forgotten."""
    service = workspace.service()
    ledger = service.deps.ledger()
    tasks = some_tasks(workspace, service, MOST_POLLS * 2 + 3)
    runs = Runs(workspace, ledger)

    await watch(workspace, ledger, lock_of(workspace, service), runs, rounds=200)

    assert sorted(runs.seen) == sorted(task.id for task in tasks)
    assert runs.most_at_once <= MOST_POLLS


async def test_clips_that_wait_for_a_slow_host_do_not_keep_another_from_starting(workspace: Workspace) -> None:
    """Which of them downloads now is decided where the host is known."""
    service = workspace.service()
    ledger = service.deps.ledger()
    tasks = some_tasks(workspace, service, 9)
    for task in tasks:
        claimed = ledger.claim(task.id, attempt="a", deadline=START + 150, now=START, slots=Slots(99, 99, 0))
        assert claimed is not None
        ledger.advance(task.id, TaskEvent.ACCEPTED, now=START, attempt="a", changes={"gateway_task_id": task.id})
        ledger.advance(
            task.id,
            TaskEvent.SEEN_FINISHED,
            now=START,
            changes={"result_url": "https://x.test/a.mp4", "next_at": START},
        )
    started: list[str] = []

    async def run(task_id: str) -> None:
        started.append(task_id)
        while len(started) < len(tasks):
            await anyio.lowlevel.checkpoint()
        ledger.touch(task_id, now=START, changes={"next_at": START + 100})

    await watch(workspace, ledger, lock_of(workspace, service), run)

    assert sorted(started) == sorted(task.id for task in tasks)


async def test_one_tasks_trouble_does_not_stop_the_others(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log names the kind of trouble, not its text."""
    service = workspace.service()
    ledger = service.deps.ledger()
    bad, good = some_tasks(workspace, service, 2)
    runs = Runs(workspace, ledger)

    async def run(task_id: str) -> None:
        await runs(task_id)
        if task_id == bad.id:
            raise RuntimeError("a secret prompt")

    await watch(workspace, ledger, lock_of(workspace, service), run)

    assert set(runs.seen) == {bad.id, good.id}
    assert "RuntimeError" in caplog.text
    assert "secret prompt" not in caplog.text


async def test_tasks_of_a_dead_process_are_adopted_and_those_of_a_living_one_are_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The lock file tells: held while the process lives, free the moment it is gone."""
    service = workspace.service()
    ledger = service.deps.ledger()
    [task] = some_tasks(workspace, service, 1)
    ledger.adopt(task.owner, "other")
    directory = workspace.home / "state" / "runners"
    runs = Runs(workspace, ledger)
    holder = subprocess.Popen(  # noqa: ASYNC220 - it answers within milliseconds, and only then the loop goes on
        [sys.executable, "-c", HOLD_A_LOCK, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        await watch(workspace, ledger, lock_of(workspace, service), runs)
        assert runs.seen == []
    finally:
        holder.kill()
        holder.communicate()

    await watch(workspace, ledger, lock_of(workspace, service), runs)

    assert runs.seen == [task.id]
    assert ledger.task(task.id).owner == service.deps.runner_id


async def test_a_clock_that_jumps_back_does_not_stop_the_watch(workspace: Workspace) -> None:
    """Adoption goes on within one sweep."""
    service = workspace.service()
    ledger = service.deps.ledger()
    [task] = some_tasks(workspace, service, 1)
    ledger.adopt(task.owner, "gone")
    runs = Runs(workspace, ledger)
    jumps = iter([0.0, -5000.0])

    async def run(task_id: str) -> None:
        await runs(task_id)

    workspace.clock.time += next(jumps)
    await watch(workspace, ledger, lock_of(workspace, service), run, rounds=3)
    ledger.adopt(service.deps.runner_id, "gone")
    workspace.clock.time += next(jumps)
    ledger.touch(task.id, now=workspace.clock.time, changes={"next_at": workspace.clock.time})
    await watch(workspace, ledger, lock_of(workspace, service), run, rounds=3)

    assert runs.seen == [task.id, task.id]


async def test_a_ledger_that_cannot_be_opened_does_not_end_the_watch(workspace: Workspace) -> None:
    """It is tried again, so that a fix helps without a restart."""
    service = workspace.service()
    [task] = some_tasks(workspace, service, 1)
    ledger = service.deps.ledger()
    runs = Runs(workspace, ledger)
    attempts = 0

    def open_ledger() -> SqliteLedger:
        nonlocal attempts
        attempts += 1
        return SqliteLedger(workspace.home) if attempts == 1 else ledger

    left = 5

    async def wait_for_change(seconds: float) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            runner.stop()
        await anyio.lowlevel.checkpoint()

    runner = Runner(
        ledger=open_ledger,
        clock=workspace.clock,
        leases=lock_of(workspace, service),
        run_task=runs,
        wait_for_change=wait_for_change,
    )
    await runner.watch()

    assert runs.seen == [task.id]


def test_a_released_lock_leaves_no_file(tmp_path: Path) -> None:
    """Directories do not fill up with dead runners."""
    lock = FileLeases(tmp_path)
    lock.hold()
    assert lock.is_alive(lock.runner_id)
    lock.release()

    assert list(tmp_path.iterdir()) == []
    assert not FileLeases(tmp_path).is_alive(lock.runner_id)
