"""Sending from the terminal: what follows an approval, and sheets whose key is sealed.

A sealed key is unlocked in the process in which its passphrase was typed, so the command that asks for it also sends,
and follows the task to its clip.
"""

from __future__ import annotations

from dataclasses import replace

from callsheet.core.consent import Means, text_to_type
from callsheet.service import Submission, TaskReport
from callsheet.service.approval.forward import is_answered
from callsheet.surface.next_steps import for_person
from callsheet.surface.views.tasks import submit_details

from .exit_codes import ExitCode, exit_for_state
from .progress import follow_task, hand_over, run_with_runner
from .prompts import ask_amount, ask_until_right
from .session import Session
from .task_view import write_report
from .terminal import Terminal

ANSWER_SECONDS = 90.0
STOPPED_WAITING = "Stopped waiting for {}."
SENDS_NOW = "agreeing sends this now, once and unchanged."


def send_sealed(session: Session, sheet_id: str, *, wait: bool = True) -> int:
    """Send a sheet whose key is sealed: show it, ask for amount and passphrase, send it, follow its task."""
    service = session.service
    gateway = service.sendable(sheet_id).binding.gateway
    with session.open_terminal("unlock a sealed key") as terminal:
        confirm_sheet(session, terminal, sheet_id)
        passphrase = ask_until_right(service, terminal, lambda typed: service.opens(gateway, typed))
    try:
        submission = run_with_runner(session, lambda: _send_and_follow(session, sheet_id, passphrase, wait=wait))
    except KeyboardInterrupt:
        write_interrupted(session, sheet_id)
        return ExitCode.INTERRUPTED
    assert submission.report is not None
    # Read again: what follows the task was decided when the run ended.
    submission = submission.followed(service.task(submission.report.task.id))
    assert submission.report is not None
    if session.as_json:
        session.write_json(submit_details(submission, session.service.sheet(sheet_id), for_person))
    else:
        write_report(session, submission.report)
    return exit_for_state(submission.report.task.state)


def confirm_sheet(session: Session, terminal: Terminal, sheet_id: str) -> None:
    """Show a sheet that is sent if the person types its amount; raises if they do not, or if it cannot be sent."""
    sheet = session.service.sendable(sheet_id)
    shown = replace(sheet, shown=session.service.sending_text(sheet_id))
    ask_amount(
        terminal, shown, text_to_type(sheet.price, session.program.policy(), sheet.binding.gateway), meaning=SENDS_NOW
    )


async def submit_and_follow(session: Session, sheet_id: str, *, wait: bool) -> Submission:
    """Submit a sheet and follow its task. Needs the runner."""
    return await _follow(session, await session.service.submit(sheet_id, wait_seconds=0), wait=wait)


async def _send_and_follow(session: Session, sheet_id: str, passphrase: str, *, wait: bool) -> Submission:
    sent = await session.service.approve_and_send(sheet_id, passphrase=passphrase, by=Means.TERMINAL, wait_seconds=0)
    return await _follow(session, sent, wait=wait)


async def _follow(session: Session, submission: Submission, *, wait: bool) -> Submission:
    """Follow a submission's task to its end, or only to the gateway's answer."""
    if submission.report is None:
        return submission
    task_id = submission.report.task.id
    return submission.followed(await (follow_task if wait else follow_to_answer)(session, task_id))


async def follow_to_answer(session: Session, task_id: str) -> TaskReport:
    """Follow a task only to the gateway's answer."""
    return await follow_task(session, task_id, until=is_answered, seconds=ANSWER_SECONDS)


def write_interrupted(session: Session, sheet_id: str) -> None:
    """After an interrupted command: what became of the sheet."""
    found = session.service.sheet(sheet_id)
    if found is not None and found.task_id is not None:
        session.output.write_note(STOPPED_WAITING.format(found.task_id), style="yellow")
        session.output.write_note(session.service.task(found.task_id).status_text)
        hand_over(session)
    else:
        session.output.write_note("Interrupted before anything was submitted; nothing was sent.", style="yellow")
