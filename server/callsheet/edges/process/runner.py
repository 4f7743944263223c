"""The embedded runner: decides when `run_task` is called for which task. The ledger decides the rest.

A process owns the tasks it runs under its runner id, and holds a lease with that id. When the process ends, another
runner adopts its tasks within seconds; of several workers, each adopts what it can start, so that all have work. The
runner knows only one thing about a task's work: saving a clip takes long, so such tasks have a limit of their own and
do not delay status reads.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from callsheet.core.tasks import OPEN_STATES, TaskId, TaskState
from callsheet.edges.clock import Clock
from callsheet.errors import CallsheetError

SWEEP_SECONDS = 2.0
"""How often to look for tasks whose runner has ended."""

ADOPT_AGAIN_SECONDS = 0.25
"""How soon to look again where more tasks may be left than were adopted."""

MOST_POLLS = 16
MOST_SAVES = 64
"""More than can download together: those that wait for a slow host must not keep the others from starting."""
MOST_ADOPTED = 1_000_000
SHORTEST_PAUSE_SECONDS = 0.01
SAVE_STATES = frozenset({TaskState.SUCCEEDED})
POLL_STATES = OPEN_STATES - SAVE_STATES
RETRY_SECONDS = 5.0
CLOCK_JUMP_SECONDS = 30.0

log = logging.getLogger(__name__)


class TaskQueue(Protocol):
    """What a runner needs of the ledger: which tasks are due, and whose they are."""

    def due(self, owner: str, *, now: float, limit: int, states: Collection[TaskState]) -> list[TaskId]: ...
    def next_due(self, owner: str, *, after: float) -> float | None: ...
    def owners(self) -> list[str | None]: ...
    def adopt(self, old_owner: str | None, new_owner: str, *, most: int) -> int: ...
    def reset_future_times(self, *, now: float) -> None: ...


class RunnerLeases(Protocol):
    """Which runners are alive. A lease that needs renewing is renewed by `hold`."""

    @property
    def runner_id(self) -> str: ...

    def hold(self) -> None: ...
    def release(self) -> None: ...
    def is_alive(self, runner_id: str | None) -> bool: ...


class Runner:
    """Runs this process's open tasks, and adopts those of processes that have ended, until it is stopped.

    One that `shares` the work with others adopts at every look, and no more than it can start together.
    """

    def __init__(
        self,
        *,
        ledger: Callable[[], TaskQueue],
        clock: Clock,
        leases: RunnerLeases,
        run_task: Callable[[str], Awaitable[None]],
        wait_for_change: Callable[[float], Awaitable[None]],
        shares: bool = False,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._leases = leases
        self._run_task = run_task
        self._wait_for_change = wait_for_change
        self._shares = shares
        self._saves: set[str] = set()
        self._polls: set[str] = set()
        self._next_sweep = 0.0
        self._stopping = False
        self._last_error = ""
        # Infinity, so that the first tick resets too: the clock may have been corrected while no process ran.
        self._last_now = float("inf")

    async def watch(self) -> None:
        """Run until `stop` is called, then finish the tasks under way. Cancellation ends it immediately."""
        self._leases.hold()
        try:
            async with anyio.create_task_group() as group:
                while not self._stopping:
                    pause = self._tick(group)
                    await self._wait_for_change(pause)
        finally:
            self._leases.release()

    def stop(self) -> None:
        """Start no more tasks. The caller wakes the loop."""
        self._stopping = True

    def open_tasks(self) -> int:
        """How many tasks this process is working on now."""
        return len(self._saves) + len(self._polls)

    def _tick(self, group: TaskGroup) -> float:
        """Start what is due; returns the seconds until the next task is."""
        now = self._clock.now()
        try:
            self._leases.hold()
            ledger = self._ledger()
            if now < self._last_now - CLOCK_JUMP_SECONDS:
                ledger.reset_future_times(now=now)
            self._last_now = now
            # A clock that was set back must not delay the sweep for hours.
            if self._shares or now >= self._next_sweep or self._next_sweep - now > SWEEP_SECONDS:
                self._next_sweep = now + self._adopt(ledger)
            self._start(group, ledger.due(self._leases.runner_id, now=now, limit=MOST_POLLS * 2, states=POLL_STATES))
            saves = ledger.due(self._leases.runner_id, now=now, limit=MOST_SAVES * 2, states=SAVE_STATES)
            self._start(group, saves, is_save=True)
            self._last_error = ""
            upcoming = ledger.next_due(self._leases.runner_id, after=now)
        except CallsheetError as error:
            # Logged once, not every few seconds.
            if self._last_error != error.error_code:
                self._last_error = error.error_code
                log.warning("the ledger cannot be used: %s", error.error_code)
            return RETRY_SECONDS
        # What is due now was started, or waits for a task to end, which wakes the loop.
        pause = self._next_sweep - now if upcoming is None else min(self._next_sweep, upcoming) - now
        return max(pause, SHORTEST_PAUSE_SECONDS)

    def _start(self, group: TaskGroup, due: Sequence[TaskId], *, is_save: bool = False) -> None:
        """Start tasks that are due and not under way, up to the limit of their kind."""
        under_way, most = (self._saves, MOST_SAVES) if is_save else (self._polls, MOST_POLLS)
        for task_id in due:
            if len(under_way) < most and task_id not in self._saves | self._polls:
                under_way.add(task_id)
                group.start_soon(self._run, task_id, under_way)

    def _adopt(self, ledger: TaskQueue) -> float:
        """Take over what nobody runs; returns the seconds until the next such look."""
        # One even when it is busy: its own queue must not keep what is under way at a gateway from being followed.
        room = max(1, MOST_POLLS - len(self._polls)) if self._shares else MOST_ADOPTED
        for owner in ledger.owners():
            if room > 0 and not self._leases.is_alive(owner):
                adopted = ledger.adopt(owner, self._leases.runner_id, most=room)
                room -= adopted
                if adopted:
                    log.info("adopted %d tasks", adopted)
                if room <= 0:
                    return ADOPT_AGAIN_SECONDS
        return SWEEP_SECONDS

    async def _run(self, task_id: str, under_way: set[str]) -> None:
        try:
            await self._run_task(task_id)
        except CallsheetError as error:
            log.warning("task %s: %s", task_id, error.error_code)
            await self._clock.sleep(RETRY_SECONDS)
        except Exception as error:
            # One task's error must not stop the others. A traceback may contain a prompt, so only the type is logged.
            log.error("task %s: %s", task_id, type(error).__name__)  # noqa: TRY400 - see above
            await self._clock.sleep(RETRY_SECONDS)
        finally:
            under_way.discard(task_id)
