"""`callsheet watch`: follows open tasks, in a table that keeps itself up to date, until all have ended."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from callsheet.core.tasks.states import OPEN_STATES, TaskState
from callsheet.errors import InvalidRequest
from callsheet.service import TaskReport
from callsheet.surface.cli.console.command import FOLLOW, Command
from callsheet.surface.cli.console.completion import complete_tasks
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.progress import note_of, progress_share, run_watched, say_left_open, state_text
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import show_clip
from callsheet.surface.cli.console.unlock import Agreed, ask_for_keys, open_keys
from callsheet.surface.cli.console.wording import one_line
from callsheet.surface.next_steps import for_person
from callsheet.surface.views.builders import task_details

from .detach import detach, run_background, stop

EXAMPLES = ("watch", "watch task_74020a54bb92db46", "watch --json", "watch --detach")
TICK_SECONDS = 0.5
MOST = 50

LEFT = "Not watching any longer; no task is lost."


def watch(
    context: typer.Context,
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="One task; else all open ones.", autocompletion=complete_tasks)
    ] = None,
    detached: Annotated[
        bool, typer.Option("--detach", help="Follow all open tasks in the background, without this terminal.")
    ] = False,
    stopped: Annotated[bool, typer.Option("--stop", help="End the background watcher.")] = False,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
    as_json: Json = False,
) -> int:
    """Follow open tasks live until all have ended. Ctrl-C ends the watching, not the tasks.

    At a terminal the approval passphrase is asked for if a task needs a key that is sealed.

    With --detach a background process does it, and ends when nothing is open any more; it prints that
    process's id and the path of its log. There is one at most. With --json each change is one line of JSON.
    """
    session = begin(context, as_json)
    chosen = [run for wanted, run in ((detached, detach), (stopped, stop), (background, run_background)) if wanted]
    if chosen:
        if len(chosen) > 1 or task is not None:
            raise InvalidRequest(
                "--detach and --stop exclude each other, and concern all open tasks, not one.",
                next_step="Run `callsheet watch --help`.",
            )
        return chosen[0](session)
    return _watch_here(session, task)


def _watch_here(session: Session, task: str | None) -> int:
    as_json = session.as_json
    first = _begin_with(session, task)
    if not first:
        session.screen.note("No task is open.") if as_json else session.screen.show(Text("No task is open."))
        return ExitCode.OK
    agreed = ask_for_keys(session, first)
    try:
        reports = run_watched(session, lambda: _watch(session, Board(session, [*first]), agreed))
    except KeyboardInterrupt:
        session.screen.note(LEFT, style="yellow")
        say_left_open(session)
        return ExitCode.INTERRUPTED
    if not as_json:
        _show_end(session, reports)
    return max(exit_for_state(report.task.state) for report in reports)


def _begin_with(session: Session, task_id: str | None) -> list[str]:
    if task_id is not None:
        return [session.service.task(task_id).task.id]
    reports = session.service.tasks(only_open=True, limit=MOST)
    if all(report.task.state is TaskState.OUTCOME_UNKNOWN for report in reports):
        return []
    return [report.task.id for report in reports]


class Board:
    """The tasks that are watched, as a table on a terminal, as lines elsewhere."""

    def __init__(self, session: Session, task_ids: list[str]) -> None:
        self._session = session
        self._ids = task_ids
        self._seen: dict[str, str] = {}
        live = session.screen.out.is_terminal and not session.as_json
        self._live = Live(console=session.screen.out, auto_refresh=True, refresh_per_second=8) if live else None
        self.held: AbstractContextManager[object] = self._live or nullcontext()

    def look(self) -> list[TaskReport]:
        """Read every task anew and show what has changed."""
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
        screen = self._session.screen
        if self._session.as_json:
            screen.answer(
                self._session.redactor.value(task_details(report, for_person).model_dump(mode="json")), compact=True
            )
        else:
            screen.show(Text(f"{report.task.id}  {one_line(report.status_text)}"))

    def _table(self, reports: list[TaskReport]) -> Table:
        screen = self._session.screen
        names = ("!Task", "State", "", "") if screen.narrow else ("!Task", "Model", "State", "", "")
        table = screen.table(*names)
        for report in reports:
            task = report.task
            share = progress_share(self._session.service, task)
            bar = ProgressBar(total=1.0, completed=share, width=14, complete_style="cyan", finished_style="green")
            model = [] if screen.narrow else [Text(task.card_id)]
            note = Text(note_of(self._session.service, task, room=22 if screen.narrow else 50), style="dim")
            table.add_row(Text(task.id, style="cyan"), *model, state_text(task), bar, note)
        return table


async def _watch(session: Session, board: Board, agreed: Agreed) -> list[TaskReport]:
    await open_keys(session, agreed)
    with board.held:
        while True:
            reports = board.look()
            if all(report.task.state not in OPEN_STATES for report in reports):
                return reports
            await session.service.deps.changes.wait(TICK_SECONDS)


def _show_end(session: Session, reports: list[TaskReport]) -> None:
    for report in reports:
        if report.task.clip is not None:
            show_clip(session, report.task.clip, title=report.task.id)


COMMANDS = (Command("watch", watch, FOLLOW, "follow open tasks live", EXAMPLES),)

__all__ = ["COMMANDS"]
