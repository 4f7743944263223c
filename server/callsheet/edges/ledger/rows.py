"""The ledger's rows: sheets, tasks, allowances and the append-only audit trail, and the sums and counts over them.

`Consent` is a part of an open `SqliteLedger` and uses its transactions. The functions run inside a transaction that the
caller has opened. Only this package calls them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, fields, replace
from decimal import Decimal
from enum import StrEnum
from functools import wraps
from typing import Any, TypeVar

from callsheet.core.catalogue import Price, from_micros
from callsheet.core.consent import AuditEntry, AuditVerdict, Binding, Means, Mode, Spending, build_entry, verify_chain
from callsheet.core.shot import Shot
from callsheet.core.spending import CLOCK_SLACK_SECONDS, NO_SLOT, Allowance, Slots, covers
from callsheet.core.tasks import (
    OPEN_STATES,
    RESERVING_STATES,
    SLOT_STATES,
    Clip,
    Problem,
    Sheet,
    SheetId,
    SheetState,
    Task,
    TaskId,
    TaskState,
)
from callsheet.errors import Action, NextStep, NotApproved, UnknownThing

Row = Mapping[str, Any]
Made = TypeVar("Made")

_TASK_JSON = {"problem": Problem, "clip": Clip}


def of_rows(read: Callable[[Any], Made]) -> Callable[[Any], Made]:
    """What that function makes of a row; `sqlite3.DatabaseError` where the row cannot have been written so."""

    @wraps(read)
    def reading(row: Any) -> Made:
        try:
            return read(row)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise sqlite3.DatabaseError(f"a row is malformed ({type(error).__name__})") from error

    return reading


def sheet_row(sheet: Sheet) -> dict[str, Any]:
    """A sheet as a row."""
    return {
        "id": sheet.id,
        "shot_digest": sheet.binding.shot_digest,
        "take": sheet.take,
        "state": sheet.state.value,
        "binding": json.dumps(asdict(sheet.binding)),
        "shot": json.dumps(
            {**{f.name: getattr(sheet.shot, f.name) for f in fields(Shot)}, "extras": dict(sheet.shot.extras)}
        ),
        "price": json.dumps(asdict(sheet.price), default=str),
        "body": sheet.body,
        "reserve_micros": sheet.reserve_micros,
        "shown": sheet.shown,
        "made_at": sheet.made_at,
        "expires_at": sheet.expires_at,
        "approved_by": sheet.approved_by.value if sheet.approved_by else None,
        "approved_at": sheet.approved_at,
        "allowance": sheet.allowance,
    }


@of_rows
def read_sheet(row: Row) -> Sheet:
    """The sheet of a row; the query joins `task_id` in."""
    price = json.loads(row["price"])
    for name in ("amount", "usd"):
        price[name] = None if price[name] is None else Decimal(price[name])
    return Sheet(
        id=SheetId(row["id"]),
        take=row["take"],
        state=SheetState(row["state"]),
        binding=Binding(**json.loads(row["binding"])),
        shot=Shot(**json.loads(row["shot"])),
        price=Price(**price),
        body=bytes(row["body"]),
        reserve_micros=row["reserve_micros"],
        shown=row["shown"],
        made_at=row["made_at"],
        expires_at=row["expires_at"],
        approved_by=Means(row["approved_by"]) if row["approved_by"] else None,
        approved_at=row["approved_at"],
        allowance=row["allowance"],
        task_id=TaskId(row["task_id"]) if row["task_id"] else None,
    )


def task_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a task as column values: enums and records become text."""
    columns = {}
    for name, value in changes.items():
        if name in _TASK_JSON:
            columns[name] = None if value is None else json.dumps(asdict(value))
        else:
            columns[name] = value.value if isinstance(value, TaskState | Mode) else value
    return columns


def task_row(task: Task) -> dict[str, Any]:
    """A task as a row."""
    return task_changes({field.name: getattr(task, field.name) for field in fields(Task)})


@of_rows
def read_task(row: Row) -> Task:
    """The task of a row."""
    values: dict[str, Any] = {field.name: row[field.name] for field in fields(Task)}
    values["mode"] = Mode(values["mode"])
    values["state"] = TaskState(values["state"])
    for name, kind in _TASK_JSON.items():
        values[name] = kind(**json.loads(values[name])) if values[name] else None
    return Task(**values)


