"""Races of an approval with everything that can come between it and its request: never two, never one that is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from callsheet.compose import Surroundings, build_service
from callsheet.core.shot import Shot
from callsheet.core.tasks import SheetState, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.edges.config.policy_file import write_pause
from callsheet.service import Service
from consent.live_server import CountingGateway, arm, environ_of
from warm_start import start
from workspace import account_of, draft

RACER = Path(__file__).with_name("forward_racer.py")
KINDS = ("the end of the wait", "a second submit", "a decline", "a pause", "a kill of the waiter", "a kill of the desk")
SAMPLE, ALL = 6, 204
RACES_EACH = 12
"""In one home. The tasks stay open, and their status reads take up more and more of the gateway's rate."""
SEED = int(os.environ.get("CALLSHEET_SEED") or int.from_bytes(os.urandom(4), "big"))
PATIENCE = 75.0
"""A task that a pause holds is looked at again after half a minute."""


class Racer:
    """One process, which is started again after a kill."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.start()

    def start(self) -> None:
        """Start it and wait until it follows tasks."""
        self._process = start(
            [sys.executable, str(RACER), str(account_of(self._home))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=environ_of(self._home),
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def tell(self, what: str, sheet_id: str, seconds: float = 0.0) -> None:
        """Begin an act."""
        self._process.stdin.write(json.dumps([what, sheet_id, seconds]) + "\n")
        self._process.stdin.flush()

    def heard(self) -> str:
        """What came of the act; empty if the process was killed."""
        line = "" if self._process.stdout.closed else self._process.stdout.readline()
        return json.loads(line) if line else ""

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def racers(home: Path) -> Iterator[dict[str, Racer]]:
    """A server whose call waits, another server, and a desk."""
    found = {name: Racer(home) for name in ("waiter", "second", "desk")}
    try:
        yield found
    finally:
        for racer in found.values():
            racer.kill()


@pytest.mark.slow
@pytest.mark.parametrize("races", [SAMPLE, pytest.param(ALL, marks=pytest.mark.torture)])
def test_an_approval_that_races_is_paid_for_once_and_never_lost(
    tmp_path: Path, gateway: CountingGateway, races: int
) -> None:
    """With the end of the wait, a second submit, a decline, a pause, and a kill of either process."""
    random = Random(SEED)
    outcomes: list[tuple[str, str, int]] = []
    for first in range(0, races, RACES_EACH):
        home = arm(tmp_path / str(first), gateway)
        service = build_service(
            Surroundings(environ_of(home), Path("/nowhere"), SystemClock(), account_home=account_of(home))
        )
        with racers(home) as running:
            for number in range(first, min(races, first + RACES_EACH)):
                kind = KINDS[number % len(KINDS)]
                prompt = f"A red kite, number {number}."
                sheet_id = draft(service, Shot.of(prompt, duration_seconds=4))
                race(running, service, home, sheet_id, kind, random)
                state = settle(service, sheet_id)
                paid = sum(prompt in body.decode() for body in gateway.paid)
                outcomes.append((kind, state, paid))
                consented = service.deps.ledger().consent.consent_to(service.sheet(sheet_id)) is not None
                tasks = service.deps.ledger().tasks(limit=1)
                told = f"CALLSHEET_SEED={SEED} {outcomes} {time.time()} {tasks}"
                assert paid == (1 if consented else 0) or state == "submitting", told
        assert service.verify_audit().unapproved == ()
    print(Counter(outcomes))  # noqa: T201 - `pytest -s` shows what happened
    # So that it is a proof of something: most were sent, and a no or a pause came first in some.
    assert sum(paid for _, _, paid in outcomes) >= races / 3


def race(running: dict[str, Racer], service: Service, home: Path, sheet_id: str, kind: str, random: Random) -> None:
    """Let a call wait, a person approve, and the other thing happen, all at about the same time."""
    waiter, second, desk = running["waiter"], running["second"], running["desk"]
    waiter.tell("submit", sheet_id, 0.05 if kind == "the end of the wait" else 5.0)
    until(lambda: service.sheet(sheet_id).state is not SheetState.DRAFTED)
    time.sleep(random.uniform(0.0, 0.06) if kind == "the end of the wait" else 0.0)
    pause = home / "config" / "policy.toml"
    first = random.random() < 0.3 and kind != "a kill of the desk"
    if first:
        other(kind, running, sheet_id, pause)
    desk.tell("approve", sheet_id)
    time.sleep(random.uniform(0.0, 0.3))
    if not first:
        other(kind, running, sheet_id, pause)
    for racer in (desk, waiter):
        racer.heard()
    if kind in ("a second submit", "a decline"):
        second.heard()
    if kind == "a pause":
        time.sleep(random.uniform(0.0, 0.05))
        write_pause(pause, paused=False)
    for name in ("waiter", "desk"):
        if kind == f"a kill of the {name}":
            running[name].start()


def other(kind: str, running: dict[str, Racer], sheet_id: str, pause: Path) -> None:
    """What comes between."""
    if kind == "a second submit":
        running["second"].tell("submit", sheet_id, 1.0)
    elif kind == "a decline":
        running["second"].tell("decline", sheet_id)
    elif kind == "a pause":
        write_pause(pause, paused=True)
    elif kind.startswith("a kill"):
        running[kind.rpartition(" ")[2]].kill()


def settle(service: Service, sheet_id: str) -> str:
    """Where it all ended: what was approved has been sent, by whichever process."""

    def task_state() -> TaskState | None:
        sheet = service.sheet(sheet_id)
        return service.task(sheet.task_id).task.state if sheet.task_id else None

    def is_settled() -> bool:
        consented = service.deps.ledger().consent.consent_to(service.sheet(sheet_id)) is not None
        return not consented or task_state() not in (None, TaskState.WAITING, TaskState.SUBMITTING)

    until(is_settled, gives_up=False)
    state = task_state()
    return (state or service.sheet(sheet_id).state).value


def until(holds: object, *, gives_up: bool = True) -> None:
    """Wait until that holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            assert not gives_up
            return
        time.sleep(0.01)
