"""`callsheet install`: what a person sees, and what the host then finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import CommandLine, Ran, Terminal, run_without_terminal

from callsheet import __version__
from callsheet.edges.config.mcp_entries import SERVER_NAME
from callsheet.edges.config.mcp_hosts import QUESTIONS, Host
from callsheet.surface.cli import run
from callsheet.surface.cli.commands.setup.install import NOTES
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import KEY


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of its own."""
    home = tmp_path / "person"
    home.mkdir()
    return home


def environ_of(program: Program, home: Path) -> dict[str, str]:
    """What the program of the person with that home runs in: a key, and no hosts but fake ones."""
    return {**program.environ, "HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", "POYO_API_KEY": KEY}


def add_hosts(home: Path, **scripts: str) -> None:
    """Put what hosts leave in a home there: their directories, and commands that answer as these scripts do."""
    for directory in (".codex", ".openclaw", ".cursor", ".gemini", ".config/Code/User", ".config/Claude"):
        (home / directory).mkdir(parents=True, exist_ok=True)
    (home / ".claude.json").write_text("{}\n", encoding="utf-8")
    (home / "bin").mkdir()
    for name, script in scripts.items():
        command = home / "bin" / name
        command.write_text(f"#!/bin/sh\n# {SERVER_NAME}\n{script}\n", encoding="utf-8")
        command.chmod(0o755)


@pytest.fixture
def cli(program: Program, home: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs a command for the person whose home that is."""
    own = program.with_environ(environ_of(program, home))

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(own, list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


def all_text(directory: Path) -> str:
    """Everything that stands in any file below."""
    return "".join(path.read_text(encoding="utf-8") for path in directory.rglob("*") if path.is_file())


def test_what_is_printed_is_what_is_written(cli: CommandLine, home: Path) -> None:
    """`--print` writes nothing; without it the new file of each host holds the same."""
    printed = {host.value: cli("install", host.value, "--print") for host in Host}
    assert list(home.iterdir()) == []
    add_hosts(home)
    (home / ".claude.json").write_text("", encoding="utf-8")

    ran = cli("install", "--yes", "--json")

    assert ran.code == 0
    assert [done["host"] for done in ran.json["hosts"]] == list(printed)
    for done in ran.json["hosts"]:
        assert (done["changed"], done["grade"]) == (True, "ok")
        assert __version__ in done["text"]
        assert Path(done["path"]).read_text(encoding="utf-8") == printed[done["host"]].out
        assert done["path"] in printed[done["host"]].err


def test_the_entry_starts_the_server_by_an_absolute_path(cli: CommandLine, home: Path) -> None:
    """The program that is running, and `mcp`; with the home that this run has."""
    cli("install", "claude")
    entry: dict[str, Any] = json.loads((home / ".claude.json").read_text(encoding="utf-8"))["mcpServers"]["callsheet"]

    assert Path(entry["command"]).is_absolute()
    assert entry["args"][-1] == "mcp"
    started = subprocess.run(
        [entry["command"], *entry["args"]],
        input='{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{'
        '"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}\n',
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **entry["env"]},
        timeout=60,
        check=True,
    )
    assert "explain_payload" in started.stdout


def test_no_key_is_ever_written(cli: CommandLine, home: Path) -> None:
    """One that is set here does not travel, into no host's file and to no host."""
    asked = home / "asked"
    add_hosts(home, claude=f"env > {asked}; echo Status: v Connected")

    assert cli("install", "--yes").code == 0

    assert "PATH=" in asked.read_text(encoding="utf-8")
    assert len([path for path in home.rglob("*") if path.is_file() and SERVER_NAME in path.read_text("utf-8")]) == 8
    assert KEY not in all_text(home)
    assert "API_KEY" not in all_text(home)


def test_a_person_is_told_what_changed_and_what_did_not(cli: CommandLine, home: Path) -> None:
    """The file, the copy, and what the host needs; twice is once."""
    path = home / ".codex" / "config.toml"
    path.parent.mkdir()
    path.write_text("# mine\n", encoding="utf-8")
    first, second = cli("install", "codex", "--json"), cli("install", "codex", "--json")

    [done], [again] = first.json["hosts"], second.json["hosts"]
    assert (done["changed"], again["changed"]) == (True, False)
    assert (done["backup"], again["backup"]) == (f"{path}.callsheet-backup", None)
    assert NOTES[Host.CODEX] in done["text"]
    assert path.read_text(encoding="utf-8").startswith("# mine\n")


def test_uninstalling_takes_the_entry_out(cli: CommandLine, home: Path) -> None:
    """And nothing else; doing it twice is no mistake."""
    path = home / ".gemini" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"theme": "dark", "mcpServers": {"other": {"command": "o"}}}', encoding="utf-8")
    cli("install", "gemini")
    first, second = (cli("install", "gemini", "--uninstall", "--json").json["hosts"][0] for _ in range(2))

    assert (first["changed"], second["changed"], first["entry"]) == (True, False, None)
    assert json.loads(path.read_text(encoding="utf-8")) == {"theme": "dark", "mcpServers": {"other": {"command": "o"}}}


