"""Following tasks live: runs the watcher while somebody looks, and draws where a task is.

The task does not depend on anyone looking. Ctrl-C only ends the looking: the ledger has the task, and
the next start of the program, by whatever surface, follows it to its end.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TypeVar

import anyio
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from callsheet.core.tasks.models import Task
from callsheet.core.tasks.states import OPEN_STATES, TaskState
from callsheet.errors import CallsheetError
from callsheet.service import Service, TaskReport
from callsheet.service.results import waits_for_key
from callsheet.surface.next_steps import for_person
from callsheet.surface.progress import WORDS, progress_share

from .output import Screen
from .session import Session
from .wording import one_line, span

Made = TypeVar("Made")

LOOK_SECONDS = 40.0
STYLES = {
    TaskState.SAVED: "green",
    TaskState.REJECTED: "red",
    TaskState.FAILED: "red",
    TaskState.EXPIRED: "red",
    TaskState.OUTCOME_UNKNOWN: "bold yellow",
    TaskState.ABANDONED: "dim",
}


class _ToldToEnd(Exception):
    """A signal asked the program to end."""


def run_watched(session: Session, work: Callable[[], Awaitable[Made]]) -> Made:
    """Run `work` while the watcher of this process follows tasks; returns what it returns.

    A signal to end (or the terminal going away) is treated like Ctrl-C: requests on their way get their bounded
    grace, then `KeyboardInterrupt` is raised.
    """
    try:
        return anyio.run(_hold, session, work)
    except _ToldToEnd:
        raise KeyboardInterrupt from None


async def _hold(session: Session, work: Callable[[], Awaitable[Made]]) -> Made:
    failure: Exception = _ToldToEnd()
    with anyio.CancelScope() as scope, _cancelled_by_signals(scope):
        async with session.service.running():
            try:
                return await work()
            except anyio.get_cancelled_exc_class():
                _say_waiting(session)
                raise
            except CallsheetError as error:
                # Raised again outside, for the task group inside would wrap it.
                failure = error
    raise failure


def _say_waiting(session: Session) -> None:
    """Whoever sees nothing happen presses Ctrl-C again, and that would leave a paid request's outcome unknown."""
    if session.service.is_sending:
        seconds = round(session.service.stop_grace_seconds)
        said = f"Waiting at most {seconds} s for the gateway's answer to what was sent. Another Ctrl-C would lose it."
        session.screen.note(said, style="yellow")


@contextmanager
def _cancelled_by_signals(scope: anyio.CancelScope) -> Iterator[None]:
    """Cancel the scope on SIGTERM and SIGHUP; what the starter chose to ignore (`nohup`) stays ignored."""
    if sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()
    wanted = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    for number in wanted:
        loop.add_signal_handler(number, scope.cancel)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)


def say_left_open(session: Session) -> None:
    """Of a command that was interrupted: say how many tasks are still open, and who goes on with them."""
    notice = session.service.closing_notice()
    if notice is not None:
        session.screen.note(for_person(notice), style="yellow", whole=not session.screen.err.is_terminal)


async def follow(
    session: Session, task_id: str, *, until: Callable[[Task], bool] | None = None, seconds: float | None = None
) -> TaskReport:
    """Show where a task is until it has ended (or `until` holds, or that many seconds have passed).

    Also until it is held for a sealed key: here nothing more will happen to it then.
    """
    service = session.service
    until = until or (lambda task: task.state not in OPEN_STATES)
    deadline = anyio.current_time() + seconds if seconds is not None else None

    def done(task: Task) -> bool:
        return until(task) or waits_for_key(task)

    with watch_one(session) as view:
        while True:
            left = LOOK_SECONDS if deadline is None else max(0.0, min(LOOK_SECONDS, deadline - anyio.current_time()))
            report = await service.wait_for(task_id, wait_seconds=left, until=done, on_report=view.show)
            if done(report.task) or (deadline is not None and anyio.current_time() >= deadline):
                return report


def watch_one(session: Session) -> TaskView:
    """The view that fits the terminal, or the lack of one."""
    return TaskView(session.screen, session.service)


class TaskView:
    """One task on standard error: a progress bar on a terminal, else one line for each change."""

    def __init__(self, screen: Screen, service: Service) -> None:
        self._screen = screen
        self._service = service
        self._progress = _make_progress(screen) if screen.err.is_terminal else None
        self._bar = self._progress.add_task("", total=100.0, note="") if self._progress else None
        self._held: AbstractContextManager[object] = self._progress or nullcontext()
        self._last = ""

    def __enter__(self) -> TaskView:
        self._held.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def show(self, report: TaskReport) -> None:
        """Draw where the task is now."""
        task = report.task
        if self._progress is not None and self._bar is not None:
            self._progress.update(
                self._bar,
                description=WORDS[task.state],
                completed=100.0 * progress_share(self._service, task),
                note=note_of(self._service, task),
            )
        elif report.status_text != self._last:
            self._screen.note(f"{task.id}  {one_line(report.status_text)}", style="")
        self._last = report.status_text


def _make_progress(screen: Screen) -> Progress:
    return Progress(
        SpinnerColumn(style="cyan", finished_text=" "),
        TextColumn("{task.description}", markup=False, style="bold"),
        BarColumn(bar_width=28, complete_style="cyan", finished_style="green", pulse_style="cyan"),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
        console=screen.err,
        transient=True,
    )


def note_of(service: Service, task: Task, *, room: int = 60) -> str:
    """The percentage if the gateway tells one, else the usual time; the time that passed; what is wrong."""
    until = service.now() if task.state in OPEN_STATES else task.updated_at
    passed = max(0, round(until - task.created_at))
    parts = [f"{passed // 60}:{passed % 60:02}"]
    if task.state in (TaskState.QUEUED, TaskState.RUNNING):
        usual = service.usual_seconds(task)
        if task.percent is not None:
            parts.insert(0, f"{task.percent:3} %")
        elif usual is not None and not waits_for_key(task):
            parts.append(f"usually {span(*usual)}")
    if waits_for_key(task):
        parts.append("key sealed")
    elif task.problem is not None:
        parts.append(one_line(task.problem.message, room))
    return " · ".join(parts)


def state_text(task: Task) -> Text:
    """The task's state in words and colour."""
    return Text(WORDS[task.state], style=STYLES.get(task.state, "cyan"))


__all__ = [
    "STYLES",
    "WORDS",
    "follow",
    "note_of",
    "progress_share",
    "run_watched",
    "say_left_open",
    "state_text",
    "watch_one",
]
