"""The runner: who calls `run_task` and when. The ledger decides the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio.lowlevel
import pytest

from callsheet.core.sheet import Task
from callsheet.edges.ledger import Ledger
from callsheet.edges.watcher import AT_ONCE, RunnerLock, Watcher
from callsheet.service import Service
from callsheet.service.submission import submit
from studio import START, Studio, draft

HOLD_A_LOCK = """
import sys, pathlib
from callsheet.edges.watcher import RunnerLock
lock = RunnerLock(pathlib.Path(sys.argv[1]), "other")
lock.hold()
print("held", flush=True)
sys.stdin.read()
"""


def some_tasks(studio: Studio, service: Service, count: int) -> list[Task]:
    """That many open sandbox tasks of the service's own runner, due now."""
    tasks = []
    for _ in range(count):
        task_id = submit(service.world, draft(service)).report.task.id
        tasks.append(service.world.ledger().task(task_id))
    return tasks


class Runs:
    """Stands for `run_task`: remembers what was run and marks it as not due any more."""

    def __init__(self, studio: Studio, ledger: Ledger) -> None:
        self.studio = studio
        self.ledger = ledger
        self.seen: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, task_id: str) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.seen.append(task_id)
        await anyio.lowlevel.checkpoint()
        now = self.studio.clock.now()
        self.ledger.touch(task_id, now=now, changes={"next_at": now + 100})
        self.at_once -= 1


async def watch(studio: Studio, ledger: Ledger, lock: RunnerLock, run: object, *, rounds: int = 30) -> None:
    """Run a watcher for that many rounds of its loop."""
    left = rounds

    async def wait_for_change(seconds: float) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            watcher.stop()
        await anyio.lowlevel.checkpoint()

    watcher = Watcher(
        ledger=lambda: ledger, clock=studio.clock, lock=lock, run_task=run, wait_for_change=wait_for_change
    )
    with anyio.fail_after(20):
        await watcher.watch()


def lock_of(studio: Studio, service: Service) -> RunnerLock:
    """The lock of the service's own runner."""
    return RunnerLock(studio.home / "state" / "runners", service.world.runner_id)


async def test_what_is_due_is_run_once_and_not_before_its_time(studio: Studio) -> None:
    """A task put off to later is left alone until then."""
    service = studio.service()
    ledger = service.world.ledger()
    first, second = some_tasks(studio, service, 2)
    ledger.touch(second.id, now=START, changes={"next_at": START + 50})
    runs = Runs(studio, ledger)

    await watch(studio, ledger, lock_of(studio, service), runs)
    assert runs.seen == [first.id]
    studio.clock.time += 60
    await watch(studio, ledger, lock_of(studio, service), runs)

    assert runs.seen == [first.id, second.id]


async def test_only_so_many_tasks_run_at_once(studio: Studio) -> None:
    """The rest is taken up as places become free; none is forgotten."""
    service = studio.service()
    ledger = service.world.ledger()
    tasks = some_tasks(studio, service, AT_ONCE * 2 + 3)
    runs = Runs(studio, ledger)

    await watch(studio, ledger, lock_of(studio, service), runs, rounds=200)

    assert sorted(runs.seen) == sorted(task.id for task in tasks)
    assert runs.most_at_once <= AT_ONCE


async def test_one_tasks_trouble_does_not_stop_the_others(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    """And the log names the kind of trouble, not its text."""
    service = studio.service()
    ledger = service.world.ledger()
    bad, good = some_tasks(studio, service, 2)
    runs = Runs(studio, ledger)

    async def run(task_id: str) -> None:
        await runs(task_id)
        if task_id == bad.id:
            raise RuntimeError("a secret prompt")

    await watch(studio, ledger, lock_of(studio, service), run)

    assert set(runs.seen) == {bad.id, good.id}
    assert "RuntimeError" in caplog.text
    assert "secret prompt" not in caplog.text


async def test_tasks_of_a_dead_process_are_adopted_and_those_of_a_living_one_are_not(
    studio: Studio, tmp_path: Path
) -> None:
    """The lock file tells: held while the process lives, free the moment it is gone."""
    service = studio.service()
    ledger = service.world.ledger()
    [task] = some_tasks(studio, service, 1)
    ledger.adopt(task.owner, "other")
    directory = studio.home / "state" / "runners"
    runs = Runs(studio, ledger)
    holder = subprocess.Popen(  # noqa: ASYNC220 - it answers within milliseconds, and only then the loop goes on
        [sys.executable, "-c", HOLD_A_LOCK, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        await watch(studio, ledger, lock_of(studio, service), runs)
        assert runs.seen == []
    finally:
        holder.kill()
        holder.communicate()

    await watch(studio, ledger, lock_of(studio, service), runs)

    assert runs.seen == [task.id]
    assert ledger.task(task.id).owner == service.world.runner_id


async def test_a_clock_that_jumps_back_does_not_stop_the_watch(studio: Studio) -> None:
    """Adoption goes on within one sweep."""
    service = studio.service()
    ledger = service.world.ledger()
    [task] = some_tasks(studio, service, 1)
    ledger.adopt(task.owner, "gone")
    runs = Runs(studio, ledger)
    jumps = iter([0.0, -5000.0])

    async def run(task_id: str) -> None:
        await runs(task_id)

    studio.clock.time += next(jumps)
    await watch(studio, ledger, lock_of(studio, service), run, rounds=3)
    ledger.adopt(service.world.runner_id, "gone")
    studio.clock.time += next(jumps)
    ledger.touch(task.id, now=studio.clock.time, changes={"next_at": studio.clock.time})
    await watch(studio, ledger, lock_of(studio, service), run, rounds=3)

    assert runs.seen == [task.id, task.id]


async def test_a_ledger_that_cannot_be_opened_does_not_end_the_watch(studio: Studio) -> None:
    """It is tried again, so that mending helps without a restart."""
    service = studio.service()
    [task] = some_tasks(studio, service, 1)
    ledger = service.world.ledger()
    runs = Runs(studio, ledger)
    attempts = 0

    def open_ledger() -> Ledger:
        nonlocal attempts
        attempts += 1
        return Ledger(studio.home) if attempts == 1 else ledger

    left = 5

    async def wait_for_change(seconds: float) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            watcher.stop()
        await anyio.lowlevel.checkpoint()

    watcher = Watcher(
        ledger=open_ledger,
        clock=studio.clock,
        lock=lock_of(studio, service),
        run_task=runs,
        wait_for_change=wait_for_change,
    )
    await watcher.watch()

    assert runs.seen == [task.id]


def test_a_released_lock_leaves_no_file(tmp_path: Path) -> None:
    """Directories do not fill up with dead runners."""
    lock = RunnerLock(tmp_path)
    lock.hold()
    assert lock.is_alive(lock.runner_id)
    lock.release()

    assert list(tmp_path.iterdir()) == []
    assert not RunnerLock(tmp_path).is_alive(lock.runner_id)
