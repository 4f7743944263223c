"""From what the use cases answer to typed answers, and to the same facts in fewer words.

Some clients give the model only the structured part, others only the text, so either is enough to go on
with. The words of a gateway stand only in `untrusted_gateway_message`, cleaned and bounded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, cast

from callsheet.core.catalogue.cards import Availability, ModelCard, PollAdvice
from callsheet.core.catalogue.pricing import dollars
from callsheet.core.payload.validation import neutral_choices
from callsheet.core.security.redaction import escape_block
from callsheet.core.security.urls import url_host
from callsheet.core.shot import TEXT_TO_VIDEO
from callsheet.errors import FATE_SENTENCES, Fate
from callsheet.service import Explanation, Service, Submission, TaskReport
from callsheet.service.results import OPEN_THE_KEY, Option, fate_sentence, iso, notice, status_text, waits_for_key
from callsheet.surface.next_steps import for_agent
from callsheet.surface.views.answers import (
    ExplainAnswer,
    FindingAnswer,
    ModelLine,
    ModelsAnswer,
    OptionAnswer,
    SubmitAnswer,
    TaskAnswer,
    TaskLine,
    TasksAnswer,
)

PROMPT_IN_LIST = 80
REASON_IN_LIST = 120


def tell_explanation(service: Service, explanation: Explanation) -> ExplainAnswer:
    """The answer to `explain_payload`."""
    card, shot, sheet = explanation.card, explanation.shot, explanation.sheet
    answer = ExplainAnswer(
        status=cast("Literal['ready', 'invalid', 'choose']", explanation.status),
        notice=_joined([explanation.earlier, explanation.notice]),
        what=explanation.what,
        findings=[
            FindingAnswer(
                severity=item.severity, field=item.field, text=_finding_text(item.value, item.rule, item.instead)
            )
            for item in explanation.findings
        ]
        or None,
        prompt_notes=list(explanation.prompt_notes) or None,
        options=[_option(option) for option in explanation.options] or None,
        next_step=for_agent(explanation.next_step),
    )
    if card is None or shot is None or explanation.price is None:
        return answer
    price = explanation.price
    source = service.deps.catalogue().source(card, price.source)
    return answer.model_copy(
        update={
            "sheet_id": sheet.id if sheet else None,
            "gateway": card.gateway,
            "model": card.model,
            "kind": shot.mode,
            "duration_seconds": shot.duration_seconds,
            "aspect_ratio": shot.aspect_ratio,
            "resolution": shot.resolution or card.resolution_when_absent,
            "image_host": url_host(shot.image_url) if shot.image_url else None,
            "price": str(price),
            "price_as_of": price.as_of,
            "price_source": f"{source.title}, {source.url}" if source else price.source,
            "availability": f"{card.lifecycle.availability.value}: {card.lifecycle.summary}",
            "retention": _retention(card),
            "polling": _polling(card.poll),
            "method": explanation.method,
            "url": explanation.url,
            "body": explanation.body,
            "curl": explanation.curl,
        }
    )


def explanation_text(answer: ExplainAnswer) -> str:
    """The explanation in a few lines; a possible duplicate charge is the first."""
    lines = [answer.notice, f"{answer.status}: {_subject(answer)}"]
    if answer.price is not None:
        lines.append(f"Availability: {answer.availability}")
        lines.append(f"Price: {answer.price} (as of {answer.price_as_of})")
    lines += [f"{item.severity}: {item.field} {item.text}" for item in answer.findings or () if item.field != "model"]
    lines += [f"note on the prompt: {note}" for note in answer.prompt_notes or ()]
    for option in answer.options or ():
        reason = f"cannot: {option.why_not}" if option.why_not else f"{option.price}, {option.availability}"
        lines.append(f"{option.gateway}/{option.model}: {reason}")
    if answer.body is not None:
        lines.append(f"{answer.method} {answer.url} {json.dumps(answer.body, ensure_ascii=False)}")
    lines.append(answer.next_step)
    return _joined(lines)


def tell_task(report: TaskReport) -> TaskAnswer:
    """The answer to `get_task`."""
    task = report.task
    clip = task.clip
    answer = TaskAnswer(
        task_id=task.id,
        status=task.state.value,
        status_text=_status_text(report),
        money=fate_sentence(task),
        notice=report.notice,
        sheet_id=task.sheet_id,
        model=task.card_id,
        gateway_task_id=task.gateway_task_id,
        percent=task.percent,
        polls=task.polls,
        created_at=iso(task.created_at) or "",
        untrusted_gateway_message=(task.problem.said if task.problem else "") or None,
        next_step=for_agent(report.next_step),
    )
    if clip is None:
        return answer
    return answer.model_copy(
        update={
            "clip_path": clip.path,
            "poster_path": clip.poster,
            "contact_sheet_path": clip.contact_sheet,
            "size_bytes": clip.size,
            "sha256": clip.sha256,
            "duration_seconds": clip.duration_seconds,
            "width": clip.width,
            "height": clip.height,
        }
    )


def task_text(answer: TaskAnswer) -> str:
    """The task in a few lines."""
    clip = answer.clip_path and (
        f"{answer.clip_path} ({answer.duration_seconds} s, {answer.width}x{answer.height}, {answer.size_bytes} bytes),"
        f" contact sheet {answer.contact_sheet_path}"
    )
    name = f"{answer.task_id} ({answer.model}): {answer.status}. {answer.status_text}"
    said = _quoted(answer.untrusted_gateway_message)
    return _joined([answer.notice, name, said, clip, answer.money, answer.next_step])


def tell_submission(submission: Submission) -> SubmitAnswer:
    """The answer to `submit_video`."""
    report = submission.report
    if report is None:
        return SubmitAnswer(
            status="approval_needed",
            notice=submission.notice,
            money=FATE_SENTENCES[Fate.NOTHING_SENT],
            approval_text=submission.approval_text,
            approval_command=submission.approval_command,
            next_step=for_agent(submission.next_step),
        )
    task = report.task
    return SubmitAnswer(
        status="already_submitted" if submission.status == "already_submitted" else "submitted",
        notice=submission.notice,
        task_id=task.id,
        task_status=task.state.value,
        status_text=_status_text(report),
        money=fate_sentence(task),
        gateway_task_id=task.gateway_task_id,
        untrusted_gateway_message=(task.problem.said if task.problem else "") or None,
        next_step=for_agent(submission.next_step),
    )


def submission_text(answer: SubmitAnswer) -> str:
    """The submission in a few lines."""
    if answer.task_id is None:
        return _joined([answer.notice, answer.approval_text, answer.next_step])
    name = f"{answer.status}: {answer.task_id}, {answer.task_status}. {answer.status_text}"
    said = _quoted(answer.untrusted_gateway_message)
    return _joined([answer.notice, name, said, answer.money, answer.next_step])


def tell_tasks(service: Service, reports: Sequence[TaskReport]) -> TasksAnswer:
    """The answer to `list_tasks`."""
    lines = [
        TaskLine(
            task_id=report.task.id,
            status=report.task.state.value,
            money=fate_sentence(report.task),
            model=report.task.card_id,
            prompt=escape_block(report.prompt, PROMPT_IN_LIST),
            created_at=iso(report.task.created_at) or "",
            clip_path=report.task.clip.path if report.task.clip else None,
        )
        for report in reports
    ]
    step = f"Call get_task with {lines[0].task_id} for more." if lines else "Call explain_payload to begin."
    held = sum(waits_for_key(report.task) for report in reports)
    if held:
        step = f"{held} of them {'wait' if held > 1 else 'waits'} for a key that is sealed. {OPEN_THE_KEY}"
    return TasksAnswer(notice=notice(service.deps, service.deps.policy().mode), tasks=lines, next_step=step)


def tasks_text(answer: TasksAnswer) -> str:
    """The list of tasks, one line each."""
    lines = [
        f"{line.task_id} ({line.model}) {line.created_at}: {line.status}. {line.clip_path or line.money}"
        for line in answer.tasks
    ]
    return _joined([answer.notice, *(lines or ["No tasks."]), answer.next_step])


def tell_models(service: Service, gateway: str | None) -> ModelsAnswer:
    """The answer to `list_models`."""
    cards = sorted(service.cards(gateway=gateway), key=lambda card: card.lifecycle.availability is Availability.DROPPED)
    return ModelsAnswer(
        notice=notice(service.deps, service.deps.policy().mode),
        models=[_model_line(card) for card in cards],
        next_step="Call explain_payload with a prompt; without a gateway it ranks the models that can take the shot.",
    )


def models_text(answer: ModelsAnswer) -> str:
    """The list of models, one line each."""
    lines = [
        f"{line.gateway}/{line.model}: {line.availability.partition(':')[0]}"
        + (f"; seconds {_listed(line.durations_seconds)}; {line.price}" if line.price else "")
        for line in answer.models
    ]
    return _joined([answer.notice, *lines, answer.next_step])


def price_table(card: ModelCard) -> str:
    """The card's prices in one phrase, `4 s 0.24, 8 s 0.48 USD`, or `unknown`."""
    rule = card.price
    if rule.kind == "unknown" or rule.usd_per_unit is None:
        return "unknown"
    rate = rule.usd_per_unit
    amounts = [(key, dollars(amount * rate)) for key, amount in rule.amounts.items()]
    match rule.kind:
        case "by_duration":
            return ", ".join(f"{seconds} s {usd}" for seconds, usd in amounts) + " USD"
        case "per_second":
            return ", ".join(f"{key} {usd}" for key, usd in amounts) + " USD a second"
        case _:
            return ", ".join(usd for _, usd in amounts) + " USD a clip"


