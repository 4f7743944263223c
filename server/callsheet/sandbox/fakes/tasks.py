"""The life of a sandbox task: a pure function of what was submitted and how long ago.

Nothing advances a task. Its state is worked out from the clock at each read, so every process that
serves the same store tells the same story, and a restart changes nothing.
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


class Phase(StrEnum):
    """Where a task is, in the sandbox's own words; each stage has its gateway's word for it."""

    QUEUED = "queued"
    RUNNING = "running"
    UNNAMED = "unnamed"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SandboxTask:
    """One accepted job. Times are Unix seconds of the real clock.

    Attributes:
        token: the unguessable part of the film's file name.
        width, height, seconds: of the film.
        speed: how many times faster than life this task runs; fixed at submission, so that processes
            with different speeds agree on it.
        lasting: how long the generation takes in life, in seconds.
        retention_hours: how long the gateway keeps the result, in life.
        credits: the documented price in the gateway's unit, as a decimal text; empty when unknown.
        faults: the stage directions, name -> value.
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

    @property
    def ends_at(self) -> float | None:
        """When it is over, on the real clock; None for a task that never ends."""
        if "stuck" in self.faults:
            return None
        return self.created + self.lasting * (FAILS_AT_SHARE if self.fails else 1.0) / self.speed

    @property
    def fails(self) -> bool:
        """Whether a stage direction makes it fail."""
        return "content-violation" in self.faults or "unreachable-image" in self.faults

    @property
    def kept_until(self) -> float | None:
        """Until when its file is served: the gateway's hours, scaled by the speed, at least ten real minutes."""
        ends_at = self.ends_at
        if ends_at is None:
            return None
        return ends_at + max(self.retention_hours * 3600.0 / self.speed, SHORTEST_RETENTION_SECONDS)


@dataclass(frozen=True, slots=True)
class Moment:
    """A task at one instant. `ended` is a Unix time or None; `failure` is the stage direction behind it."""

    phase: Phase
    percent: int
    ended: float | None = None
    failure: str = ""


def moment_at(task: SandboxTask, now: float) -> Moment:
    """What a read at `now` (Unix seconds) finds. A clock that stands before the submission finds it queued."""
    share = max(0.0, now - task.created) * task.speed / task.lasting
    ends_at = task.ends_at
    if ends_at is not None and now >= ends_at:
        if task.fails:
            failure = "content-violation" if "content-violation" in task.faults else "unreachable-image"
            return Moment(Phase.FAILED, 0, ends_at, failure)
        return Moment(Phase.FINISHED, 100, ends_at)
    percent = max(0, min(STUCK_AT_PERCENT, int(100 * (share - QUEUED_SHARE) / (1.0 - QUEUED_SHARE))))
    if "unknown-state" in task.faults:
        return Moment(Phase.UNNAMED, percent)
    if share < QUEUED_SHARE:
        return Moment(Phase.QUEUED, 0)
    return Moment(Phase.RUNNING, percent)


def choose_lasting(task_id: str, usual_seconds: tuple[float, float], faults: Mapping[str, int]) -> float:
    """How many seconds the generation takes in life: somewhere in the gateway's range, fixed by the task id."""
    low, high = usual_seconds
    share = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:4], "big") / 2**32
    return (low + (high - low) * share) * faults.get("slow", 1)
