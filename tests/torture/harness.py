"""The torture: processes on one ledger, killed at random and started again, until every task has ended.

The harness is the person, too: it approves a few sheets at a time, and resolves what is of unknown outcome by
looking into the gateway's own log, as the program asks a person to do.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import OPEN_STATES, SheetState, TaskState
from callsheet.service import Draft, Service
from torture.child import start_service
from torture.pace import FastClock
from torture.video import write_video
from workspace import trust

TESTS = Path(__file__).parent.parent
KEY = "canary-key-7f3a9c2e51d84b06"
POLICY = """
mode = "live"
[caps]
per_clip = "none"
per_day = "none"
per_month = "none"
concurrent = {concurrent}
[save]
directory = "{clips}"
[gateways.poyo]
base_url = "http://127.0.0.1:{port}"
"""
LOOK_SECONDS = 0.1
FIRST_KILL_SECONDS = 1.0
AHEAD = 20


@dataclass(frozen=True)
class Plan:
    """How much torture. `kill_seconds` is the least and the most time between two kills."""

    tasks: int = 600
    processes: int = 3
    concurrent: int = 40
    kill_seconds: tuple[float, float] = (0.3, 2.5)
    at_most_seconds: float = 480.0


@dataclass
class Run:
    """What happened, as the harness and the gateway saw it."""

    plan: Plan
    directory: Path
    seconds: float = 0.0
    kills: int = 0
    cpu_seconds: float = 0.0
    died: dict[str, float] = field(default_factory=dict)
    outages: list[float] = field(default_factory=list)
    gateway_log: list[dict[str, Any]] = field(default_factory=list)
    resolved: int = 0
    finished: bool = False
    half_written: list[str] = field(default_factory=list)

    @property
    def clips(self) -> Path:
        """Where the clips are saved."""
        return self.directory / "clips"

    @property
    def video(self) -> bytes:
        """The video that the gateway serves, before a job's name is put into it."""
        return (self.directory / "video.mp4").read_bytes()


class Harness:
    """Starts, kills, approves, resolves."""

    def __init__(self, plan: Plan, directory: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.run = Run(plan, directory)
        self._say = say
        self._environ = {
            **os.environ,
            "CALLSHEET_HOME": str(directory / "home"),
            "POYO_API_KEY": KEY,
            "PYTHONPATH": str(TESTS),
        }
        self._base = time.time()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started = self._approved = 0
        self._next_kill = 0.0
        self._log_path = directory / "gateway.jsonl"
        self._log_offset = 0

    def perform(self) -> Run:
        """Do it all; what it did is in the answer, and in the directory."""
        run = self.run
        gateway = self._start_gateway()
        service = self._start_person()
        began = time.monotonic()
        self._next_kill = began + FIRST_KILL_SECONDS
        for _ in range(run.plan.processes):
            self._start_child()
        try:
            while not run.finished and time.monotonic() - began < run.plan.at_most_seconds:
                self._disturb()
                self._be_the_person(service)
                time.sleep(LOOK_SECONDS)
        finally:
            ended = len(self._children)
            for name in list(self._children):
                self._kill(name)
            run.kills -= ended
            run.seconds = time.monotonic() - began
            gateway.kill()
            gateway.wait()
            self._read_log()
        return run

    def _start_person(self) -> Service:
        return start_service(self._environ, FastClock(self._base), "person")

    def _disturb(self) -> None:
        if time.monotonic() >= self._next_kill:
            self._kill(random.choice(list(self._children)))
            self._start_child()
            self._next_kill = time.monotonic() + random.uniform(*self.run.plan.kill_seconds)

    def _command(self, name: str) -> list[str]:
        return [sys.executable, "-m", "torture.child", self._environ["CALLSHEET_HOME"], repr(self._base), name]

    def _start_gateway(self) -> subprocess.Popen[bytes]:
        run = self.run
        write_video(run.directory / "video.mp4")
        arguments = [sys.executable, "-m", "torture.gateway", str(self._log_path), str(run.directory / "video.mp4")]
        gateway = subprocess.Popen(arguments, env=self._environ, stdout=subprocess.PIPE)
        assert gateway.stdout is not None
        with gateway.stdout:
            port = int(gateway.stdout.readline())
        policy = run.directory / "home" / "config" / "policy.toml"
        policy.parent.mkdir(parents=True)
        policy.touch(mode=0o600)
        text = POLICY.format(concurrent=run.plan.concurrent, clips=run.clips, port=port)
        policy.write_text(text, encoding="utf-8")
        trust(run.directory / "home", text)
        return gateway

    def _start_child(self, name: str = "") -> None:
        self._started += 1
        name = name or f"process-{self._started}"
        with (self.run.directory / f"{name}.log").open("wb") as out:
            self._children[name] = subprocess.Popen(self._command(name), env=self._environ, stdout=out, stderr=out)

    def _kill(self, name: str) -> None:
        """SIGKILL: nothing is tidied up."""
        child = self._children.pop(name)
        # `child.kill` would take the figures of one that has ended.
        os.kill(child.pid, signal.SIGKILL)
        _, _, used = os.wait4(child.pid, 0)
        child.returncode = -9
        self.run.died.setdefault(name, time.time())
        self.run.kills += 1
        self.run.cpu_seconds += used.ru_utime + used.ru_stime
        self._look_at_clips()

    def _look_at_clips(self) -> None:
        """A clip's final name belongs to a whole video at every moment, also right after a kill."""
        whole = len(self.run.video)
        for path in self.run.clips.glob("*.mp4"):
            if path.stat().st_size <= whole:
                self.run.half_written.append(path.name)

    def _be_the_person(self, service: Service) -> None:
        """Approve the next few sheets, resolve what nobody but a person can resolve, and see whether all is done."""
        ledger, plan = service.deps.ledger(), self.run.plan
        tasks = ledger.tasks(limit=10 * plan.tasks)
        under_way = [task for task in tasks if task.state in OPEN_STATES]
        unknown = [task for task in tasks if task.state is TaskState.OUTCOME_UNKNOWN]
        approved = len(ledger.sheets([SheetState.APPROVED], limit=1000))
        room = plan.concurrent + AHEAD - len(under_way) - len(unknown) - approved
        for _ in range(max(0, min(4, room, plan.tasks - self._approved))):
            self._approve(service)
        if unknown:
            self._read_log()
            jobs = {entry["sheet"]: entry["job"] for entry in self.run.gateway_log if entry["kind"] == "paid"}
            for task in unknown:
                service.resolve(task.id, accepted_as=jobs.get(task.sheet_id))
                self.run.resolved += 1
        if random.random() < 0.02:
            self._say(f"{len(tasks) - len(under_way) - len(unknown)} of {plan.tasks} done, {self.run.kills} kills")
        if self._approved == plan.tasks == len(tasks) and not under_way and not unknown:
            self.run.finished = True

    def _approve(self, service: Service) -> None:
        self._approved += 1
        shot = Shot.of(f"Shot number {self._approved}: a red kite over dunes.", duration_seconds=4)
        sheet = service.explain(Draft(shot=shot, gateway="poyo", model="sora-2-official")).sheet
        assert sheet is not None
        service.approve(sheet.id, by=Means.TERMINAL)

    def _read_log(self) -> None:
        with self._log_path.open("rb") as log:
            log.seek(self._log_offset)
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._log_offset += len(whole)
        self.run.gateway_log += [json.loads(line) for line in whole.splitlines()]