def _status_text(report: TaskReport) -> str:
    """The sentence on where a task is, with the gateway's words taken out: they stand in a field that says so."""
    return status_text(report.task, quoting=False)


def _quoted(said: str | None) -> str | None:
    return f"untrusted_gateway_message: {json.dumps(said, ensure_ascii=False)}" if said else None


def _model_line(card: ModelCard) -> ModelLine:
    life = card.lifecycle
    line = ModelLine(
        gateway=card.gateway,
        model=card.model,
        availability=f"{life.availability.value}: {life.summary}",
    )
    if life.availability is Availability.DROPPED:
        return line
    return line.model_copy(
        update={
            "modes": list(card.modes),
            "durations_seconds": durations_of(card) or None,
            "aspect_ratios": _choices(card, "aspect_ratio") or None,
            "resolutions": _choices(card, "resolution")
            or ([card.resolution_when_absent] if card.resolution_when_absent else None),
            "price": price_table(card),
            "price_as_of": card.price.as_of,
        }
    )


def durations_of(card: ModelCard) -> list[int]:
    field = card.field_for("duration")
    choices = neutral_choices(field, TEXT_TO_VIDEO) if field else ()
    return [int(choice) for choice in choices if str(choice).isdigit()]


def _choices(card: ModelCard, role: str) -> list[str]:
    """Allowed values of a role in the words of a shot, whether it has a field of its own or shares `size`."""
    for field in card.fields:
        if field.role == role:
            return [str(choice) for choice in neutral_choices(field, TEXT_TO_VIDEO)]
        if field.role == "size":
            found = [dict(meaning).get(role) for _, meaning in field.spelling]
            return list(dict.fromkeys(value for value in found if value))
    return []


