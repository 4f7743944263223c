"""The ledger's rows: sheets and tasks, and the sums and counts over them.

The functions run inside a transaction that the caller has opened. Only this package calls them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from decimal import Decimal
from enum import StrEnum
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from callsheet.core.catalogue.prices import Price, from_micros
from callsheet.core.consent import Binding, Means, Mode, Spending
from callsheet.core.shot import Input, Shot
from callsheet.core.spending import NO_SLOT, SAME_ID, Slots
from callsheet.core.tasks import (
    OPEN_STATES,
    RESERVING_STATES,
    SLOT_STATES,
    Clip,
    Problem,
    Sheet,
    SheetEvent,
    SheetId,
    SheetState,
    Task,
    TaskId,
    TaskState,
)
from callsheet.errors import Action, InvalidRequest, NextStep

if TYPE_CHECKING:
    from .database import Connection

Row = Mapping[str, Any]
Made = TypeVar("Made")

_TASK_JSON = {"problem": Problem, "clip": Clip}


class MalformedRow(Exception):
    """A row that this program cannot have written."""


def of_rows(read: Callable[[Any], Made]) -> Callable[[Any], Made]:
    """What that function makes of a row; `MalformedRow` where the row cannot have been written so."""

    @wraps(read)
    def reading(row: Any) -> Made:
        try:
            return read(row)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise MalformedRow(f"a row is malformed ({type(error).__name__})") from error

    return reading


def sheet_row(sheet: Sheet) -> dict[str, Any]:
    """A sheet as a row."""
    return {
        "id": sheet.id,
        "shot_digest": sheet.binding.shot_digest,
        "take": sheet.take,
        "state": sheet.state.value,
        "binding": json.dumps(sheet.binding.as_written()),
        "shot": json.dumps(_shot_values(sheet.shot)),
        "price": json.dumps(asdict(sheet.price), default=str),
        "body": sheet.body,
        "reserve_micros": sheet.reserve_micros,
        "shown": sheet.shown,
        "made_at": sheet.made_at,
        "expires_at": sheet.expires_at,
        "approved_by": sheet.approved_by.value if sheet.approved_by else None,
        "approved_at": sheet.approved_at,
        "allowance": sheet.allowance,
        "forward_at": sheet.forward_at,
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
        shot=_read_shot(json.loads(row["shot"])),
        price=Price(**price),
        body=bytes(row["body"]),
        reserve_micros=row["reserve_micros"],
        shown=row["shown"],
        made_at=row["made_at"],
        expires_at=row["expires_at"],
        approved_by=Means(row["approved_by"]) if row["approved_by"] else None,
        approved_at=row["approved_at"],
        allowance=row["allowance"],
        forward_at=row["forward_at"],
        task_id=TaskId(row["task_id"]) if row["task_id"] else None,
    )


def _shot_values(shot: Shot) -> dict[str, Any]:
    inputs = [asdict(item) for item in shot.inputs]
    values = {"parameters": dict(shot.parameters), "inputs": inputs, "options": dict(shot.options)}
    return {"prompt": shot.prompt, "callback_url": shot.callback_url, **values}


def _read_shot(values: dict[str, Any]) -> Shot:
    if "extras" in values:  # As written before shots had inputs with roles.
        return Shot.of(first_frame=values.pop("image_url"), options=values.pop("extras"), **values)
    inputs = tuple(Input(**item) for item in values.pop("inputs"))
    return Shot(inputs=inputs, **values)


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


def bound(limit: int) -> int:
    """A limit that every database takes: a negative one is none."""
    return limit if limit >= 0 else 2**62


def state_marks(states: Iterable[StrEnum]) -> tuple[str, list[str]]:
    """Placeholders for these states, and their values."""
    values = [state.value for state in states]
    return ",".join("?" * len(values)), values


def build_insert(table: str, row: Row, suffix: str = "") -> str:
    """The statement that inserts a row. Only column names of this package go into its text; values are placeholders."""
    names = ", ".join(row)
    marks = ", ".join(f":{name}" for name in row)
    return f"INSERT INTO {table} ({names}) VALUES ({marks}) {suffix}"


def build_move(
    sheet: Sheet, state: SheetState, event: SheetEvent, *, now: float, by: Means | None
) -> tuple[str, dict[str, Any]]:
    """The statement by which an event moves a sheet that is still as it was read, and its values."""
    changes: dict[str, Any] = {"state": state.value}
    if event is SheetEvent.APPROVED:
        changes |= {"approved_by": by.value if by else None, "approved_at": now}
    elif event is SheetEvent.ASKED:
        changes["forward_at"] = now
    elif state is not SheetState.AWAITING_APPROVAL:
        changes["forward_at"] = None
    assignments = ", ".join(f"{name} = :{name}" for name in changes)
    moved = {**changes, "id": sheet.id, "was": sheet.state.value}
    return f"UPDATE sheet SET {assignments} WHERE id = :id AND state = :was", moved


_RESERVING = ", ".join(f"'{state.value}'" for state in sorted(RESERVING_STATES))

_MAY_BE_CHARGED = "(gateway_task_id IS NOT NULL OR coalesce(json_extract(problem, '$.fate'), 'unknown') = 'unknown')"
"""Giving up a task that the gateway may have does not free its price: a person who says so may be wrong."""

COUNTS_SINCE = (
    "((state IN ('waiting', 'submitting')"
    " OR CASE WHEN coalesce(deadline, 0) > created_at THEN deadline ELSE created_at END >= ?)"
    f" AND (state IN ({_RESERVING}) OR (state = 'abandoned' AND {_MAY_BE_CHARGED})))"
)
"""Whether a task counts against a cap that began at that time: by when it was sent, or created if that is later."""


def count_spending(db: Connection, mode: Mode, windows: tuple[float, float], gateway: str = "") -> Spending:
    """Money reserved or spent in the windows (day, month), by when it was sent, and the number of open tasks.

    Waiting tasks count as sent now. Abandoned tasks that the gateway may have charged for count too.
    """
    day, month = windows
    # One look at the month's tasks, which the day's are among.
    row = db.execute(
        f"SELECT CAST(coalesce(sum(CASE WHEN {COUNTS_SINCE} THEN reserve_micros END), 0) AS BIGINT),"
        " CAST(coalesce(sum(reserve_micros), 0) AS BIGINT),"
        f" count(CASE WHEN gateway = ? AND {COUNTS_SINCE} THEN 1 END) FROM task WHERE mode = ? AND {COUNTS_SINCE}",
        (day, gateway, day, mode.value, month),
    ).fetchone()
    open_marks, open_states = state_marks(OPEN_STATES)
    query = f"SELECT count(*) FROM task WHERE mode = ? AND state IN ({open_marks})"
    count = _scalar(db, query, mode.value, *open_states)
    return Spending(from_micros(row[0]), from_micros(row[1]), count, row[2])


def count_taken(db: Connection, mode: Mode, gateway: str, unknown_since: float) -> int:
    """How many tasks hold a slot at that gateway (`%`: at all of them)."""
    marks, states = state_marks(SLOT_STATES)
    query = (
        f"SELECT count(*) FROM task WHERE mode = ? AND gateway LIKE ? AND state IN ({marks})"
        " AND (state != 'outcome_unknown' OR updated_at > ?)"
    )
    taken: int = _scalar(db, query, mode.value, gateway, *states, unknown_since)
    return taken


def count_missing(db: Connection, task: Task, *, now: float, slots: Slots) -> int:
    """How many slots a waiting task lacks if its owner's older waiting tasks, that need only a slot,
    go first."""
    since = now - slots.unknown_holds_seconds
    query = (
        "SELECT count(*) FROM task WHERE mode = ? AND gateway LIKE ? AND state = 'waiting'"
        " AND coalesce(owner, '') = coalesce(?, '')"
        " AND (problem IS NULL OR json_extract(problem, '$.code') = ?) AND (created_at, id) < (?, ?)"
    )
    missing = []
    for gateway, most in (("%", slots.concurrent), (task.gateway, slots.at_gateway)):
        who = (task.mode.value, gateway, task.owner, NO_SLOT, task.created_at, task.id)
        ahead: int = _scalar(db, query, *who)
        missing.append(count_taken(db, task.mode, gateway, since) + ahead + 1 - most)
    return max(missing)


def require_own_id(db: Connection, task: Task, gateway_task_id: str, *, by_person: bool) -> None:
    """Raise `InvalidRequest` for an id of the gateway's that another task has; a person may move one that was given up.

    The caller holds the transaction that stores it.
    """
    row = db.execute(
        "SELECT id FROM task WHERE gateway_task_id = ? AND gateway = ? AND mode = ? AND id != ?"
        " AND NOT (state = 'abandoned' AND ?)",
        (gateway_task_id, task.gateway, task.mode.value, task.id, by_person),
    ).fetchone()
    if row is not None:
        step = NextStep(Action.GET, "Compare the two.", target=row["id"])
        raise InvalidRequest(f"Task {row['id']} has that id already.", next_step=step, code=SAME_ID)


def advance_pace(db: Connection, account: str, interval: float, now: float) -> float:
    """When the account is free again after one more reservation."""
    row = db.execute(
        "INSERT INTO pace (account, next_free) VALUES (:account, :next) ON CONFLICT (account) DO UPDATE SET next_free ="
        " CASE WHEN pace.next_free > :now THEN pace.next_free + :interval ELSE :next END RETURNING next_free",
        {"account": account, "now": now, "interval": interval, "next": now + interval},
    ).fetchone()
    return float(row[0])


def _scalar(db: Connection, query: str, *values: Any) -> Any:
    return db.execute(query, values).fetchone()[0]


@of_rows
def read_event(row: Row) -> dict[str, Any]:
    """An entry of a sheet's or a task's history."""
    return {"at": row["at"], "kind": row["kind"], **json.loads(row["detail"])}
