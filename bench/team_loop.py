"""How long the event loop stands still while many tasks use the ledger in PostgreSQL (needs PostgreSQL).

The same work, once with the ledger's calls waiting without blocking (a greenback portal in each task), and once with
each call blocking the loop. Prints the longest and the mean delay of a timer, and how many pieces of work a second.

    PYTHONPATH=tests python bench/team_loop.py [--tasks 100]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import greenback

from callsheet.core.tasks import SheetEvent
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.schema import migrate
from samples import add_approved
from team.postgres import run_server

TICK_SECONDS = 0.001


async def measure_delays(stop: asyncio.Event, delays: list[float]) -> None:
    """How late a timer of a millisecond fires."""
    while not stop.is_set():
        began = time.perf_counter()
        await asyncio.sleep(TICK_SECONDS)
        delays.append(time.perf_counter() - began - TICK_SECONDS)


async def run(ledger: SqlLedger, tasks: int, start: Callable[..., Awaitable[None]]) -> tuple[float, float, float]:
    """The longest delay, the mean, and the seconds of it all."""
    stop, delays = asyncio.Event(), list[float]()

    async def work(number: int) -> None:
        sheet = add_approved(ledger, f"shot {number}")
        ledger.sheet(sheet.id)
        ledger.move_sheet(sheet.id, SheetEvent.WITHDRAWN, now=1.0)

    ticking = asyncio.create_task(measure_delays(stop, delays))
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    await asyncio.gather(*(start(work, number) for number in range(tasks)))
    seconds = time.perf_counter() - began
    await asyncio.sleep(0)
    stop.set()
    await ticking
    return max(delays), sum(delays) / len(delays), seconds


async def blocking(function: Callable[..., Awaitable[None]], *values: object) -> None:
    """As it is without a portal."""
    await function(*values)


def main() -> None:
    """Both ways, on a tenant of their own each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=100)
    tasks = parser.parse_args().tasks
    with run_server() as server:
        dsn = server.create()
        for name, start in (("greenback", greenback.with_portal_run), ("blocking", blocking)):
            database = PostgresDatabase(dsn, tenant=name)
            migrate(database)
            most, mean, seconds = asyncio.run(run(SqlLedger(database), tasks, start))
            database.close()
            print(f"{name:<10} longest delay {most * 1000:.1f} ms, mean {mean * 1000:.2f} ms, {tasks / seconds:.0f}/s")


if __name__ == "__main__":
    main()
