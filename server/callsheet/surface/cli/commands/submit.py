"""`callsheet submit`: spend an approved sheet, and follow the task to its clip."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from callsheet.service import Submission
from callsheet.surface.cli.console.command import MAKE, Command
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.parameters import Json, SheetArgument
from callsheet.surface.cli.console.progress import run_watched
from callsheet.surface.cli.console.prompts import approval_panel
from callsheet.surface.cli.console.send import LEFT, follow_submission, say_left, send_sealed
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import show_report
from callsheet.surface.cli.console.terminal import is_interactive
from callsheet.surface.next_steps import for_person
from callsheet.surface.views.builders import submit_details

EXAMPLES = ("submit sheet_ixesul7gcrf73z7jv4iy", "submit sheet_ixesul7gcrf73z7jv4iy --no-wait --json")


def submit(
    context: typer.Context,
    sheet: SheetArgument,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Follow the task until its clip is saved, or only until the answer."),
    ] = True,
    as_json: Json = False,
) -> int:
    """Send an approved sheet, once, and save the clip.

    A live sheet that nobody approved is not sent: what would be approved is shown, with the command,
    and the exit code is 3. A sheet that was sent before leads to its task and sends nothing. Ctrl-C
    ends the waiting, not the task. Where the gateway's key is sealed, you are asked as by `callsheet approve`.
    """
    session = begin(context, as_json)
    if session.service.needs_passphrase(sheet) and is_interactive():
        return send_sealed(session, sheet, wait=wait)
    try:
        submission = run_watched(session, lambda: submit_and_follow(session, sheet, wait=wait))
    except KeyboardInterrupt:
        say_left(session, sheet)
        return ExitCode.INTERRUPTED
    if as_json:
        session.screen.answer(
            session.redactor.value(submit_details(submission, sheet, for_person).model_dump(mode="json"))
        )
    else:
        _show(session, submission)
    if submission.report is None:
        return ExitCode.NOT_APPROVED
    return exit_for_state(submission.report.task.state)


async def submit_and_follow(session: Session, sheet_id: str, *, wait: bool) -> Submission:
    """Submit and, if wished, wait for the end. Needs the watcher."""
    submission = await session.service.submit(sheet_id, wait_seconds=0)
    return await follow_submission(session, submission, wait=wait)


def _show(session: Session, submission: Submission) -> None:
    screen = session.screen
    if submission.report is not None:
        if submission.status == "already_submitted":
            screen.show(Text("This sheet was submitted before; nothing was sent now.", style="yellow"), "")
        if submission.covered_by:
            screen.show(Text(submission.covered_by), "")
        show_report(session, submission.report)
        return
    screen.show(Text(submission.notice, style="bold yellow"), "")
    screen.show(approval_panel(submission.approval_text, plain=screen.plain))
    screen.show("", Text("A person agrees in their own terminal with:"))
    screen.whole(submission.approval_command, style="bold cyan")
    screen.show(Text("Then submit again."))


COMMANDS = (Command("submit", submit, MAKE, "send an approved sheet, once, and save the clip", EXAMPLES),)

__all__ = ["COMMANDS", "LEFT", "submit_and_follow"]
