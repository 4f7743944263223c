"""All sheets and tasks for people's own books: as one document, or as one row for each task.

What is exported is the picture of one moment, without keys: everything passes the redactor here, so that
no surface can forget it. Links to clips at the gateways are left out: anybody who has such a link can open the clip.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from callsheet.core.catalogue.prices import dollars, from_micros
from callsheet.core.delivery import find_differences
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import url_host
from callsheet.core.shot import PARAMETERS, Input, JsonValue, OwnFile
from callsheet.core.tasks import Sheet, SheetState, Task

from .consent import files_of
from .dependencies import Dependencies
from .ports import Ledger
from .results import fate_sentence, iso

EXPORT_VERSION = 1
ALL = -1
LONGEST_CELL = 30_000
"""Spreadsheets take no more in one cell."""

FORMULA_STARTS = ("=", "+", "-", "@")

COLUMNS = (
    *("task_id", "sheet_id", "take", "mode", "gateway", "model", "state", "created_at", "accepted_at", "finished_at"),
    *("updated_at", "prompt", "duration_seconds", "aspect_ratio", "resolution", "audio", "seed"),
    *("reference_image", "price"),
    *("price_usd", "price_as_of", "reserved_usd", "charge", "money", "approved_by", "approved_at"),
    *("gateway_task_id", "problem_code", "problem", "clip_path", "clip_sha256", "clip_bytes", "clip_seconds"),
    *("differences", "events"),
)

JsonObject = dict[str, JsonValue]


def export(deps: Dependencies, *, since: float | None = None) -> JsonObject:
    """Sheets and tasks created since then (seconds since the epoch; None: all), oldest first, each with its history.

    A task is never without its sheet, even if that is older. Times are ISO 8601 in UTC, money is text.
    """
    ledger, start = deps.ledger(), float("-inf") if since is None else since
    with ledger.snapshot():
        tasks = {task.sheet_id: task for task in ledger.tasks(limit=ALL) if task.created_at >= start}
        sheets = [
            sheet
            for sheet in ledger.sheets(tuple(SheetState), limit=ALL)
            if sheet.made_at >= start or sheet.id in tasks
        ]
        sheets.sort(key=lambda sheet: (sheet.made_at, sheet.id))
        spent = sorted(
            ((sheet, tasks[sheet.id]) for sheet in sheets if sheet.id in tasks),
            key=lambda pair: (pair[1].created_at, pair[1].id),
        )
        document: JsonObject = {
            "format": "callsheet-export",
            "version": EXPORT_VERSION,
            "exported_at": iso(deps.clock.now()),
            "since": iso(since),
            "sheets": [_sheet_form(deps, sheet) for sheet in sheets],
            "tasks": [_task_form(deps, sheet, task) for sheet, task in spent],
        }
    redacted = deps.redactor().value(document)
    assert isinstance(redacted, dict)
    return redacted


def export_rows(document: JsonObject) -> str:
    """The tasks of an export as CSV with a row of headings.

    Each cell is one line without invisible characters, and what a spreadsheet would take for a formula
    gets an apostrophe in front: prompts and gateways' words are not to be executed.
    """
    output = io.StringIO()
    writer = csv.DictWriter(output, COLUMNS)
    writer.writeheader()
    tasks: Any = document["tasks"]
    for task in tasks:
        writer.writerow({name: _cell(value) for name, value in _row(task).items()})
    return output.getvalue()


def _sheet_form(deps: Dependencies, sheet: Sheet) -> JsonObject:
    return {
        "sheet_id": sheet.id,
        "state": sheet.state.value,
        "made_at": iso(sheet.made_at),
        "expires_at": iso(sheet.expires_at),
        **_agreed(deps, sheet),
        "body_sha256": sheet.binding.body_sha256,
        "task_id": sheet.task_id,
        "events": _events(deps.ledger(), sheet.id),
    }


def _agreed(deps: Dependencies, sheet: Sheet) -> JsonObject:
    """What a person agreed to, or would."""
    shot, price, files = sheet.shot, sheet.price, files_of(deps, sheet.shot)
    return {
        "take": sheet.take,
        "mode": sheet.mode.value,
        "gateway": sheet.binding.gateway,
        "model": sheet.binding.model,
        "prompt": shot.prompt,
        **{name: shot.get(name) for name in PARAMETERS if name != "negative_prompt"},
        "reference_image": bool(shot.inputs),
        "inputs": [_input_form(files, item) for item in shot.inputs],
        "price": str(price),
        "price_usd": None if price.usd is None else dollars(price.usd),
        "price_as_of": price.as_of,
        "approved_by": sheet.approved_by.value if sheet.approved_by else None,
        "allowance": sheet.allowance,
        "approved_at": iso(sheet.approved_at),
    }


def _input_form(files: Mapping[str, OwnFile], item: Input) -> JsonObject:
    """An input: its host, or what is known of a file of the person's own."""
    file = files.get(item.url)
    return {"role": item.role, "host": url_host(item.url), "file": None if file is None else asdict(file)}


def _task_form(deps: Dependencies, sheet: Sheet, task: Task) -> JsonObject:
    return {
        "task_id": task.id,
        "sheet_id": task.sheet_id,
        "state": task.state.value,
        "created_at": iso(task.created_at),
        "accepted_at": iso(task.accepted_at),
        "finished_at": iso(task.finished_at),
        "updated_at": iso(task.updated_at),
        **_agreed(deps, sheet),
        "reserved_usd": dollars(from_micros(task.reserve_micros)),
        "charge": task.charge,
        "money": fate_sentence(task),
        "gateway_task_id": task.gateway_task_id,
        "problem": None if task.problem is None else {**asdict(task.problem)},
        "clip": None if task.clip is None else {**asdict(task.clip)},
        "differences": [{"field": item.field, "text": item.rule} for item in find_differences(sheet, task)],
        "events": _events(deps.ledger(), task.id),
    }


def _events(ledger: Ledger, subject: str) -> list[JsonValue]:
    return [{**event, "at": iso(event["at"])} for event in ledger.history(subject)]


def _row(task: JsonObject) -> JsonObject:
    """A task of the document with its parts laid side by side."""
    problem, clip, found, events = (task[name] for name in ("problem", "clip", "differences", "events"))
    flat: JsonObject = {name: task.get(name) for name in COLUMNS}
    if isinstance(problem, dict):
        flat |= {"problem_code": problem["code"], "problem": problem["message"]}
    if isinstance(clip, dict):
        flat |= {"clip_path": clip["path"], "clip_sha256": clip["sha256"]}
        flat |= {"clip_bytes": clip["size"], "clip_seconds": clip["duration_seconds"]}
    if isinstance(found, list):
        flat["differences"] = " ".join(str(item["text"]) for item in found if isinstance(item, dict))
    if isinstance(events, list):
        flat["events"] = "; ".join(f"{event['at']} {event['kind']}" for event in events if isinstance(event, dict))
    return flat


def _cell(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = clean(value, limit=LONGEST_CELL)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
