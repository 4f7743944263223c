"""The commands as a whole: help, exit codes, errors, completion, start-up."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_terminal import CommandLine, Ran, Terminal, clean_environment, run_without_terminal

import warm_start
from callsheet import errors
from callsheet.core.tasks import TaskState
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.errors import CallsheetError
from callsheet.service import Service
from callsheet.service.ports import Ledger
from callsheet.surface.cli import run
from callsheet.surface.cli.application import COMMANDS
from callsheet.surface.cli.console.exit_codes import MEANINGS, ExitCode, exit_for_error, exit_for_state
from callsheet.surface.program import Program
from workspace import Workspace, command_for, draft

NAMES = [
    "explain",
    "submit",
    "approve",
    "decline",
    "get",
    "list",
    "models",
    "watch",
    "resolve",
    "demo",
    "sandbox",
    "team",
    "mcp",
    "doctor",
    "endpoint",
    "keys",
    "setup",
    "install",
    "export",
    "generate",
    "prune",
    "desk",
    "allow",
    "pause",
    "receipt",
    "resume",
    "allowances",
    "revoke",
    "audit",
]


def test_without_arguments_the_help_lists_every_command_and_every_exit_code(cli: CommandLine) -> None:
    """Nothing to guess: what can be called, and what its end means."""
    ran = cli()

    assert ran.code == 0
    for name in NAMES:
        assert f"  {name} " in ran.out
    for code, meaning in MEANINGS.items():
        assert f"{code.value}  {meaning}" in ran.out


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_an_example_in_its_help(cli: CommandLine, name: str) -> None:
    """An example says more than a list of options."""
    ran = cli(name, "--help")

    assert ran.code == 0
    assert "Example" in ran.out
    assert f"\n    callsheet {name}" in ran.out


def test_the_commands_are_those_of_the_design() -> None:
    """No command is missing, none is extra."""
    assert sorted(command.name for command in COMMANDS) == sorted(NAMES)


def test_the_version_is_told(cli: CommandLine) -> None:
    """`--version` needs no command."""
    ran = cli("--version")

    assert ran.code == 0
    assert ran.out.startswith("callsheet ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["get"], ["explain", "x", "--duration", "long"], ["list", "--no"]])
def test_a_wrong_usage_ends_with_2_and_names_the_help(cli: CommandLine, arguments: list[str]) -> None:
    """The next step is a command that can be typed."""
    ran = cli(*arguments)

    assert ran.code == ExitCode.INVALID
    assert ran.out == ""
    assert "--help" in ran.err


def test_a_wrong_usage_with_json_is_told_as_json(cli: CommandLine) -> None:
    """Machines get the same five answers."""
    ran = cli("get", "--json")

    assert ran.code == ExitCode.INVALID
    assert ran.err == ""
    assert ran.json["error"]["code"] == "usage"
    assert ran.json["error"]["fate"] == "nothing_sent"


def test_an_error_names_what_happened_the_money_and_the_next_step(cli: CommandLine) -> None:
    """For people, on standard error, in commands and not in names of tools. The money only where it could be spent."""
    ran, sends = cli("get", "task_0000000000000000"), cli("submit", "sheet_0000000000000000")

    assert ran.code == sends.code == ExitCode.INVALID
    assert "There is no task with that id." in ran.err
    assert "money" not in ran.err
    assert "no money was spent" in sends.err
    assert "callsheet list" in ran.err
    assert "list_tasks" not in ran.err


def test_every_error_class_has_an_exit_code() -> None:
    """The table is whole, and each class ends with the documented number."""
    expected = {
        "InvalidRequest": 2,
        "UnknownThing": 2,
        "NotApproved": 3,
        "PolicyRefusal": 4,
        "KeyProblem": 5,
        "GatewayRefused": 6,
        "GatewayUnreachable": 6,
        "OutcomeUnknown": 7,
        "LedgerProblem": 8,
        "SetupProblem": 8,
        "DownloadProblem": 9,
    }
    for name, code in expected.items():
        kind: type[CallsheetError] = getattr(errors, name)
        assert exit_for_error(kind("x", next_step="y")) == code


def test_every_task_state_has_an_exit_code() -> None:
    """Under way and saved are no failures; each bad end has its own number."""
    bad = {
        TaskState.REJECTED: 6,
        TaskState.OUTCOME_UNKNOWN: 7,
        TaskState.FAILED: 9,
        TaskState.EXPIRED: 9,
        TaskState.ABANDONED: 9,
    }
    for state in TaskState:
        assert exit_for_state(state) == bad.get(state, 0)


def test_a_mistake_in_the_program_shows_its_type_and_an_id_only(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback is shown; the details are kept in a private file under the id."""

    def fail() -> Ledger:
        raise ZeroDivisionError("a prompt could be in here")

    def build_service() -> Service:
        service = program.build_service()
        service.deps = replace(service.deps, ledger=fail)
        return service

    code = run(replace(program, build_service=build_service), ["list"])
    ran = Ran(code, *capsys.readouterr())

    assert ran.code == ExitCode.UNEXPECTED
    assert "Internal error: ZeroDivisionError, id " in ran.err
    assert "Traceback" not in ran.err
    assert "a prompt" not in ran.err
    [kept] = (program.paths.state / "mistakes").iterdir()
    assert kept.stem in ran.err
    assert kept.stat().st_mode & 0o077 == 0


