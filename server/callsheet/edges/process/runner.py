"""The embedded runner: decides when `run_task` is called for which task. The ledger decides the rest.

Each process that runs tasks owns them under its runner id and holds a lock file of that name. When a
process is gone its lock is free, and any other runner adopts its tasks within seconds: a lock needs
no heartbeat and cannot be left behind. Nothing here knows what a task is doing, except whether its clip is
being saved: that takes long, so such tasks have places of their own and never keep others from being asked after.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from callsheet.core.tasks.states import OPEN_STATES, TaskId, TaskState
from callsheet.edges.clock import Clock
from callsheet.edges.ledger.ledger import Ledger
from callsheet.errors import CallsheetError, SetupProblem

SWEEP_SECONDS = 2.0
AT_ONCE = 16
SAVING_AT_ONCE = 6
SHORTEST_PAUSE_SECONDS = 0.01
SAVING = frozenset({TaskState.SUCCEEDED})
ASKING = OPEN_STATES - SAVING
TROUBLE_SECONDS = 5.0
CLOCK_JUMP_SECONDS = 30.0

log = logging.getLogger(__name__)


class RunnerLock:
    """This process's sign of life: a held lock file. The operating system drops it when the process ends."""

    def __init__(self, directory: Path, runner_id: str | None = None) -> None:
        self.runner_id = runner_id or secrets.token_hex(8)
        self._directory = directory
        self._lock: object | None = None

    def hold(self) -> None:
        """Take the lock; idempotent. Raises `SetupProblem` where the file cannot be made."""
        if self._lock is None:
            from filelock import FileLock

            try:
                self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock = FileLock(self._path(self.runner_id), mode=0o600)
                lock.acquire(timeout=0)
            except OSError as error:
                raise SetupProblem(
                    f"The directory {self._directory} cannot be used ({type(error).__name__}).",
                    next_step="Make it writable for you, or set CALLSHEET_HOME to one that is.",
                ) from error
            self._lock = lock

    def release(self) -> None:
        """Let go, so that others may adopt at once."""
        if self._lock is not None:
            self._lock.release()  # type: ignore[attr-defined]
            self._lock = None
            with suppress(OSError):
                self._path(self.runner_id).unlink()

    def is_alive(self, runner_id: str | None) -> bool:
        """Whether the process of that runner still holds its lock."""
        if runner_id == self.runner_id:
            return True
        if runner_id is None or not self._path(runner_id).exists():
            return False
        from filelock import FileLock, Timeout

        try:
            with FileLock(self._path(runner_id), mode=0o600, timeout=0):
                pass
        except Timeout:
            return True
        with suppress(OSError):
            self._path(runner_id).unlink()
        return False

    def others_live(self) -> bool:
        """Whether another process holds such a lock: it adopts what this one leaves behind."""
        found = (path.stem for path in self._directory.glob("*.lock"))
        return any(runner_id != self.runner_id and self.is_alive(runner_id) for runner_id in found)

    def _path(self, runner_id: str) -> Path:
        return self._directory / f"{runner_id}.lock"


class Runner:
    """Follows this process's open tasks, and adopts those of processes that are gone, until stopped."""

    def __init__(
        self,
        *,
        ledger: Callable[[], Ledger],
        clock: Clock,
        lock: RunnerLock,
        run_task: Callable[[str], Awaitable[None]],
        wait_for_change: Callable[[float], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = lock
        self._run_task = run_task
        self._wait_for_change = wait_for_change
        self._saving: set[str] = set()
        self._asking: set[str] = set()
        self._next_sweep = 0.0
        self._stopping = False
        self._trouble = ""
        # At the start too: the clock may have been mended while no process ran.
        self._last_tick = float("inf")

    async def watch(self) -> None:
        """Run until `stop` is called; tasks under way are finished then. Cancellation ends it at once."""
        self._lock.hold()
        try:
            async with anyio.create_task_group() as group:
                while not self._stopping:
                    pause = self._tick(group)
                    await self._wait_for_change(pause)
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Start nothing new. The caller wakes the loop."""
        self._stopping = True

    def open_tasks(self) -> int:
        """How many tasks this process is working on at this moment."""
        return len(self._saving) + len(self._asking)

    def _tick(self, group: TaskGroup) -> float:
        """Start what is due; returns the seconds until something else is."""
        now = self._clock.now()
        try:
            ledger = self._ledger()
            if now < self._last_tick - CLOCK_JUMP_SECONDS:
                ledger.reset_future_times(now=now)
            self._last_tick = now
            # A clock that was set back must not keep the sweep from happening for hours.
            if now >= self._next_sweep or self._next_sweep - now > SWEEP_SECONDS:
                self._next_sweep = now + SWEEP_SECONDS
                self._adopt(ledger)
            self._start(group, ledger.due(self._lock.runner_id, now=now, limit=AT_ONCE * 2, states=ASKING))
            saving = ledger.due(self._lock.runner_id, now=now, limit=SAVING_AT_ONCE * 2, states=SAVING)
            self._start(group, saving, saving=True)
            self._trouble = ""
            upcoming = ledger.next_due(self._lock.runner_id, after=now)
        except CallsheetError as error:
            # Said once, not every few seconds for as long as it lasts.
            if self._trouble != error.error_code:
                self._trouble = error.error_code
                log.warning("the ledger cannot be used: %s", error.error_code)
            return TROUBLE_SECONDS
        # What is due now was started, or waits for one that ends, which wakes the loop itself.
        pause = self._next_sweep - now if upcoming is None else min(self._next_sweep, upcoming) - now
        return max(pause, SHORTEST_PAUSE_SECONDS)

    def _start(self, group: TaskGroup, due: Sequence[TaskId], *, saving: bool = False) -> None:
        """Start tasks that are due and not under way, as far as there is room for their kind."""
        under_way, most = (self._saving, SAVING_AT_ONCE) if saving else (self._asking, AT_ONCE)
        for task_id in due:
            if len(under_way) < most and task_id not in self._saving | self._asking:
                under_way.add(task_id)
                group.start_soon(self._run, task_id, under_way)

    def _adopt(self, ledger: Ledger) -> None:
        for owner in ledger.owners():
            if not self._lock.is_alive(owner):
                adopted = ledger.adopt(owner, self._lock.runner_id)
                log.info("adopted %d tasks", adopted)

    async def _run(self, task_id: str, under_way: set[str]) -> None:
        try:
            await self._run_task(task_id)
        except CallsheetError as error:
            log.warning("task %s: %s", task_id, error.error_code)
            await self._clock.sleep(TROUBLE_SECONDS)
        except Exception as error:
            # One task's trouble must not stop the others. A traceback may hold a prompt, so the type must do.
            log.error("task %s: %s", task_id, type(error).__name__)  # noqa: TRY400 - see above
            await self._clock.sleep(TROUBLE_SECONDS)
        finally:
            under_way.discard(task_id)
