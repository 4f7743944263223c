"""`callsheet install`: what a person sees, and what the host then finds."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import CommandLine, Ran

from callsheet.edges.config.mcp_hosts import Host
from callsheet.surface.cli import run
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import KEY


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of its own."""
    home = tmp_path / "person"
    home.mkdir()
    return home


@pytest.fixture
def cli(program: Program, home: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs a command for the person whose home that is."""
    own = program.with_environ({**program.environ, "HOME": str(home), "POYO_API_KEY": KEY})

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(own, list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


def all_text(directory: Path) -> str:
    """Everything that stands in any file below."""
    return "".join(path.read_text(encoding="utf-8") for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("host", Host)
def test_what_is_printed_is_what_is_written(cli: CommandLine, home: Path, host: Host) -> None:
    """`--print` writes nothing; without it the new file holds the same."""
    printed = cli("install", host.value, "--print")
    assert printed.code == 0
    assert list(home.iterdir()) == []

    ran = cli("install", host.value, "--json")

    assert ran.code == 0
    assert ran.json["changed"] is True
    assert Path(ran.json["path"]).read_text(encoding="utf-8") == printed.out
    assert ran.json["path"] in printed.err


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
    """One that is set here does not travel, into no host's file."""
    for host in Host:
        assert cli("install", host.value).code == 0

    assert "callsheet" in all_text(home)
    assert KEY not in all_text(home)
    assert "API_KEY" not in all_text(home)


def test_a_person_is_told_what_changed_and_what_did_not(cli: CommandLine, home: Path) -> None:
    """The file, the copy, and what to do now; twice is once."""
    path = home / ".codex" / "config.toml"
    path.parent.mkdir()
    path.write_text("# mine\n", encoding="utf-8")
    first, second = cli("install", "codex"), cli("install", "codex")

    assert "added to the configuration of Codex:" in first.out
    assert str(path) in first.out
    assert f"{path}.callsheet-backup" in first.err
    assert "Restart Codex." in first.out
    assert "already in" in second.out
    assert path.read_text(encoding="utf-8").startswith("# mine\n")


def test_uninstalling_takes_the_entry_out(cli: CommandLine, home: Path) -> None:
    """And nothing else; doing it twice is no mistake."""
    path = home / ".gemini" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"theme": "dark", "mcpServers": {"other": {"command": "o"}}}', encoding="utf-8")
    cli("install", "gemini")
    first, second = cli("install", "gemini", "--uninstall"), cli("install", "gemini", "--uninstall")

    assert "removed from" in first.out
    assert "is not in" in second.out
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

    assert "sets POYO_API_KEY" in " ".join(ran.err.split())
    assert "callsheet setup" in " ".join(ran.err.split())


def test_a_broken_file_is_left_alone(cli: CommandLine, home: Path) -> None:
    """Exit code 8, the place of the mistake, and what to do."""
    (home / ".claude.json").write_text("{ // mine\n}", encoding="utf-8")
    ran = cli("install", "claude")

    assert ran.code == ExitCode.SETUP
    assert "line 1, column 3" in ran.err
    assert "callsheet install" in ran.err
    assert (home / ".claude.json").read_text(encoding="utf-8") == "{ // mine\n}"


def test_an_unknown_host_is_a_wrong_usage(cli: CommandLine) -> None:
    """The known ones are named."""
    ran = cli("install", "emacs")

    assert ran.code == ExitCode.INVALID
    assert "claude-desktop" in ran.err


def test_codex_reads_what_was_printed(cli: CommandLine) -> None:
    """It is TOML with the table that Codex looks for."""
    entry = tomllib.loads(cli("install", "codex", "--print").out)["mcp_servers"]["callsheet"]

    assert entry["args"] == ["mcp"]
