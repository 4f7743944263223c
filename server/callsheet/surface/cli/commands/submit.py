"""`callsheet submit`: sends an approved sheet, and follows the task to its clip."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from callsheet.errors import Action, NextStep
from callsheet.service import Submission
from callsheet.surface.cli.console.command import MAKE, Command, Json, SheetArgument
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.progress import run_with_runner
from callsheet.surface.cli.console.prompts import approval_panel
from callsheet.surface.cli.console.send import send_sealed, submit_and_follow, write_interrupted
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import write_report
from callsheet.surface.cli.console.terminal import is_interactive
from callsheet.surface.next_steps import for_person
from callsheet.surface.views.tasks import submit_details

EXAMPLES = ("submit sheet_ixesul7gcrf73z7jv4iy", "submit sheet_ixesul7gcrf73z7jv4iy --no-wait --json")


def submit(
    context: typer.Context,
    sheet: SheetArgument,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Wait for the saved clip, or only for the gateway's answer."),
    ] = True,
    as_json: Json = False,
) -> int:
    """Send an approved sheet, once, and save the clip.

    A live sheet without approval is not sent: it is shown with the command that approves it, and the
    exit code is 3. For a sheet that was sent before, its task is shown and nothing is sent. Ctrl-C
    ends the waiting, not the task. If the gateway's key is sealed, you are asked as in `callsheet approve`.
    """
    session = begin(context, as_json)
    if session.service.needs_passphrase(sheet) and is_interactive():
        return send_sealed(session, sheet, wait=wait)
    try:
        submission = run_with_runner(session, lambda: submit_and_follow(session, sheet, wait=wait))
    except KeyboardInterrupt:
        write_interrupted(session, sheet)
        return ExitCode.INTERRUPTED
    if submission.report is not None:
        # Read again: what follows the task was decided when the run ended.
        submission = submission.followed(session.service.task(submission.report.task.id))
    if as_json:
        session.write_json(submit_details(submission, session.service.sheet(sheet), for_person))
    else:
        _write_submission(session, submission, sheet)
    if submission.report is None:
        return ExitCode.NOT_APPROVED
    return exit_for_state(submission.report.task.state)


def _write_submission(session: Session, submission: Submission, sheet_id: str) -> None:
    output = session.output
    if submission.report is not None:
        if submission.again:
            text = f"{submission.status}: this sheet was already submitted. Nothing was sent now."
            output.write(Text(text, style="yellow"), "")
        if submission.covered_by:
            output.write(Text(submission.covered_by), "")
        write_report(session, submission.report)
        return
    output.write(Text(submission.notice, style="bold yellow"), "")
    output.write(approval_panel(submission.approval_text, plain=output.plain))
    output.write_next_step(
        NextStep(Action.APPROVE, "Approve it in your own terminal; then submit again.", target=sheet_id)
    )


COMMANDS = (Command("submit", submit, MAKE, "send an approved sheet, once, and save the clip", EXAMPLES),)
