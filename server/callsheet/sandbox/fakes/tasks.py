"""The life of a sandbox task: a pure function of what was submitted and how long ago.

Nothing advances a task. Each read computes its state from the clock, so every process that
serves the same store gives the same answer, and a restart changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

SHORTEST_RETENTION_SECONDS = 600.0
QUEUED_SHARE = 0.08
FAILS_AT_SHARE = 0.4
STUCK_AT_PERCENT = 97
FAILURES = frozenset({"content-violation", "unreachable-image", "failed-as-500"})
"""The faults that make a task fail; of several, the first by name is reported."""


class Phase(StrEnum):
    """Where a task is, in the sandbox's own words; each fake gateway has its gateway's word for it."""

    QUEUED = "queued"
    RUNNING = "running"
    UNNAMED = "unnamed"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SandboxTask:
    """One accepted job. Times are Unix seconds of the real clock.

    Attributes:
        token: the unguessable part of the video's file name.
        width, height, seconds: of the video.
        speed: how many times faster than the real gateway this task runs; fixed at submission, so that processes
            with different speeds agree on it.
        lasting: how long the generation takes at the real gateway, in seconds.
        retention_hours: how long the real gateway keeps the result.
        credits: the documented price in the gateway's unit, as a decimal text; empty when unknown.
        faults: the faults, name -> value.
        audio: whether the video has an audio track.
    """

    gateway: str
    model: str
    task_id: str
    token: str
    prompt: str
    width: int
    height: int
    seconds: int
    created: float
    speed: float
    lasting: float
    retention_hours: int
    credits: str = ""
    callback_url: str = ""
    faults: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    audio: bool = False

    @property
    def ends_at(self) -> float | None:
        """When it is over, on the real clock; None for a task that never ends."""
        if "stuck" in self.faults:
            return None
        return self.created + self.lasting * (FAILS_AT_SHARE if self.fails else 1.0) / self.speed

    @property
    def fails(self) -> bool:
        """Whether a fault makes it fail."""
        return bool(FAILURES & self.faults.keys())

    @property
    def kept_until(self) -> float | None:
        """Until when its file is served: the gateway's hours, scaled by the speed, at least ten real minutes."""
        ends_at = self.ends_at
        if ends_at is None:
            return None
        return ends_at + max(self.retention_hours * 3600.0 / self.speed, SHORTEST_RETENTION_SECONDS)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A task at one instant. `ended` is a Unix time or None; `failure` is the fault that caused it."""

    phase: Phase
    percent: int
    ended: float | None = None
    failure: str = ""


def snapshot_at(task: SandboxTask, now: float) -> Snapshot:
    """What a read at `now` (Unix seconds) finds. With a clock before the submission, the task is queued."""
    share = max(0.0, now - task.created) * task.speed / task.lasting
    ends_at = task.ends_at
    if ends_at is not None and now >= ends_at:
        if task.fails:
            return Snapshot(Phase.FAILED, 0, ends_at, min(FAILURES & task.faults.keys()))
        return Snapshot(Phase.FINISHED, 100, ends_at)
    percent = max(0, min(STUCK_AT_PERCENT, int(100 * (share - QUEUED_SHARE) / (1.0 - QUEUED_SHARE))))
    if "unknown-state" in task.faults:
        return Snapshot(Phase.UNNAMED, percent)
    if share < QUEUED_SHARE:
        return Snapshot(Phase.QUEUED, 0)
    return Snapshot(Phase.RUNNING, percent)


def choose_task_seconds(task_id: str, usual_seconds: tuple[float, float], faults: Mapping[str, int]) -> float:
    """How many seconds the generation takes at the real gateway: a value in its range, fixed by the task id."""
    low, high = usual_seconds
    share = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:4], "big") / 2**32
    return (low + (high - low) * share) * faults.get("slow", 1)
