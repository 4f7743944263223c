"""Entries are started as a host would start them, and hosts are asked; what they print is not believed blindly."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from callsheet import __version__
from callsheet.edges.config.mcp_hosts import Host
from callsheet.edges.process.mcp_probe import ask_host, start_entry
from workspace import KEY

pytestmark = pytest.mark.process


def write_script(path: Path, text: str) -> str:
    """A program of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home of its own, with a key that nothing may receive, and a directory for fake hosts."""
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin", "POYO_API_KEY": KEY}


def answer(name: str, version: object) -> str:
    """What a server answers to the first request."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"serverInfo": {"name": name, "version": version}}})


def test_the_real_server_says_its_version(environ: dict[str, str]) -> None:
    """The whole way, with a process of its own."""
    entry = {"command": sys.executable, "args": ["-P", "-m", "callsheet", "mcp"]}

    assert start_entry(entry, environ) == __version__


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (answer("callsheet", "0.0.9"), "0.0.9"),
        (answer("callsheet", "1\x1b[31m\nred"), "1 red"),
        (answer("callsheet", "9" * 400), "9" * 39 + "…"),
        (answer("other", "1"), None),
        ("hello", None),
        ("", None),
        ("[]", None),
        ('{"result": 1}', None),
        ('{"error": {"code": 1}}', None),
    ],
)
def test_what_a_server_answers_is_read_with_suspicion(
    environ: dict[str, str], tmp_path: Path, said: str, version: str | None
) -> None:
    """A version is one short harmless line; another server is none of ours."""
    (tmp_path / "said").write_text(f"{said}\n", encoding="utf-8")

    assert start_entry({"command": write_script(tmp_path / "server", f"cat {tmp_path}/said")}, environ) == version


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "/nowhere/callsheet"},
        {"command": ""},
        {"command": 3, "args": 4},
        {"command": "true", "args": "mcp"},
        {"command": "true", "env": [1]},
        {"command": "true", "env": {"A": "b\0c"}},
        {"command": "a\0b"},
        {},
    ],
)
def test_an_entry_that_cannot_be_started_is_no_crash(environ: dict[str, str], entry: dict[str, Any]) -> None:
    """Whatever stands in a file."""
    assert start_entry(entry, environ) is None


def test_what_is_started_gets_no_key_and_leaves_nothing_running(environ: dict[str, str], tmp_path: Path) -> None:
    """The variables of the entry, those that hosts pass on, and no others; what it left in the background ends."""
    script = f"env > {tmp_path}/env\nsleep 600 &\necho $! > {tmp_path}/pid\ncat {tmp_path}/said"
    (tmp_path / "said").write_text(answer("callsheet", "1"), encoding="utf-8")
    entry = {"command": write_script(tmp_path / "server", script), "env": {"CALLSHEET_HOME": "/h"}}

    started = time.monotonic()
    assert start_entry(entry, environ) == "1"
    assert time.monotonic() - started < 20

    given = (tmp_path / "env").read_text(encoding="utf-8")
    assert KEY not in given
    assert "CALLSHEET_HOME=/h\n" in given
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether that process runs; one that has ended and was not collected does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(
    ("host", "said", "usable"),
    [
        (Host.CLAUDE, "callsheet:\n  Status: ✔ Connected\n", True),
        (Host.CLAUDE, "callsheet:\n  Status: ✗ Failed to connect\n", False),
        (Host.CODEX, "callsheet\n  enabled: true\n", True),
        (Host.CODEX, "callsheet\n  enabled: false\n", False),
        (Host.OPENCLAW, '{"tools": ["callsheet__explain_payload"]}', True),
        (Host.OPENCLAW, '{"tools": []}', False),
        (Host.GEMINI, "✓ callsheet: /bin/callsheet mcp (stdio) - Connected\n", True),
        (Host.GEMINI, "○ callsheet: /bin/callsheet mcp (stdio) - Disabled\n✓ other: x (stdio) - Connected\n", False),
        (Host.GEMINI, "✗ callsheet: /bin/callsheet mcp (stdio) - Disconnected\n", False),
    ],
)
def test_a_host_is_asked_in_its_own_words(
    environ: dict[str, str], tmp_path: Path, host: Host, said: str, usable: bool
) -> None:
    """The answers as the hosts gave them; no key reaches the host, and it asks at no terminal."""
    (tmp_path / "said").write_text(said, encoding="utf-8")
    script = f'echo "$@" > {tmp_path}/asked\nenv > {tmp_path}/env\ncat {tmp_path}/said'
    write_script(tmp_path / "bin" / host.value, script)

    assert ask_host(host, environ) is usable
    assert (tmp_path / "asked").read_text(encoding="utf-8").startswith("mcp ")
    assert KEY not in (tmp_path / "env").read_text(encoding="utf-8")


@pytest.mark.parametrize("host", Host)
def test_a_host_without_a_command_is_not_asked(environ: dict[str, str], host: Host) -> None:
    """Unknown is an answer."""
    assert ask_host(host, {**environ, "PATH": "/nowhere"}) is None
