"""What may help a person to find out what became of a request whose answer was lost. Hints, never proof.

Gateways disagree on when they charge, so neither a balance that fell nor an unchanged balance
proves anything. Everything here is free to ask, bounded in time, and fails with nothing more
than "could not be read": no hint may delay or decide anything.
"""

from __future__ import annotations

import anyio

from callsheet.core.gateway.protocol import BalanceReader, HttpReply, HttpRequest, RecentReader
from callsheet.core.tasks.models import Task
from callsheet.errors import CallsheetError

from .dependencies import Dependencies
from .rate_limit import count_request

HINT_SECONDS = 4.0
NEAR_SECONDS = 900.0
MOST_LISTED = 5
UNREADABLE = "could not be read"


def asks_balance(deps: Dependencies, task: Task) -> bool:
    """Whether `record_balance` is going to ask the gateway."""
    return task.balance_before is None and isinstance(deps.gateway(task.gateway), BalanceReader)


async def record_balance(deps: Dependencies, task: Task) -> Task:
    """Store the account's balance before a paid request, where the gateway reports it."""
    if task.balance_before is not None:
        return task
    balance = await _read_balance(deps, task)
    if balance is None:
        return task
    return deps.ledger().touch(task.id, now=deps.clock.now(), changes={"balance_before": balance})


async def record_hints(deps: Dependencies, task: Task) -> None:
    """Store what the gateway reports after an answer was lost: the balance, and recent tasks of that model."""
    hints = []
    if task.balance_before is not None:
        count_request(deps, task)
        after = await _read_balance(deps, task)
        hints.append(f"Balance before {task.balance_before}, after {after or UNREADABLE} (a hint, no proof).")
    listed = await _list_recent(deps, task)
    if listed is not None:
        hints.append(f"Tasks the gateway lists from that time: {listed or 'none'}.")
    if hints:
        deps.ledger().touch(task.id, now=deps.clock.now(), changes={"hints": " ".join(hints)})
        deps.changes.notify()


async def _read_balance(deps: Dependencies, task: Task) -> str | None:
    gateway = deps.gateway(task.gateway)
    if not isinstance(gateway, BalanceReader):
        return None
    reply = await _ask(deps, task, gateway.build_balance())
    balance = gateway.read_balance(reply) if reply is not None else None
    return None if balance is None else deps.sanitize(f"{balance.amount} {balance.unit}", limit=60)


async def _list_recent(deps: Dependencies, task: Task) -> str | None:
    gateway = deps.gateway(task.gateway)
    if not isinstance(gateway, RecentReader):
        return None
    count_request(deps, task)
    reply = await _ask(deps, task, gateway.build_recent())
    if reply is None:
        return UNREADABLE
    sent_at = (task.deadline or task.updated_at) - NEAR_SECONDS
    near = [
        item.gateway_task_id
        for item in gateway.read_recent(reply)
        if item.model in ("", task.model) and (item.created_at is None or item.created_at >= sent_at)
    ]
    mine = {known.gateway_task_id for known in deps.ledger().tasks(limit=1000)}
    return ", ".join(name for name in near if name not in mine and not deps.holds_key(None, name))[: 130 * MOST_LISTED]


async def _ask(deps: Dependencies, task: Task, request: HttpRequest) -> HttpReply | None:
    try:
        base_url, key = await deps.reach(task.mode, deps.facts(task.gateway))
        if key is None:
            return None
        with anyio.fail_after(HINT_SECONDS):
            return await deps.http.fetch(request, base_url=base_url, key=key)
    except (CallsheetError, TimeoutError):
        return None
