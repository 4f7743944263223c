"""`callsheet generate`, and `submit` at a terminal: one command from a prompt or a sheet to a clip, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_terminal import CHEAP_RECIPE, CommandLine, Terminal, run_without_terminal, store_cheap_verifier

from callsheet.compose import Surroundings, build_program
from callsheet.core.tasks import SheetState, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from crash.crash_gateway import LoopbackGateway, Manners
from crash.crash_video import write_video
from workspace import KEY, SHOT, Workspace, account_of, draft

PASSPHRASE = "a heron over the reeds"
GENERATE = ("generate", SHOT.prompt, "--duration", "4", "--model", "poyo/sora-2-official")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real video, made once."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def gateway(video: bytes) -> Iterator[LoopbackGateway]:
    """PoYo on loopback, which has every job done at once."""
    listening = LoopbackGateway(video)
    yield listening
    listening.close()


@pytest.fixture(params=["in the environment", "sealed"])
def live(workspace: Workspace, tmp_path: Path, gateway: LoopbackGateway, request: pytest.FixtureRequest) -> Program:
    """Live mode against that gateway, with its key sealed or not, and a passphrase; the real clock."""
    program = _program(workspace, tmp_path)
    policy = f'[gateways.poyo]\nbase_url = "{gateway.url}"\n[save]\ndirectory = "{tmp_path}/clips"\n'
    if request.param == "sealed":
        workspace.write_policy(f'mode = "live"\n{policy}')
        sealed = seal_key(SecretKey("poyo", KEY, source="file"), PASSPHRASE, base_url=gateway.url, recipe=CHEAP_RECIPE)
        write_sealed(sealed, keys_directory=program.keys_directory)
    else:
        workspace.go_live(policy)
    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    return program


def _program(workspace: Workspace, tmp_path: Path) -> Program:
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    account = account_of(workspace.home)
    return build_program(Surroundings(workspace.environ, project, SystemClock(), account_home=account))


def on_terminal(workspace: Workspace, program: Program, *arguments: str) -> Terminal:
    """One command at a terminal."""
    return Terminal([*arguments], workspace.environ, program.working_directory)


def agree(terminal: Terminal) -> None:
    """Type the amount and the passphrase."""
    terminal.expect("Type the amount to agree, 0.24: ")
    terminal.type("0.24")
    terminal.expect("Approval passphrase: ")
    terminal.type(PASSPHRASE)


@pytest.mark.slow
def test_a_rehearsal_takes_one_command_and_enter(workspace: Workspace, tmp_path: Path) -> None:
    """Explained before it is asked for; the path of the clip is a link; without a screen nothing is offered."""
    workspace.write_policy(f'[sandbox]\nspeed = 300\n[save]\ndirectory = "{tmp_path}/clips"\n')
    program = _program(workspace, tmp_path)

    with on_terminal(workspace, program, *GENERATE) as terminal:
        terminal.expect("Generate this rehearsal?")
        assert "0.24 USD" in terminal.text
        terminal.type("")
        assert terminal.finish() == ExitCode.OK
        [clip] = (tmp_path / "clips").glob("*.mp4")
        assert clip.as_uri() in terminal.text
        assert "Open it now?" not in terminal.text


def test_a_rehearsal_that_is_not_wanted_sends_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """Nor does Ctrl-C at the question."""
    program = _program(workspace, tmp_path)
    with on_terminal(workspace, program, *GENERATE) as terminal:
        terminal.expect("Generate this rehearsal?")
        terminal.type("no")
        assert terminal.finish() == ExitCode.NOT_APPROVED
    with on_terminal(workspace, program, *GENERATE) as terminal:
        terminal.expect("Generate this rehearsal?")
        terminal.interrupt()
        assert terminal.finish() == ExitCode.INTERRUPTED

    assert program.build_service().tasks() == []


@pytest.mark.parametrize("command", ["generate", "submit"])
def test_a_live_clip_takes_one_command_sealed_key_or_not(
    workspace: Workspace, live: Program, gateway: LoopbackGateway, tmp_path: Path, command: str
) -> None:
    """No id is copied; the shot is sent once, followed and saved, and the trail has the person's consent."""
    service = live.build_service()
    arguments = GENERATE if command == "generate" else ("submit", draft(service))

    with on_terminal(workspace, live, *arguments) as terminal:
        terminal.expect("agreeing sends this now")
        agree(terminal)
        terminal.expect("In the queue")
        terminal.expect("The clip is on disk")
        assert terminal.finish() == ExitCode.OK
        assert KEY not in terminal.text

    [task], [clip] = service.tasks(), list((tmp_path / "clips").rglob("*.mp4"))
    assert (task.task.state, str(clip)) == (TaskState.SAVED, task.task.clip and task.task.clip.path)
    assert len(gateway.receipts) == 1
    assert service.verify_audit().broken is None
    assert any(entry.subject == task.task.sheet_id and entry.actor == "terminal" for entry in service.audit())


