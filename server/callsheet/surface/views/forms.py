"""The answers as JSON, for machines. The same facts that people are shown, under stable names; money is text."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal

from callsheet.core.catalogue.cards import Catalogue, Field, ModelCard, Source
from callsheet.core.catalogue.pricing import Price
from callsheet.core.payload.validation import Finding
from callsheet.core.shot import JsonValue, Shot
from callsheet.core.tasks.models import Sheet, Task
from callsheet.errors import FATE_SENTENCES, CallsheetError
from callsheet.service import Explanation, Submission, TaskReport
from callsheet.service.results import Option, fate_sentence, iso
from callsheet.surface.next_steps import command, for_person
from callsheet.surface.text import in_commands

from .card_choices import choices_of

JsonObject = dict[str, JsonValue]


def error_form(error: CallsheetError) -> JsonObject:
    """`{"error": …}` with the five answers."""
    return {
        "error": {
            "code": error.error_code,
            "message": error.message,
            "fate": error.fate.value,
            "retry": error.retry,
            "next_step": in_commands(for_person(error.next_step)),
            "fate_text": FATE_SENTENCES[error.fate],
        }
    }


def explanation_form(explanation: Explanation, catalogue: Catalogue) -> JsonObject:
    """What `explain` answers."""
    card, shot, sheet = explanation.card, explanation.shot, explanation.sheet
    form: JsonObject = {
        "status": explanation.status,
        "mode": explanation.mode.value,
        "notice": explanation.notice,
        "earlier": explanation.earlier or None,
        "what": explanation.what,
        "shot": shot_form(shot) if shot else None,
        "findings": [finding_form(finding) for finding in explanation.findings],
        "prompt_notes": list(explanation.prompt_notes),
    }
    if card is not None:
        form |= {
            "availability": availability_form(card),
            "gateway": card.gateway,
            "model": card.model,
            "kind": shot.kind if shot else None,
            "request": {
                "method": explanation.method,
                "url": explanation.url,
                "body": explanation.body,
                "curl": explanation.curl,
            },
            "price": price_form(explanation.price, catalogue, card) if explanation.price else None,
            "retention": retention_form(card),
            "poll": poll_form(card),
        }
    if explanation.options:
        form["options"] = [option_form(option, catalogue) for option in explanation.options]
    if sheet is not None:
        form |= {"sheet_id": sheet.id, "sheet": sheet_form(sheet)}
    form["next_step"] = in_commands(for_person(explanation.next_step))
    return form


def shot_form(shot: Shot) -> JsonObject:
    """The shot, with what the card filled in."""
    form: JsonObject = {
        "prompt": shot.prompt,
        "duration_seconds": shot.duration_seconds,
        "aspect_ratio": shot.aspect_ratio,
        "resolution": shot.resolution,
        "reference_image": shot.image_url is not None,
        "image_url": shot.image_url,
        "callback_url": shot.callback_url,
    }
    if shot.extras:
        form["extras"] = dict(shot.extras)
    return form


def finding_form(finding: Finding) -> JsonObject:
    """One finding."""
    return {**asdict(finding)}


def availability_form(card: ModelCard) -> JsonObject:
    """Whether the model may be expected to answer, and why that is thought."""
    life = card.lifecycle
    return {
        "state": life.availability.value,
        "summary": life.summary,
        "evidence": [{**asdict(evidence)} for evidence in life.evidence],
    }


def price_form(price: Price, catalogue: Catalogue, card: ModelCard) -> JsonObject:
    """A price with its source and date; `usd` is null when it is not documented."""
    return {
        "text": str(price),
        "usd": _text(price.usd),
        "amount": _text(price.amount),
        "unit": price.unit,
        "as_of": price.as_of,
        "source": source_form(catalogue.source(card, price.source)),
        "note": price.note,
    }


def source_form(source: Source | None) -> JsonObject | None:
    """Where a fact was read."""
    return None if source is None else {**asdict(source)}


def retention_form(card: ModelCard) -> JsonObject:
    """How long the gateway keeps a result."""
    return {"result_hours": card.retention.result_hours, "note": card.retention.note}


def poll_form(card: ModelCard) -> JsonObject:
    """When to ask after a task."""
    usual = card.poll.usual_seconds
    return {
        "first_after_seconds": card.poll.first_after_seconds,
        "every_seconds": card.poll.every_seconds,
        "usual_seconds": list(usual) if usual else None,
        "note": card.poll.note,
    }


def option_form(option: Option, catalogue: Catalogue) -> JsonObject:
    """One card that was considered for a shot."""
    return {
        "gateway": option.card.gateway,
        "model": option.card.model,
        "fits": option.fits,
        "why_not": option.why_not or None,
        "price": price_form(option.price, catalogue, option.card),
        "availability": {
            "state": option.card.lifecycle.availability.value,
            "summary": option.card.lifecycle.summary,
        },
    }


def sheet_form(sheet: Sheet) -> JsonObject:
    """A call sheet; `shown` is the text that a person agrees to."""
    return {
        "sheet_id": sheet.id,
        "state": sheet.state.value,
        "mode": sheet.mode.value,
        "take": sheet.take,
        "gateway": sheet.binding.gateway,
        "model": sheet.binding.model,
        "price": str(sheet.price),
        "body_sha256": sheet.binding.body_sha256,
        "shown": sheet.shown,
        "made_at": iso(sheet.made_at),
        "expires_at": iso(sheet.expires_at),
        "approved_by": sheet.approved_by.value if sheet.approved_by else None,
        "approved_at": iso(sheet.approved_at),
        "task_id": sheet.task_id,
    }


def submission_form(submission: Submission, sheet_id: str) -> JsonObject:
    """What `submit` answers; `task` is null while approval is needed."""
    form: JsonObject = {"status": submission.status, "sheet_id": sheet_id, "notice": submission.notice}
    if submission.report is None:
        form |= {"approval": {"shown": submission.approval_text, "command": command(submission.next_step)}}
    form["task"] = report_form(submission.report) if submission.report else None
    form["next_step"] = in_commands(for_person(submission.next_step))
    return form


def report_form(report: TaskReport) -> JsonObject:
    """What is known of a task."""
    task = report.task
    return {
        "task_id": task.id,
        "sheet_id": task.sheet_id,
        "state": task.state.value,
        "status_text": report.status_text,
        "mode": task.mode.value,
        "notice": report.notice,
        "gateway": task.gateway,
        "model": task.model,
        "fate": report.fate,
        "fate_text": fate_sentence(task),
        "charge": task.charge,
        "percent": task.percent,
        "gateway_task_id": task.gateway_task_id,
        "gateway_state": task.said or None,
        "problem": None if task.problem is None else {**asdict(task.problem)},
        "clip": None if task.clip is None else {**asdict(task.clip)},
        "prompt": report.prompt,
        **_times(task),
        "next_step": in_commands(for_person(report.next_step)),
    }


def _times(task: Task) -> JsonObject:
    return {
        "created_at": iso(task.created_at),
        "accepted_at": iso(task.accepted_at),
        "updated_at": iso(task.updated_at),
        "finished_at": iso(task.finished_at),
        "next_look_at": iso(task.next_at),
    }


def card_form(card: ModelCard, catalogue: Catalogue) -> JsonObject:
    """A model card."""
    rule = card.price
    offered = choices_of(card)
    return {
        "gateway": card.gateway,
        "model": card.model,
        "title": card.title,
        "kinds": list(card.kinds),
        "durations_seconds": [*offered.durations],
        "aspect_ratios": [*offered.ratios],
        "resolutions": [*offered.resolutions],
        "availability": availability_form(card),
        "price": {
            "kind": rule.kind,
            "unit": rule.unit,
            "amounts": {key: str(amount) for key, amount in rule.amounts.items()},
            "usd_per_unit": _text(rule.usd_per_unit),
            "as_of": rule.as_of,
            "source": source_form(catalogue.source(card, rule.source)),
            "note": rule.note,
        },
        "fields": [field_form(field) for field in card.fields],
        "image": None if card.image is None else {**asdict(card.image), "formats": list(card.image.formats)},
        "poll": poll_form(card),
        "retention": retention_form(card),
        "rate_limit": {**asdict(card.rate_limit)},
        "conflicts": [{**asdict(conflict), "sources": list(conflict.sources)} for conflict in card.conflicts],
        "notes": list(card.notes),
    }


def field_form(field: Field) -> JsonObject:
    """One field of a request body."""
    return {
        "path": field.name,
        "role": field.role,
        "type": field.kind,
        "required": field.required,
        "values": list(field.values),
        "values_with_image": list(field.values_with_image),
        "default": field.default,
        "written": field.fill,
        "only": field.only,
        "min_length": field.min_length,
        "max_length": field.max_length,
        "unit": field.unit,
        "max_items": field.max_items,
        "note": field.note,
        "source": field.source,
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


__all__ = [
    "JsonObject",
    "card_form",
    "error_form",
    "explanation_form",
    "finding_form",
    "option_form",
    "report_form",
    "sheet_form",
    "shot_form",
    "submission_form",
]
