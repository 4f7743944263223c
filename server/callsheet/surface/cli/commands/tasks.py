"""`callsheet get` and `list`: one task, or all tasks and the sheets that wait for approval."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.tasks import OPEN_STATES, Sheet
from callsheet.errors import Action, NextStep, SetupProblem
from callsheet.service import TaskReport
from callsheet.surface.cli.console.command import FOLLOW, Command, Json, TaskArgument
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.output import Output, indent
from callsheet.surface.cli.console.progress import follow_task, format_state, hand_over, run_with_runner
from callsheet.surface.cli.console.send import STOPPED_WAITING
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import write_report
from callsheet.surface.next_steps import command, for_person, program
from callsheet.surface.text import format_age, one_line
from callsheet.surface.views.builders import JsonObject, sheet_answer
from callsheet.surface.views.tasks import task_details

OTHER_COLUMNS = 84
"""The width of the other columns, in characters."""

LOOK_SECONDS = 20.0
"""How long `get` without --wait may take to ask the gateway once, and to fetch a short clip."""

GET_EXAMPLES = ("get task_74020a54bb92db46", "get task_74020a54bb92db46 --wait 300 --json")
LIST_EXAMPLES = ("list", "list --open --json")


def get(
    context: typer.Context,
    task: TaskArgument,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="Follow it for at most this long.", min=0, show_default=False)
    ] = 0,
    as_json: Json = False,
) -> int:
    """Show a task's state, whether money was spent, and its files.

    The gateway is asked if a look at the task is due and no other process follows it.
    """
    session = begin(context, as_json)
    report = session.service.task(task)
    try:
        if wait > 0 and report.task.state in OPEN_STATES:
            run_with_runner(session, lambda: follow_task(session, task, seconds=wait), hands_over=False)
        elif session.service.is_due(report.task):
            _look(session, task)
    except KeyboardInterrupt:
        session.output.write_note(STOPPED_WAITING.format(task), style="yellow")
        hand_over(session)
        return ExitCode.INTERRUPTED
    # First, because the report says what follows the task.
    session.service.hand_over()
    report = session.service.task(task)
    if as_json:
        session.write_json(task_details(report, for_person))
    else:
        write_report(session, report)
    return exit_for_state(report.task.state)


def _look(session: Session, task_id: str) -> None:
    """Do what is due for a task now: as every runner does it, and no more than once."""
    service = session.service

    async def look() -> TaskReport:
        return await service.wait_for(
            task_id,
            wait_seconds=LOOK_SECONDS,
            until=lambda task: task.state not in OPEN_STATES or task.next_at > service.now(),
        )

    # Where no process can follow tasks, the ledger can still be read.
    with suppress(SetupProblem):
        run_with_runner(session, look, hands_over=False)


def list_(
    context: typer.Context,
    only_open: Annotated[bool, typer.Option("--open", help="Only open tasks.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", help="The maximum number of tasks.", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> int:
    """List sheets that wait for approval, then tasks: unknown outcomes first, then the newest."""
    session = begin(context, as_json)
    hand_over(session)
    pending = session.service.pending()
    reports = session.service.tasks(only_open=only_open, limit=limit)
    if as_json:
        form: JsonObject = {
            "pending": [sheet_answer(sheet).model_dump(mode="json") for sheet in pending],
            "tasks": [task_details(report, for_person).model_dump(mode="json") for report in reports],
        }
        session.write_json(form)
        return ExitCode.OK
    now = session.service.now()
    if pending:
        _write_pending(session.output, pending, now)
    if reports:
        _write_tasks(session.output, reports, now)
        held = {task.id for task in session.service.held()}
        _write_held(session.output, sum(report.task.id in held for report in reports))
    elif not pending:
        begin_with = f"No task yet. Start with: {program()} explain, or {program()} demo"
        session.output.write(Text("No task is open." if only_open else begin_with))
    return ExitCode.OK


def _write_pending(output: Output, pending: list[Sheet], now: float) -> None:
    output.write(Text("Waiting for your approval", style="bold"))
    table = output.build_table("!Sheet", "!Model", ">Price", ">Age")
    for sheet in pending:
        table.add_row(
            Text(sheet.id, style="cyan"),
            Text(sheet.card_id),
            Text(_price(sheet)),
            Text(format_age(now - sheet.made_at)),
        )
    output.write(indent(table))
    output.write(indent(Text(f"{program()} approve SHEET, or {program()} decline SHEET", style="dim")), "")


def _price(sheet: Sheet) -> str:
    return sheet.price.in_dollars


def _write_tasks(output: Output, reports: list[TaskReport], now: float) -> None:
    if not output.narrow:
        table = output.build_table("!Task", "!State", "!Model", ">Age", "Prompt")
        table.columns[-1].no_wrap = True
        table.columns[-1].overflow = "ellipsis"
        table.columns[-1].max_width = output.out.width - OTHER_COLUMNS
    else:
        table = output.build_table("!Task", "State", "Model", ">Age")
    for report in reports:
        task = report.task
        row = [
            Text(task.id, style="cyan"),
            Text.assemble(format_state(task), (", differs" if report.findings else "", "yellow")),
            Text(task.card_id),
            Text(format_age(now - task.created_at)),
        ]
        if not output.narrow:
            row.append(Text(one_line(report.prompt, 120), style="dim"))
        table.add_row(*row)
    output.write(Text("Tasks", style="bold"), indent(table))


def _write_held(output: Output, held: int) -> None:
    if held:
        waits = f"{held} of them {'wait' if held > 1 else 'waits'} for a sealed key."
        output.write(indent(Text(f"{waits} To unlock it: {command(NextStep(Action.WATCH))}", style="yellow")))


COMMANDS = (
    Command("get", get, FOLLOW, "a task's state and files", GET_EXAMPLES),
    Command("list", list_, FOLLOW, "tasks, and sheets that wait for approval", LIST_EXAMPLES),
)
