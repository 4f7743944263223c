"""Sending and following with a sealed key from the terminal, over real HTTP and in processes of their own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from cli_terminal import CHEAP_RECIPE, CommandLine, Ran, Terminal, run_without_terminal, store_cheap_verifier

from callsheet.compose import Surroundings, build_program
from callsheet.core.consent import Means
from callsheet.core.security.redaction import variants
from callsheet.core.tasks import TaskState
from callsheet.edges.clock import SystemClock
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.service import Service
from callsheet.service.sealed_keys import permit
from callsheet.service.submission import submit
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from crash.crash_gateway import LoopbackGateway, Manners
from crash.crash_video import write_video
from workspace import KEY, SHOT, Workspace, account_of, draft

PASSPHRASE = "a heron over the reeds"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real film, made once."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def gateway(film: bytes) -> Iterator[LoopbackGateway]:
    """PoYo on loopback, which has every job done at once."""
    listening = LoopbackGateway(film)
    yield listening
    listening.close()


@pytest.fixture
def armed(workspace: Workspace, tmp_path: Path, gateway: LoopbackGateway) -> Program:
    """Live mode against that gateway, with its key sealed and nowhere else; the real clock."""
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    workspace.write_policy(
        f'mode = "live"\n[gateways.poyo]\nbase_url = "{gateway.url}"\n[save]\ndirectory = "{tmp_path}/clips"\n'
    )
    program = build_program(
        Surroundings(
            environ=workspace.environ,
            working_directory=project,
            clock=SystemClock(),
            account_home=account_of(workspace.home),
        )
    )
    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    key = SecretKey("poyo", KEY, source="file")
    sealed = seal_key(key, PASSPHRASE, base_url=gateway.url, recipe=CHEAP_RECIPE)
    write_sealed(sealed, keys_directory=program.keys_directory)
    return program


def on_terminal(workspace: Workspace, program: Program, *arguments: str) -> Terminal:
    """One command at a terminal."""
    return Terminal([*arguments], workspace.environ, program.working_directory)


def piped(workspace: Workspace, program: Program, *arguments: str) -> Ran:
    """One command without a terminal."""
    ran = run_without_terminal([*arguments], workspace.environ, program.working_directory, f"0.24\n{PASSPHRASE}\n")
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def agree(terminal: Terminal) -> None:
    """Type the amount and the passphrase."""
    terminal.expect("agreeing sends this now")
    terminal.expect("Type the amount to agree, 0.24: ")
    terminal.type("0.24")
    terminal.expect("Approval passphrase: ")
    terminal.type(PASSPHRASE)


def state_of(service: Service) -> TaskState:
    """The state of the one task there is."""
    [report] = service.tasks()
    return report.task.state


def let_its_time_come(service: Service) -> None:
    """The next look at the one task is due now instead of in half a minute."""
    [report] = service.tasks()
    service.deps.ledger().touch(report.task.id, now=time.time(), changes={"next_at": time.time()})


def send_and_be_killed(workspace: Workspace, program: Program, sheet_id: str) -> None:
    """A person approves; when the gateway has the job, their process is killed without a word."""
    with on_terminal(workspace, program, "approve", sheet_id) as terminal:
        agree(terminal)
        terminal.expect("In the queue")


def test_approving_sends_once_follows_and_saves(
    workspace: Workspace, armed: Program, gateway: LoopbackGateway, tmp_path: Path
) -> None:
    """All of it in the command in which the passphrase was typed; later calls find the task and send nothing."""
    service = armed.build_service()
    sheet_id = draft(service)

    with on_terminal(workspace, armed, "approve", sheet_id) as terminal:
        terminal.expect("0.24 USD (48 credits)")
        terminal.expect(SHOT.prompt)
        agree(terminal)
        terminal.expect("In the queue")
        let_its_time_come(service)
        terminal.expect("The clip is on disk")
        assert terminal.finish() == 0
        assert KEY not in terminal.text
        assert PASSPHRASE not in terminal.text

    [receipt] = gateway.receipts
    assert f"authorization: bearer {KEY}" in receipt.head.lower()
    assert receipt.sheet_id == sheet_id
    assert state_of(service) is TaskState.SAVED
    assert [path.suffix for path in (tmp_path / "clips").rglob("*.mp4")] == [".mp4"]
    assert submit(service.deps, sheet_id).status == "already_accepted"
    again = piped(workspace, armed, "approve", sheet_id)
    assert again.code == ExitCode.INVALID
    assert "already spent" in " ".join(again.err.split())
    assert len(gateway.receipts) == 1
    files = [path for path in workspace.home.rglob("*") if path.is_file()]
    spelt = [spelling.encode() for spelling in variants(KEY)]
    assert [path for path in files if any(spelling in path.read_bytes() for spelling in spelt)] == []
    assert [path for path in files if PASSPHRASE.encode() in path.read_bytes()] == []


def test_ctrl_c_ends_the_following_and_not_the_task(
    workspace: Workspace, armed: Program, gateway: LoopbackGateway
) -> None:
    """What was sent stays sent, and the person reads how it goes on."""
    service = armed.build_service()
    with on_terminal(workspace, armed, "submit", draft(service)) as terminal:
        agree(terminal)
        terminal.expect("In the queue")
        terminal.interrupt()
        terminal.expect("Stopped waiting")
        terminal.expect("needs the passphrase at a terminal")
        assert terminal.finish() == ExitCode.INTERRUPTED

    assert state_of(service) is TaskState.QUEUED
    assert len(gateway.receipts) == 1


def test_a_wrong_passphrase_or_amount_sends_nothing(
    workspace: Workspace, armed: Program, gateway: LoopbackGateway
) -> None:
    """The sheet is as it was."""
    service = armed.build_service()
    sheet_id = draft(service)
    with on_terminal(workspace, armed, "approve", sheet_id) as terminal:
        terminal.expect("Type the amount")
        terminal.type("0.42")
        assert terminal.finish() == ExitCode.NOT_APPROVED
    with on_terminal(workspace, armed, "approve", sheet_id) as terminal:
        terminal.expect("Type the amount")
        terminal.type("0.24")
        for _ in range(3):
            terminal.expect("Approval passphrase: ")
            terminal.type("a guess that is wrong")
        terminal.expect("wrong 3 times")
        assert terminal.finish() == ExitCode.NOT_APPROVED

    assert service.approvable(sheet_id).approved_at is None
    assert service.tasks() == []
    assert gateway.receipts == []


def test_a_verifier_of_somebody_elses_opens_nothing(
    workspace: Workspace, armed: Program, gateway: LoopbackGateway
) -> None:
    """Whoever writes the files can put their own passphrase in; it approves no sealed key's sheet."""
    store_cheap_verifier(armed.verifier_path, "an agent's own words")
    service = armed.build_service()
    with on_terminal(workspace, armed, "approve", draft(service)) as terminal:
        terminal.expect("Type the amount")
        terminal.type("0.24")
        for _ in range(3):
            terminal.expect("Approval passphrase: ")
            terminal.type("an agent's own words")
        assert terminal.finish() == ExitCode.NOT_APPROVED

    assert service.tasks() == []
    assert gateway.receipts == []


