"""`callsheet watch --detach` and `--stop`: one background watcher, which outlives the command that started it."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cli_terminal import PATIENCE_SECONDS, CommandLine, Terminal, run_without_terminal

from callsheet.compose import Surroundings, build_program
from callsheet.core.tasks import TaskState
from callsheet.edges.clock import SystemClock
from callsheet.edges.process.daemon import BackgroundRunner, Launch
from callsheet.edges.process.locks import try_lock
from callsheet.errors import SetupProblem
from callsheet.surface.cli.commands.detach import require_supported
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import Workspace, account_of, draft


@pytest.fixture
def program(workspace: Workspace, tmp_path: Path) -> Program:
    """The program in the sandbox, with the machine's own clock, as a background process has it."""
    project = tmp_path / "project"
    project.mkdir()
    return build_program(
        Surroundings(workspace.environ, project, SystemClock(), account_home=account_of(workspace.home))
    )


@pytest.fixture
def background(program: Program) -> Iterator[BackgroundRunner]:
    """The install's background watcher; none is left when the test ends."""
    watch = program.background
    yield watch
    pid = watch.pid() if watch.is_running() else None
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def submit_open(workspace: Workspace, cli: CommandLine, program: Program, *, speed: int) -> str:
    """An open task that nobody follows any more; its id."""
    workspace.write_policy(f"[sandbox]\nspeed = {speed}\n")
    sheet_id = draft(program.build_service())
    task_id: str = cli("submit", sheet_id, "--no-wait", "--json").json["task"]["task_id"]
    return task_id


def test_with_nothing_open_nothing_is_started(cli: CommandLine, background: BackgroundRunner) -> None:
    """It says so; there is no process, no log and nothing to stop."""
    ran, stopped = cli("watch", "--detach"), cli("watch", "--stop", "--json")

    assert ran.code == stopped.code == 0
    assert "nothing was started" in ran.out
    assert stopped.json["status"] == "not_running"
    assert not background.log.exists()


def test_a_background_watcher_saves_the_clip_and_ends(
    workspace: Workspace, program: Program, cli: CommandLine, background: BackgroundRunner
) -> None:
    """Started from a terminal that goes away; in a session of its own, nobody's child, with a private log."""
    task_id = submit_open(workspace, cli, program, speed=60)

    with Terminal(["watch", "--detach"], workspace.environ, program.working_directory) as terminal:
        terminal.expect("as process ")
        assert terminal.finish() == 0
        started = re.search(r"as process (\d+)\.", terminal.text)
        assert started is not None
        assert str(background.log) in terminal.text.replace("\n", "")
    # It may have ended already.
    with suppress(ProcessLookupError):
        assert os.getsid(int(started[1])) not in (os.getsid(0), int(started[1]))

    with try_lock(program.paths.state / "watch.lock", seconds=PATIENCE_SECONDS) as ended:
        assert ended, background.log.read_text(encoding="utf-8")
    task = program.build_service().task(task_id).task
    assert task.state is TaskState.SAVED
    assert task.clip is not None
    log = background.log.read_text(encoding="utf-8")
    assert f"{task_id}  The clip is on disk." in log
    assert log.splitlines()[-1].endswith("no task is open")
    assert stat.S_IMODE(background.log.stat().st_mode) == 0o600


def test_there_is_one_background_watcher_and_stop_ends_it(
    workspace: Workspace, program: Program, cli: CommandLine, background: BackgroundRunner
) -> None:
    """A second start names the first; --stop leaves the task to the next start."""
    task_id = submit_open(workspace, cli, program, speed=1)
    # What was left behind by one that was killed is not believed.
    program.paths.state.joinpath("watch.pid").write_text("1234567", encoding="ascii")
    program.paths.state.joinpath("watch.pid").chmod(0o600)

    first = cli("watch", "--detach", "--json").json
    second = cli("watch", "--detach", "--json").json
    assert (first["status"], second["status"]) == ("started", "already_running")
    assert first["pid"] == second["pid"] == background.pid() != 1234567
    assert first["log"] == second["log"] == str(background.log)
    stopped = cli("watch", "--stop")

    assert stopped.code == 0
    assert "has ended" in stopped.out
    assert "1 task is still open" in stopped.err
    assert not background.is_running()
    assert "asked to stop" in background.log.read_text(encoding="utf-8")
    assert program.build_service().task(task_id).task.state in (TaskState.QUEUED, TaskState.RUNNING)


def test_a_second_background_process_ends_immediately(workspace: Workspace, program: Program) -> None:
    """Two starts at the same moment make one watcher."""
    with try_lock(program.paths.state / "watch.lock") as is_free:
        assert is_free
        ran = run_without_terminal(["watch", "--background"], workspace.environ, program.working_directory)

    assert ran.returncode == 0
    assert ran.stdout == ""
    assert "another background watcher is running" in ran.stderr


def test_a_watcher_that_cannot_start_is_reported(tmp_path: Path, program: Program) -> None:
    """No process id came; and a log that cannot be written is named."""
    background = BackgroundRunner(tmp_path / "state", Launch(("false",), {"PATH": os.environ["PATH"]}, tmp_path))

    assert background.start() is None
    assert not background.ensure()
    background.log.unlink()
    background.log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupProblem, match=r"watch\.log"):
        background.start()
    assert not background.ensure()
    assert not (tmp_path / "elsewhere").exists()


def test_detaching_concerns_all_tasks(cli: CommandLine) -> None:
    """One task, or both options at once, are a mistake."""
    assert cli("watch", "task_0000000000000000", "--detach").code == ExitCode.INVALID
    assert cli("watch", "--detach", "--stop").code == ExitCode.INVALID


def test_windows_has_no_background_watcher() -> None:
    """It is said, with what to do instead."""
    with pytest.raises(SetupProblem, match="Windows"):
        require_supported("win32")
    require_supported("linux")
    require_supported("darwin")
