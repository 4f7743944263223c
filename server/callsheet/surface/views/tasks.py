"""Builds the answers about submissions and tasks. `render` words a next step for the reader: agent or person.

The words of a gateway stand only in `untrusted_gateway_message` and the fields of a task's details; they are clean
and bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from callsheet.core.consent import Mode
from callsheet.core.delivery import name_differences
from callsheet.core.security.redaction import escape_block
from callsheet.core.tasks import MOST_TOGETHER, OPEN_STATES, Sheet, Task, TaskState
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
from callsheet.service import Answer, Service, Submission, TaskReport
from callsheet.service.results import (
    OPEN_THE_KEY,
    WAIT_SECONDS,
    fate_of,
    fate_sentence,
    iso,
    status_text,
    submission_state,
    waits_for_key,
)
from callsheet.surface.next_steps import whole_command

from .answers import (
    CancelAnswer,
    SubmitAnswer,
    SubmitDetails,
    TaskAnswer,
    TaskDetails,
    TaskLine,
    TasksAnswer,
    TasksDetails,
)
from .builders import Render, finding_answer, joined, mode_fields

PROMPT_IN_LIST = 60
REHEARSED = "rehearsed"
DRAWN = "A drawn placeholder with the prompt on it; say so."
WAITS = "It waits for the user's approval; nothing was sent."
NO_CANCEL = "It was sent, and no gateway documents a way to take that back."


def money_code(task: Task) -> str:
    """What became of the task's money in one word: a `Fate`, or `rehearsed` in the sandbox."""
    return REHEARSED if task.mode is Mode.SANDBOX else fate_of(task).value


def task_answer(report: TaskReport, render: Render) -> TaskAnswer:
    """The answer to `get_task` for one task."""
    return TaskAnswer(**_task_fields(report, render))


def task_details(report: TaskReport, render: Render) -> TaskDetails:
    """The same with everything that a program may want."""
    task, clip = report.task, report.task.clip
    fields = _task_fields(report, render)
    fields |= {
        "prompt": report.prompt,
        "gateway_task_id": task.gateway_task_id,
        "notice": report.notice,
        "status_text": status_text(task, quoting=False),
        "money_code": money_code(task),
        "sheet_id": task.sheet_id,
        "charge": task.charge,
        "polls": task.polls,
        "gateway_status": task.said or None,
        "problem": None if task.problem is None else asdict(task.problem),
        "created_at": iso(task.created_at) or "",
        "accepted_at": iso(task.accepted_at),
        "updated_at": iso(task.updated_at),
        "finished_at": iso(task.finished_at),
        "next_poll_at": iso(task.next_at),
    }
    if clip is not None:
        fields |= {
            "width": clip.width,
            "height": clip.height,
            "poster_path": clip.poster,
            "contact_sheet_path": clip.contact_sheet,
            "size_bytes": clip.size,
            "sha256": clip.sha256,
        }
    return TaskDetails(**fields)


def _task_fields(report: TaskReport, render: Render) -> dict[str, Any]:
    task, clip = report.task, report.task.clip
    is_drawn = task.state is TaskState.SAVED and task.mode is Mode.SANDBOX
    return {
        "summary": joined(status_text(task, quoting=False), DRAWN if is_drawn else ""),
        "task_id": task.id,
        "status": task.state.value,
        "prompt": escape_block(report.prompt, PROMPT_IN_LIST),
        "gateway": task.gateway,
        "model": task.model,
        "percent": task.percent,
        "clip_path": report.clip_at,
        "duration_seconds": clip.duration_seconds if clip else None,
        "gateway_task_id": task.gateway_task_id if task.mode is Mode.LIVE else None,
        "untrusted_gateway_message": _gateway_message(task),
        "findings": [finding_answer(item) for item in report.findings] or None,
        **mode_fields(task.mode),
        "money": fate_sentence(task),
        "next_step": render(report.next_step),
    }


def _gateway_message(task: Task) -> str | None:
    return (task.problem.said if task.problem else "") or None


