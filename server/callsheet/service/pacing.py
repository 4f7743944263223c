"""Keeping to the gateways' rates: every request is reserved with the shared limiter before it goes out."""

from __future__ import annotations

from callsheet.core.sheet import Task

from .world import World, card_of

BURST = 5


def wait_for_pace(world: World, task: Task) -> bool:
    """Whether the task's next request may go out now. If not, it is reserved and the task is due again then.

    One row per gateway, key and mode in the ledger keeps the rate exact over all processes.
    """
    if task.id in world.paced:
        world.paced.discard(task.id)
        return True
    limit = card_of(world, task).rate_limit
    per_minute = (limit.requests_per_minute or limit.assumed_per_minute) * world.speed(task.mode)
    now = world.clock.now()
    account = f"{task.mode.value}/{task.gateway}"
    wait = world.ledger().reserve_pace(account, interval=60.0 / per_minute, burst=BURST, now=now)
    if wait <= 0:
        return True
    world.paced.add(task.id)
    world.ledger().touch(task.id, now=now, changes={"next_at": now + wait})
    return False
