"""Builds the answers from the service's results. `render` words a next step for the reader: agent or person.

The words of a gateway stand only in `untrusted_gateway_message` and the fields of a task's details; they are clean
and bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

from callsheet.core.catalogue.cards import Catalogue
from callsheet.core.consent import Mode
from callsheet.core.delivery import name_differences
from callsheet.core.payload.body import Finding
from callsheet.core.payload.own_files import format_own_file
from callsheet.core.security.redaction import escape_block
from callsheet.core.security.urls import url_host
from callsheet.core.shot import PARAMETERS, Input, JsonValue, Shot
from callsheet.core.tasks import Sheet, Task
from callsheet.errors import (
    DECLINED,
    FATE_SENTENCES,
    Action,
    CallsheetError,
    Fate,
    GatewayRefused,
    KeyProblem,
    NextStep,
    NotApproved,
    OutcomeUnknown,
    PolicyRefusal,
    SetupProblem,
)
from callsheet.service import Answer, Explanation, Service, Submission, TaskReport
from callsheet.service.catalogue.ranking import MOST_LINES, Option, Query
from callsheet.service.results import (
    OPEN_THE_KEY,
    Blocker,
    fate_of,
    fate_sentence,
    iso,
    status_text,
    waits_for_key,
)
from callsheet.surface.next_steps import whole_command

from .answers import (
    ErrorAnswer,
    ExplainAnswer,
    ExplainDetails,
    FindingAnswer,
    InputAnswer,
    ModelsAnswer,
    OptionAnswer,
    OptionDetails,
    SheetAnswer,
    SubmitAnswer,
    SubmitDetails,
    TaskAnswer,
    TaskDetails,
    TaskLine,
    TasksAnswer,
)
from .cards import availability_text, plain, polling_text, retention_text, source_text

JsonObject = dict[str, JsonValue]
Render = Callable[[NextStep], str]

PROMPT_IN_LIST = 80
REASON_IN_LIST = 120
REHEARSED = "rehearsed"


def money_code(task: Task) -> str:
    """What became of the task's money in one word: a `Fate`, or `rehearsed` in the sandbox."""
    return REHEARSED if task.mode is Mode.SANDBOX else fate_of(task).value


def error_answer(error: CallsheetError, render: Render) -> ErrorAnswer:
    """An error with its five answers."""
    return ErrorAnswer(
        code=error.error_code,
        message=error.message,
        fate=error.fate.value,
        fate_text=FATE_SENTENCES[error.fate],
        retry=error.retry,
        next_step=render(error.next_step),
    )


def explain_answer(explanation: Explanation, catalogue: Catalogue, render: Render) -> ExplainAnswer:
    """The answer to `explain_payload`."""
    card, shot, price = explanation.card, explanation.shot, explanation.price
    answer = ExplainAnswer(
        status=cast("Any", explanation.status),
        blocked=[_blocked(item) for item in explanation.blocked] or None,
        notice="\n".join(part for part in (explanation.earlier, explanation.notice) if part),
        what=explanation.what,
        findings=[_finding(item) for item in explanation.findings] or None,
        prompt_notes=list(explanation.prompt_notes) or None,
        options=[_option(option) for option in explanation.options] or None,
        rest=explanation.rest or None,
        next_step=render(explanation.next_step),
    )
    if card is None or shot is None or price is None:
        return answer
    return answer.model_copy(
        update={
            "sheet_id": explanation.sheet.id if explanation.sheet else None,
            "gateway": card.gateway,
            "model": card.model,
            "kind": shot.kind,
            **{name: shot.get(name) for name in PARAMETERS},
            "inputs": [_input(explanation, item) for item in shot.inputs] or None,
            "price": str(price),
            "price_as_of": price.as_of,
            "price_source": source_text(catalogue, card, price.source),
            "availability": availability_text(card),
            "retention": retention_text(card.retention),
            "polling": polling_text(card.poll, shot.seconds),
            "method": explanation.method,
            "url": explanation.url,
            "body": explanation.body,
            "curl": explanation.curl,
        }
    )


