"""`callsheet demo`, `sandbox` and `mcp`."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path

import av
import httpx2
import pytest
from cli_terminal import CommandLine, Terminal, run_without_terminal

from callsheet.compose import Surroundings, build_program
from callsheet.edges.clock import SystemClock
from callsheet.surface.cli import run
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import KEY, Workspace, account_of


@pytest.mark.slow
def test_the_demonstration_films_a_real_clip_without_a_key_or_a_home(tmp_path: Path) -> None:
    """From prompt to files in well under 20 seconds; the person's own install is not touched."""
    environ = {"HOME": str(tmp_path / "nobody"), "POYO_API_KEY": KEY}
    begun = time.monotonic()

    ran = run_without_terminal(["demo"], environ, tmp_path)

    assert ran.returncode == 0, ran.stderr
    assert time.monotonic() - begun < 20
    directory = tmp_path / "callsheet-demo"
    [clip] = directory.glob("*.mp4")
    [sheet] = directory.glob("*.contact-sheet.jpg")
    assert str(clip) in ran.stdout
    assert str(sheet) in ran.stdout
    with av.open(str(clip)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames == 4 * 12
    assert sheet.read_bytes()[:2] == b"\xff\xd8"
    for part in ("Can take it, cheapest first", "SANDBOX REHEARSAL", "POST https://api.poyo.ai", "nothing was charged"):
        assert part in ran.stdout
    assert KEY not in ran.stdout + ran.stderr
    assert not (tmp_path / "nobody").exists()


@pytest.mark.slow
def test_the_demonstration_answers_machines_and_keeps_its_home_if_asked(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON object, with the paths of the files."""
    program = build_program(
        Surroundings(workspace.environ, tmp_path, SystemClock(), account_home=account_of(workspace.home))
    )

    code = run(program, ["demo", "--out", "films", "--keep", "--json"])

    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert Path(answer["task"]["clip_path"]).parent == tmp_path / "films"
    assert Path(answer["task"]["contact_sheet_path"]).exists()
    home = Path(answer["home"])
    kept = (home / "data" / "ledger.sqlite3").exists()
    shutil.rmtree(home)
    assert kept
    assert not workspace.home.exists()


def test_a_directory_that_cannot_be_made_is_told(program: Program, cli: CommandLine, tmp_path: Path) -> None:
    """The name of a file is no directory."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")

    assert cli("demo", "--out", str(in_the_way)).code == ExitCode.INVALID


def test_the_sandbox_serves_by_itself_until_ctrl_c(workspace: Workspace, tmp_path: Path) -> None:
    """It prints the addresses and the tags, and ends without an error."""
    with Terminal(["sandbox", "--port", "0", "--store", "store"], workspace.environ, tmp_path) as terminal:
        terminal.expect("Stop with Ctrl+C")
        [line] = [line for line in terminal.text.splitlines() if line.strip().startswith("poyo ")]
        answer = httpx2.get(f"{line.split()[1]}/api/user/balance", headers={"Authorization": "Bearer rehearsal-key"})
        assert answer.status_code == 200
        assert "content-violation" in terminal.text
        terminal.interrupt()
        assert terminal.finish() == 0
    assert (tmp_path / "store").is_dir()


def test_a_port_that_is_taken_or_a_speed_that_is_none_is_told(cli: CommandLine) -> None:
    """Each with its own exit code and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = cli("sandbox", "--port", str(taken.getsockname()[1]))
    assert ran.code == ExitCode.SETUP
    assert "--port" in ran.err

    assert cli("sandbox", "--speed", "0").code == ExitCode.INVALID


def test_mcp_is_handed_to_the_server(workspace: Workspace, tmp_path: Path) -> None:
    """The command line does not know the server; it is given what starts it."""
    started: list[bool] = []
    program = build_program(
        Surroundings(workspace.environ, tmp_path, SystemClock(), account_home=account_of(workspace.home))
    )
    program = Program(
        **{name: getattr(program, name) for name in Program.__slots__ if name != "serve_mcp"},
        serve_mcp=lambda: started.append(True),
    )

    assert run(program, ["mcp"]) == 0
    assert started == [True]


def test_a_program_at_the_other_end_of_standard_input_is_served_mcp(workspace: Workspace, tmp_path: Path) -> None:
    """Without arguments and without a terminal it is the server, which ends with its input."""
    ran = run_without_terminal([], workspace.environ, tmp_path)

    assert ran.returncode == 0
    assert ran.stdout == ""
