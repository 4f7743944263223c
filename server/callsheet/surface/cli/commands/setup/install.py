"""`callsheet install`: adds the MCP server to a host's configuration file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.edges.config.mcp_entries import Entry, write_snippet
from callsheet.edges.config.mcp_hosts import SLOTS, TITLES, Change, Host, Scope, find_config, write_entry
from callsheet.edges.files.paths import HOME_VARIABLE, expand_home
from callsheet.errors import Action, NextStep
from callsheet.surface.cli.console.command import SET_UP, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.next_steps import command

EXAMPLES = ("install claude", "install codex --print", "install cursor --scope project", "install gemini --uninstall")

# Where uv and pipx unpack programs for one run; these directories may be removed at any time.
_CACHES = ("/archive-v0/", "/builds-v0/", "/environments-v2/", "/pipx/.cache/")


def install(
    context: typer.Context,
    host: Annotated[Host, typer.Argument(help="The host.")],
    show: Annotated[bool, typer.Option("--print", help="Only show the entry.")] = False,
    scope: Annotated[Scope, typer.Option("--scope", help="Your own configuration, or this project's.")] = Scope.USER,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Remove the entry.")] = False,
    as_json: Json = False,
) -> int:
    """Add the MCP server to a host's configuration file. Nothing else in the file changes.

    The old file is kept next to it. No key is ever written: keys are set with `callsheet setup`.
    """
    session = begin(context, as_json)
    program = session.program
    path = find_config(host, scope, program.environ, program.working_directory)
    entry = Entry(*_find_command(), env=_environment(session))
    if show:
        _write_entry(session, host, path, entry)
        return ExitCode.OK
    change = write_entry(path, SLOTS[host], None if uninstall else entry)
    if as_json:
        session.write_json(_build_answer(host, change, None if uninstall else entry))
    else:
        _write_change(session, host, change, uninstall)
    if not uninstall:
        _warn(session, change, entry)
    return ExitCode.OK


def _find_command() -> tuple[str, tuple[str, ...]]:
    """The absolute path of the running program, and its arguments."""
    started = Path(sys.argv[0])
    beside = Path(sys.executable).with_name("callsheet")
    for path in (started, beside):
        if path.name == "callsheet" and path.is_file() and os.access(path, os.X_OK):
            # Not resolved: a link such as that of `uv tool install` outlives its target.
            return str(path.absolute()), ("mcp",)
    # -P: no imports from the working directory, which is often a project with modules of any name.
    return sys.executable, ("-P", "-m", "callsheet", "mcp")


def _environment(session: Session) -> dict[str, str]:
    """Hosts pass on little of their environment; without this variable the server would use another home."""
    named = session.program.environ.get(HOME_VARIABLE, "").strip()
    home = expand_home(named) if named and not named.startswith("${") else None
    return {HOME_VARIABLE: str(home)} if home else {}


def _write_entry(session: Session, host: Host, path: Path, entry: Entry) -> None:
    if session.as_json:
        session.write_json(_build_answer(host, Change(path, False, None, tuple(entry.env)), entry))
        return
    session.output.write_note(f"{TITLES[host]} reads {path}; nothing was written.", wrap=False)
    session.output.write_raw(write_snippet(SLOTS[host], entry))


def _write_change(session: Session, host: Host, change: Change, uninstall: bool) -> None:
    if change.changed:
        text = f"Callsheet was {'removed from' if uninstall else 'added to'} the configuration of {TITLES[host]}:"
    else:
        there = "not in" if uninstall else "already in"
        text = f"Callsheet is {there} the configuration of {TITLES[host]}; nothing was changed:"
    session.output.write(Text(text))
    session.output.write_unwrapped(str(change.path))
    if change.backup is not None:
        session.output.write_note(f"The old file: {change.backup}", wrap=False)
    if change.changed:
        session.output.write_next_step(NextStep(text=f"Restart {TITLES[host]}."))


def _warn(session: Session, change: Change, entry: Entry) -> None:
    keys = {facts.key_env for facts in session.service.catalogue.gateways} & set(change.variables)
    if keys:
        named = ", ".join(sorted(keys))
        session.output.write_note(
            f"The entry in {change.path} sets {named}. Agents can read that file: remove it there, and run"
            f" `{command(NextStep(Action.SETUP))}` instead.",
            style="bold yellow",
        )
    if any(part in entry.command for part in _CACHES):
        session.output.write_note(
            f"{entry.command} is in a cache that may be deleted. Install Callsheet permanently, then run this again.",
            style="bold yellow",
        )


def _build_answer(host: Host, change: Change, entry: Entry | None) -> JsonValue:
    return {
        "host": host.value,
        "path": str(change.path),
        "changed": change.changed,
        "backup": str(change.backup) if change.backup else None,
        "entry": entry.as_dict(typed=SLOTS[host].typed) if entry else None,
    }


COMMANDS = (Command("install", install, SET_UP, "add the MCP server to a host's configuration", EXAMPLES),)