def _input(explanation: Explanation, item: Input) -> InputAnswer:
    file = explanation.files.get(item.url)
    return InputAnswer(role=item.role, host=url_host(item.url) or "", file=format_own_file(file) if file else None)


def explain_details(explanation: Explanation, catalogue: Catalogue, render: Render) -> ExplainDetails:
    """The same with everything that a program may want."""
    card, price, sheet = explanation.card, explanation.price, explanation.sheet
    options = [
        OptionDetails(
            **_option(option).model_dump(), price_usd=None if option.price.usd is None else f"{option.price.usd:f}"
        )
        for option in explanation.options
    ]
    return ExplainDetails(
        **explain_answer(explanation, catalogue, render).model_dump(exclude={"options"}),
        options=options or None,
        mode=explanation.mode.value,
        shot=_whole_shot(explanation.shot) if explanation.shot else None,
        price_usd=None if price is None or price.usd is None else f"{price.usd:f}",
        evidence=plain(card.lifecycle.evidence) if card else None,
        sheet=sheet_answer(sheet) if sheet else None,
    )


def _whole_shot(shot: Shot) -> dict[str, Any]:
    """Every value under the name by which people ask for it; of a first frame also `image_url`."""
    frames = shot.urls("first_frame")
    return {
        "prompt": shot.prompt,
        **shot.parameters,
        **({"image_url": frames[0]} if frames else {}),
        "inputs": plain(shot.inputs),
        "options": dict(shot.options),
        "callback_url": shot.callback_url,
    }


def _finding(finding: Finding) -> FindingAnswer:
    parts = (finding.value and f"{finding.value}:", finding.rule, finding.instead)
    return FindingAnswer(severity=finding.severity, field=finding.field, text=" ".join(part for part in parts if part))


def _blocked(blocker: Blocker) -> dict[str, Any]:
    return {"code": blocker.code, "text": blocker.error.message, "lifted_by": blocker.lifted_by}


def _option(option: Option) -> OptionAnswer:
    return OptionAnswer(
        gateway=option.card.gateway,
        model=option.card.model,
        price=str(option.price),
        terms=option.terms,
        availability=option.card.lifecycle.availability.value,
    )


def sheet_answer(sheet: Sheet) -> SheetAnswer:
    """A call sheet."""
    return SheetAnswer(
        sheet_id=sheet.id,
        status=sheet.state.value,
        mode=sheet.mode.value,
        take=sheet.take,
        gateway=sheet.binding.gateway,
        model=sheet.binding.model,
        price=str(sheet.price),
        body_sha256=sheet.binding.body_sha256,
        approval_text=sheet.shown,
        created_at=iso(sheet.made_at),
        expires_at=iso(sheet.expires_at),
        approved_by=sheet.approved_by.value if sheet.approved_by else None,
        approved_at=iso(sheet.approved_at),
        task_id=sheet.task_id,
    )


def task_answer(report: TaskReport, render: Render) -> TaskAnswer:
    """The answer to `get_task`."""
    return TaskAnswer(**_task_fields(report, render))


def task_details(report: TaskReport, render: Render) -> TaskDetails:
    """The same with everything that a program may want."""
    task = report.task
    return TaskDetails(
        **_task_fields(report, render),
        money_code=money_code(task),
        mode=task.mode.value,
        prompt=report.prompt,
        charge=task.charge,
        polls=task.polls,
        gateway_status=task.said or None,
        problem=None if task.problem is None else asdict(task.problem),
        accepted_at=iso(task.accepted_at),
        updated_at=iso(task.updated_at),
        finished_at=iso(task.finished_at),
        next_poll_at=iso(task.next_at),
    )


def _task_fields(report: TaskReport, render: Render) -> dict[str, Any]:
    task, clip = report.task, report.task.clip
    fields: dict[str, Any] = {
        "task_id": task.id,
        "status": task.state.value,
        "status_text": status_text(task, quoting=False),
        "money": fate_sentence(task),
        "notice": report.notice,
        "sheet_id": task.sheet_id,
        "gateway": task.gateway,
        "model": task.model,
        "gateway_task_id": task.gateway_task_id,
        "percent": task.percent,
        "created_at": iso(task.created_at) or "",
        "untrusted_gateway_message": _gateway_message(task),
        "findings": [_finding(item) for item in report.findings] or None,
        "next_step": render(report.next_step),
    }
    if clip is not None:
        fields |= {
            "clip_path": clip.path,
            "poster_path": clip.poster,
            "contact_sheet_path": clip.contact_sheet,
            "size_bytes": clip.size,
            "sha256": clip.sha256,
            "duration_seconds": clip.duration_seconds,
            "width": clip.width,
            "height": clip.height,
        }
    return fields


