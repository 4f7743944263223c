"""`callsheet install`: tells a host, in its own configuration, how the server is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.config.mcp_entries import Entry, write_snippet
from callsheet.edges.config.mcp_hosts import SLOTS, TITLES, Change, Host, Scope, find_config, write_entry
from callsheet.edges.files.paths import HOME_VARIABLE, expand_home
from callsheet.surface.cli.console.command import SET_UP, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.session import Session, begin

EXAMPLES = ("install claude", "install codex --print", "install cursor --scope project", "install gemini --uninstall")

# Where uv and pipx unpack programs for one run; what is there now need not be there tomorrow.
_PASSING = ("/archive-v0/", "/builds-v0/", "/environments-v2/", "/pipx/.cache/")


def install(
    context: typer.Context,
    host: Annotated[Host, typer.Argument(help="The host to tell.")],
    show: Annotated[bool, typer.Option("--print", help="Only show what would be in the file.")] = False,
    scope: Annotated[Scope, typer.Option("--scope", help="Your own configuration, or this project's.")] = Scope.USER,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Take the entry out again.")] = False,
    as_json: Json = False,
) -> int:
    """Write the entry for the MCP server into a host's configuration. Nothing else in the file changes.

    The old file is kept beside it. No key is ever written: keys are set with `callsheet setup`.
    """
    session = begin(context, as_json)
    program = session.program
    path = find_config(host, scope, program.environ, program.working_directory)
    entry = Entry(*_find_command(), env=_environment(session))
    if show:
        _show(session, host, path, entry)
        return ExitCode.OK
    change = write_entry(path, SLOTS[host], None if uninstall else entry)
    if as_json:
        session.screen.answer(_form(host, change, None if uninstall else entry))
    else:
        _tell(session, host, change, uninstall)
    if not uninstall:
        _warn(session, change, entry)
    return ExitCode.OK


def _find_command() -> tuple[str, tuple[str, ...]]:
    """The absolute path of the running program, and what follows it."""
    started = Path(sys.argv[0])
    beside = Path(sys.executable).with_name("callsheet")
    for place in (started, beside):
        if place.name == "callsheet" and place.is_file() and os.access(place, os.X_OK):
            # Not resolved: a link such as that of `uv tool install` outlives what it leads to.
            return str(place.absolute()), ("mcp",)
    # Not from the working directory, which is often a project: it may hold modules of any name.
    return sys.executable, ("-P", "-m", "callsheet", "mcp")


def _environment(session: Session) -> dict[str, str]:
    """Hosts pass little of their own environment on; without this the server would look at another install."""
    named = session.program.environ.get(HOME_VARIABLE, "").strip()
    home = expand_home(named) if named and not named.startswith("${") else None
    return {HOME_VARIABLE: str(home)} if home else {}


def _show(session: Session, host: Host, path: Path, entry: Entry) -> None:
    if session.as_json:
        session.screen.answer(_form(host, Change(path, False, None, tuple(entry.env)), entry))
        return
    session.screen.note(f"{TITLES[host]} reads {path}; nothing was written.", whole=True)
    session.screen.out.file.write(write_snippet(SLOTS[host], entry))
    session.screen.out.file.flush()


def _tell(session: Session, host: Host, change: Change, uninstall: bool) -> None:
    done = "out of" if uninstall else "in"
    state = f"is now {done}" if change.changed else f"was {done}"
    end = ":" if change.changed else " already; nothing was changed:"
    session.screen.show(Text(f"Callsheet {state} the configuration of {TITLES[host]}{end}"))
    session.screen.whole(str(change.path))
    if change.backup is not None:
        session.screen.note(f"What it was before: {change.backup}", whole=True)
    if change.changed:
        session.screen.next_step(f"Start {TITLES[host]} again.")


def _warn(session: Session, change: Change, entry: Entry) -> None:
    keys = {facts.key_env for facts in load_catalogue().gateways} & set(change.variables)
    if keys:
        named = ", ".join(sorted(keys))
        session.screen.note(
            f"The entry in {change.path} sets {named}. Agents can read that file: remove it there, and run"
            " `callsheet setup` instead.",
            style="bold yellow",
        )
    if any(part in entry.command for part in _PASSING):
        session.screen.note(
            f"{entry.command} is in a cache that may be emptied. Install Callsheet for good, then run this again.",
            style="bold yellow",
        )


def _form(host: Host, change: Change, entry: Entry | None) -> JsonValue:
    return {
        "host": host.value,
        "path": str(change.path),
        "changed": change.changed,
        "backup": str(change.backup) if change.backup else None,
        "entry": entry.as_dict(typed=SLOTS[host].typed) if entry else None,
    }


COMMANDS = (Command("install", install, SET_UP, "tell a host how the MCP server is started", EXAMPLES),)

__all__ = ["COMMANDS"]