def test_without_a_terminal_nothing_is_opened(workspace: Workspace, armed: Program, gateway: LoopbackGateway) -> None:
    """Neither by `approve` nor by `submit`, whatever is piped in and whatever the ledger says."""
    service = armed.build_service()
    sheet_id = draft(service)
    assert piped(workspace, armed, "approve", sheet_id).code == ExitCode.NOT_APPROVED

    service.approve(sheet_id, by=Means.TERMINAL)
    ran = piped(workspace, armed, "submit", sheet_id)

    assert ran.code == ExitCode.NOT_APPROVED
    assert "key is sealed" in ran.out
    assert f"callsheet approve {sheet_id}" in ran.out
    assert service.tasks() == []
    assert gateway.receipts == []


def test_after_a_kill_others_hold_the_task_and_watch_takes_it_over_and_saves_it(
    workspace: Workspace, armed: Program, gateway: LoopbackGateway
) -> None:
    """One paid request in all; a process without the passphrase asks nothing and says what a person has to do."""
    service = armed.build_service()
    send_and_be_killed(workspace, armed, draft(service))
    [report] = service.tasks()
    task_id = report.task.id
    let_its_time_come(service)

    held = piped(workspace, armed, "get", task_id, "--wait", "4", "--json")
    assert held.json["status"] == "queued"
    assert held.json["problem"]["code"] == "key_sealed"
    assert "callsheet watch" in held.json["next_step"]
    assert "1 of them waits for a sealed key" in piped(workspace, armed, "list").out
    assert "its key is sealed" in " ".join(piped(workspace, armed, "get", task_id).out.split())

    with on_terminal(workspace, armed, "watch") as terminal:
        terminal.expect("1 open task needs a sealed key (poyo)")
        terminal.expect("(Enter: not now): ")
        terminal.type("not this one")
        terminal.expect("That is not the passphrase.")
        terminal.expect("(Enter: not now): ")
        terminal.type(PASSPHRASE)
        assert terminal.finish() == 0
        assert re.search(r"clip|\.mp4", terminal.text)

    assert state_of(service) is TaskState.SAVED
    assert len(gateway.receipts) == 1


