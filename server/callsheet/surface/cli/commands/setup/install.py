"""`callsheet install`: adds the MCP server to the configuration of the hosts on this computer."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from callsheet.core.security.redaction import clean
from callsheet.edges.config.mcp_entries import Entry, write_snippet
from callsheet.edges.config.mcp_hosts import (
    IN_PROJECT,
    SLOTS,
    TITLES,
    Host,
    Scope,
    find_config,
    is_present,
    write_entry,
)
from callsheet.edges.files.paths import HOME_VARIABLE, expand_home
from callsheet.edges.process.installed import find_command, is_cached, write_command
from callsheet.errors import Action, InvalidRequest, NextStep, SetupProblem
from callsheet.service.diagnostics.installation import Check, Grade
from callsheet.surface.cli.commands.doctor import write_checks
from callsheet.surface.cli.console.command import SET_UP, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.next_steps import command, for_person
from callsheet.surface.text import join_words

EXAMPLES = ("install", "install --uninstall", "install codex --print", "install cursor --scope project")
HOSTS = join_words(list(Host))

NOTES: dict[Host, str] = {
    # Observed with Claude Code 2.1.329, Codex 0.169.0 and Gemini CLI 0.61.0.
    Host.CLAUDE: "`claude -p` may answer before the tools are listed; MCP_CONNECTION_NONBLOCKING=false makes it wait.",
    Host.CODEX: "Codex waits for Callsheet before its first turn, and does not start if Callsheet cannot.",
    Host.GEMINI: "Gemini CLI starts no server in a folder that you have not trusted: trust it when Gemini CLI asks.",
}


@dataclass(slots=True)
class _Result:
    """One host: what was planned for its file or done to it, and what a look at it found."""

    host: Host
    path: Path
    entry: dict[str, Any] | None
    changed: bool = False
    backup: Path | None = None
    grade: Grade = Grade.OK
    text: str = ""

    def change(self, session: Session, entry: Entry | None, *, only_plan: bool = False) -> None:
        """Write the entry, or remove it; a problem with one host keeps no other from being written."""
        try:
            done = write_entry(self.path, SLOTS[self.host], entry, only_plan=only_plan)
        except SetupProblem as problem:
            self.grade, self.text = Grade.PROBLEM, f"{problem.message} {for_person(problem.next_step)}"
            return
        self.changed, self.backup, self.grade = done.changed, done.backup, Grade.OK
        verbs = ("added to", "already in") if entry else ("removed from", "not in")
        self.text = f"{'would be ' if only_plan and done.changed else ''}{verbs[not done.changed]} {self.path}"
        self.text += f"\nthe old file is {done.backup}" if done.backup else ""
        if keys := {facts.key_env for facts in session.service.catalogue.gateways} & set(done.variables):
            fix = command(NextStep(Action.SETUP))
            self.grade = Grade.WARNING
            self.text += f"\nit sets {join_words(sorted(keys))}, which agents can read: remove it, and run `{fix}`"

    def add(self, check: Check) -> None:
        """What was found when the entry was started and the host was asked."""
        self.grade = max(self.grade, check.grade, key=list(Grade).index)
        self.text = "\n".join(filter(None, (self.text, check.text, NOTES.get(self.host))))


def install(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Argument(metavar="HOST", help=f"One of {HOSTS}.", autocompletion=lambda: list(Host))
    ] = None,
    *,
    show: Annotated[bool, typer.Option("--print", help="Only show the entry.")] = False,
    scope: Annotated[Scope, typer.Option("--scope", help="Your own configuration, or this project's.")] = Scope.USER,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Remove the entry.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write without a question.")] = False,
    as_json: Json = False,
) -> int:
    """Add the MCP server to every host that is found on this computer, or to the one that you name.

    Without a name it shows what it would write and asks once; with --json it writes only if --yes is given. Nothing
    else in a file changes, and the old file is kept next to it. Then each entry is started, and each host that can
    answer is asked. No key is ever written: keys are set with `callsheet setup`.
    """
    session = begin(context, as_json)
    entry = _build_entry(session) if show or not uninstall else None
    results = _find_targets(session, host, scope, entry)
    if show and entry is not None and not as_json:
        for result in results:
            session.output.write_note(f"{TITLES[result.host]} reads {result.path}; nothing was written.", wrap=False)
            session.output.write_raw(write_snippet(SLOTS[result.host], entry))
        return ExitCode.OK
    if show or not (host or yes or _is_agreed(session, results, entry)):
        if as_json:
            session.write_json({"written": False, "hosts": results})
        return ExitCode.OK if as_json else ExitCode.NOT_APPROVED
    for result in results:
        result.change(session, entry)
    written = [result for result in results if entry and result.grade is not Grade.PROBLEM]
    places = {result.host.value: result.path for result in written}
    for result, check in zip(written, session.service.check_hosts(session.program.environ, places), strict=True):
        result.add(check)
    if as_json:
        session.write_json({"written": True, "hosts": results})
    else:
        _write_rows(session, results)
        session.output.write_next_step(NextStep(text="Restart the hosts that are open."))
    return ExitCode.SETUP if any(result.grade is Grade.PROBLEM for result in results) else ExitCode.OK


def _find_targets(session: Session, name: str | None, scope: Scope, entry: Entry | None) -> list[_Result]:
    """The named host, or all that are on this computer; raises `InvalidRequest` and `SetupProblem`."""
    program = session.program
    allowed = list(Host) if scope is Scope.USER else list(IN_PROJECT)
    hosts = [_parse_host(name)] if name is not None else [host for host in allowed if is_present(host, program.environ)]
    if not hosts:
        raise SetupProblem("No host was found on this computer.", next_step=f"Name one of {HOSTS}.")
    return [
        _Result(
            host,
            find_config(host, scope, program.environ, program.working_directory),
            {**entry.as_dict(typed=SLOTS[host].typed), **dict(SLOTS[host].defaults)} if entry else None,
        )
        for host in hosts
    ]


def _parse_host(name: str) -> Host:
    """The host of that name or title; the error names the nearest one."""
    names = {**{host.value: host for host in Host}, **{title.lower(): host for host, title in TITLES.items()}}
    if name.lower() in names:
        return names[name.lower()]
    nearest = [names[found].value for found in difflib.get_close_matches(name.lower(), names, n=1)]
    raise InvalidRequest(
        f"There is no host {clean(name, limit=80)!r}; the hosts are {HOSTS}.",
        next_step=NextStep(Action.INSTALL, target="".join(nearest)),
        code="usage",
    )


def _build_entry(session: Session) -> Entry:
    """How hosts start this program; raises `SetupProblem` if it is here for one run only."""
    program, arguments = find_command()
    if is_cached(program):
        raise SetupProblem(
            f"{program} is in a cache that may be deleted, so no host can rely on it.",
            next_step=f"Run `{write_command(once=False)}`, then the installed command.",
        )
    # Hosts pass on little of their environment; without this variable the server would use another home.
    named = session.program.environ.get(HOME_VARIABLE, "").strip()
    home = expand_home(named) if named and not named.startswith("${") else None
    return Entry(program, arguments, {HOME_VARIABLE: str(home)} if home else {})


def _is_agreed(session: Session, results: list[_Result], entry: Entry | None) -> bool:
    """Show what would be written, and ask if it is anything. A program gets the plan and no question."""
    for result in results:
        result.change(session, entry, only_plan=True)
    if session.as_json or not any(result.changed for result in results):
        return not session.as_json
    _write_rows(session, results)
    if entry is not None:
        session.output.write(Text("Each host starts this, without a key:"))
        session.output.write_unwrapped(" ".join([entry.command, *entry.args]))
    with session.open_terminal("agree to these changes") as terminal:
        if terminal.confirm("Write this?"):
            return True
        terminal.write("Nothing was written.", style="yellow")
    return False


def _write_rows(session: Session, results: list[_Result]) -> None:
    write_checks(session.output, [Check(TITLES[result.host], result.grade, result.text) for result in results])


COMMANDS = (Command("install", install, SET_UP, "add the MCP server to the hosts of your agents", EXAMPLES),)