def test_a_project_gets_a_file_of_its_own(cli: CommandLine, home: Path, tmp_path: Path) -> None:
    """In the working directory; the home stays empty."""
    assert cli("install", "claude", "--scope", "project").code == 0

    assert "callsheet" in (tmp_path / "project" / ".mcp.json").read_text(encoding="utf-8")
    assert list(home.iterdir()) == []
    assert cli("install", "codex", "--scope", "project").code == ExitCode.INVALID


def test_a_key_that_somebody_put_into_the_entry_is_warned_of(cli: CommandLine, home: Path) -> None:
    """It stays, because it is theirs, but they learn what it means."""
    old = {"mcpServers": {"callsheet": {"command": "x", "env": {"POYO_API_KEY": "placeholder"}}}}
    (home / ".claude.json").write_text(json.dumps(old), encoding="utf-8")
    ran = cli("install", "claude")

    assert "sets POYO_API_KEY" in " ".join(ran.out.split())
    assert "callsheet setup" in " ".join(ran.out.split())


def test_a_broken_file_is_left_alone(cli: CommandLine, home: Path) -> None:
    """Exit code 8, the place of the mistake, and what to do."""
    (home / ".claude.json").write_text("{ // mine\n}", encoding="utf-8")
    ran = cli("install", "claude")

    assert ran.code == ExitCode.SETUP
    assert "line 1, column 3" in ran.out
    assert "callsheet install" in ran.out
    assert (home / ".claude.json").read_text(encoding="utf-8") == "{ // mine\n}"


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("claud", "claude"),
        ("Claude-Desk", "claude-desktop"),
        ("opencalw", "openclaw"),
        ("codx", "codex"),
        ("vs-code", "vscode"),
        ("gemini-cli", "gemini"),
        ("emacs", ""),
    ],
)
def test_an_unknown_host_is_a_wrong_usage(cli: CommandLine, typed: str, nearest: str) -> None:
    """The known ones are named, and the nearest is in the command to run."""
    error = cli("install", typed, "--json")

    assert error.code == ExitCode.INVALID
    assert error.json["error"]["code"] == "usage"
    assert "claude-desktop" in error.json["error"]["summary"]
    assert f"callsheet install {nearest}".rstrip() + "`" in error.json["error"]["next_step"]


@pytest.mark.parametrize("typed", ["CODEX", "Codex", "codex"])
def test_a_host_is_also_known_by_its_title(cli: CommandLine, typed: str) -> None:
    """However it is spelled."""
    assert cli("install", typed, "--print").out == cli("install", "codex", "--print").out


def test_codex_reads_what_was_printed(cli: CommandLine) -> None:
    """It is TOML with the table that Codex looks for."""
    entry = tomllib.loads(cli("install", "codex", "--print").out)["mcp_servers"]["callsheet"]

    assert entry["args"] == ["mcp"]


def test_the_hosts_of_this_computer_are_found(cli: CommandLine, home: Path) -> None:
    """By what they left in the home, or by a command; without an answer nothing is written."""
    nobody = cli("install", "--json")
    add_hosts(home)
    (home / ".cursor").rmdir()
    before = all_text(home)
    found = cli("install", "--json")

    assert nobody.code == ExitCode.SETUP
    assert found.code == 0
    assert found.json["written"] is False
    assert [host["host"] for host in found.json["hosts"]] == [host.value for host in Host if host is not Host.CURSOR]
    assert all(host["changed"] for host in found.json["hosts"])
    assert all_text(home) == before


@pytest.mark.parametrize("host", QUESTIONS)
def test_a_host_that_was_never_started_is_found_by_its_command(cli: CommandLine, home: Path, host: Host) -> None:
    """Its file is made then."""
    (home / "bin").mkdir()
    (home / "bin" / host.value).write_text("#!/bin/sh\n", encoding="utf-8")
    (home / "bin" / host.value).chmod(0o755)

    assert [found["host"] for found in cli("install", "--json").json["hosts"]] == [host.value]


