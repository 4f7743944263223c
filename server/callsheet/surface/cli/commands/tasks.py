"""`callsheet get`, `list` and `resolve`: what is known of tasks, and a person's word on one of unknown outcome."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.catalogue.pricing import dollars
from callsheet.core.consent.policy import Mode
from callsheet.core.tasks.models import Sheet
from callsheet.core.tasks.states import OPEN_STATES
from callsheet.errors import InvalidRequest, NotApproved
from callsheet.service import TaskReport
from callsheet.surface.cli.console.command import FOLLOW, Command
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.output import Screen, indented
from callsheet.surface.cli.console.parameters import Json, TaskArgument
from callsheet.surface.cli.console.progress import follow, run_watched, say_left_open, state_text
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import show_report
from callsheet.surface.cli.console.terminal import open_terminal
from callsheet.surface.cli.console.wording import age, one_line
from callsheet.surface.next_steps import for_person
from callsheet.surface.views.builders import JsonObject, sheet_answer, task_details

from .submit import LEFT

OTHER_COLUMNS = 84
"""What the columns beside the prompt need at most, in characters."""

GET_EXAMPLES = ("get task_74020a54bb92db46", "get task_74020a54bb92db46 --wait 300 --json")
LIST_EXAMPLES = ("list", "list --open --json")
RESOLVE_EXAMPLES = (
    "resolve task_74020a54bb92db46 --accepted task-unified-1795254113-1mp24tof",
    "resolve task_74020a54bb92db46 --lost",
)


def get(
    context: typer.Context,
    task: TaskArgument,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="Follow it for at most that long.", min=0, show_default=False)
    ] = 0,
    as_json: Json = False,
) -> int:
    """Show where a task is, whether money was spent, and its files."""
    session = begin(context, as_json)
    report = session.service.task(task)
    if wait > 0 and report.task.state in OPEN_STATES:
        try:
            report = run_watched(session, lambda: follow(session, task, seconds=wait))
        except KeyboardInterrupt:
            session.screen.note(LEFT.format(task), style="yellow")
            say_left_open(session)
            return ExitCode.INTERRUPTED
    if as_json:
        session.screen.answer(session.redactor.value(task_details(report, for_person).model_dump(mode="json")))
    else:
        show_report(session, report)
    return exit_for_state(report.task.state)


def list_(
    context: typer.Context,
    only_open: Annotated[bool, typer.Option("--open", help="Only what is not at its end.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", help="How many tasks at most.", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> int:
    """List sheets that wait for approval, then tasks: those of unknown outcome first, then the newest."""
    session = begin(context, as_json)
    pending = session.service.pending()
    reports = session.service.tasks(only_open=only_open, limit=limit)
    if as_json:
        form: JsonObject = {
            "pending": [sheet_answer(sheet).model_dump(mode="json") for sheet in pending],
            "tasks": [task_details(report, for_person).model_dump(mode="json") for report in reports],
        }
        session.screen.answer(session.redactor.value(form))
        return ExitCode.OK
    now = session.service.deps.clock.now()
    if pending:
        _show_pending(session.screen, pending, now)
    if reports:
        _show_tasks(session.screen, reports, now)
        held = {task.id for task in session.service.held()}
        _show_held(session.screen, sum(report.task.id in held for report in reports))
    elif not pending:
        nothing = "No task is open." if only_open else "No task yet. Begin with: callsheet explain, or callsheet demo"
        session.screen.show(Text(nothing))
    return ExitCode.OK


def _show_pending(screen: Screen, pending: list[Sheet], now: float) -> None:
    screen.show(Text("Waiting for your approval", style="bold"))
    table = screen.table("!Sheet", "!Model", ">Price", ">Age")
    for sheet in pending:
        table.add_row(
            Text(sheet.id, style="cyan"), Text(sheet.card_id), Text(_price(sheet)), Text(age(now - sheet.made_at))
        )
    screen.show(indented(table))
    screen.show(indented(Text("callsheet approve SHEET, or callsheet decline SHEET", style="dim")), "")


def _price(sheet: Sheet) -> str:
    return f"{dollars(sheet.price.usd)} USD" if sheet.price.usd is not None else str(sheet.price)


def _show_tasks(screen: Screen, reports: list[TaskReport], now: float) -> None:
    if not screen.narrow:
        table = screen.table("!Task", "!State", "!Model", ">Age", "Prompt")
        table.columns[-1].no_wrap = True
        table.columns[-1].overflow = "ellipsis"
        table.columns[-1].max_width = screen.out.width - OTHER_COLUMNS
    else:
        table = screen.table("!Task", "State", "Model", ">Age")
    for report in reports:
        task = report.task
        row = [Text(task.id, style="cyan"), state_text(task), Text(task.card_id), Text(age(now - task.created_at))]
        if not screen.narrow:
            row.append(Text(one_line(report.prompt, 120), style="dim"))
        table.add_row(*row)
    screen.show(Text("Tasks", style="bold"), indented(table))


def _show_held(screen: Screen, held: int) -> None:
    if held:
        said = f"{held} of them {'wait' if held > 1 else 'waits'} for a key that is sealed. To open it: callsheet watch"
        screen.show(indented(Text(said, style="yellow")))


def resolve(
    context: typer.Context,
    task: TaskArgument,
    accepted: Annotated[
        str | None, typer.Option(metavar="ID", help="The gateway has it, under this task id of its own.")
    ] = None,
    lost: Annotated[bool, typer.Option("--lost", help="The gateway does not have it: give it up.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask; for scripts. A live task is not given up so.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Say what became of a task of unknown outcome, after a look at the gateway's own task list.

    With --accepted the task is followed to its clip. With --lost it is given up; another take may then be
    submitted, and if the gateway had it after all, both are paid.
    """
    session = begin(context, as_json)
    if (accepted is not None) == lost:
        raise InvalidRequest("Say either --accepted ID or --lost.", next_step="Run `callsheet resolve --help`.")
    report = session.service.task(task)
    # To give a paid clip up frees its price and ends the warning of a duplicate: no script decides that.
    if not yes or (lost and report.task.mode is Mode.LIVE):
        _confirm(session, report, accepted)
    session.service.resolve(task, accepted_as=accepted)
    report = session.service.task(task)
    if as_json:
        session.screen.answer(session.redactor.value(task_details(report, for_person).model_dump(mode="json")))
    else:
        show_report(session, report)
    return ExitCode.OK


def _confirm(session: Session, report: TaskReport, accepted: str | None) -> None:
    word = "lost" if accepted is None else "accepted"
    with open_terminal(session.program.environ, session.redactor.text, purpose="resolve a task (or --yes)") as person:
        person.say(f"{report.task.id}  {report.task.card_id}", style="bold")
        person.say(one_line(report.status_text))
        if accepted is None:
            person.say("It will be given up. If the gateway has it after all, a new take is paid twice.")
        else:
            person.say(f"It will be followed as {one_line(accepted, 120)} at the gateway.")
        if person.ask(f"Type {word} to agree") != word:
            raise NotApproved("Nothing was changed.", next_step="Run the command again when you are sure.")


COMMANDS = (
    Command("get", get, FOLLOW, "where a task is, and its files", GET_EXAMPLES),
    Command("list", list_, FOLLOW, "tasks, and sheets that wait for approval", LIST_EXAMPLES),
    Command("resolve", resolve, FOLLOW, "say what became of a task of unknown outcome", RESOLVE_EXAMPLES),
)

__all__ = ["COMMANDS"]
