"""Keeping to the gateways' rates: every request is reserved with the shared limiter before it goes out."""

from __future__ import annotations

from callsheet.core.policy import Mode
from callsheet.core.sheet import Task
from callsheet.service.world import World, card_of

BURST_SHARE = 10


def wait_for_pace(world: World, task: Task) -> bool:
    """Whether the task's next request may go out now. If not, it is reserved and the task is due again then.

    One row per gateway and key in the ledger keeps the rate exact over all processes. A tenth of the
    gateway's rate is kept for bursts, so that no minute holds more requests than the gateway allows.
    """
    limit = card_of(world, task).rate_limit
    per_minute = limit.requests_per_minute or limit.assumed_per_minute
    burst = max(1, per_minute // BURST_SHARE)
    interval = 60.0 / max(1, per_minute - burst) / world.speed(task.mode)
    now = world.clock.now()
    reserved = world.paced.pop(task.id, None)
    # A reservation that was slept through is gone: used late, many of them would come out as a crowd.
    if reserved is not None and now <= reserved + interval * burst:
        return True
    wait = world.ledger().reserve_pace(_account(world, task), interval=interval, burst=burst, now=now)
    if wait <= 0:
        return True
    world.paced[task.id] = now + wait
    world.ledger().touch(task.id, now=now, changes={"next_at": now + wait})
    return False


def _account(world: World, task: Task) -> str:
    """The limiter's row: a gateway counts by key. The sandbox is one account for each gateway."""
    key = world.find_key(world.facts(task.gateway)) if task.mode is Mode.LIVE else None
    return f"{task.mode.value}/{task.gateway}/{key.fingerprint if key else ''}"