def test_every_host_is_written_and_ticked_off(cli: CommandLine, home: Path) -> None:
    """A host's no is told with what it needs, a broken file is left alone, and neither keeps the others from theirs."""
    add_hosts(home, claude="echo 'Status: v Connected'", gemini="echo 'o callsheet: x (stdio) - Disabled'")
    (home / ".openclaw" / "openclaw.json").write_text("{ // mine\n}", encoding="utf-8")
    ran = cli("install", "--yes", "--json")

    assert ran.code == ExitCode.SETUP
    grades = {host["host"]: host["grade"] for host in ran.json["hosts"]}
    assert grades == {
        "claude": "ok",
        "codex": "ok",
        "openclaw": "problem",
        "cursor": "ok",
        "gemini": "warning",
        "vscode": "ok",
        "claude-desktop": "ok",
    }
    texts = {host["host"]: host["text"] for host in ran.json["hosts"]}
    assert NOTES[Host.GEMINI] in texts["gemini"]
    assert all(__version__ in text for host, text in texts.items() if host != "openclaw")
    assert (home / ".openclaw" / "openclaw.json").read_text(encoding="utf-8") == "{ // mine\n}"
    doctor = {check["name"]: check["grade"] for check in cli("doctor", "--json").json["checks"]}
    assert [doctor[name] for name in ("Claude Code", "Codex", "OpenClaw", "VS Code")] == ["ok", "ok", "warning", "ok"]


def test_uninstalling_without_a_name_takes_every_entry_out(cli: CommandLine, home: Path) -> None:
    """And asks nobody whether it works."""
    add_hosts(home)
    cli("install", "--yes")
    ran = cli("install", "--uninstall", "--yes", "--json")

    assert ran.code == 0
    assert all(host["changed"] for host in ran.json["hosts"])
    assert "mcp" not in (home / ".codex" / "config.toml").read_text(encoding="utf-8")
    assert not any(host["changed"] for host in cli("install", "--uninstall", "--yes", "--json").json["hosts"])


@pytest.mark.parametrize(("typed", "code"), [("yes", ExitCode.OK), ("", ExitCode.NOT_APPROVED)])
def test_a_person_is_asked_once(program: Program, home: Path, tmp_path: Path, typed: str, code: int) -> None:
    """The files and what would be started are shown before; anything but yes writes nothing."""
    for directory in (".codex", ".cursor"):
        (home / directory).mkdir()
    path = home / ".codex" / "config.toml"
    with Terminal(["install"], environ_of(program, home), tmp_path) as terminal:
        terminal.expect(str(home / ".codex"))
        terminal.expect("callsheet")
        terminal.expect("Write this?")
        assert not path.exists()
        terminal.type(typed)

        assert terminal.finish() == code
        assert terminal.text.count("(yes/no)") == 1
    assert path.exists() is (home / ".cursor" / "mcp.json").exists() is (typed == "yes")


def test_without_a_terminal_nobody_agrees(program: Program, home: Path, tmp_path: Path) -> None:
    """Not even standard input."""
    (home / ".codex").mkdir()
    ran = run_without_terminal(["install"], environ_of(program, home), tmp_path, typed="yes\n")

    assert ran.returncode == ExitCode.NOT_APPROVED
    assert list((home / ".codex").iterdir()) == []


def test_a_command_in_a_cache_is_never_written(home: Path) -> None:
    """Not shown either; the error names the permanent way, and commands that are shown run the program again."""
    (home / ".codex").mkdir()
    started = home / ".cache" / "uv" / "archive-v0" / "kX3" / "bin" / "callsheet"
    started.parent.mkdir(parents=True)
    started.write_text(f"#!{sys.executable} -P\nfrom callsheet.__main__ import main\nmain()\n", encoding="utf-8")
    started.chmod(0o755)

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {"HOME": str(home), "CALLSHEET_HOME": str(home / "own"), "PATH": f"{started.parent}:/usr/bin:/bin"}
        return subprocess.run(
            [started, *arguments, "--json"], env=environ, capture_output=True, text=True, check=False, timeout=60
        )

    for arguments in (("install", "--yes"), ("install", "codex", "--print")):
        ran = start(*arguments)
        assert ran.returncode == ExitCode.SETUP, ran.stderr
        assert "uv tool install " in json.loads(ran.stdout)["error"]["next_step"]
    assert list((home / ".codex").iterdir()) == []
    step = json.loads(start("get", "task_0000000000000000").stdout)["error"]["next_step"]
    assert "`uvx " in step
    assert str(home) not in step
