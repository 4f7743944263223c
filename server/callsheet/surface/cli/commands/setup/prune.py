"""`callsheet prune`: removes what is old and has ended from the ledger."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.core.tasks import Pruned
from callsheet.errors import InvalidRequest, NotApproved
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import SET_UP, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.text import format_count

EXAMPLES = ("prune --older-than 90d --dry-run", "prune --older-than 26w --yes")

DAY_SECONDS = 24 * 3600.0
_AGE = re.compile(r"([0-9]{1,5})([dw])")
_AGE_DAYS = {"d": 1, "w": 7}


def prune(
    context: typer.Context,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="In days or weeks: 90d, 26w.", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation (for scripts).")] = False,
    as_json: Json = False,
) -> int:
    """Remove old tasks that have ended, with their sheets and history, and old sheets that were never sent.

    Open tasks, tasks of unknown outcome, and whatever counts against this month's limits are kept. Old copies of
    your own pictures that no sheet needs go too. Clips on disk are not touched. Run `callsheet export`
    first to keep a copy.
    """
    session = begin(context, as_json)
    limits = session.service.prune_limits(_read_age(older_than))
    removed = session.service.prune(limits, dry_run=True)
    if not dry_run and any((removed.tasks, removed.sheets, removed.pictures)):
        if not yes:
            _confirm(session, removed, limits.before)
        removed = session.service.prune(limits)
    if as_json:
        form: dict[str, JsonValue] = {
            "removed": not dry_run,
            "before": iso(limits.before),
            "tasks": removed.tasks,
            "sheets": removed.sheets,
            "events": removed.events,
            "pictures": removed.pictures,
        }
        session.write_json(form)
        return ExitCode.OK
    verb = "Would remove" if dry_run else "Removed"
    text = f"{verb} {_format_pruned(removed)}, from before {iso(limits.before)}. No clip was touched."
    session.output.write(Text(text))
    return ExitCode.OK


def _confirm(session: Session, pruned: Pruned, before: float) -> None:
    with session.open_terminal("prune the ledger (or --yes)") as terminal:
        terminal.write(
            f"This removes {_format_pruned(pruned)}, from before {iso(before)}. It cannot be undone.", style="bold"
        )
        if not terminal.confirm("Remove them"):
            raise NotApproved("Nothing was removed.", next_step="Run the command again when you are sure.")


def _format_pruned(pruned: Pruned) -> str:
    tasks, sheets = format_count(pruned.tasks, "task"), format_count(pruned.sheets, "sheet")
    pictures = f", {format_count(pruned.pictures, 'kept picture')}" if pruned.pictures else ""
    return f"{tasks}, {sheets}{pictures} and {format_count(pruned.events, 'event')}"


def _read_age(text: str) -> float:
    """An age in seconds; raises `InvalidRequest`."""
    found = _AGE.fullmatch(text.strip())
    days = int(found[1]) * _AGE_DAYS[found[2]] if found else 0
    if days < 1:
        raise InvalidRequest("--older-than must be a number of days or weeks.", next_step="For example: 90d or 26w.")
    return days * DAY_SECONDS


COMMANDS = (Command("prune", prune, SET_UP, "remove what is old and has ended", EXAMPLES),)
