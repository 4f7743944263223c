"""Starts the entry of a host as the host would, and asks a host for its own word on it.

What is started gets a small environment, without keys, and no terminal. It is ended after a limit, with everything
that it started. Of what it prints, nothing but a version is shown.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from callsheet.core.security.redaction import clean
from callsheet.edges.config.mcp_entries import SERVER_NAME
from callsheet.edges.config.mcp_hosts import QUESTIONS, Host, find_program

# A host may start Node and then the server, on a computer that is busy.
PATIENCE_SECONDS = 30.0
MAX_BYTES = 1_000_000

# What hosts pass to servers, and what says where a host has its configuration.
_PASSED_ON = re.compile(
    "HOME|LANG|LOGNAME|PATH|SHELL|SYSTEMROOT|TMPDIR|USER|USERPROFILE|XDG_CONFIG_HOME|CLAUDE_CONFIG_DIR|CODEX_HOME"
    "|OPENCLAW_(?:CONFIG_PATH|STATE_DIR)"
)

# In a revision that every version of the server answers.
_HELLO = (
    '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18",'
    ' "capabilities": {}, "clientInfo": {"name": "callsheet", "version": "0"}}}\n'
)


def start_entry(entry: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """The version that the entry's server says it is; None if no Callsheet answers."""
    args, env = entry.get("args") or [], entry.get("env") or {}
    if not isinstance(args, list) or not isinstance(env, dict):
        return None
    words = [str(word) for word in (entry.get("command"), *args)]
    said = _run(words, environ, {name: str(value) for name, value in env.items()}, typed=_HELLO)
    with suppress(ValueError, LookupError, TypeError):
        server = json.loads(said.splitlines()[0])["result"]["serverInfo"]
        return clean(server["version"], limit=40) if server["name"] == SERVER_NAME else None
    return None


def ask_host(host: Host, environ: Mapping[str, str]) -> bool | None:
    """Whether the host says that it has the entry and can use it; None for one that cannot be asked."""
    program = find_program(host, environ)
    if program is None:
        return None
    question, awaited = QUESTIONS[host]
    return re.search(awaited, _run([program, *question.split()[1:]], environ, {})) is not None


def _run(command: Sequence[str], environ: Mapping[str, str], added: dict[str, str], *, typed: str = "") -> str:
    """What the command printed in the home directory; nothing if it cannot be started."""
    given = {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)} | added
    # Into files: a pipe could be held open by what the command started.
    with tempfile.TemporaryFile() as keys, tempfile.TemporaryFile() as screen:
        keys.write(typed.encode())
        keys.seek(0)
        streams: dict[str, Any] = {"stdin": keys, "stdout": screen, "stderr": subprocess.DEVNULL}
        try:
            # A host, or what a host would start.
            process = subprocess.Popen(command, env=given, cwd=given.get("HOME"), start_new_session=True, **streams)  # noqa: S603
        except (OSError, ValueError):
            return ""
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
        with suppress(OSError):
            process.kill() if sys.platform == "win32" else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        screen.seek(0)
        return screen.read(MAX_BYTES).decode("utf-8", "replace")
