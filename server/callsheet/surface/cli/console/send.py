"""Sending from the terminal: what follows an agreement, and sheets whose key is sealed.

A sealed key is opened in the process in which its passphrase was typed, so the command that asks for it also sends, and
follows the task to its clip.
"""

from __future__ import annotations

from dataclasses import replace

from callsheet.core.consent.approval import Means, amount_to_type
from callsheet.core.tasks.models import Task
from callsheet.core.tasks.states import TaskState
from callsheet.service import Submission
from callsheet.surface.next_steps import for_person
from callsheet.surface.views.builders import submit_details

from .exit_codes import ExitCode, exit_for_state
from .progress import follow, run_watched, say_left_open
from .prompts import ask_amount, ask_until_right
from .session import Session
from .task_view import show_report
from .terminal import Person, open_terminal
from .wording import in_commands

ANSWER_SECONDS = 90.0
LEFT = "Not waiting any longer. {} is not lost."
SENDS_NOW = "agreeing sends this now, once, exactly as it is."


def send_sealed(session: Session, sheet_id: str, *, wait: bool = True) -> int:
    """Have a sheet sent whose key is sealed: show it, ask for amount and passphrase, send it, follow its task."""
    service = session.service
    gateway = service.sendable(sheet_id).binding.gateway
    with open_terminal(session.program.environ, session.redactor.text, purpose="open a sealed key") as person:
        agree_to_sheet(session, person, sheet_id)
        passphrase = ask_until_right(person, lambda typed: service.opens(gateway, typed))
    try:
        submission = run_watched(session, lambda: _send_and_follow(session, sheet_id, passphrase, wait=wait))
    except KeyboardInterrupt:
        say_left(session, sheet_id)
        return ExitCode.INTERRUPTED
    assert submission.report is not None
    if session.as_json:
        session.screen.answer(
            session.redactor.value(submit_details(submission, sheet_id, for_person).model_dump(mode="json"))
        )
    else:
        show_report(session, submission.report)
    return exit_for_state(submission.report.task.state)


def agree_to_sheet(session: Session, person: Person, sheet_id: str) -> None:
    """Returns if the person typed the amount of a sheet that would be sent now; raises what keeps it from being."""
    sheet = session.service.sendable(sheet_id)
    shown = replace(sheet, shown=session.service.sending_text(sheet_id))
    ask_amount(person, shown, amount_to_type(sheet.price, session.program.policy()), meaning=SENDS_NOW)


async def _send_and_follow(session: Session, sheet_id: str, passphrase: str, *, wait: bool) -> Submission:
    sent = await session.service.approve_and_send(sheet_id, passphrase=passphrase, by=Means.TERMINAL, wait_seconds=0)
    return await follow_submission(session, sent, wait=wait)


async def follow_submission(session: Session, submission: Submission, *, wait: bool) -> Submission:
    """Follow a submission's task to its end, or only to the gateway's answer. Needs the watcher."""
    if submission.report is None:
        return submission
    task_id = submission.report.task.id
    report = await (
        follow(session, task_id) if wait else follow(session, task_id, until=_answered, seconds=ANSWER_SECONDS)
    )
    return submission.followed(report)


def _answered(task: Task) -> bool:
    """Whether the gateway has answered, or it is known why it was not asked yet."""
    if task.state is TaskState.WAITING:
        return task.problem is not None
    return task.state is not TaskState.SUBMITTING


def say_left(session: Session, sheet_id: str) -> None:
    """Of a command that was interrupted: what became of the sheet."""
    found = session.service.deps.ledger().sheet(sheet_id)
    if found is not None and found.task_id is not None:
        session.screen.note(LEFT.format(found.task_id), style="yellow")
        session.screen.note(in_commands(session.service.task(found.task_id).status_text))
        say_left_open(session)
    else:
        session.screen.note("Interrupted before anything was submitted; nothing was sent.", style="yellow")


__all__ = ["LEFT", "agree_to_sheet", "follow_submission", "say_left", "send_sealed"]
