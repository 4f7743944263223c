"""`callsheet watch --detach` and `--stop`: start or stop the background watcher, which needs no terminal.

It runs the same runner as every other process: tasks of a live process stay with that process, tasks of
dead processes are adopted. It ends automatically when no task is open.
"""

from __future__ import annotations

import signal
import sys

from callsheet.core.shot import JsonValue
from callsheet.core.tasks import OPEN_STATES
from callsheet.edges.process.daemon import BackgroundRunner, is_supported
from callsheet.errors import Action, CallsheetError, NextStep, SetupProblem
from callsheet.service import TaskReport
from callsheet.service.results import iso
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.progress import hand_over, run_with_runner
from callsheet.surface.cli.console.session import Session
from callsheet.surface.next_steps import program
from callsheet.surface.text import one_line

STOP = "{} watch --stop"
TICK_SECONDS = 1.0
TROUBLE_SECONDS = 5.0
MORE_SECONDS = 4.0
"""What stopping needs beyond the grace for requests in flight."""

NO_LIMIT = -1


def require_supported(platform: str = sys.platform) -> None:
    """Raises `SetupProblem` on platforms without a background watcher."""
    if not is_supported(platform):
        raise SetupProblem(
            "The background watcher is not available on Windows.",
            next_step=NextStep(Action.WATCH, "Keep this running in a window of its own."),
        )


def detach(session: Session) -> int:
    """Start the background watcher, unless it runs already or no task is open."""
    require_supported()
    background = session.program.background
    if not _open_tasks(session):
        return _write_answer(session, "nothing_open", "No task is open; nothing was started.")
    if background.is_running():
        return _write_running(session, background)
    pid = background.start()
    if pid is not None:
        text = f"Following all open tasks in the background, as process {pid}. To stop it: {STOP.format(program())}"
        return _write_answer(session, "started", text, pid=pid, log=background.log)
    if background.is_running():
        return _write_running(session, background)
    raise SetupProblem("The background watcher could not be started.", next_step=f"Read {background.log}.")


def stop(session: Session) -> int:
    """Stop the background watcher; requests in flight get time to finish."""
    require_supported()
    background = session.program.background
    if not background.is_running():
        return _write_answer(session, "not_running", "The background watcher is not running.")
    if not background.stop(timeout_seconds=session.service.stop_grace_seconds + MORE_SECONDS):
        raise SetupProblem(
            "The background watcher is stopping, but has not ended yet.",
            next_step=f"Run `{STOP.format(program())}` again, or read {background.log}.",
        )
    code = _write_answer(session, "stopped", "The background watcher has ended.")
    hand_over(session, starts=False)
    return code


def run_background(session: Session) -> int:
    """Run as the background watcher; only `detach` starts this."""
    require_supported()
    background = session.program.background
    background.detach()
    # SIGTERM may also arrive before the runner listens for it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    while True:
        with background.hold() as held:
            if not held:
                _log(session, "another background watcher is running")
                return ExitCode.OK
            try:
                run_with_runner(session, lambda: _follow_all(session), hands_over=False)
            except KeyboardInterrupt:
                _log(session, "asked to stop")
                hand_over(session, starts=False)
                return ExitCode.INTERRUPTED
        # A program that ended at this moment saw this one running and started none, so what it left is followed here.
        if not _open_tasks(session):
            _log(session, "no task is open")
            return ExitCode.OK


async def _follow_all(session: Session) -> None:
    """Log each change of the open tasks until none is open; ledger errors are logged and tried again."""
    seen: dict[str, object] = {}
    while True:
        pause = TICK_SECONDS
        try:
            found = _open_tasks(session)
            for report in [*found, *_just_ended(session, seen, found)]:
                task = report.task
                # Without the percentage, to keep the log short.
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
    found = session.service.tasks(only_open=True, limit=NO_LIMIT)
    return [report for report in found if report.task.state in OPEN_STATES]


def _just_ended(session: Session, seen: dict[str, object], found: list[TaskReport]) -> list[TaskReport]:
    still = {report.task.id for report in found}
    return [session.service.task(task_id) for task_id in seen if task_id not in still]


def _log(session: Session, text: str) -> None:
    session.output.write_note(f"{iso(session.service.now())}  {text}", style="", wrap=False)


def _write_running(session: Session, background: BackgroundRunner) -> int:
    pid = background.pid()
    known = f", as process {pid}" if pid else ""
    text = f"The background watcher is already running{known}. It follows every open task."
    return _write_answer(session, "already_running", text, pid=pid, log=background.log)


def _write_answer(session: Session, status: str, text: str, *, pid: int | None = None, log: object = None) -> int:
    if session.as_json:
        form: dict[str, JsonValue] = {"status": status, "pid": pid, "log": str(log) if log else None}
        session.write_json(form)
        return ExitCode.OK
    session.output.write_unwrapped(text, indent=0)
    if log:
        session.output.write_unwrapped(f"Log: {log}", indent=0)
    return ExitCode.OK