def _option(option: Option) -> OptionAnswer:
    return OptionAnswer(
        gateway=option.card.gateway,
        model=option.card.model,
        price=str(option.price),
        availability=option.card.lifecycle.availability.value,
        why_not=escape_block(option.why_not, REASON_IN_LIST) or None,
    )


def _finding_text(value: str, rule: str, instead: str) -> str:
    return " ".join(part for part in (value and f"{value}:", rule, instead) if part)


def _listed(numbers: Sequence[int] | None) -> str:
    return ", ".join(map(str, numbers)) if numbers else "any"


def _retention(card: ModelCard) -> str:
    hours = card.retention.result_hours
    kept = (
        f"The gateway keeps the result {hours} h"
        if hours
        else "How long the gateway keeps the result is not documented"
    )
    return f"{kept}; it is saved here as soon as it is done."


def _polling(advice: PollAdvice) -> str:
    usual = (
        f", usually done after {advice.usual_seconds[0]:g} to {advice.usual_seconds[1]:g} s"
        if advice.usual_seconds
        else ""
    )
    return f"First after {advice.first_after_seconds:g} s, then every {advice.every_seconds:g} s{usual}."


def _subject(answer: ExplainAnswer) -> str:
    if answer.model is None:
        return f"{answer.what}; choose a model"
    parts = [
        f"{answer.gateway}/{answer.model}",
        answer.kind,
        f"{answer.duration_seconds} s" if answer.duration_seconds else "length not said",
        answer.aspect_ratio,
        answer.resolution,
        answer.image_host and f"image from {answer.image_host}",
        answer.sheet_id,
    ]
    return ", ".join(str(part) for part in parts if part)


def _joined(lines: Sequence[str | None]) -> str:
    return "\n".join(line for line in lines if line)