def _gateway_message(task: Task) -> str | None:
    return (task.problem.said if task.problem else "") or None


def submit_answer(submission: Submission, render: Render) -> SubmitAnswer:
    """The answer to `submit_video`."""
    answer = SubmitAnswer(
        status=submission.status,
        notice=submission.notice,
        money=FATE_SENTENCES[Fate.NOTHING_SENT],
        approval_text=submission.approval_text or None,
        approval_command=whole_command(submission.next_step) or None,
        approval_url=submission.next_step.desk_url or None,
        why=submission.why or None,
        next_step=render(submission.next_step),
    )
    if submission.report is None:
        return answer
    task = submission.report.task
    return answer.model_copy(
        update={
            "task_id": task.id,
            "task_status": task.state.value,
            "status_text": status_text(task, quoting=False),
            "money": fate_sentence(task),
            "gateway_task_id": task.gateway_task_id,
            "untrusted_gateway_message": _gateway_message(task),
            "approval_text": None,
            "approval_command": None,
            "approval_url": None,
            "why": None,
        }
    )


def refused_submission(error: CallsheetError, render: Render) -> SubmitAnswer | None:
    """The answer to a submission that an error ended before there was a task; None if it was no decision."""
    if error.error_code == DECLINED:
        status = "declined"
    elif isinstance(error, GatewayRefused):
        status = "refused"
    elif isinstance(error, NotApproved):
        status = error.error_code if error.error_code in set(Answer) else "approval_needed"
    elif isinstance(error, PolicyRefusal | KeyProblem | SetupProblem | OutcomeUnknown):
        status = "blocked"
    else:
        return None
    step = render(error.next_step)
    return SubmitAnswer(status=status, notice=error.message, money=FATE_SENTENCES[error.fate], next_step=step)


def submit_details(submission: Submission, sheet_id: str, render: Render) -> SubmitDetails:
    """The same with the whole task."""
    report = submission.report
    return SubmitDetails(
        **submit_answer(submission, render).model_dump(),
        sheet_id=sheet_id,
        task=task_details(report, render) if report else None,
    )


def tasks_answer(service: Service, reports: Sequence[TaskReport], render: Render) -> TasksAnswer:
    """The answer to `list_tasks`."""
    lines = [
        TaskLine(
            task_id=report.task.id,
            status=report.task.state.value,
            money=fate_sentence(report.task),
            gateway=report.task.gateway,
            model=report.task.model,
            prompt=escape_block(report.prompt, PROMPT_IN_LIST),
            created_at=iso(report.task.created_at) or "",
            clip_path=report.task.clip.path if report.task.clip else None,
            differs=name_differences(report.findings) or None,
        )
        for report in reports
    ]
    step = NextStep(Action.GET, target=lines[0].task_id) if lines else NextStep(Action.EXPLAIN)
    held = sum(waits_for_key(report.task) for report in reports)
    text = render(step)
    if held:
        text = f"{held} of them {'wait' if held > 1 else 'waits'} for a sealed key. {render(OPEN_THE_KEY)}"
    return TasksAnswer(notice=service.notice(), tasks=lines, next_step=text)


def models_answer(service: Service, query: Query, render: Render) -> ModelsAnswer:
    """The answer to `list_models`: at most `MOST_LINES` models that offer what was asked."""
    ranking = service.list_models(query)
    shown = ranking.fitting[:MOST_LINES]
    step = NextStep(Action.EXPLAIN, "With gateway and model, or without: then those that can take it are ranked.")
    return ModelsAnswer(
        notice=service.notice(),
        models=[_option(option) for option in shown],
        rest=ranking.rest(len(shown)) or None,
        next_step=render(step),
    )
