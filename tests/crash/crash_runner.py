"""Runs one crash case after the other: a home as prepared, a process under strace, a fault, a fresh process.

The fault strikes the N-th call of one system call in one thread, counted from the moment when the scene
begins: strace is attached to that thread of a process that has started up already, and counts from there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crash_checker import Evidence, Fact, check_crash, check_end
from crash_gateway import LoopbackGateway, Manners, Receipt

from warm_start import start
from workspace import account_of, trust

STRACE = "strace"
CHILD_SECONDS = 40.0
POLICY = """\
mode = "live"
[caps]
per_clip = "0.30"
per_day = "0.48"
per_month = "0.48"
[gateways.poyo]
base_url = "{url}"
[save]
directory = "{home}/clips"
"""

LOADED = (
    *("anyio._backends._asyncio", "av", "callsheet.compose", "callsheet.edges.clips.stills", "callsheet.gateways.poyo"),
    *("filelock", "stamina", *(f"PIL.{name}ImagePlugin" for name in ("Bmp", "Gif", "Jpeg", "Png", "Ppm"))),
)
"""What a crash process works with."""

FILE_CALLS = (
    "openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "unlink", "unlinkat",
    "rmdir", "ftruncate", "fallocate", "pwrite64", "write", "writev", "fsync", "fdatasync", "flock", "fcntl", "fchmod",
    "chmod", "close",
)  # fmt: skip
NETWORK_CALLS = ("socket", "connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown")
CALLS = (*FILE_CALLS, *NETWORK_CALLS)
WRITING_CALLS = (
    "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "ftruncate", "fallocate", "pwrite64",
    "write", "writev", "fsync", "fdatasync",
)  # fmt: skip

PASSING = ("ENOSPC", "EIO", "EINTR")
"""Faults that strike one call only: what they interrupt can be done again."""


@dataclass(frozen=True)
class SceneSetting:
    """Where a scene begins, how long after its preparation, and how the gateway behaves before it ends."""

    after: str
    later: float = 0.0
    manners: Manners = field(default_factory=Manners)


SETTINGS: dict[str, SceneSetting] = {
    "explain": SceneSetting("nothing"),
    "approve": SceneSetting("drafted"),
    "submit": SceneSetting("approved"),
    "refused": SceneSetting("approved", manners=Manners(answering="refuse")),
    "poll": SceneSetting("queued", 400.0, Manners(telling="running")),
    "download": SceneSetting("succeeded", 800.0),
    "stop": SceneSetting("succeeded", 800.0, Manners(stall_after=560_000)),
    "resolve": SceneSetting("unknown", 400.0),
}


@dataclass(frozen=True)
class Preparation:
    """What a scene may begin from, and what that is built on."""

    after: str | None
    later: float = 0.0
    manners: Manners = field(default_factory=Manners)


PREPARATIONS: dict[str, Preparation] = {
    "nothing": Preparation(None),
    "drafted": Preparation("nothing", -600.0),
    "approved": Preparation("drafted"),
    "queued": Preparation("approved", 1.0, Manners(telling="running")),
    "unknown": Preparation("approved", 1.0, Manners(answering="drop")),
    "succeeded": Preparation("queued", 400.0),
}


@dataclass(frozen=True)
class Case:
    """One fault at one call. `fault` is `kill` or an error name; with a `+` all later calls fail, too."""

    scene: str
    fault: str
    thread: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.scene}: {self.fault} at {self.call} #{self.number} of the {self.thread} thread"

    @property
    def tampering(self) -> str:
        """The fault as strace wants it."""
        name, plus, _ = self.fault.partition("+")
        what = "signal=KILL" if name == "kill" else f"error={name}"
        return f"{self.call}:{what}:when={self.number}{plus}"


@dataclass
class Outcome:
    """What became of a case. `struck` is the call that the fault hit, empty when it was never reached."""

    case: Case
    struck: str = ""
    violations: list[str] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    received: int = 0


@dataclass
class _Template:
    home: Path
    receipts: tuple[Receipt, ...] = ()
    names: dict[str, str] = field(default_factory=dict)


class CrashHarness:
    """One home, one gateway; one case at a time."""

    def __init__(self, directory: Path, video: bytes) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.gateway = LoopbackGateway(video)
        self._templates: dict[str, _Template] = {}
        # Noon in the middle of the month, so that no cap's window ends while a case lives on.
        now = datetime.now(UTC)
        self._base = now.replace(day=15, hour=12, minute=0, second=0).timestamp() - time.time()

    def close(self) -> None:
        """End the gateway."""
        self.gateway.close()

    def log_calls(self, scene: str) -> list[tuple[str, str, str]]:
        """Play the scene without a fault; its calls in order, as (thread, system call, strace's line)."""
        self._set_up(scene)
        log = self.directory / "calls.log"
        with self._process(scene, stubborn=False) as child:  # noqa: SIM117 - strace needs the process's id
            with _strace(log, "-f", "-p", str(child.pid), "-e", f"trace={','.join(CALLS)}") as tracer:
                answer = child.go()
                tracer.wait(CHILD_SECONDS)
        if answer is None or answer.get("raw") or answer.get("refused"):
            raise RuntimeError(f"the scene {scene} cannot be played: {answer}")
        roles = {str(child.pid): "main", str(child.worker): "worker"}
        found = []
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            match = re.match(r"(\d+)\s+(\w+)\(", line)
            if match:
                found.append((roles.get(match[1], "writer"), match[2], line))
        return found

    def run(self, case: Case) -> Outcome:
        """One case from a prepared home to the end of all tasks."""
        outcome = Outcome(case)
        template = self._set_up(case.scene)
        log = self.directory / "case.log"
        answer = None
        with self._process(case.scene, stubborn=case.fault != "kill") as child:
            tampering = ("-e", f"trace={case.call}", "-e", f"inject={case.tampering}")
            with _strace(log, *self._aim(case, child, template), *tampering) as tracer:
                answer = child.go()
                tracer.wait(CHILD_SECONDS)
        outcome.struck = _struck(log, case)
        if not outcome.struck and answer is None:
            outcome.violations.append("the process died without the fault")
        self.gateway.settle()
        if answer is not None:
            outcome.refused = str(answer.get("refused", ""))
            if answer.get("raw"):
                outcome.violations.append(f"an error that is not in the program's own words: {answer['raw']}")
        evidence = Evidence(self.home, tuple(self.gateway.receipts), self.gateway.video)
        outcome.violations += [f"after the fault: {text}" for text in check_crash(evidence)]
        self.gateway.manners = Manners()
        recovered = self._order(f"recover:{case.scene}", SETTINGS[case.scene].later + 1.0, template)
        self.gateway.settle()
        if recovered.get("raw"):
            outcome.violations.append(f"recovery failed: {recovered['raw']}")
            return outcome
        evidence = Evidence(self.home, tuple(self.gateway.receipts), self.gateway.video)
        fact = Fact(recovered["tasks"], recovered["before"], recovered["spent_today"], recovered["third"])
        outcome.violations += [f"in the end: {text}" for text in check_end(evidence, fact)]
        outcome.ends = recovered["tasks"]
        if answer is not None and case.fault in PASSING and "outcome_unknown" in outcome.ends.values():
            outcome.violations.append("an answer got lost although the program lived on and the disk worked again")
        outcome.received = len(self.gateway.receipts) - len(template.receipts)
        return outcome

    def _aim(self, case: Case, child: _Child, template: _Template) -> tuple[str, ...]:
        """Which thread strace attaches to. One that does not exist yet is told by the file that it writes."""
        if case.thread == "writer":
            clip = f"poyo-sora-2-official-{template.names['task'].removeprefix('task_')}.mp4.part"
            return ("-f", "-p", str(child.pid), "-P", str(self.home / "clips" / clip))
        return ("-p", str(child.pid if case.thread == "main" else child.worker))

    def _set_up(self, scene: str) -> _Template:
        setting = SETTINGS[scene]
        template = self._template(setting.after)
        self._lay_out(template)
        self.gateway.start_case(setting.manners, template.receipts)
        return template

    def _lay_out(self, template: _Template) -> None:
        if self.home.exists():
            shutil.rmtree(self.home)
        shutil.copytree(template.home, self.home)

    def _template(self, name: str) -> _Template:
        """The prepared home of that name; made on first use from the one it is built on."""
        if name in self._templates:
            return self._templates[name]
        preparation = PREPARATIONS[name]
        if preparation.after is None:
            self.home.joinpath("config").mkdir(parents=True, mode=0o700)
            policy = self.home / "config" / "policy.toml"
            policy.touch(mode=0o600)
            text = POLICY.format(url=self.gateway.url, home=self.home)
            policy.write_text(text, encoding="utf-8")
            trust(self.home, text)
            names, receipts = {}, ()
        else:
            base = self._template(preparation.after)
            self._lay_out(base)
            self.gateway.start_case(preparation.manners, base.receipts)
            answer = self._order(f"prepare:{name}", preparation.later, base)
            if "raw" in answer:
                raise RuntimeError(f"cannot prepare {name}: {answer['raw']}")
            self.gateway.settle()
            names, receipts = {**base.names, **answer}, tuple(self.gateway.receipts)
        kept = self.directory / "templates" / name
        shutil.copytree(self.home, kept)
        self._templates[name] = _Template(kept, receipts, names)
        return self._templates[name]

    def _order(self, act: str, later: float, template: _Template) -> dict[str, Any]:
        """One process without strace, to its end."""
        order = {
            "home": str(self.home),
            "account": str(account_of(self.home)),
            "act": act,
            "offset": self._base + later,
            **template.names,
        }
        with _connected(self.directory, order) as child:
            answer = child.read()
        return {"raw": f"{act}: the process died"} if answer is None else answer

    @contextmanager
    def _process(self, scene: str, *, stubborn: bool) -> Iterator[_Child]:
        """A process that is ready to play the scene and waits for the word."""
        setting = SETTINGS[scene]
        names = self._templates[setting.after].names
        order = {
            "home": str(self.home),
            "account": str(account_of(self.home)),
            "act": scene,
            "offset": self._base + setting.later,
            "stubborn": stubborn,
        }
        with _connected(self.directory, {**order, **names}) as child:
            child.meet()
            yield child


class _Child:
    """The harness's end of the connection to a forked process."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r")
        self.pid = self.worker = 0

    def meet(self) -> None:
        """Learn the ids of its threads."""
        answer = self.read()
        if answer is None or "pid" not in answer:
            raise RuntimeError(f"a process did not get ready: {answer}")
        self.pid, self.worker = answer["pid"], answer["worker"]

    def go(self) -> dict[str, Any] | None:
        """Give the word; its answer, or None when it died."""
        self._connection.sendall(b"!")
        return self.read()

    def read(self) -> dict[str, Any] | None:
        """The next answer; None at the end of the process."""
        try:
            line = self._lines.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        """Wait for the process's end."""
        with suppress(ConnectionError):
            while self._lines.readline():
                pass
        self._lines.close()


@contextmanager
def _connected(directory: Path, order: dict[str, Any]) -> Iterator[_Child]:
    connection, theirs = socket.socketpair()
    command = [sys.executable, str(Path(__file__).with_name("crash_process.py"))]
    environ = {"PATH": os.environ["PATH"]}
    with connection, start(command, stdin=theirs, env=environ, cwd=directory, loaded=LOADED):
        theirs.close()
        connection.settimeout(CHILD_SECONDS)
        connection.sendall(f"{json.dumps(order)}\n".encode())
        child = _Child(connection)
        try:
            yield child
        finally:
            child.close()


@contextmanager
def _strace(log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """strace, attached; the caller waits for its end, which is that of the process."""
    log.unlink(missing_ok=True)
    command = [STRACE, "-yy", "-s", "40", "-o", str(log), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if b"attached" not in said:
            tracer.kill()
            raise StraceProblem(said.decode(errors="replace").strip())
        try:
            yield tracer
        except subprocess.TimeoutExpired:
            tracer.terminate()
            raise


class StraceProblem(RuntimeError):
    """strace is not allowed to attach here."""


def _struck(log: Path, case: Case) -> str:
    """The call that the fault hit, as strace shows it."""
    lines = [re.sub(r"^\d+ +", "", line) for line in log.read_text("utf-8", "replace").splitlines()]
    if case.fault == "kill":
        if not any("killed by SIGKILL" in line for line in lines):
            return ""
        calls = [line for line in lines if line.startswith(f"{case.call}(")]
        return calls[-1] if calls else "(unknown)"
    return next((line for line in lines if "(INJECTED)" in line), "")
