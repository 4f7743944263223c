"""Counts money and concurrent slots inside the ledger's transactions. Only `SqliteLedger` calls this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callsheet.core.catalogue.pricing import from_micros
from callsheet.core.consent.approval import Spending
from callsheet.core.consent.policy import Mode
from callsheet.core.spending.limits import NO_SLOT, Slots
from callsheet.core.tasks.models import Task
from callsheet.core.tasks.states import OPEN_STATES, RESERVING_STATES, SLOT_STATES

from .rows import state_marks

if TYPE_CHECKING:
    import sqlite3


_RESERVING = ", ".join(f"'{state.value}'" for state in sorted(RESERVING_STATES))

COUNTS_SINCE = (
    "((state IN ('waiting', 'submitting') OR coalesce(deadline, created_at) >= ?)"
    f" AND (state IN ({_RESERVING}) OR (state = 'abandoned' AND gateway_task_id IS NOT NULL)))"
)
"""Whether a task counts against a cap that began at that time: by when it was sent, not created."""


def count_spending(db: sqlite3.Connection, mode: Mode, windows: tuple[float, float]) -> Spending:
    """Money reserved or spent in the windows (day, month), by when it was sent, and the number of open tasks.

    Waiting tasks count as sent now. Abandoned tasks that the gateway had accepted count too.
    """
    query = f"SELECT coalesce(sum(reserve_micros), 0) FROM task WHERE mode = ? AND {COUNTS_SINCE}"
    day, month = (_scalar(db, query, mode.value, start) for start in windows)
    open_marks, open_states = state_marks(OPEN_STATES)
    count = _scalar(
        db, f"SELECT count(*) FROM task WHERE mode = ? AND state IN ({open_marks})", mode.value, *open_states
    )
    return Spending(from_micros(day), from_micros(month), count)


def count_taken(db: sqlite3.Connection, mode: Mode, gateway: str, unknown_since: float) -> int:
    """How many tasks hold a slot at that gateway (`%`: at all of them)."""
    marks, states = state_marks(SLOT_STATES)
    query = (
        f"SELECT count(*) FROM task WHERE mode = ? AND gateway LIKE ? AND state IN ({marks})"
        " AND (state != 'outcome_unknown' OR updated_at > ?)"
    )
    taken: int = _scalar(db, query, mode.value, gateway, *states, unknown_since)
    return taken


def count_missing(db: sqlite3.Connection, task: Task, *, now: float, slots: Slots) -> int:
    """How many slots a waiting task lacks if its owner's older waiting tasks, that need only a slot,
    go first."""
    since = now - slots.unknown_holds_seconds
    query = (
        "SELECT count(*) FROM task WHERE mode = ? AND gateway LIKE ? AND owner IS ? AND state = 'waiting'"
        " AND (problem IS NULL OR json_extract(problem, '$.code') = ?) AND (created_at, id) < (?, ?)"
    )
    missing = []
    for gateway, most in (("%", slots.concurrent), (task.gateway, slots.at_gateway)):
        who = (task.mode.value, gateway, task.owner, NO_SLOT, task.created_at, task.id)
        ahead: int = _scalar(db, query, *who)
        missing.append(count_taken(db, task.mode, gateway, since) + ahead + 1 - most)
    return max(missing)


def _scalar(db: sqlite3.Connection, query: str, *values: Any) -> Any:
    return db.execute(query, values).fetchone()[0]