def submit_answer(found: Sequence[Submission], mode: Mode, render: Render) -> SubmitAnswer:
    """The answer to `submit_video`: for one sheet its own, for several a sum with a line for each."""
    if len(found) == 1:
        return SubmitAnswer(**_submit_fields(found[0], mode, render))
    each = [SubmitAnswer(**_submit_fields(item, mode, render)) for item in found]
    waiting = [item for item in found if item.needs_person]
    step, shown = _step_for_all(found, waiting), ("sheet_id", "task_id", "status", "code", "clip_path")
    return SubmitAnswer(
        summary=f"{len(each)} sheets: {_count(item.status for item in each)}.",
        status=min((item.status for item in each), key=_URGENCY.index),
        tasks=[
            item.model_dump(exclude_none=True, include={*shown, *(() if item.task_id else ("summary",))})
            for item in each
        ],
        why=waiting[0].why if waiting else None,
        approval_url=step.desk_url or None,
        approval_command=whole_command(step) or None if waiting else None,
        **mode_fields(mode),
        money=_money(item.money for item in each),
        next_step=render(step),
    )


def submitted_answer(reports: Sequence[TaskReport], render: Render) -> SubmitAnswer:
    """The present answer to a `submit_video` that submitted these together."""
    found = [Submission(submission_state(item.task), item.notice, item.next_step, report=item) for item in reports]
    answer = submit_answer(found, reports[0].task.mode, render)
    answer.next_step = render(reports[0].next_step if len(reports) == 1 else _next_for_all(reports))
    return answer


_URGENCY = (
    *("outcome_unknown", "refused", "blocked", *Answer, "approval_needed"),
    *("waiting", "accepted", "already_accepted"),
)
"""Of several submissions, the answer's own status is that of the one to look at first."""


def _step_for_all(found: Sequence[Submission], waiting: Sequence[Submission]) -> NextStep:
    if waiting:
        desk = waiting[0].next_step.desk_url.partition("sheets/")[0]
        ids = " ".join(item.sheet_id for item in waiting)
        return replace(waiting[0].next_step, target=ids, desk_url=desk)
    tasks = [item.report.task.id for item in found if item.report is not None]
    return NextStep(Action.WAIT, target=" ".join(tasks), seconds=WAIT_SECONDS)


def _submit_fields(item: Submission, mode: Mode, render: Render) -> dict[str, Any]:
    fields = {"status": item.status, **mode_fields(mode), "next_step": render(item.next_step)}
    if item.error is not None:
        return fields | {
            "summary": item.error.message,
            "status": refused_status(item.error) or "blocked",
            "code": item.error.error_code,
            "sheet_id": item.sheet_id or None,
            "money": FATE_SENTENCES[item.error.fate],
        }
    if item.report is None:
        return fields | {
            "summary": WAITS,
            "why": item.why,
            "sheet_id": item.sheet_id,
            "approval_url": item.next_step.desk_url or None,
            "approval_command": whole_command(item.next_step) or None,
            "money": FATE_SENTENCES[Fate.NOTHING_SENT],
        }
    task = item.report.task
    return fields | {
        "summary": joined(status_text(task, quoting=False), item.covered_by),
        "task_id": task.id,
        "task_status": task.state.value,
        "clip_path": item.report.clip_at,
        "gateway_task_id": task.gateway_task_id if task.mode is Mode.LIVE else None,
        "untrusted_gateway_message": _gateway_message(task),
        **mode_fields(task.mode),
        "money": fate_sentence(task),
    }


def refused_status(error: CallsheetError) -> str | None:
    """What became of a submission that an error ended before there was a task; None if it was no decision."""
    if isinstance(error, NotApproved):
        return error.error_code if error.error_code in set(Answer) else "approval_needed"
    if error.error_code == DECLINED:
        return "declined"
    if isinstance(error, GatewayRefused):
        return "refused"
    return "blocked" if isinstance(error, PolicyRefusal | KeyProblem | SetupProblem | OutcomeUnknown) else None


def submit_details(submission: Submission, sheet: Sheet, render: Render) -> SubmitDetails:
    """The same with the whole task."""
    report = submission.report
    fields = submit_answer([submission], sheet.mode, render).model_dump()
    return SubmitDetails(
        **fields | {"sheet_id": sheet.id, "gateway_task_id": report.task.gateway_task_id if report else None},
        notice=submission.notice,
        approval_text=submission.approval_text or None,
        task=task_details(report, render) if report else None,
    )


