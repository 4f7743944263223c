"""When a gateway is asked after a task, and what is said of it. Pure; times are seconds.

Status reads are rare while a finish is unlikely and dense where it is likely:

1. One early read after 10 to 15 s (never before the first wait that the gateway advises), so that an immediate
   failure is seen while a person still looks; the next one at the earliest usual end.
2. From the earliest to the latest usual end the interval falls, from ten seconds to the shortest that the
   gateway's own pages or programs use: the longer a task has run, the more likely it ends in the next seconds.
3. After the latest usual end it grows back, to ten seconds at twice that time, and from there on with the delay,
   up to two minutes: a task that hangs is neither forgotten nor polled too often.

The usual time is the one documented for the clip's length, else for the model; where a gateway documents none,
the shortest time that another gateway documents is used. Only the first read is jittered: that is enough to spread
tasks that were submitted together, and more jitter would only delay the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from .catalogue.cards import PollAdvice

RETRY_AFTER_CEILING = 300.0
PATIENCE_FACTOR = 2.0
FOREVER = 1000.0
"""So many times the usual time, the interval has long stopped growing."""
SLOWEST_POLL = 120.0
DENSE_POLL = 10.0
POLL_BESIDE_CALLBACKS = 60.0
"""Where the gateway's callbacks arrive, a look is only for the one that was lost."""
OVERDUE_SHARE = 0.1
FIRST_LOOK = 10.0
"""Gateways refuse a job that they took by mistake within seconds."""
FIRST_SPREAD = 0.2
LEAST_SPREAD = 5.0
FAILURE_STEP = 5.0
ASSUMED_USUAL_SECONDS = (90.0, 300.0)
"""PoYo's figure for videos, the shortest that any of the gateways documents."""


def first_poll_delay(advice: PollAdvice, *, jitter: float, speed: float = 1.0) -> float:
    """Seconds after acceptance until the first status read. `jitter` is in [0, 1); `speed` > 1 in the sandbox.

    Up to a fifth later than planned (five to ten seconds), never earlier than the gateway advises.
    """
    first = max(advice.first_after_seconds, FIRST_LOOK)
    return (first + jitter * min(max(first * FIRST_SPREAD, LEAST_SPREAD), DENSE_POLL)) / speed


def next_poll_delay(
    advice: PollAdvice,
    *,
    elapsed: float,
    clip_seconds: int | None = None,
    speed: float = 1.0,
    called_back: bool = False,
) -> float:
    """Seconds until the next status read of a task that was accepted `elapsed` seconds ago.

    `called_back` says that callbacks of its gateway arrive: then the reads are a minute apart, or more.
    """
    age = elapsed * speed
    earliest, latest = _usual(advice, clip_seconds)
    least = max(advice.least_every_seconds or advice.every_seconds, POLL_BESIDE_CALLBACKS if called_back else 0.0)
    loose = max(DENSE_POLL, least)
    if age < earliest:
        interval = max(earliest - age, least)
    elif age < latest:
        ahead = (latest - age) / (latest - earliest)
        interval = least + ahead * (loose - least)
    else:
        behind = (age - latest) / (PATIENCE_FACTOR * latest - latest)
        interval = max(least + min(behind, 1.0) * (loose - least), (age - PATIENCE_FACTOR * latest) * OVERDUE_SHARE)
    return min(interval, max(SLOWEST_POLL, least)) / speed


def is_overdue(advice: PollAdvice, *, elapsed: float, clip_seconds: int | None = None, speed: float = 1.0) -> bool:
    """Whether a task that was accepted `elapsed` seconds ago has taken more than twice its latest usual time."""
    return elapsed * speed > PATIENCE_FACTOR * _usual(advice, clip_seconds)[1]


def retry_delay(failures: int, *, retry_after: float | None, jitter: float, speed: float = 1.0) -> float:
    """Seconds until a read that failed is tried again: `Retry-After` if given (clamped), else growing steps.

    Equal jitter: never less than half the step, so that many clients never retry together immediately.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), RETRY_AFTER_CEILING) + jitter
    step = min(FAILURE_STEP * 2.0 ** min(max(failures - 1, 0), 8), SLOWEST_POLL)
    return step * (0.5 + jitter / 2) / speed


def _usual(advice: PollAdvice, clip_seconds: int | None) -> tuple[float, float]:
    """The earliest and the latest usual end of a clip of that length, in seconds after acceptance."""
    return advice.usual_for(clip_seconds) or ASSUMED_USUAL_SECONDS


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """When the status of one task is read, in seconds after acceptance, as the functions above decide it.

    The first look is between `first[0]` and `first[1]`, the next one at `second`. From there the interval falls from
    `loose` to `dense` at `latest`, and then grows up to `slowest`.
    """

    first: tuple[float, float]
    second: float
    latest: float
    loose: float
    dense: float
    slowest: float


def poll_schedule(advice: PollAdvice, *, clip_seconds: int | None = None) -> PollSchedule:
    """The schedule in real time for a clip of that length."""

    def interval(elapsed: float) -> float:
        return next_poll_delay(advice, elapsed=elapsed, clip_seconds=clip_seconds)

    early = first_poll_delay(advice, jitter=0.0)
    second = early + interval(early)
    _, latest = _usual(advice, clip_seconds)
    return PollSchedule(
        first=(early, first_poll_delay(advice, jitter=1.0)),
        second=second,
        latest=latest,
        loose=interval(second),
        dense=interval(latest),
        slowest=interval(latest * FOREVER),
    )
