"""What goes on with an open task when a command ends: `get` asks, a live task starts the background watcher."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cli_terminal import PATIENCE_SECONDS, CommandLine, run_without_terminal

from callsheet.compose import Surroundings, build_program
from callsheet.core.consent import Means
from callsheet.core.tasks import OPEN_STATES, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.edges.process.locks import FileLeases, try_lock
from callsheet.errors import Action
from callsheet.surface.program import Program
from crash.crash_gateway import LoopbackGateway
from crash.crash_video import write_video
from workspace import KEY, Workspace, accepted, account_of, draft, status


def submit_live(workspace: Workspace, program: Program, cli: CommandLine, extra: str = "") -> str:
    """A live task at the gateway that no process follows; its id."""
    workspace.go_live(extra)
    service = program.build_service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = [accepted()]
    task_id: str = cli("submit", sheet_id, "--no-wait", "--json").json["task"]["task_id"]
    return task_id


def reads(workspace: Workspace) -> int:
    """How many status reads the gateway got."""
    return len([request for request in workspace.gateway.requests if request.method == "GET"])


def test_get_asks_the_gateway_when_a_look_is_due_and_not_earlier(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """Each call is a process of its own, and adopts what the one before left; the schedule is that of any runner."""
    task_id = submit_live(workspace, program, cli)
    due = program.build_service().task(task_id).task.next_at

    early = cli("get", task_id, "--json").json
    assert (early["status"], reads(workspace)) == ("queued", 0)
    workspace.clock.time = due
    workspace.gateway.replies = [status("running", progress=40)]
    first, second = cli("get", task_id, "--json").json, cli("get", task_id, "--json").json

    assert (first["status"], first["percent"]) == (second["status"], second["percent"]) == ("running", 40)
    assert reads(workspace) == 1
    assert program.build_service().task(task_id).task.next_at > due


def test_get_leaves_a_task_to_the_process_that_follows_it(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """Nothing is asked twice, and only then the clip is said to be saved automatically."""
    task_id = submit_live(workspace, program, cli)
    workspace.clock.time = program.build_service().task(task_id).task.next_at
    other = FileLeases(program.paths.state / "runners")
    other.hold()

    ran = cli("get", task_id, "--json")
    other.release()

    assert reads(workspace) == 0
    assert "saved automatically" in ran.json["next_step"]


def test_a_task_is_shown_where_a_lock_cannot_be_used(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """The state of a task is in the ledger; that nothing is known to follow it is said."""
    task_id = submit_live(workspace, program, cli)
    (program.paths.state / "watch.lock").mkdir()

    ran = cli("get", task_id, "--json")

    assert ran.json["status"] == "queued"
    assert "automatically" not in ran.json["next_step"]


def test_without_the_key_nothing_is_promised(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """Nor where another process follows the task and has no key either; where it has one, it is."""
    task_id = submit_live(workspace, program, cli)
    workspace.environ["POYO_API_KEY"] = ""
    workspace.clock.time = program.build_service().task(task_id).task.next_at
    other = FileLeases(program.paths.state / "runners")

    alone = cli("get", task_id, "--json").json
    other.hold()
    accompanied = cli("get", task_id, "--json").json
    program.build_service().deps.ledger().touch(task_id, now=workspace.clock.time, changes={"problem": None})
    followed = cli("get", task_id, "--json").json
    other.release()

    assert alone["problem"]["code"] == accompanied["problem"]["code"] == "no_key"
    assert all("key is missing" in answer["next_step"] for answer in (alone, accompanied))
    assert "saved automatically" in followed["next_step"]


@pytest.mark.parametrize("command", [("get",), ("submit", "--no-wait")])
def test_the_next_step_of_an_open_task_is_a_bounded_wait(
    workspace: Workspace, program: Program, cli: CommandLine, command: tuple[str, ...]
) -> None:
    """Where nothing follows it, no text says that it is saved automatically, and the time that is left is named."""
    task_id = submit_live(workspace, program, cli)
    subject = task_id if command[0] == "get" else program.build_service().task(task_id).task.sheet_id

    step = cli(command[0], subject, *command[1:], "--json").json["next_step"]

    assert f"callsheet get {task_id} --wait 45" in step
    assert "automatically" not in step
    assert "24 hours" in step


def test_sandbox_tasks_progress_on_get(workspace: Workspace, tmp_path: Path) -> None:
    """Calls of `get` alone bring a rehearsal to its clip."""
    workspace.write_policy("[sandbox]\nspeed = 300\n")
    project, environ = tmp_path / "project", workspace.environ
    project.mkdir()
    real = Surroundings(environ, project, SystemClock(), account_home=account_of(workspace.home))
    service = build_program(real).build_service()
    run_without_terminal(["submit", draft(service), "--no-wait"], environ, project)
    [report] = service.tasks()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (state := service.task(report.task.id).task.state) in OPEN_STATES and time.monotonic() < deadline:
        run_without_terminal(["get", report.task.id], environ, project)

    assert state is TaskState.SAVED


@pytest.mark.parametrize(
    ("extra", "key", "starts"),
    [
        ("", KEY, True),
        ("[tasks]\nbackground = true\n", KEY, True),
        ("[tasks]\nbackground = false\n", KEY, False),
        # A process started from here could not ask the gateway.
        ("", "", False),
    ],
)
def test_a_live_task_starts_the_watcher_where_it_can(
    workspace: Workspace, program: Program, cli: CommandLine, extra: str, key: str, starts: bool
) -> None:
    """A person can forbid it; then the text says what must run."""
    submit_live(workspace, program, cli, extra)
    workspace.environ["POYO_API_KEY"] = key
    service, started = program.build_service(), []
    service.deps = replace(service.deps, start_watcher=lambda: not started.append(True))

    notice = service.hand_over()

    assert notice is not None
    assert (started == [True]) == starts
    assert notice.action is (Action.NOTHING if starts else Action.WATCH)
    assert service.hand_over(starts=False) is not None
    assert len(started) == starts


def test_a_rehearsal_starts_no_watcher(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """It costs nothing, and `get` goes on with it."""
    workspace.gateway.replies = [accepted()]
    cli("submit", draft(program.build_service()), "--no-wait")
    service, started = program.build_service(), []
    service.deps = replace(service.deps, start_watcher=lambda: not started.append(True))

    service.hand_over()

    assert started == []


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LoopbackGateway]:
    """PoYo on loopback, which has every job done at once."""
    listening = LoopbackGateway(write_video(tmp_path / "source.mp4"))
    yield listening
    listening.close()


def test_a_clip_saves_itself_after_submit_without_waiting(
    workspace: Workspace, tmp_path: Path, gateway: LoopbackGateway
) -> None:
    """The command ends, and the process that it leaves asks, saves and ends; the request was paid once."""
    workspace.go_live(f'[gateways.poyo]\nbase_url = "{gateway.url}"\n[save]\ndirectory = "{tmp_path}/clips"\n')
    project = tmp_path / "project"
    project.mkdir()
    program = build_program(
        Surroundings(workspace.environ, project, SystemClock(), account_home=account_of(workspace.home))
    )
    service, background = program.build_service(), program.background
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    try:
        ran = run_without_terminal(
            ["submit", sheet_id, "--no-wait", "--json"], {**workspace.environ, "LEAVES_WATCHER": "1"}, project
        )
        assert ran.returncode == 0, ran.stderr
        answer = json.loads(ran.stdout)
        assert background.is_running(), ran.stderr
        assert "saved automatically" in answer["next_step"]
        service.deps.ledger().touch(answer["task_id"], now=time.time(), changes={"next_at": time.time()})
        with try_lock(program.paths.state / "watch.lock", seconds=PATIENCE_SECONDS) as ended:
            assert ended, background.log.read_text(encoding="utf-8")
    finally:
        if background.is_running() and (pid := background.pid()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    assert service.task(answer["task_id"]).task.state is TaskState.SAVED
    assert len(gateway.receipts) == 1
