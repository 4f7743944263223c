"""The configuration files of the hosts that can start the server: where each is, and how it is changed.

A file is replaced in one step; its mode is kept, and so is a copy of the old file. Symbolic links are followed, because
people keep these files in repositories. A file that cannot be edited safely is left unchanged, and the error says what
to do.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from callsheet.edges.files.files import open_regular, read_bounded, write_atomically
from callsheet.edges.files.paths import expand_home
from callsheet.errors import Action, InvalidRequest, NextStep, SetupProblem

from .mcp_entries import SERVER_NAME, Entry, Slot, UneditableText, find_entry, put_entry, read_document, remove_entry

MAX_BYTES = 64 * 1024 * 1024
BACKUP_SUFFIX = ".callsheet-backup"


class Host(StrEnum):
    """The supported hosts."""

    CLAUDE = "claude"
    CODEX = "codex"
    OPENCLAW = "openclaw"
    CURSOR = "cursor"
    GEMINI = "gemini"
    VSCODE = "vscode"
    CLAUDE_DESKTOP = "claude-desktop"


class Scope(StrEnum):
    """Whose configuration: the user's, or that of the project in the working directory."""

    USER = "user"
    PROJECT = "project"


TITLES: dict[Host, str] = {
    Host.CLAUDE: "Claude Code",
    Host.CODEX: "Codex",
    Host.OPENCLAW: "OpenClaw",
    Host.CURSOR: "Cursor",
    Host.GEMINI: "Gemini CLI",
    Host.VSCODE: "VS Code",
    Host.CLAUDE_DESKTOP: "Claude Desktop",
}

SLOTS: dict[Host, Slot] = {
    Host.CLAUDE: Slot("json", ("mcpServers",), typed=True),
    # Without `required`, Codex may answer before the tools are listed (observed with 0.169.0). With it, Codex
    # ends if the server takes longer than the limit, by default 10 s (its configuration reference).
    Host.CODEX: Slot("toml", ("mcp_servers",), defaults=(("required", True), ("startup_timeout_sec", 30))),
    Host.OPENCLAW: Slot("json", ("mcp", "servers")),
    Host.CURSOR: Slot("json", ("mcpServers",)),
    Host.GEMINI: Slot("json", ("mcpServers",)),
    Host.VSCODE: Slot("json", ("servers",), typed=True),
    Host.CLAUDE_DESKTOP: Slot("json", ("mcpServers",)),
}

QUESTIONS: dict[Host, tuple[str, str]] = {
    Host.CLAUDE: (f"claude mcp get {SERVER_NAME}", r"Status: \S+ Connected"),
    Host.CODEX: (f"codex mcp get {SERVER_NAME}", r"enabled: true"),
    Host.OPENCLAW: (f"openclaw mcp probe {SERVER_NAME} --json", r"explain_payload"),
    Host.GEMINI: ("gemini mcp list", rf"{SERVER_NAME}:.* Connected"),
}
"""What asks a host, and what its answer contains if it has the entry and can use it. Observed with Claude Code 2.1.329,
Codex 0.169.0 (which does not connect for it), OpenClaw 2026.9.6 and Gemini CLI 0.61.0."""

IN_PROJECT: dict[Host, str] = {
    Host.CLAUDE: ".mcp.json",
    Host.CURSOR: ".cursor/mcp.json",
    Host.GEMINI: ".gemini/settings.json",
    Host.VSCODE: ".vscode/mcp.json",
}


@dataclass(frozen=True, slots=True)
class Change:
    """The result for one file. `backup` is the copy of the old file, None if there was none."""

    path: Path
    changed: bool
    backup: Path | None
    variables: tuple[str, ...]
    """The names of all variables that the entry sets, also those that a person added."""


def find_config(host: Host, scope: Scope, environ: Mapping[str, str], working_directory: Path) -> Path:
    """The file that the host reads; it need not exist. Raises `InvalidRequest` if the host has no such scope."""
    if scope is Scope.PROJECT:
        if host not in IN_PROJECT:
            raise InvalidRequest(
                f"Callsheet cannot write a project configuration for {TITLES[host]}.",
                next_step="Omit --scope.",
            )
        return working_directory / IN_PROJECT[host]
    return _in_home(host, environ)