def tasks_answer(
    service: Service, reports: Sequence[TaskReport], render: Render, *, paths: bool = False, details: bool = False
) -> TasksAnswer:
    """The answer to `list_tasks`, and with the `paths` of the clips to `get_task` for several."""
    lines = [
        TaskLine(
            task_id=report.task.id,
            status=report.task.state.value,
            prompt=escape_block(report.prompt, PROMPT_IN_LIST),
            model=f"{report.task.gateway}/{report.task.model}",
            rehearsal=report.task.mode is Mode.SANDBOX or None,
            clip_path=report.clip_at if paths else None,
            differs=name_differences(report.findings) or None,
        )
        for report in reports
    ]
    held = sum(waits_for_key(report.task) for report in reports)
    text = render(_next_for_all(reports))
    if held:
        text = f"{held} of them {'wait' if held > 1 else 'waits'} for a sealed key. {render(OPEN_THE_KEY)}"
    answer = TasksAnswer(
        summary=f"{len(lines)} tasks: {_count(line.status for line in lines)}." if lines else "There are no tasks.",
        tasks=lines,
        **mode_fields(service.policy.mode),
        money=_money(fate_sentence(report.task) for report in reports) or FATE_SENTENCES[Fate.NOTHING_SENT],
        next_step=text,
    )
    if not details:
        return answer
    fields = answer.model_dump(exclude={"tasks"})
    return TasksDetails(**fields, tasks=[task_details(report, render) for report in reports])


def _next_for_all(reports: Sequence[TaskReport]) -> NextStep:
    """What to do now: wait for what is open, else look at what was saved."""
    open_ids = [report.task.id for report in reports if report.task.state in OPEN_STATES]
    saved = [report.task.id for report in reports if report.task.state is TaskState.SAVED]
    if not reports:
        return NextStep(Action.EXPLAIN)
    if reports[0].task.state is TaskState.OUTCOME_UNKNOWN:
        return NextStep(Action.GET, target=reports[0].task.id)
    if open_ids:
        # Without ids, all open ones are meant.
        target = " ".join(open_ids) if len(open_ids) <= MOST_TOGETHER else ""
        return NextStep(Action.WAIT, target=target, seconds=WAIT_SECONDS)
    return NextStep(Action.VIEW if saved else Action.GET, target=(saved or [reports[0].task.id])[0])


def _count(states: Iterable[str]) -> str:
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in Counter(states).items())


def _money(sentences: Iterable[str]) -> str:
    """What became of the money of several: each sentence once, with how many it is about."""
    counted = Counter(sentences)
    if len(counted) < 2:
        return next(iter(counted), "")
    return " ".join(f"{count} of {counted.total()}: {sentence}" for sentence, count in counted.items())


def cancel_answer(withdrawn: Sheet | Task, render: Render) -> CancelAnswer:
    """The answer to `cancel` where something was withdrawn."""
    return CancelAnswer(
        summary="Withdrawn: nothing was sent, and nothing will be.",
        status="withdrawn",
        sheet_id=withdrawn.sheet_id if isinstance(withdrawn, Task) else withdrawn.id,
        task_id=withdrawn.id if isinstance(withdrawn, Task) else None,
        **mode_fields(withdrawn.mode),
        money=FATE_SENTENCES[Fate.NOTHING_SENT],
        next_step=render(NextStep(Action.EXPLAIN, "The same shot can be explained again.")),
    )


def not_withdrawn_answer(service: Service, report: TaskReport, render: Render) -> CancelAnswer:
    """The answer to `cancel` for what was sent: what can be had, and what it costs."""
    task = report.task
    price = service.quote([task.sheet_id]).price
    is_open = task.state in OPEN_STATES
    return CancelAnswer(
        summary=joined(
            status_text(task, quoting=False), NO_CANCEL, "The clip is saved when it is ready." if is_open else ""
        ),
        status="not_withdrawn",
        task_id=task.id,
        **mode_fields(task.mode),
        money=joined(fate_sentence(task), f"Its price is {price}." if task.mode is Mode.LIVE else ""),
        next_step=render(report.next_step),
    )
