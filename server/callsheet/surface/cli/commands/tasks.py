"""`callsheet get` and `list`: one task, or all tasks and the sheets that wait for approval."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from callsheet.core.catalogue.prices import dollars, from_micros
from callsheet.core.consent import Mode
from callsheet.core.shot import JsonValue
from callsheet.core.tasks import OPEN_STATES, Sheet, Task
from callsheet.errors import Action, Fate, NextStep, SetupProblem
from callsheet.service import TaskReport
from callsheet.service.results import fate_of
from callsheet.surface.cli.console.command import FOLLOW, Command, Json, TaskArgument
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.output import Output, indent
from callsheet.surface.cli.console.progress import (
    follow_task,
    format_state,
    hand_over,
    run_with_runner,
    write_pause_note,
)
from callsheet.surface.cli.console.send import STOPPED_WAITING
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import write_report
from callsheet.surface.next_steps import command, for_person, program
from callsheet.surface.text import format_age, one_line
from callsheet.surface.views.builders import JsonObject, sheet_answer
from callsheet.surface.views.tasks import task_details

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
    write_pause_note(session)
    pending = session.service.pending()
    reports = session.service.tasks(only_open=only_open, limit=limit)
    if as_json:
        form: JsonObject = {
            "pending": [sheet_answer(sheet).model_dump(mode="json") for sheet in pending],
            "tasks": [task_details(report, for_person).model_dump(mode="json") for report in reports],
            "sum": _sum_up(reports),
        }
        session.write_json(form)
        return ExitCode.OK
    now = session.service.now()
    if pending:
        _write_pending(session.output, pending, now)
    if reports:
        _write_tasks(session, reports)
        held = {task.id for task in session.service.held()}
        _write_held(session.output, sum(report.task.id in held for report in reports))
    elif not pending:
        session.output.write(Text("No task is open." if only_open else "No task yet. Start with one of:"))
        for begin_with in () if only_open else ("demo", 'generate "what to show"'):
            session.output.write_unwrapped(f"{program()} {begin_with}")
    return ExitCode.OK


def _write_pending(output: Output, pending: list[Sheet], now: float) -> None:
    output.write(Text("Waiting for your approval", style="bold"))
    table = _build_table(output, "!Model", ">Money", ">Age")
    for sheet in pending:
        table.add_row(
            _format_subject(sheet.shot.prompt, sheet.id, output),
            Text(sheet.card_id),
            Text(f"{sheet.price.in_dollars}\n{sheet.mode.value}"),
            Text(format_age(now - sheet.made_at)),
        )
    output.write(indent(table))
    output.write(indent(Text(f"{program()} approve SHEET, or {program()} decline SHEET", style="dim")), "")


def _write_tasks(session: Session, reports: list[TaskReport]) -> None:
    output, service = session.output, session.service
    table = _build_table(output, "State", ">Money", ">Age")
    for report in reports:
        task = report.task
        late = ", longer than usual" if service.is_slow(task) else ""
        table.add_row(
            _format_subject(report.prompt, task.id, output),
            Text.assemble(
                format_state(task),
                (", differs" if report.findings else late, "yellow"),
                (f"\n{task.card_id}", "dim"),
            ),
            Text(f"{_format_money(task)}\n{task.mode.value}"),
            Text(format_age(service.now() - task.created_at)),
        )
    output.write(Text("Tasks", style="bold"), indent(table))
    output.write(indent(Text(_format_sum(_sum_up(reports)))))


def _build_table(output: Output, *columns: str) -> Table:
    """Of two lines a row: the prompt with the id below it, and what else there is to say."""
    table = output.build_table("!Prompt", *columns)
    table.columns[0].ratio = 1
    table.columns[0].overflow = "ellipsis"
    table.expand = not output.plain
    return table


def _format_subject(prompt: str, subject_id: str, output: Output) -> Text:
    return Text.assemble(one_line(prompt, output.out.width // 2), (f"\n{subject_id}", "cyan"))


def _format_money(task: Task) -> str:
    """What the task was agreed to cost, with a question mark where it is not known whether it was charged."""
    if task.mode is not Mode.LIVE:
        return "free"
    fate = fate_of(task)
    amount = f"{dollars(from_micros(task.reserve_micros))} USD"
    return {Fate.CHARGED: amount, Fate.UNKNOWN: f"{amount}?"}.get(fate, "not charged")


def _sum_up(reports: list[TaskReport]) -> dict[str, JsonValue]:
    """What these tasks cost together, at the prices that were agreed to."""
    live = [report.task for report in reports if report.task.mode is Mode.LIVE]
    totals = {fate: sum(task.reserve_micros for task in live if fate_of(task) is fate) for fate in Fate}
    return {
        "live": len(live),
        "paid_usd": dollars(from_micros(totals[Fate.CHARGED])),
        "unknown_usd": dollars(from_micros(totals[Fate.UNKNOWN])),
        "rehearsals": len(reports) - len(live),
    }


def _format_sum(total: dict[str, JsonValue]) -> str:
    unknown = f", {total['unknown_usd']} USD unknown" if total["unknown_usd"] != "0.00" else ""
    free = f" · {total['rehearsals']} rehearsed, free" if total["rehearsals"] else ""
    return f"Sum: {total['live']} live, {total['paid_usd']} USD paid{unknown}{free}"


def _write_held(output: Output, held: int) -> None:
    if held:
        waits = f"{held} of them {'wait' if held > 1 else 'waits'} for a sealed key."
        output.write(indent(Text(f"{waits} To unlock it: {command(NextStep(Action.WATCH))}", style="yellow")))


COMMANDS = (
    Command("get", get, FOLLOW, "a task's state and files", GET_EXAMPLES),
    Command("list", list_, FOLLOW, "tasks, and sheets that wait for approval", LIST_EXAMPLES),
)
