"""When to ask a gateway again. Pure: the time, the jitter and the gateway's advice are passed in."""

from __future__ import annotations

from .catalogue import PollAdvice

RETRY_AFTER_CEILING = 300.0
PATIENCE_FACTOR = 2.0
SLOWEST_POLL = 120.0
FAILURE_STEP = 5.0


def first_poll_delay(advice: PollAdvice, *, jitter: float, speed: float = 1.0) -> float:
    """Seconds after acceptance until the first status read. `jitter` is in [0, 1); `speed` > 1 in the sandbox."""
    return _spread(advice.default_first_seconds, jitter) / speed


def next_poll_delay(advice: PollAdvice, *, elapsed: float, jitter: float, speed: float = 1.0) -> float:
    """Seconds until the next status read of a task that was accepted `elapsed` seconds ago.

    The gateway's interval while the task is within twice its usual time; after that the interval grows with the
    age, up to two minutes, so that a task that hangs is neither forgotten nor hammered.
    """
    age = elapsed * speed
    usual = advice.usual_seconds[1] if advice.usual_seconds else 300.0
    overdue = max(0.0, age - PATIENCE_FACTOR * usual)
    interval = min(max(advice.every_seconds, overdue * 0.1), max(SLOWEST_POLL, advice.every_seconds))
    return _spread(interval, jitter) / speed


def retry_delay(failures: int, *, retry_after: float | None, jitter: float, speed: float = 1.0) -> float:
    """Seconds until a read that failed is tried again: `Retry-After` if given (clamped), else growing steps.

    Equal jitter: never less than half the step, so that a crowd cannot collapse to an immediate retry.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), RETRY_AFTER_CEILING) + jitter
    step = min(FAILURE_STEP * 2.0 ** min(max(failures - 1, 0), 8), SLOWEST_POLL)
    return step * (0.5 + jitter / 2) / speed


def _spread(seconds: float, jitter: float) -> float:
    """Up to 20 % later, never earlier than the gateway advises."""
    return seconds * (1.0 + 0.2 * jitter)