def state_marks(states: Iterable[StrEnum]) -> tuple[str, list[str]]:
    """Placeholders for these states, and their values."""
    values = [state.value for state in states]
    return ",".join("?" * len(values)), values


def build_insert(table: str, row: Row, suffix: str = "") -> str:
    """The statement that inserts a row. Only column names of this package go into its text; values are placeholders."""
    names = ", ".join(row)
    marks = ", ".join(f":{name}" for name in row)
    return f"INSERT INTO {table} ({names}) VALUES ({marks}) {suffix}"


_RESERVING = ", ".join(f"'{state.value}'" for state in sorted(RESERVING_STATES))

_MAY_BE_CHARGED = "(gateway_task_id IS NOT NULL OR coalesce(json_extract(problem, '$.fate'), 'unknown') = 'unknown')"
"""Giving up a task that the gateway may have does not free its price: a person who says so may be wrong."""

COUNTS_SINCE = (
    "((state IN ('waiting', 'submitting') OR coalesce(deadline, created_at) >= ?)"
    f" AND (state IN ({_RESERVING}) OR (state = 'abandoned' AND {_MAY_BE_CHARGED})))"
)
"""Whether a task counts against a cap that began at that time: by when it was sent, not created."""


def count_spending(db: sqlite3.Connection, mode: Mode, windows: tuple[float, float]) -> Spending:
    """Money reserved or spent in the windows (day, month), by when it was sent, and the number of open tasks.

    Waiting tasks count as sent now. Abandoned tasks that the gateway may have charged for count too.
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


Using = Callable[[], "AbstractContextManager[sqlite3.Connection]"]


class Consent:
    """Allowances and the audit trail of one ledger. Each call is its own transaction."""

    def __init__(
        self, transaction: Using, reading: Using, snapshot: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._transaction = transaction
        self._reading = reading
        self._snapshot = snapshot

    def record(
        self, action: str, subject: str, *, actor: str, now: float, detail: Mapping[str, str] | None = None
    ) -> None:
        """Add an entry to the audit trail."""
        with self._transaction() as db:
            append_audit(db, now, actor, action, subject, detail or {})

    def entries(self, *, limit: int = 100) -> list[AuditEntry]:
        """The latest entries of the audit trail, newest first."""
        with self._reading() as db:
            return [_read_entry(row) for row in db.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT ?", (limit,))]

    def verify(self) -> AuditVerdict:
        """Verify the hash chain of the whole trail, in one snapshot: others may add to it meanwhile."""
        with self._snapshot(), self._reading() as db:
            written = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
            rows = db.execute("SELECT * FROM audit ORDER BY seq")
            return verify_chain((_read_entry(row) for row in rows), written=written[0] if written else 0)

    def add_allowance(self, allowance: Allowance) -> Allowance:
        """Store a new allowance."""
        row = {
            "id": allowance.id,
            "mode": allowance.mode.value,
            "models": json.dumps(allowance.models),
            "clips": allowance.clips,
            "up_to_micros": allowance.up_to_micros,
            "made_at": allowance.made_at,
            "expires_at": allowance.expires_at,
            "policy": allowance.policy,
            "made_by": allowance.made_by.value,
        }
        with self._transaction() as db:
            db.execute(build_insert("allowance", row), row)
            detail = {
                "models": ", ".join(allowance.models),
                "use": allowance.use,
                "expires": f"{allowance.expires_at:.0f}",
            }
            append_audit(db, allowance.made_at, allowance.made_by.value, "allowance_made", allowance.id, detail)
        return allowance

    def revoke(self, allowance_id: str, *, now: float, by: Means) -> Allowance:
        """End an allowance now and permanently; raises `UnknownThing`."""
        with self._transaction() as db:
            _revoke(db, _need_allowance(db, allowance_id), now, by)
            return _need_allowance(db, allowance_id)

    def allowance(self, allowance_id: str) -> Allowance:
        """That allowance; raises `UnknownThing`."""
        with self._reading() as db:
            return _need_allowance(db, allowance_id)

    def allowances(self) -> list[Allowance]:
        """All allowances, newest first."""
        with self._reading() as db:
            return list(_allowances(db))

    def covering(self, sheet: Sheet, *, now: float, policy: str) -> Allowance | None:
        """The allowance that covers that sheet, if there is one."""
        with self._reading() as db:
            return _covering(db, sheet, now, policy)


def revoke_all(db: sqlite3.Connection, now: float, *, by: Means) -> None:
    """End every allowance. The caller holds a transaction."""
    for allowance in list(_allowances(db)):
        _revoke(db, allowance, now, by)


def _revoke(db: sqlite3.Connection, allowance: Allowance, now: float, by: Means) -> None:
    if allowance.revoked_at is None:
        db.execute("UPDATE allowance SET revoked_at = ? WHERE id = ?", (now, allowance.id))
        append_audit(db, now, by.value, "allowance_revoked", allowance.id, {"use": allowance.use})


def append_audit(
    db: sqlite3.Connection, now: float, actor: str, action: str, subject: str, detail: Mapping[str, str]
) -> None:
    """Add an entry, chained to the one before it. The caller holds a transaction."""
    last = db.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    before = _read_entry(last) if last else None
    entry = build_entry(before, at=now, actor=actor, action=action, subject=subject, detail=detail)
    row = {name: getattr(entry, name) for name in AuditEntry.__slots__}
    db.execute(build_insert("audit", row), row)


def use_allowance(db: sqlite3.Connection, sheet: Sheet, *, now: float, policy: str) -> Sheet:
    """Take one clip from an allowance that covers the sheet, and approve the sheet by it; raises `NotApproved`.

    The caller holds the transaction that spends the sheet. If that fails, nothing is taken.
    """
    allowance = _covering(db, sheet, now, policy)
    if allowance is None or sheet.reserve_micros is None:
        raise NotApproved(
            f"Sheet {sheet.id} is not approved, and no allowance covers it.",
            next_step=NextStep(Action.SUBMIT, "It needs an approval.", target=sheet.id),
        )
    used = replace(
        allowance, used_clips=allowance.used_clips + 1, used_micros=allowance.used_micros + sheet.reserve_micros
    )
    db.execute(
        "UPDATE allowance SET used_clips = ?, used_micros = ? WHERE id = ?",
        (used.used_clips, used.used_micros, used.id),
    )
    db.execute(
        "UPDATE sheet SET state = 'approved', approved_by = ?, approved_at = ?, allowance = ? WHERE id = ?",
        (Means.ALLOWANCE.value, now, used.id, sheet.id),
    )
    detail = {"allowance": used.id, "use": used.use, "digest": sheet.binding.digest, "price": sheet.binding.price}
    append_audit(db, now, Means.ALLOWANCE.value, "approved", sheet.id, detail)
    return replace(sheet, approved_by=Means.ALLOWANCE, approved_at=now, allowance=used.id)


def _covering(db: sqlite3.Connection, sheet: Sheet, now: float, policy: str) -> Allowance | None:
    """The covering allowance that ends first. An allowance does not cover while the clock is behind the audit trail."""
    found = [item for item in _allowances(db) if covers(item, sheet, now=now, policy=policy)]
    held = [item for item in found if now >= _recorded_since(db, item) - CLOCK_SLACK_SECONDS]
    return min(held, key=lambda item: item.expires_at, default=None)


def _recorded_since(db: sqlite3.Connection, allowance: Allowance) -> float:
    """The latest time in the trail since that allowance was stored; infinity if the trail does not mention it."""
    query = (
        "SELECT max(at) FROM audit WHERE seq >="
        " (SELECT max(seq) FROM audit WHERE subject = ? AND action = 'allowance_made')"
    )
    latest: float | None = db.execute(query, (allowance.id,)).fetchone()[0]
    return float("inf") if latest is None else latest


def _allowances(db: sqlite3.Connection) -> Iterator[Allowance]:
    yield from map(_read_allowance, db.execute("SELECT * FROM allowance ORDER BY made_at DESC, id"))


@of_rows
def _read_allowance(row: sqlite3.Row) -> Allowance:
    values = dict(row)
    values |= {"mode": Mode(row["mode"]), "models": tuple(json.loads(row["models"])), "made_by": Means(row["made_by"])}
    return Allowance(**values)


def _need_allowance(db: sqlite3.Connection, allowance_id: str) -> Allowance:
    found = next((item for item in _allowances(db) if item.id == allowance_id), None)
    if found is None:
        raise UnknownThing("There is no allowance with that id.", next_step=NextStep(Action.ALLOWANCES))
    return found


@of_rows
def read_event(row: Row) -> dict[str, Any]:
    """An entry of a sheet's or a task's history."""
    return {"at": row["at"], "kind": row["kind"], **json.loads(row["detail"])}


@of_rows
def _read_entry(row: sqlite3.Row) -> AuditEntry:
    return AuditEntry(**dict(row))
