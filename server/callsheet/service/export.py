"""All sheets and tasks for people's own books: as one document, or one row for each task; and one clip's receipt.

What is exported is the picture of one moment, without keys: everything passes the redactor here, so that
no surface can forget it. Links to clips at the gateways are left out: anybody who has such a link can open the clip.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from callsheet.core.audit import AuditEntry
from callsheet.core.catalogue.prices import charge_in_usd, dollars, from_micros
from callsheet.core.clips import ClipLabel
from callsheet.core.consent import Mode
from callsheet.core.delivery import find_differences
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import url_host
from callsheet.core.shot import PARAMETERS, Input, JsonValue, OwnFile
from callsheet.core.spending import ALLOWANCE_MADE, find_consent, read_detail
from callsheet.core.tasks import Sheet, SheetState, Task
from callsheet.errors import Action, Fate, NextStep, UnknownThing

from .consent import files_of
from .dependencies import Dependencies
from .ports import Ledger
from .results import fate_of, fate_sentence, iso

EXPORT_VERSION = 1
ALL = -1
LONGEST_CELL = 30_000
"""Spreadsheets take no more in one cell."""

LONGEST_TAG = 4000
FORMULA_STARTS = ("=", "+", "-", "@")

COLUMNS = (
    *("task_id", "sheet_id", "take", "mode", "gateway", "model", "state", "created_at", "accepted_at", "finished_at"),
    *("updated_at", "prompt", "duration_seconds", "aspect_ratio", "resolution", "audio", "seed"),
    *("reference_image", "price"),
    *("price_usd", "price_as_of", "reserved_usd", "charge", "charged_usd", "money", "approved_by", "approved_at"),
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


def charged_usd(sheet: Sheet, task: Task) -> Decimal | None:
    """What was really charged, in US dollars, as far as the gateway says it; None in a rehearsal."""
    return charge_in_usd(sheet.price, task.charge) if task.mode is Mode.LIVE else None


def charge_text(sheet: Sheet, task: Task) -> str:
    """What was charged, to stand beside the price that was agreed to."""
    usd = charged_usd(sheet, task)
    if task.mode is Mode.SANDBOX or fate_of(task) in (Fate.NOTHING_SENT, Fate.SENT_NOT_CHARGED):
        return "nothing"
    if usd is None or task.charge is None:
        return task.charge or "not reported by the gateway"
    return f"{dollars(usd)} USD" if task.charge.endswith(" USD") else f"{dollars(usd)} USD ({task.charge})"


def clip_label(deps: Dependencies, task: Task) -> ClipLabel:
    """What a clip's file says of itself, without keys."""
    sheet, policy = deps.ledger().sheet(task.sheet_id), deps.policy()
    assert sheet is not None
    seconds = sheet.shot.get("duration_seconds")
    return ClipLabel(
        task_id=task.id,
        gateway=task.gateway,
        model=task.model,
        prompt=clean(deps.redactor().text(sheet.shot.prompt), limit=LONGEST_TAG),
        seconds=seconds if isinstance(seconds, int) else None,
        price=f"{sheet.price}, charged: {deps.sanitize(charge_text(sheet, task))}",
        date=(iso(task.created_at) or "")[:10],
        template=policy.save_name,
        tags=policy.save_tags,
    )


def receipt(deps: Dependencies, task_id: str) -> JsonObject:
    """One clip's receipt: what was agreed to, by whom, what was sent, charged and delivered. Raises `UnknownThing`."""
    ledger = deps.ledger()
    task = ledger.task(task_id)
    sheet = None if task is None else ledger.sheet(task.sheet_id)
    if task is None or sheet is None:
        raise UnknownThing("There is no task with that id.", next_step=NextStep(Action.LIST))
    form, binding, usd = _task_form(deps, sheet, task), sheet.binding, charged_usd(sheet, task)
    shot = ("gateway", "model", "prompt", *(name for name in PARAMETERS if name != "negative_prompt"), "inputs")
    claims = [event["at"] for event in ledger.history(task.id) if event["kind"] == "claimed"]
    document: JsonObject = {
        "format": "callsheet-receipt",
        "version": EXPORT_VERSION,
        "issued_at": iso(deps.clock.now()),
        **{name: form[name] for name in ("task_id", "sheet_id", "take", "mode", "state", "money")},
        "shot": {name: form[name] for name in shot},
        "price": {
            **{name: form[name] for name in ("price", "price_usd", "price_as_of", "charge")},
            "charged": charge_text(sheet, task),
            "charged_usd": None if usd is None else dollars(usd),
        },
        "consent": _consent_form(ledger, sheet, task),
        "sent": {
            "at": iso(claims[-1]) if claims else None,
            "method": binding.method,
            "url": binding.base_url + binding.path,
            "body_bytes": len(sheet.body),
            "body_sha256": binding.body_sha256,
            **{name: form[name] for name in ("gateway_task_id", "accepted_at", "problem")},
        },
        "delivered": form["clip"],
        "delivered_at": form["finished_at"],
    }
    redacted = deps.redactor().value(document)
    assert isinstance(redacted, dict)
    return redacted


def _consent_form(ledger: Ledger, sheet: Sheet, task: Task) -> JsonObject:
    """Who agreed, by which means and when, as the audit trail has it; of an allowance also who created it."""
    entries = ledger.consent.entries(limit=ALL)
    about = [entry for entry in reversed(entries) if sheet.id in (entry.subject, read_detail(entry).get("sheet"))]
    found = find_consent(about, digest=sheet.binding.digest, task_id=task.id)
    if found is None:
        return {"means": sheet.approved_by.value if sheet.approved_by else None, "at": iso(sheet.approved_at)}
    allowance = read_detail(found).get("allowance")
    made = [entry for entry in entries if entry.action == ALLOWANCE_MADE and entry.subject == allowance]
    return {**_act_form(found), "allowance": _act_form(made[0]) if made else None}


def _act_form(entry: AuditEntry) -> JsonObject:
    detail = read_detail(entry)
    return {
        "means": entry.actor,
        "who": clean(detail.get("who", ""), limit=100) or None,
        "at": iso(entry.at),
        "subject": entry.subject,
        "entry": entry.seq,
        "hash": entry.hash,
        "signed": "signature" in detail,
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
        "charged_usd": None if (charged := charged_usd(sheet, task)) is None else dollars(charged),
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