def test_a_file_that_cannot_be_used_is_named_and_ends_with_8(program: Program, cli: CommandLine) -> None:
    """A data directory that is a file is the person's to mend, not a mistake of the program."""
    program.paths.data.parent.mkdir(parents=True)
    program.paths.data.write_text("in the way")

    ran = cli("list")

    assert ran.code == ExitCode.SETUP
    assert str(program.paths.data) in ran.err.replace("\n", "").replace(" ", "")


def test_an_unusable_home_is_told_in_one_sentence(tmp_path: Path) -> None:
    """Also before there is a command line at all."""
    ran = run_without_terminal(["list"], {"CALLSHEET_HOME": "not/absolute"}, tmp_path)

    assert ran.returncode == ExitCode.SETUP
    assert "not an absolute path" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [("callsheet.surface.cli", ("typer", "rich", "mcp", "av")), ("callsheet.surface.cli.application", ("mcp", "av"))],
)
def test_heavy_libraries_are_not_imported_before_they_are_used(module: str, forbidden: tuple[str, ...]) -> None:
    """The server starts without the command line's libraries, the command line without the server's."""
    script = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_the_shell_is_offered_sheets_tasks_gateways_and_models(
    program: Program, workspace: Workspace, tmp_path: Path
) -> None:
    """Also without a terminal, as some shells ask."""
    sheet_id = draft(program.build_service())

    def offered(line: str) -> str:
        words = line.split(" ")
        asked = {"_CALLSHEET_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        return run_without_terminal([], {**workspace.environ, **asked}, tmp_path).stdout

    assert sheet_id in offered("callsheet submit ")
    assert offered("callsheet models apid").split() == ["apidot"]
    assert offered("callsheet explain x --gateway apixo --model ").split() == [
        card.model for card in load_catalogue().cards if card.gateway == "apixo"
    ]
    assert offered("callsheet get ").strip() == ""


def test_a_pipe_and_no_color_get_neither_colours_nor_lines(
    workspace: Workspace, cli: CommandLine, tmp_path: Path
) -> None:
    """On a terminal `NO_COLOR` is obeyed; a pipe needs no asking."""
    assert not set("\x1b─━│╭") & set(cli("models").out)

    with Terminal(["models"], {**workspace.environ, "NO_COLOR": "1"}, tmp_path) as terminal:
        assert terminal.finish() == 0
        assert not set("\x1b─━│╭") & set(terminal.text)


def test_a_reader_who_has_seen_enough_is_no_error(workspace: Workspace, tmp_path: Path) -> None:
    """`callsheet models | head -1` ends quietly."""
    script = f"{sys.executable} -m callsheet models | head -1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env=clean_environment(workspace.environ),
        cwd=tmp_path,
        check=True,
    )

    assert ran.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["export"]], ids=" ".join)
def test_a_full_disk_under_the_answer_is_no_mistake_of_the_program(workspace: Workspace, arguments: list[str]) -> None:
    """It says that what was done stays done, and nothing of the money, of which it knows nothing here."""
    with Path("/dev/full").open("wb") as full:
        environ = {"PATH": os.environ["PATH"], **workspace.environ}
        ran = warm_start.run(command_for(workspace.environ, *arguments), stdout=full, env=environ)

    assert ran.returncode == ExitCode.SETUP
    assert b"callsheet list" in ran.stderr
    assert ran.stderr.count(b"\n") <= 3
    assert not list(workspace.home.glob("state/mistakes/*"))


@pytest.mark.parametrize(
    "arguments", [["get"], ["approve"], ["submit"], ["decline"], ["resolve", "--lost"]], ids=" ".join
)
def test_an_argument_that_is_no_text_is_no_mistake_of_the_program(
    workspace: Workspace, cli: CommandLine, arguments: list[str]
) -> None:
    """Bytes that are no UTF-8 reach the program as halves of surrogate pairs."""
    assert cli(*arguments, os.fsdecode(b"task_\xff"), "--json").json["error"]["code"] == "usage"
    assert not list(workspace.home.glob("state/mistakes/*"))


def test_a_closed_output_is_told_in_words(workspace: Workspace, tmp_path: Path) -> None:
    """Before anything is done; without the other stream the answer is still there."""
    call = f"{sys.executable} -m callsheet list"
    environ = clean_environment(workspace.environ)
    closed, quiet = (
        subprocess.run(
            ["bash", "-c", f"{call} {how}"], capture_output=True, text=True, env=environ, cwd=tmp_path, check=False
        )
        for how in (">&-", "2>&-")
    )

    assert closed.returncode == ExitCode.SETUP
    assert "Standard output is closed" in closed.stderr
    assert quiet.returncode == ExitCode.OK
    assert "callsheet" in quiet.stdout


@pytest.mark.parametrize("columns", ["60", "80", "100", "110", "129", "130", "160"])
def test_a_models_id_is_never_broken(workspace: Workspace, cli: CommandLine, columns: str) -> None:
    """It is there to be copied: where the room is short, the other columns go below it."""
    workspace.environ["COLUMNS"] = columns

    words = set(cli("models", "--all").out.split())

    assert {card.model for card in load_catalogue().cards} <= words