@pytest.mark.parametrize("typed", ["0.25", "", "yes", "^C"])
def test_anything_but_the_amount_sends_nothing(
    workspace: Workspace, live: Program, gateway: LoopbackGateway, typed: str
) -> None:
    """The sheet is not approved either."""
    with on_terminal(workspace, live, *GENERATE) as terminal:
        terminal.expect("Type the amount to agree, 0.24: ")
        terminal.interrupt() if typed == "^C" else terminal.type(typed)
        assert terminal.finish() == (ExitCode.INTERRUPTED if typed == "^C" else ExitCode.NOT_APPROVED)

    service = live.build_service()
    assert (service.tasks(), gateway.receipts) == ([], [])
    assert service.sheets([SheetState.APPROVED]) == []


def test_without_a_terminal_nothing_live_is_sent(workspace: Workspace, live: Program, gateway: LoopbackGateway) -> None:
    """Whatever is piped in; the answer has the way."""
    typed = f"0.24\n{PASSPHRASE}\nyes\n"
    for extra in ((), ("--json",)):
        ran = run_without_terminal([*GENERATE, *extra], workspace.environ, live.working_directory, typed)
        assert ran.returncode == ExitCode.NOT_APPROVED
        assert "callsheet approve sheet_" in ran.stdout

    answer = json.loads(ran.stdout)
    assert answer["status"] == "approval_needed"
    assert gateway.receipts == []


def test_no_option_skips_a_persons_consent(workspace: Workspace, live: Program, gateway: LoopbackGateway) -> None:
    """`--yes` is refused outside the sandbox, at a terminal too, before there is a sheet."""
    piped = run_without_terminal([*GENERATE, "--yes"], workspace.environ, live.working_directory)
    with on_terminal(workspace, live, *GENERATE, "--yes") as terminal:
        assert terminal.finish() == piped.returncode == ExitCode.INVALID

    service = live.build_service()
    assert service.sheets([*SheetState]) == []
    assert gateway.receipts == []


def test_what_a_cap_forbids_is_not_asked_for(workspace: Workspace, live: Program, gateway: LoopbackGateway) -> None:
    """The refusal comes before the question."""
    policy = live.policy_path.read_text(encoding="utf-8")
    workspace.write_policy(f'{policy}[caps]\nper_clip = "0.10"\n')

    with on_terminal(workspace, live, *GENERATE) as terminal:
        assert terminal.finish() == ExitCode.POLICY
        assert "Type the amount" not in terminal.text

    assert gateway.receipts == []


def test_a_lost_answer_is_unknown_and_never_asked_for_again(
    workspace: Workspace, live: Program, gateway: LoopbackGateway
) -> None:
    """The same command does not pay again."""
    gateway.manners = Manners(answering="drop")
    with on_terminal(workspace, live, *GENERATE) as terminal:
        agree(terminal)
        assert terminal.finish() == ExitCode.UNKNOWN
    with on_terminal(workspace, live, *GENERATE) as terminal:
        assert terminal.finish() == ExitCode.UNKNOWN
        assert "callsheet resolve task_" in terminal.text
        assert "Type the amount" not in terminal.text

    assert len(gateway.receipts) == 1


def test_ctrl_c_ends_the_following_and_not_the_task(
    workspace: Workspace, live: Program, gateway: LoopbackGateway
) -> None:
    """What was sent stays sent."""
    gateway.manners = Manners(telling="running")
    with on_terminal(workspace, live, *GENERATE) as terminal:
        agree(terminal)
        terminal.expect("next look in")
        terminal.interrupt()
        assert terminal.finish() == ExitCode.INTERRUPTED

    [report] = live.build_service().tasks()
    assert report.task.state in (TaskState.QUEUED, TaskState.RUNNING)
    assert len(gateway.receipts) == 1


def test_without_a_model_the_choice_is_shown_and_nothing_is_made(cli: CommandLine, workspace: Workspace) -> None:
    """A program can tell it from a clip."""
    ran = cli("generate", SHOT.prompt, "--json")

    assert ran.code == ExitCode.INVALID
    assert ran.json["status"] == "choose"
    assert workspace.gateway.requests == []
