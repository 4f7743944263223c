"""The embedded runner: decides when `run_task` is called for which task. The ledger decides the rest.

Each process that runs tasks owns them under its runner id and holds a lock file of that name. When a
process is gone its lock is free, and any other runner adopts its tasks within seconds: a lock needs
no heartbeat and cannot be left behind. Nothing here knows what a task is doing.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from callsheet.errors import CallsheetError, SetupProblem

from .clock import Clock
from .ledger import Ledger

SWEEP_SECONDS = 2.0
AT_ONCE = 16
TROUBLE_SECONDS = 5.0

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

    def _path(self, runner_id: str) -> Path:
        return self._directory / f"{runner_id}.lock"


class Watcher:
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
        self._under_way: set[str] = set()
        self._next_sweep = 0.0
        self._stopping = False
        self._trouble = ""

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
        return len(self._under_way)

    def _tick(self, group: TaskGroup) -> float:
        """Start what is due; returns the seconds until something else is."""
        now = self._clock.now()
        try:
            ledger = self._ledger()
            # A clock that was set back must not keep the sweep from happening for hours.
            if now >= self._next_sweep or self._next_sweep - now > SWEEP_SECONDS:
                self._next_sweep = now + SWEEP_SECONDS
                self._adopt(ledger)
            free = AT_ONCE - len(self._under_way)
            due = ledger.due(self._lock.runner_id, now=now, limit=AT_ONCE * 2) if free > 0 else []
            for task_id in [task_id for task_id in due if task_id not in self._under_way][:free]:
                self._under_way.add(task_id)
                group.start_soon(self._run, task_id)
            self._trouble = ""
            return self._pause(ledger, now)
        except CallsheetError as error:
            # Said once, not every few seconds for as long as it lasts.
            if self._trouble != error.error_code:
                self._trouble = error.error_code
                log.warning("the ledger cannot be used: %s", error.error_code)
            return TROUBLE_SECONDS

    def _adopt(self, ledger: Ledger) -> None:
        for owner in ledger.owners():
            if not self._lock.is_alive(owner):
                adopted = ledger.adopt(owner, self._lock.runner_id)
                log.info("adopted %d tasks", adopted)

    def _pause(self, ledger: Ledger, now: float) -> float:
        sweep = max(self._next_sweep - now, 0.05)
        if len(self._under_way) >= AT_ONCE:
            return sweep
        upcoming = ledger.next_due(self._lock.runner_id)
        if upcoming is None:
            return sweep
        # Tasks under way are due until they finish; they wake the loop themselves.
        return min(sweep, max(upcoming - now, 0.05))

    async def _run(self, task_id: str) -> None:
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
            self._under_way.discard(task_id)
