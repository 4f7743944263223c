"""Removes old rows from the ledger when a person asks for it.

Open tasks and tasks of unknown outcome stay, whatever their age, and so does what counts against the caps of the
current month. The number of a shot's last take is kept: a sheet's id, and with it the idempotency key that the gateway
sees, depends on it and must never be used again.
"""

from __future__ import annotations

import json

from callsheet.core.consent import Mode
from callsheet.core.tasks import OPEN_STATES, Pruned, PruneLimits, SheetState, TaskState

from .database import Connection
from .rows import COUNTS_SINCE

TAKE_KEPT = "take_kept"
KEPT_STATES = (*OPEN_STATES, TaskState.OUTCOME_UNKNOWN)


def prune_rows(db: Connection, limits: PruneLimits, *, dry_run: bool) -> Pruned:
    """Remove what may be removed, or only count it. The caller holds a transaction."""
    spent = _find_ended(db, limits)
    unspent = _find_unspent(db, limits)
    tasks = [task_id for task_id, _ in spent]
    sheets = [*(sheet_id for _, sheet_id in spent), *unspent]
    subjects = json.dumps([*tasks, *sheets])
    among = "subject IN (SELECT value FROM json_each(?))"
    events: int = db.execute(f"SELECT count(*) FROM event WHERE {among}", (subjects,)).fetchone()[0]
    if not dry_run:
        _keep_takes(db, json.dumps(sheets), limits.now)
        db.execute(f"DELETE FROM event WHERE {among}", (subjects,))
        db.executemany("DELETE FROM task WHERE id = ?", [(task_id,) for task_id in tasks])
        db.executemany("DELETE FROM sheet WHERE id = ?", [(sheet_id,) for sheet_id in sheets])
    return Pruned(len(tasks), len(sheets), events)


def _find_ended(db: Connection, limits: PruneLimits) -> list[tuple[str, str]]:
    """The tasks that may be removed, each with its sheet."""
    rows = db.execute(
        "SELECT id, sheet_id FROM task WHERE updated_at < ? AND state NOT IN (SELECT value FROM json_each(?))"
        f" AND NOT (mode = ? AND {COUNTS_SINCE})",
        (limits.before, json.dumps(KEPT_STATES), Mode.LIVE.value, limits.month_start),
    )
    return [(row["id"], row["sheet_id"]) for row in rows]


def _find_unspent(db: Connection, limits: PruneLimits) -> list[str]:
    """The expired sheets that were never spent."""
    rows = db.execute(
        "SELECT id FROM sheet WHERE made_at < ? AND expires_at < ? AND id NOT IN (SELECT sheet_id FROM task)",
        (limits.before, limits.now),
    )
    return [row["id"] for row in rows]


def _keep_takes(db: Connection, sheets: str, now: float) -> None:
    """Store the highest take of each shot that was spent or declined, replacing what was stored before."""
    takes = db.execute(
        "SELECT shot_digest, max(take) AS take FROM sheet WHERE state IN (?, ?)"
        " AND id IN (SELECT value FROM json_each(?)) GROUP BY shot_digest",
        (SheetState.SPENT.value, SheetState.DECLINED.value, sheets),
    ).fetchall()
    for row in takes:
        highest = max(row["take"], last_take(db, row["shot_digest"]))
        db.execute("DELETE FROM event WHERE subject = ? AND kind = ?", (row["shot_digest"], TAKE_KEPT))
        db.execute(
            "INSERT INTO event (at, subject, kind, detail) VALUES (?, ?, ?, ?)",
            (now, row["shot_digest"], TAKE_KEPT, json.dumps({"take": highest})),
        )


def last_take(db: Connection, shot_digest: str) -> int:
    """The highest take of a shot, pruned ones included; 0 if there is none."""
    found = db.execute(
        "SELECT max(take) FROM (SELECT take FROM sheet WHERE shot_digest = :shot"
        " UNION ALL SELECT CAST(json_extract(detail, '$.take') AS INTEGER) FROM event"
        " WHERE subject = :shot AND kind = :kind) AS takes",
        {"shot": shot_digest, "kind": TAKE_KEPT},
    ).fetchone()[0]
    return int(found or 0)
