"""Sending from the terminal: asks the person where one must agree, sends once, and follows the task to its clip.

A sealed key is unlocked in the process in which its passphrase was typed, so the command that asks for it also sends,
and follows the task to its clip.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from rich.text import Text

from callsheet.core.consent import Means, text_to_type
from callsheet.errors import Action, NextStep
from callsheet.service import Submission, TaskReport
from callsheet.service.approval.forward import is_answered
from callsheet.service.approval.questions import total_to_type
from callsheet.surface.next_steps import for_person
from callsheet.surface.views.tasks import submit_details

from .exit_codes import ExitCode, exit_for_state
from .progress import follow_task, hand_over, run_with_runner
from .prompts import approval_panel, ask_amount, ask_passphrase, ask_until_right, require_verifier
from .session import Session
from .task_view import write_report
from .terminal import Terminal, is_interactive

ANSWER_SECONDS = 90.0
STOPPED_WAITING = "Stopped waiting for {}."
SENDS_NOW = "agreeing sends this now, once and unchanged."


def send(session: Session, sheet_id: str, *, wait: bool = True, must_ask: bool = False) -> int:
    """Send a sheet once and follow its task, after a person at the terminal has agreed if one must.

    Without a terminal nobody is asked: a sheet that needs a person is then shown with the way to approve it, or, if
    the command `must_ask`, `NotApproved` is raised.
    """
    session.sends = True
    service = session.service
    try:
        work = partial(submit_and_follow, session, sheet_id, wait=wait)
        asks = must_ask or is_interactive()
        if asks and service.needs_passphrase(sheet_id):
            passphrase = _unlock(session, sheet_id)
            work = partial(_send_and_follow, session, sheet_id, passphrase, wait=wait)
        elif asks and service.needs_person(sheet_id):
            _agree(session, sheet_id)
        submission = run_with_runner(session, work)
    except KeyboardInterrupt:
        write_interrupted(session, sheet_id)
        return ExitCode.INTERRUPTED
    return _write_outcome(session, submission, sheet_id)


def _unlock(session: Session, sheet_id: str) -> str:
    """The passphrase that opens the sealed key for a sheet, after the person has agreed to it."""
    gateway = session.service.sendable(sheet_id).binding.gateway
    with session.open_terminal("unlock a sealed key") as terminal:
        confirm_sheet(session, terminal, sheet_id)
        return ask_until_right(session.service, terminal, lambda typed: session.service.opens(gateway, typed))


def _agree(session: Session, sheet_id: str) -> None:
    """Ask the person as `callsheet approve` does, and record their consent; raises if they do not agree."""
    service, verifier = session.service, require_verifier(session.program)
    shown = replace(service.approvable(sheet_id), shown=service.approval_text(sheet_id))
    with session.open_terminal("approve a sheet") as terminal:
        ask_amount(terminal, shown, total_to_type([shown], session.program.policy()), meaning=SENDS_NOW)
        ask_passphrase(service, terminal, verifier)
    service.approve(sheet_id, by=Means.TERMINAL)


def _write_outcome(session: Session, submission: Submission, sheet_id: str) -> int:
    """Write what became of a submission; the exit code."""
    if submission.report is not None:
        # Read again: what follows the task was decided when the run ended.
        submission = submission.followed(session.service.task(submission.report.task.id))
    output, report = session.output, submission.report
    if session.as_json:
        session.write_json(submit_details(submission, session.service.sheet(sheet_id), for_person))
    elif report is None:
        output.write(Text(submission.notice, style="bold yellow"), "")
        output.write(approval_panel(submission.approval_text, plain=output.plain))
        output.write_next_step(
            NextStep(Action.APPROVE, "Approve it in your own terminal; that sends it.", target=sheet_id)
        )
    else:
        if submission.again:
            text = f"{submission.status}: this sheet was already submitted. Nothing was sent now."
            output.write(Text(text, style="yellow"), "")
        if submission.covered_by:
            output.write(Text(submission.covered_by), "")
        write_report(session, report)
    return ExitCode.NOT_APPROVED if report is None else exit_for_state(report.task.state)


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
