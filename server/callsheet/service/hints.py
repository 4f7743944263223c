"""What may help a person to find out what became of a request whose answer was lost. Hints, never proof.

Gateways disagree on when they charge, so a balance that fell proves nothing and one that did not fall
proves nothing either. Everything here is free to ask, bounded in time, and fails without a word more
than "could not be read": no hint may delay or decide anything.
"""

from __future__ import annotations

import anyio

from callsheet.core.gateway import HttpReply, HttpRequest
from callsheet.core.sheet import Task
from callsheet.errors import CallsheetError

from .pacing import count_request
from .world import World

HINT_SECONDS = 4.0
NEAR_SECONDS = 900.0
MOST_LISTED = 5
UNREADABLE = "could not be read"


def asks_balance(world: World, task: Task) -> bool:
    """Whether `note_balance` is going to ask the gateway."""
    return task.balance_before is None and world.gateway(task.gateway).build_balance() is not None


async def note_balance(world: World, task: Task) -> Task:
    """Store the account's balance before a paid request, where the gateway tells it."""
    if task.balance_before is not None:
        return task
    balance = await _read_balance(world, task)
    if balance is None:
        return task
    return world.ledger().touch(task.id, now=world.clock.now(), changes={"balance_before": balance})


async def gather_hints(world: World, task: Task) -> None:
    """Store what the gateway tells after an answer was lost: the balance, and recent tasks of that model."""
    hints = []
    if task.balance_before is not None:
        count_request(world, task)
        after = await _read_balance(world, task)
        hints.append(f"Balance before {task.balance_before}, after {after or UNREADABLE} (a hint, no proof).")
    listed = await _list_recent(world, task)
    if listed is not None:
        hints.append(f"Tasks the gateway lists from that time: {listed or 'none'}.")
    if hints:
        world.ledger().touch(task.id, now=world.clock.now(), changes={"hints": " ".join(hints)})
        world.changes.notify()


async def _read_balance(world: World, task: Task) -> str | None:
    gateway = world.gateway(task.gateway)
    reply = await _ask(world, task, gateway.build_balance())
    balance = gateway.read_balance(reply) if reply is not None else None
    return None if balance is None else world.heard(f"{balance.amount} {balance.unit}", limit=60)


async def _list_recent(world: World, task: Task) -> str | None:
    gateway = world.gateway(task.gateway)
    request = gateway.build_recent()
    if request is None:
        return None
    count_request(world, task)
    reply = await _ask(world, task, request)
    if reply is None:
        return UNREADABLE
    sent_at = (task.deadline or task.updated_at) - NEAR_SECONDS
    near = [
        item.gateway_task_id
        for item in gateway.read_recent(reply)
        if item.model in ("", task.model) and (item.created_at is None or item.created_at >= sent_at)
    ]
    mine = {known.gateway_task_id for known in world.ledger().tasks(limit=1000)}
    return ", ".join(name for name in near if name not in mine)[: 130 * MOST_LISTED]


async def _ask(world: World, task: Task, request: HttpRequest | None) -> HttpReply | None:
    if request is None:
        return None
    try:
        base_url, key = await world.reach(task.mode, world.facts(task.gateway))
        if key is None:
            return None
        with anyio.fail_after(HINT_SECONDS):
            return await world.http.fetch(request, base_url=base_url, key=key)
    except (CallsheetError, TimeoutError):
        return None
