"""One process of a team in the torture: a web replica that submits what is approved, or a worker that follows it.

python -m team.processes work|serve HOME BASE NAME DSN TENANT
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from callsheet.compose import quiet_libraries
from callsheet.core.people import PROGRAM
from callsheet.edges.postgres.clock import DatabaseClock
from callsheet.edges.postgres.database import PostgresDatabase, open_portals
from callsheet.edges.postgres.leases import PostgresLeases
from callsheet.edges.postgres.ledger import DatabaseMark, TeamLedger
from callsheet.edges.postgres.wakeups import PostgresWakeups
from callsheet.edges.postgres.worker import NoRunner, build_worker
from callsheet.errors import LedgerProblem
from callsheet.service import Service
from callsheet.service.lifecycle import SandboxServer
from callsheet.service.ports import TaskRunner
from torture.child import start_service, submit_approved
from torture.pace import SPEED, FastClock

NO_LEDGER = 3


class FastWakeups(PostgresWakeups):
    """Waits in seconds of the fast clock."""

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after that many fast seconds."""
        await super().wait(seconds / SPEED)


def team_service(
    environ: dict[str, str], base: float, name: str, database: PostgresDatabase, *, works: bool, fast: bool = True
) -> Service:
    """The program over that database."""
    clock = FastClock(base, DatabaseClock(database).now) if fast else DatabaseClock(database)
    ledger = TeamLedger(database, lambda: PROGRAM)
    local = start_service(environ, clock, name, lambda _: ledger)
    leases = PostgresLeases(database, works=works)
    dsn = environ["CALLSHEET_TEST_DSN"]
    wakeups = (FastWakeups if fast else PostgresWakeups)(database, listen=dsn)
    deps = replace(
        local.deps,
        ledger=lambda: ledger,
        sent=DatabaseMark(lambda: ledger),
        runner_id=leases.runner_id,
        changes=wakeups,
        is_followed=leases.others_live,
    )

    def build_runner(run_task: Callable[[str], Awaitable[None]]) -> TaskRunner:
        if not works:
            return NoRunner()
        return build_worker(ledger=deps.ledger, clock=clock, leases=leases, wakeups=wakeups, run_task=run_task)

    return Service(deps, leases, SandboxServer(no_sandbox), build_runner, no_desk)


def no_sandbox() -> None:
    """These processes are live."""
    raise AssertionError


async def no_desk(*_: object, **__: object) -> None:
    """None is served here."""
    await anyio.sleep_forever()


async def main(kind: str, home: str, base: float, name: str, tenant: str) -> int:
    """Work or serve until killed; a process that starts while there is no database ends, and is started again."""
    await open_portals()
    database = PostgresDatabase(os.environ["CALLSHEET_TEST_DSN"], tenant=tenant)
    environ = {**os.environ, "CALLSHEET_HOME": home}
    try:
        service = team_service(environ, base, name, database, works=kind == "work")
        service.now()
        async with service.running():
            await (anyio.sleep_forever() if kind == "work" else submit_approved(service))
    except LedgerProblem:
        return NO_LEDGER
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
    quiet_libraries()
    sys.exit(anyio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4], sys.argv[5]))
