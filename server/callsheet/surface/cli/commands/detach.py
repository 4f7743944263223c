"""`callsheet watch --detach` and `--stop`: follow all open tasks to their end without a terminal, or no longer.

The background watcher is a runner like every other: tasks of a process that lives stay with it, those of
processes that are gone are adopted. It ends by itself when nothing is open any more.
"""

from __future__ import annotations

import signal
import sys

from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.core.tasks.states import OPEN_STATES
from callsheet.edges.process.daemon import BackgroundRunner
from callsheet.errors import CallsheetError, SetupProblem
from callsheet.service import TaskReport
from callsheet.service.results import iso
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.progress import run_watched, say_left_open
from callsheet.surface.cli.console.session import Session
from callsheet.surface.cli.console.wording import one_line

TICK_SECONDS = 1.0
TROUBLE_SECONDS = 5.0
MORE_SECONDS = 4.0
"""What the end needs beside the grace for requests on their way."""

EVERY = -1


def require_offered(platform: str = sys.platform) -> None:
    """Raises `SetupProblem` where there is no background watcher."""
    if platform == "win32":
        raise SetupProblem(
            "A background watcher is not offered on Windows.",
            next_step="Leave `callsheet watch` running in a window of its own.",
        )


def detach(session: Session) -> int:
    """Start the background watcher, unless nothing is open or there is one."""
    require_offered()
    background = BackgroundRunner(session.program.paths.state)
    if not _open_tasks(session):
        return _tell(session, "nothing_open", "No task is open; nothing was started.")
    if background.is_running():
        return _tell_running(session, background)
    command = [sys.executable, "-P", "-m", "callsheet", "--verbose", "watch", "--background"]
    program = session.program
    pid = background.start(command, environ=program.environ, directory=program.working_directory)
    if pid is not None:
        said = f"Following all open tasks in the background, as process {pid}. `callsheet watch --stop` ends it."
        return _tell(session, "started", said, pid=pid, log=background.log)
    if background.is_running():
        return _tell_running(session, background)
    raise SetupProblem("The background watcher could not be started.", next_step=f"Read {background.log}.")


def stop(session: Session) -> int:
    """End the background watcher kindly: what is on its way to a gateway is given its time."""
    require_offered()
    background = BackgroundRunner(session.program.paths.state)
    if not background.is_running():
        return _tell(session, "not_running", "There is no background watcher.")
    if not background.stop(timeout_seconds=session.service.stop_grace_seconds + MORE_SECONDS):
        raise SetupProblem(
            "The background watcher was asked to end and has not ended yet.",
            next_step=f"Run `callsheet watch --stop` again, or read {background.log}.",
        )
    code = _tell(session, "stopped", "The background watcher has ended.")
    say_left_open(session)
    return code


def run_background(session: Session) -> int:
    """Be the background watcher; only `detach` starts this."""
    require_offered()
    background = BackgroundRunner(session.program.paths.state)
    background.detach()
    # From here on it may be told to end, also before the run that listens for that has begun.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with background.hold() as held:
        if not held:
            _log(session, "another background watcher is running")
            return ExitCode.OK
        try:
            run_watched(session, lambda: _follow_all(session))
        except KeyboardInterrupt:
            _log(session, "told to end")
            say_left_open(session)
            return ExitCode.INTERRUPTED
        _log(session, "nothing is open any more")
    return ExitCode.OK


async def _follow_all(session: Session) -> None:
    """Log each change of the open tasks until there is none; a ledger in trouble is tried again."""
    seen: dict[str, object] = {}
    while True:
        pause = TICK_SECONDS
        try:
            found = _open_tasks(session)
            for report in [*found, *_just_ended(session, seen, found)]:
                task = report.task
                # Without the percentage: the log is to stay short.
                news = (task.state, task.problem and task.problem.code)
                if seen.get(task.id) != news:
                    _log(session, f"{task.id}  {one_line(report.status_text)}")
                seen[task.id] = news
            if not found:
                return
            seen = {report.task.id: seen[report.task.id] for report in found}
        except CallsheetError as error:
            _log(session, error.message)
            pause = TROUBLE_SECONDS
        await session.service.wait_for_change(pause)


def _open_tasks(session: Session) -> list[TaskReport]:
    found = session.service.tasks(only_open=True, limit=EVERY)
    return [report for report in found if report.task.state in OPEN_STATES]


def _just_ended(session: Session, seen: dict[str, object], found: list[TaskReport]) -> list[TaskReport]:
    still = {report.task.id for report in found}
    return [session.service.task(task_id) for task_id in seen if task_id not in still]


def _log(session: Session, text: str) -> None:
    session.screen.note(f"{iso(session.service.now())}  {text}", style="", whole=True)


def _tell_running(session: Session, background: BackgroundRunner) -> int:
    pid = background.pid()
    known = f", as process {pid}" if pid else ""
    said = f"A background watcher is running already{known}; it follows every open task."
    return _tell(session, "already_running", said, pid=pid, log=background.log)


def _tell(session: Session, status: str, text: str, *, pid: int | None = None, log: object = None) -> int:
    if session.as_json:
        form: dict[str, JsonValue] = {"status": status, "pid": pid, "log": str(log) if log else None}
        session.screen.answer(session.redactor.value(form))
        return ExitCode.OK
    session.screen.show(Text(text))
    if log:
        session.screen.whole(f"Log: {log}", indent=0)
    return ExitCode.OK


__all__ = ["detach", "require_offered", "run_background", "stop"]
