"""The torture over PostgreSQL: `make torture-postgres`, or `python -m team.torture_postgres [tasks]`.

Web replicas submit, workers follow. Any of them is killed at random; workers are also frozen for longer than their
lease, and the server crashes, until every task has ended.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import IllegalEvent
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.schema import migrate
from callsheet.errors import CallsheetError, LedgerProblem
from callsheet.service import Draft, Service
from team.postgres import Server, run_server
from team.processes import team_service
from torture.__main__ import say
from torture.harness import Harness, Plan
from torture.verdict import Audit, audit

TENANT = "torture"
FROZEN_SECONDS = (11.0, 14.0)
"""Longer than a lease."""

Got = TypeVar("Got")


@dataclass(frozen=True)
class TeamPlan(Plan):
    """`crash_seconds` lie between two crashes of the server, `freeze_seconds` between two frozen workers."""

    replicas: int = 3
    kill_seconds: tuple[float, float] = (4.0, 12.0)
    crash_seconds: tuple[float, float] = (30.0, 60.0)
    # One that stands still while it holds the tenant's row holds up all others for five seconds.
    freeze_seconds: tuple[float, float] = (20.0, 40.0)
    at_most_seconds: float = 1500.0


HARSH = {"kill_seconds": (2.0, 8.0), "crash_seconds": (20.0, 40.0), "freeze_seconds": (5.0, 15.0)}
"""So that everything happens in a short run, too."""


class TeamHarness(Harness):
    """Also freezes workers, and crashes the server."""

    def __init__(self, plan: TeamPlan, directory: Path, server: Server, say: Callable[[str], None] = lambda _: None):
        super().__init__(plan, directory, say)
        self._plan = plan
        self._server = server
        self._environ["CALLSHEET_TEST_DSN"] = server.create()
        self.database = PostgresDatabase(self._environ["CALLSHEET_TEST_DSN"], tenant=TENANT)
        migrate(self.database)
        self._frozen: dict[str, float] = {}
        self.freezes = 0
        self._next_crash = time.monotonic() + plan.crash_seconds[0] / 2
        self._next_freeze = time.monotonic() + plan.freeze_seconds[0]

    def _start_person(self) -> Service:
        for number in range(self._plan.replicas):
            self._start_child(f"replica-{number}")
        return team_service(self._environ, self._base, "person", self.database, works=False)

    def _command(self, name: str) -> list[str]:
        kind = "serve" if name.startswith("replica") else "work"
        home = self._environ["CALLSHEET_HOME"]
        return [sys.executable, "-m", "team.processes", kind, home, repr(self._base), name, TENANT]

    def _disturb(self) -> None:
        now = time.monotonic()
        for name in [name for name, child in self._children.items() if _has_ended(child.pid)]:
            self._replace(name)
        if now >= self._next_kill:
            self._replace(random.choice(list(self._children)))
            self._next_kill = now + random.uniform(*self._plan.kill_seconds)
        if now >= self._next_crash:
            self.run.outages.append(time.time())
            self._server.stop("immediate")
            time.sleep(random.uniform(0.0, 1.0))
            self._server.start()
            self._next_crash = now + random.uniform(*self._plan.crash_seconds)
        self._freeze(now)

    def _freeze(self, now: float) -> None:
        """A worker stands still, its connections stay open; it wakes when others have its tasks."""
        for name in [name for name, until in self._frozen.items() if until <= now]:
            self._children[name].send_signal(signal.SIGCONT)
            del self._frozen[name]
        awake = [name for name in self._children if not name.startswith("replica") and name not in self._frozen]
        if now >= self._next_freeze and len(awake) > 1:
            name = random.choice(awake)
            self._children[name].send_signal(signal.SIGSTOP)
            # What it cannot store meanwhile is as lost as if it had died.
            self.run.died.setdefault(name, time.time())
            self._frozen[name] = now + random.uniform(*FROZEN_SECONDS)
            self._next_freeze = now + random.uniform(*self._plan.freeze_seconds)
            self.freezes += 1

    def _replace(self, name: str) -> None:
        self._frozen.pop(name, None)
        self._kill(name)
        self._start_child(f"{name.rpartition('-')[0]}-{time.time():.0f}" if name.startswith("replica") else "")

    def _be_the_person(self, service: Service) -> None:
        with suppress(LedgerProblem):
            super()._be_the_person(service)

    def _approve(self, service: Service) -> None:
        self._approved += 1
        shot = Shot.of(f"Shot number {self._approved}: a red kite over dunes.", duration_seconds=4)
        sheet = _insist(lambda: service.explain(Draft(shot=shot, gateway="poyo", model="sora-2-official"))).sheet
        assert sheet is not None
        with suppress(CallsheetError, IllegalEvent):
            # A commit whose answer was lost: then it is approved, and asking again says so.
            _insist(lambda: service.approve(sheet.id, by=Means.TERMINAL))


def _has_ended(process: int) -> bool:
    """Without taking its figures away from who kills it."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _insist(call: Callable[[], Got]) -> Got:
    """Again, until the server is back."""
    while True:
        try:
            return call()
        except LedgerProblem:
            time.sleep(0.2)


def torture(plan: TeamPlan, directory: Path, say: Callable[[str], None] = lambda _: None) -> Audit:
    """Run it over a server of its own, and audit it."""
    with run_server() as server:
        harness = TeamHarness(plan, directory, server, say)
        run = harness.perform()
        result = audit(run, lambda _: SqlLedger(harness.database))
    figures = {**result.figures, "crashes of the server": len(run.outages), "frozen workers": harness.freezes}
    return Audit(figures, result.wrong)


def main() -> int:
    """Run, audit, print."""
    plan = TeamPlan(tasks=int(sys.argv[1])) if len(sys.argv) > 1 else TeamPlan()
    with TemporaryDirectory() as directory:
        result = torture(plan, Path(directory), say)
    lines = [f"{name:<28} {value}" for name, value in result.figures.items()]
    lines += [f"WRONG: {text}" for text in result.wrong] or ["Nothing was paid twice, nothing was lost."]
    say("\n".join(lines))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