def make_unsent(service: Service, sheet_id: str) -> None:
    """A sheet that was approved and spent in a process that was killed before it could send."""

    async def spend() -> None:
        await permit(service.deps, sheet_id, PASSPHRASE)
        service.approve(sheet_id, by=Means.TERMINAL)
        submit(service.deps, sheet_id)

    anyio.run(spend)
    service.deps.opened.forget_all()


@pytest.mark.parametrize("typed", ["0.24", "no"])
def test_watch_sends_what_was_never_sent_only_after_its_amount_was_typed_again(
    workspace: Workspace, armed: Program, gateway: LoopbackGateway, typed: str
) -> None:
    """What the ledger calls approved is shown anew; another answer leaves it waiting."""
    service = armed.build_service()
    make_unsent(service, draft(service))
    gateway.manners = Manners(answering="refuse")

    with on_terminal(workspace, armed, "watch") as terminal:
        terminal.expect("(Enter: not now): ")
        terminal.type(PASSPHRASE)
        terminal.expect("Approved before and not sent yet")
        terminal.expect("Type the amount to agree, 0.24: ")
        terminal.type(typed)
        if typed == "0.24":
            assert terminal.finish() == ExitCode.GATEWAY
        else:
            terminal.expect("is not sent.")
            terminal.expect("Waiting to be sent")
            terminal.interrupt()
            assert terminal.finish() == ExitCode.INTERRUPTED

    assert state_of(service) is (TaskState.REJECTED if typed == "0.24" else TaskState.WAITING)
    assert len(gateway.receipts) == (1 if typed == "0.24" else 0)


def test_watch_without_the_passphrase_watches_and_opens_nothing(
    workspace: Workspace, armed: Program, gateway: LoopbackGateway
) -> None:
    """Enter alone is no; the task stays held."""
    service = armed.build_service()
    send_and_be_killed(workspace, armed, draft(service))

    with on_terminal(workspace, armed, "watch") as terminal:
        terminal.expect("(Enter: not now): ")
        terminal.type("")
        terminal.expect("In the queue")
        terminal.interrupt()
        assert terminal.finish() == ExitCode.INTERRUPTED

    assert state_of(service) is TaskState.QUEUED
    assert len(gateway.receipts) == 1


def test_nobody_is_asked_for_a_passphrase_when_no_task_needs_one(cli: CommandLine, armed: Program) -> None:
    """A watch with nothing open says so."""
    ran = cli("watch")

    assert ran.code == 0
    assert "No task is open." in ran.out
