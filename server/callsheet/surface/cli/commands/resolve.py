"""`callsheet resolve`: a person says what became of a task of unknown outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from callsheet.core.consent import Mode
from callsheet.core.sent import SentRequest
from callsheet.errors import Action, InvalidRequest, NextStep, NotApproved
from callsheet.service import TaskReport
from callsheet.surface.cli.console.command import FOLLOW, AnyTaskArgument, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.prompts import ask_passphrase, require_verifier
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import write_report
from callsheet.surface.next_steps import for_person, program
from callsheet.surface.text import one_line
from callsheet.surface.views.tasks import task_details

EXAMPLES = (
    "resolve task_74020a54bb92db46 --accepted task-unified-1795254113-1mp24tof",
    "resolve task_74020a54bb92db46 --lost",
    "resolve --older-ledger",
)


def resolve(
    context: typer.Context,
    task: AnyTaskArgument = None,
    *,
    accepted: Annotated[
        str | None, typer.Option(metavar="ID", help="The gateway has the task, under this task id.")
    ] = None,
    lost: Annotated[bool, typer.Option("--lost", help="The gateway does not have the task: give it up.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Skip the confirmation (for scripts). Not allowed for live tasks.")
    ] = False,
    older_ledger: Annotated[
        bool, typer.Option("--older-ledger", help="Go on with a ledger that is older than what was sent.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Resolve a task of unknown outcome, after you have checked the gateway's own task list.

    With --accepted the task is followed to its clip. With --lost it is given up, and a new take can be
    submitted. If the gateway had accepted the task after all, you pay for both; its price counts against your limits
    until the month ends. For a live task both need the approval passphrase.

    With --older-ledger, what was sent and is not in the ledger comes back as tasks of unknown outcome, and approvals
    and allowances end. It needs the approval passphrase.
    """
    session = begin(context, as_json)
    if [accepted is not None, lost, older_ledger].count(True) != 1 or (task is None) != older_ledger:
        raise InvalidRequest(
            "Give a task with either --accepted ID or --lost, or only --older-ledger.",
            next_step=f"Run `{program()} resolve --help`.",
        )
    if task is None:
        return _accept_ledger(session, as_json)
    report = session.service.task(task)
    # Either answer lets the same shot be paid for again, and a wrong id loses a clip, so only the person may give it.
    proves = report.task.mode is Mode.LIVE
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


def _accept_ledger(session: Session, as_json: bool) -> int:
    def agree(forgotten: Sequence[SentRequest]) -> None:
        verifier = require_verifier(session.program)
        with session.open_terminal("accept an older ledger") as terminal:
            for request in forgotten:
                sent_for = f"{request.card_id}  {request.binding.price}"
                terminal.write(f"{request.sheet_id}  {request.task_id}  {sent_for}", style="bold")
            terminal.write("What the ledger forgot may have been charged for. Approvals and allowances in it end.")
            if terminal.ask("Type older to go on with it") != "older":
                raise NotApproved("Nothing was changed.", next_step="Run the command again when you are sure.")
            ask_passphrase(session.service, terminal, verifier)

    unknown = [str(request.task_id) for request in session.service.accept_ledger(agree)]
    if as_json:
        session.write_json({"unknown": [*unknown]})
    else:
        session.output.write("The ledger is accepted.")
        for task_id in unknown:
            session.output.write(for_person(NextStep(Action.RESOLVE, "Its outcome is unknown.", target=task_id)))
    return ExitCode.OK


def _confirm(session: Session, report: TaskReport, accepted: str | None, *, verifier: str | None) -> None:
    word = "lost" if accepted is None else "accepted"
    with session.open_terminal("resolve a task (or --yes)" if verifier is None else "resolve a live task") as terminal:
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
