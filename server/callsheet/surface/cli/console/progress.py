"""Follows tasks live: runs the runner during a command, and draws a task's progress.

A task does not depend on the command. Ctrl-C only ends the waiting: the task is in the ledger. The background watcher
goes on with live tasks; the rest waits for the next start of the program, by any surface.
"""

from __future__ import annotations

import asyncio
import math
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TypeVar

import anyio
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from callsheet.core.tasks import OPEN_STATES, Task, TaskState
from callsheet.edges.config.policy_file import is_paused
from callsheet.errors import CallsheetError
from callsheet.service import Service, TaskReport
from callsheet.service.blockers import PAUSED, RESUME
from callsheet.service.results import waits_for_key
from callsheet.surface.next_steps import for_person
from callsheet.surface.text import STATE_LABELS, format_range, one_line, progress_share

from .output import Output
from .session import Session

Result = TypeVar("Result")

LOOK_SECONDS = 40.0
STATE_STYLES = {
    TaskState.SAVED: "green",
    TaskState.REJECTED: "red",
    TaskState.FAILED: "red",
    TaskState.EXPIRED: "red",
    TaskState.OUTCOME_UNKNOWN: "bold yellow",
    TaskState.ABANDONED: "dim",
}


class _Terminated(Exception):
    """A signal asked the program to end."""


def write_pause_note(session: Session) -> None:
    """Say that submissions are paused, and how that ends; nothing where they are not."""
    if is_paused(session.program.policy_path):
        session.output.write_note(f"{PAUSED} {for_person(RESUME)}", style="yellow")


def run_with_runner(session: Session, work: Callable[[], Awaitable[Result]], *, hands_over: bool = True) -> Result:
    """Run `work` while the runner of this process follows tasks; returns its result.

    At the end, if it `hands_over`, the background watcher goes on with live tasks, and what is open is written. After
    `KeyboardInterrupt` the caller does that, since it has something to say first.

    A signal to end (or the terminal going away) is treated like Ctrl-C: requests in flight get a bounded
    grace, then `KeyboardInterrupt` is raised.
    """
    is_interrupted = False
    try:
        return anyio.run(_run, session, work)
    except (_Terminated, KeyboardInterrupt):
        is_interrupted = True
        raise KeyboardInterrupt from None
    finally:
        if hands_over and not is_interrupted:
            hand_over(session)


async def _run(session: Session, work: Callable[[], Awaitable[Result]]) -> Result:
    failure: Exception = _Terminated()
    with anyio.CancelScope() as scope, _cancelled_by_signals(scope):
        async with session.service.running():
            try:
                return await work()
            except anyio.get_cancelled_exc_class():
                _write_waiting(session)
                raise
            except CallsheetError as error:
                # Raised outside, because the task group would wrap it.
                failure = error
    raise failure


def _write_waiting(session: Session) -> None:
    """Say why nothing happens: a second Ctrl-C would leave a paid request's outcome unknown."""
    if session.service.is_sending:
        seconds = round(session.service.stop_grace_seconds)
        text = f"Waiting up to {seconds} s for the gateway's answer. Press Ctrl-C again only to give it up."
        session.output.write_note(text, style="yellow")


@contextmanager
def _cancelled_by_signals(scope: anyio.CancelScope) -> Iterator[None]:
    """Cancel the scope on SIGTERM and SIGHUP, except where they are ignored (`nohup`)."""
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


def hand_over(session: Session, *, starts: bool = True) -> None:
    """At the end of a command: see that live tasks are followed; write how many are open, and what follows them."""
    notice = session.service.hand_over(starts=starts)
    if notice is not None:
        session.output.write_note(for_person(notice), style="yellow", wrap=session.output.err.is_terminal)


async def follow_task(
    session: Session, task_id: str, *, until: Callable[[Task], bool] | None = None, seconds: float | None = None
) -> TaskReport:
    """Draw a task until it has ended, `until` holds, that many seconds have passed, or it waits for a sealed key."""
    service = session.service
    until = until or (lambda task: task.state not in OPEN_STATES)
    deadline = anyio.current_time() + seconds if seconds is not None else None

    def done(task: Task) -> bool:
        return until(task) or waits_for_key(task)

    with TaskProgress(session.output, session.service) as progress:
        while True:
            left = LOOK_SECONDS if deadline is None else max(0.0, min(LOOK_SECONDS, deadline - anyio.current_time()))
            report = await service.wait_for(task_id, wait_seconds=left, until=done, on_report=progress.draw)
            if done(report.task) or (deadline is not None and anyio.current_time() >= deadline):
                return report


class TaskProgress:
    """One task on standard error: a progress bar on a terminal, else one line for each change."""

    def __init__(self, output: Output, service: Service) -> None:
        self._output = output
        self._service = service
        self._progress = _make_progress(output) if output.err.is_terminal else None
        self._bar = self._progress.add_task("", total=100.0, note="") if self._progress else None
        self._held: AbstractContextManager[object] = self._progress or nullcontext()
        self._last = ""

    def __enter__(self) -> TaskProgress:
        self._held.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def draw(self, report: TaskReport) -> None:
        """Draw the task's present state."""
        task = report.task
        if self._progress is not None and self._bar is not None:
            self._progress.update(
                self._bar,
                description=STATE_LABELS[task.state],
                completed=100.0 * progress_share(self._service, task),
                note=format_progress(self._service, task),
            )
        elif report.status_text != self._last:
            self._output.write_note(f"{task.id}  {one_line(report.status_text)}", style="")
        self._last = report.status_text


def _make_progress(output: Output) -> Progress:
    return Progress(
        SpinnerColumn(style="cyan", finished_text=" "),
        TextColumn("{task.description}", markup=False, style="bold"),
        BarColumn(bar_width=28, complete_style="cyan", finished_style="green", pulse_style="cyan"),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
        console=output.err,
        transient=True,
    )


def format_progress(service: Service, task: Task, *, room: int = 60) -> str:
    """The elapsed time; what the gateway says of the progress and of the usual time; when the next look is due."""
    now = service.now()
    passed = max(0, round((now if task.state in OPEN_STATES else task.updated_at) - task.created_at))
    parts = [f"{passed // 60}:{passed % 60:02}"]
    if task.state in (TaskState.QUEUED, TaskState.RUNNING) and not waits_for_key(task):
        usual = service.usual_seconds(task)
        if task.percent is not None:
            parts.append(f"the gateway says {task.percent} %")
        elif usual is not None:
            late = ", longer than usual" if service.is_slow(task) else ""
            parts.append(f"the gateway's usual {format_range(*usual)}{late}")
    if waits_for_key(task):
        parts.append("key sealed")
    elif task.problem is not None:
        parts.append(one_line(task.problem.message, room))
    elif task.state in OPEN_STATES and (left := math.ceil(task.next_at - now)) > 0:
        parts.append(f"next look in {left} s")
    return " · ".join(parts)


def format_state(task: Task) -> Text:
    """The task's state in words and colour."""
    return Text(STATE_LABELS[task.state], style=STATE_STYLES.get(task.state, "cyan"))
