"""Keeping to the gateways' rates: every request is reserved with the shared limiter before it goes out."""

from __future__ import annotations

from callsheet.core.consent import Mode
from callsheet.core.tasks import Task

from .dependencies import Dependencies, card_of

BURST_SHARE = 10
LEAST_BURST = 2
"""A paid request and the balance read before it go out together."""
ROUNDING_SECONDS = 1e-3
"""What times near the epoch's size lose to rounding, and more: no wait at all."""


def wait_for_pace(deps: Dependencies, task: Task, *, requests: int = 1) -> bool:
    """Whether the task's next request, or the next few together, may go out now.

    If not, they are reserved and the task is due again then. One row per gateway and key in the ledger keeps
    the rate exact over all processes. A tenth of the gateway's rate is kept for bursts, so that no minute
    holds more requests than the gateway allows.
    """
    interval, burst = _pace(deps, task)
    now = deps.clock.now()
    reserved = deps.paced.pop(task.id, None)
    # A reservation that was slept through is gone: used late, many requests would go out together.
    if reserved is not None and now <= reserved + interval * burst:
        return True
    account, wait = _account(deps, task), 0.0
    for _ in range(requests):
        wait = deps.ledger().reserve_pace(account, interval=interval, burst=burst, now=now)
    if wait <= ROUNDING_SECONDS:
        return True
    deps.paced[task.id] = now + wait
    deps.ledger().touch(task.id, now=now, changes={"next_at": now + wait}, lasting=False)
    return False


def count_request(deps: Dependencies, task: Task) -> None:
    """Count a request that goes out immediately, out of turn, so that those reserved after it wait for it."""
    interval, burst = _pace(deps, task)
    deps.ledger().reserve_pace(_account(deps, task), interval=interval, burst=burst, now=deps.clock.now())


def _pace(deps: Dependencies, task: Task) -> tuple[float, int]:
    """Seconds between requests, and how many may go together after a pause."""
    limit = card_of(deps, task).rate_limit
    per_minute = limit.requests_per_minute or limit.assumed_per_minute
    burst = max(LEAST_BURST, per_minute // BURST_SHARE)
    # A tenth is kept in reserve: requests may overtake each other, and still no minute may hold more.
    return 60.0 / max(1, per_minute - 2 * burst) / deps.speed(task.mode), burst


def _account(deps: Dependencies, task: Task) -> str:
    """The limiter's row: a gateway counts by key. The sandbox is one account for each gateway."""
    account = deps.account(deps.facts(task.gateway)) if task.mode is Mode.LIVE else ""
    return f"{task.mode.value}/{task.gateway}/{account}"