def _in_home(host: Host, environ: Mapping[str, str]) -> Path:
    home = expand_home(environ.get("HOME") or "~")
    if home is None:
        raise SetupProblem(
            "This user has no home directory, so there is no client configuration to change.",
            next_step="Set HOME to a directory of this user.",
        )
    apps = home / "Library/Application Support"
    if sys.platform != "darwin":
        apps = _read_directory(environ, "XDG_CONFIG_HOME") or home / ".config"
    openclaw = _read_directory(environ, "OPENCLAW_STATE_DIR") or home / ".openclaw"
    paths = {
        Host.CLAUDE: (_read_directory(environ, "CLAUDE_CONFIG_DIR") or home) / ".claude.json",
        Host.CODEX: (_read_directory(environ, "CODEX_HOME") or home / ".codex") / "config.toml",
        Host.OPENCLAW: _read_directory(environ, "OPENCLAW_CONFIG_PATH") or openclaw / "openclaw.json",
        Host.CURSOR: home / ".cursor/mcp.json",
        Host.GEMINI: home / ".gemini/settings.json",
        Host.VSCODE: apps / "Code/User/mcp.json",
        Host.CLAUDE_DESKTOP: apps / "Claude/claude_desktop_config.json",
    }
    return paths[host]


def _read_directory(environ: Mapping[str, str], variable: str) -> Path | None:
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else None


def is_present(host: Host, environ: Mapping[str, str]) -> bool:
    """Whether the host is on this computer: its command is on PATH, or its file or its own directory exists."""
    path = _in_home(host, environ)
    own = path.parent.is_dir() and path.parent != expand_home(environ.get("HOME") or "~")
    return own or path.exists() or find_program(host, environ) is not None


def find_program(host: Host, environ: Mapping[str, str]) -> str | None:
    """The command of a host that can be asked, if it is on PATH."""
    return shutil.which(QUESTIONS.get(host, (" ", ""))[0].split(" ")[0], path=environ.get("PATH", ""))


def read_entry(path: Path, slot: Slot) -> Mapping[str, Any] | None:
    """The entry in that file, None if there is none. Raises `SetupProblem`."""
    try:
        return find_entry(read_document(_read(path.resolve())[0], slot.form), slot)
    except UneditableText as reason:
        raise _unreadable(path, str(reason)) from None


def write_entry(path: Path, slot: Slot, entry: Entry | None, *, only_plan: bool = False) -> Change:
    """Add the entry to that file, or remove it for None. A second call changes nothing.

    With `only_plan`, nothing is written. Raises `SetupProblem`; the file is unchanged then.
    """
    real = path.resolve()
    text, status = _read(real)
    try:
        new = remove_entry(text, slot) if entry is None else put_entry(text, slot, entry)
        found = find_entry(read_document(new, slot.form), slot) or {}
    except UneditableText as reason:
        raise SetupProblem(
            f"{path} was left unchanged: {reason}.",
            next_step=NextStep(Action.INSTALL, "Fix it, or add the entry yourself: --print shows it."),
        ) from None
    env = found.get("env")
    variables = tuple(env) if isinstance(env, dict) else ()
    if new == text or only_plan:
        return Change(path, changed=new != text, backup=None, variables=variables)
    backup = None
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        if status is not None:
            backup = real.with_name(real.name + BACKUP_SUFFIX)
            # The old text may hold keys of other servers: the copy is for its owner alone.
            write_atomically(backup, text.encode("utf-8"))
        _replace(real, new, status)
    except OSError as error:
        raise SetupProblem(
            f"{path} cannot be written ({error.strerror or type(error).__name__}).",
            next_step="Check its directory and its owner, then try again.",
        ) from None
    return Change(path, changed=True, backup=backup, variables=variables)


def _read(path: Path) -> tuple[str, os.stat_result | None]:
    """The unchanged text, line ends included, and what distinguishes this version of the file from another."""
    try:
        with open_regular(path) as file:
            return read_bounded(file, MAX_BYTES).decode("utf-8"), os.fstat(file.fileno())
    except FileNotFoundError:
        return "", None
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not UTF-8") from None
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from None


def _unreadable(path: Path, reason: str) -> SetupProblem:
    return SetupProblem(f"{path} cannot be read: {reason}.", next_step="Check the file, then try again.")


def _replace(path: Path, text: str, seen: os.stat_result | None) -> None:
    """Write the file, unless another program has changed it since it was read."""

    def require_unchanged() -> None:
        if seen is not None and _version(path.stat()) != _version(seen):
            raise SetupProblem(
                f"{path} was changed by another program at the same moment.",
                next_step="Close the host that uses it, then run the command again.",
            )

    mode = stat.S_IMODE(seen.st_mode) if seen else 0o600
    write_atomically(path, text.encode("utf-8"), mode=mode, before_replacing=require_unchanged)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
