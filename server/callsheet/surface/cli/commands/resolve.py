"""`callsheet resolve`: a person says what became of a task of unknown outcome."""

from __future__ import annotations

from typing import Annotated

import typer

from callsheet.core.consent import Mode
from callsheet.errors import InvalidRequest, NotApproved
from callsheet.service import TaskReport
from callsheet.surface.cli.console.command import FOLLOW, Command, Json, TaskArgument
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.prompts import ask_passphrase, require_verifier
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import write_report
from callsheet.surface.next_steps import for_person, program
from callsheet.surface.text import one_line
from callsheet.surface.views.builders import task_details

EXAMPLES = (
    "resolve task_74020a54bb92db46 --accepted task-unified-1795254113-1mp24tof",
    "resolve task_74020a54bb92db46 --lost",
)


def resolve(
    context: typer.Context,
    task: TaskArgument,
    accepted: Annotated[
        str | None, typer.Option(metavar="ID", help="The gateway has the task, under this task id.")
    ] = None,
    lost: Annotated[bool, typer.Option("--lost", help="The gateway does not have the task: give it up.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Skip the confirmation (for scripts). Not allowed for live tasks with --lost.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Resolve a task of unknown outcome, after you have checked the gateway's own task list.

    With --accepted the task is followed to its clip. With --lost it is given up, and a new take can be
    submitted. If the gateway had accepted the task after all, you pay for both. For a live task --lost needs the
    approval passphrase, and its price counts against your limits until the month ends.
    """
    session = begin(context, as_json)
    if (accepted is not None) == lost:
        raise InvalidRequest("Give either --accepted ID or --lost.", next_step=f"Run `{program()} resolve --help`.")
    report = session.service.task(task)
    # Giving up a paid clip lets the same shot be paid for again, so only the person may do it.
    proves = lost and report.task.mode is Mode.LIVE
    if proves or not yes:
        _confirm(session, report, accepted, verifier=require_verifier(session.program) if proves else None)
    session.service.resolve(task, accepted_as=accepted)
    session.service.hand_over()
    report = session.service.task(task)
    if as_json:
        session.write_json(task_details(report, for_person))
    else:
        write_report(session, report)
    return ExitCode.OK


def _confirm(session: Session, report: TaskReport, accepted: str | None, *, verifier: str | None) -> None:
    word = "lost" if accepted is None else "accepted"
    with session.open_terminal("resolve a task (or --yes)") as terminal:
        terminal.write(f"{report.task.id}  {report.task.card_id}", style="bold")
        terminal.write(one_line(report.status_text))
        if accepted is None:
            terminal.write("It will be given up. If the gateway has it after all, you pay twice for a new take.")
        else:
            terminal.write(f"It will be followed under the gateway's id {one_line(accepted, 120)}.")
        if terminal.ask(f"Type {word} to agree") != word:
            raise NotApproved("Nothing was changed.", next_step="Run the command again when you are sure.")
        if verifier is not None:
            ask_passphrase(session.service, terminal, verifier)


COMMANDS = (Command("resolve", resolve, FOLLOW, "settle a task of unknown outcome", EXAMPLES),)
