"""`callsheet watch`: follows open tasks in a live table until all have ended."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from callsheet.core.tasks import OPEN_STATES, TaskState
from callsheet.errors import InvalidRequest
from callsheet.service import TaskReport
from callsheet.surface.cli.console.command import FOLLOW, Command, Json
from callsheet.surface.cli.console.completion import complete_tasks
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.progress import (
    format_progress,
    format_state,
    hand_over,
    run_with_runner,
    write_pause_note,
)
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import write_clip, write_differences
from callsheet.surface.cli.console.unlock import Unlocks, ask_to_unlock, unlock_and_send
from callsheet.surface.next_steps import for_person, program
from callsheet.surface.text import one_line, progress_share
from callsheet.surface.views.tasks import task_details

from .detach import detach, run_background, stop

EXAMPLES = ("watch", "watch task_74020a54bb92db46", "watch --json", "watch --detach")
TICK_SECONDS = 0.5
MOST_TASKS = 50

STOPPED_WATCHING = "Stopped watching."


def watch(
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="One task; default: all open tasks.", autocompletion=complete_tasks),
    ] = None,
    detached: Annotated[bool, typer.Option("--detach", help="Follow all open tasks in the background.")] = False,
    stopped: Annotated[bool, typer.Option("--stop", help="Stop the background watcher.")] = False,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
    as_json: Json = False,
) -> int:
    """Follow open tasks live until all have ended. Ctrl-C stops the watching, not the tasks.

    At a terminal you are asked for the approval passphrase if a task needs a sealed key.

    With --detach a background process follows them and ends when no task is open. The command prints its
    process id and the path of its log. There is at most one. With --json each change is one line of JSON.
    """
    session = begin(context, as_json)
    chosen = [run for wanted, run in ((detached, detach), (stopped, stop), (background, run_background)) if wanted]
    if chosen:
        if len(chosen) > 1 or task is not None:
            raise InvalidRequest(
                "Use --detach or --stop without the other and without a task.",
                next_step=f"Run `{program()} watch --help`.",
            )
        return chosen[0](session)
    return _watch_here(session, task)


def _watch_here(session: Session, task: str | None) -> int:
    as_json = session.as_json
    write_pause_note(session)
    task_ids = _list_ids(session, task)
    if not task_ids:
        session.output.write_note("No task is open.") if as_json else session.output.write(Text("No task is open."))
        return ExitCode.OK
    unlocks = ask_to_unlock(session, task_ids)
    try:
        reports = run_with_runner(session, lambda: _watch(session, TaskBoard(session, task_ids), unlocks))
    except KeyboardInterrupt:
        session.output.write_note(STOPPED_WATCHING, style="yellow")
        hand_over(session)
        return ExitCode.INTERRUPTED
    if not as_json:
        _write_clips(session, reports)
    return max(exit_for_state(report.task.state) for report in reports)


def _list_ids(session: Session, task_id: str | None) -> list[str]:
    if task_id is not None:
        return [session.service.task(task_id).task.id]
    reports = session.service.tasks(only_open=True, limit=MOST_TASKS)
    if all(report.task.state is TaskState.OUTCOME_UNKNOWN for report in reports):
        return []
    return [report.task.id for report in reports]


class TaskBoard:
    """The watched tasks: a table on a terminal, lines elsewhere."""

    def __init__(self, session: Session, task_ids: list[str]) -> None:
        self._session = session
        self._ids = task_ids
        self._seen: dict[str, str] = {}
        live = session.output.out.is_terminal and not session.as_json
        self._live = Live(console=session.output.out, auto_refresh=True, refresh_per_second=8) if live else None
        self.display: AbstractContextManager[object] = self._live or nullcontext()

    def refresh(self) -> list[TaskReport]:
        """Read every task again and write what has changed."""
        reports = [self._session.service.task(task_id) for task_id in self._ids]
        if self._live is not None:
            self._live.update(self._table(reports))
            return reports
        for report in reports:
            if self._seen.get(report.task.id) != report.status_text:
                self._seen[report.task.id] = report.status_text
                self._line(report)
        return reports

    def _line(self, report: TaskReport) -> None:
        output = self._session.output
        if self._session.as_json:
            self._session.write_json(task_details(report, for_person), compact=True)
        else:
            output.write(Text(f"{report.task.id}  {one_line(report.status_text)}"))

    def _table(self, reports: list[TaskReport]) -> Table:
        output = self._session.output
        names = ("!Task", "State", "", "") if output.narrow else ("!Task", "Model", "State", "", "")
        table = output.build_table(*names)
        for report in reports:
            task = report.task
            share = progress_share(self._session.service, task)
            bar = ProgressBar(total=1.0, completed=share, width=14, complete_style="cyan", finished_style="green")
            model = [] if output.narrow else [Text(task.card_id)]
            note = Text(format_progress(self._session.service, task, room=22 if output.narrow else 50), style="dim")
            table.add_row(Text(task.id, style="cyan"), *model, format_state(task), bar, note)
        return table


async def _watch(session: Session, board: TaskBoard, unlocks: Unlocks) -> list[TaskReport]:
    await unlock_and_send(session, unlocks)
    with board.display:
        while True:
            reports = board.refresh()
            if all(report.task.state not in OPEN_STATES for report in reports):
                return reports
            await session.service.wait_for_change(TICK_SECONDS)


def _write_clips(session: Session, reports: list[TaskReport]) -> None:
    for report in reports:
        if report.task.clip is not None:
            write_clip(session, report.task.clip, title=report.task.id)
            write_differences(session, report)


COMMANDS = (Command("watch", watch, FOLLOW, "follow open tasks live", EXAMPLES),)
