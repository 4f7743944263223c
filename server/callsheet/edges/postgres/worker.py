"""The runner of a worker, and the one of a replica that follows nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from callsheet.edges.clock import Clock
from callsheet.edges.process.runner import Runner, TaskQueue
from callsheet.edges.traces import span

from .leases import PostgresLeases
from .wakeups import PostgresWakeups


def build_worker(
    *,
    ledger: Callable[[], TaskQueue],
    clock: Clock,
    leases: PostgresLeases,
    wakeups: PostgresWakeups,
    run_task: Callable[[str], Awaitable[None]],
) -> Runner:
    """One of several runners on one ledger."""
    wait = wakeups.waiter()

    async def step(task_id: str) -> None:
        with span("task step", attributes={"callsheet.task.id": task_id}):
            await run_task(task_id)

    return Runner(ledger=ledger, clock=clock, leases=leases, run_task=step, wait_for_change=wait, shares=True)


class NoRunner:
    """A web replica's: it holds no key, so it follows no task."""

    def __init__(self) -> None:
        self._stopped = anyio.Event()

    async def watch(self) -> None:
        """Until `stop` is called."""
        await self._stopped.wait()

    def stop(self) -> None:
        """End `watch`."""
        self._stopped.set()

    def open_tasks(self) -> int:
        """None."""
        return 0
