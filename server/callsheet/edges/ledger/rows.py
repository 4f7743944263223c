"""Converts sheets and tasks to rows of the ledger and back. Rows are plain mappings; no database here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from decimal import Decimal
from enum import StrEnum
from typing import Any

from callsheet.core.catalogue.pricing import Price
from callsheet.core.consent.approval import Binding, Means
from callsheet.core.consent.policy import Mode
from callsheet.core.shot import Shot
from callsheet.core.tasks.models import Clip, Problem, Sheet, Task
from callsheet.core.tasks.states import SheetId, SheetState, TaskId, TaskState

Row = Mapping[str, Any]

_TASK_JSON = {"problem": Problem, "clip": Clip}


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
