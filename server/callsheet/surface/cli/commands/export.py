"""`callsheet export` and `prune`: the ledger for a person's own books, and what is old taken out of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.core.tasks.models import Pruned
from callsheet.edges.files.files import write_exported
from callsheet.errors import InvalidRequest, NotApproved
from callsheet.service.export import export_rows
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import KNOW, SET_UP, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import meet_person
from callsheet.surface.cli.console.wording import json_text

EXPORT_EXAMPLES = ("export > books.json", "export --format csv --out clips-2026-11.csv --since 2026-11-01")
PRUNE_EXAMPLES = ("prune --older-than 90d --dry-run", "prune --older-than 26w --yes")

DAY_SECONDS = 24 * 3600.0
_AGE = re.compile(r"([0-9]{1,5})([dw])")
_AGE_DAYS = {"d": 1, "w": 7}


class Format(StrEnum):
    """How an export is written."""

    JSON = "json"
    CSV = "csv"


def export(
    context: typer.Context,
    form: Annotated[Format, typer.Option("--format", help="One document, or one row for each task.")] = Format.JSON,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a file that only you can read.", dir_okay=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only what was made from that day on (UTC), as 2026-11-01.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
) -> int:
    """Write all sheets and tasks with their history, for your own books; never a key.

    JSON has everything, with a version; CSV has one row for each task. Without --out it goes to standard output.
    """
    session = begin(context)
    document = session.service.export(since=None if since is None else _read_date(since))
    text = export_rows(document) if form is Format.CSV else f"{json_text(document)}\n"
    if out is None:
        session.screen.out.file.write(text)
        session.screen.out.file.flush()
        return ExitCode.OK
    path = session.program.working_directory / out.expanduser()
    write_exported(path, text.encode("utf-8", "backslashreplace"), force=force)
    session.screen.note(f"{_count(document, 'task')} and {_count(document, 'sheet')} written to:")
    session.screen.whole(str(path), indent=0)
    return ExitCode.OK


def prune(
    context: typer.Context,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="In days or weeks: 90d, 26w.", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
    as_json: Json = False,
) -> int:
    """Remove old tasks that have ended, with their sheets and history, and old sheets never sent.

    What is open or of unknown outcome stays, and so does what counts against this month's limits. Clips on disk
    are not touched. `callsheet export` first, if you want to keep a copy.
    """
    session = begin(context, as_json)
    limits = session.service.prune_limits(_read_age(older_than))
    counted = session.service.prune(limits, dry_run=True)
    if not dry_run and any((counted.tasks, counted.sheets)):
        if not yes:
            _confirm(session, counted, limits.before)
        counted = session.service.prune(limits)
    if as_json:
        form: dict[str, JsonValue] = {
            "removed": not dry_run,
            "before": iso(limits.before),
            "tasks": counted.tasks,
            "sheets": counted.sheets,
            "events": counted.events,
        }
        session.screen.answer(form)
        return ExitCode.OK
    verb = "Would remove" if dry_run else "Removed"
    session.screen.show(Text(f"{verb} {_tell(counted)}, from before {iso(limits.before)}. No clip was touched."))
    return ExitCode.OK


def _confirm(session: Session, counted: Pruned, before: float) -> None:
    with meet_person(session.program.environ, session.redactor.text, purpose="prune the ledger (or --yes)") as person:
        person.say(f"This removes {_tell(counted)}, from before {iso(before)}. It cannot be undone.", style="bold")
        if not person.agree("Remove them"):
            raise NotApproved("Nothing was removed.", next_step="Run the command again when you are sure.")


def _tell(counted: Pruned) -> str:
    return f"{_many(counted.tasks, 'task')}, {_many(counted.sheets, 'sheet')} and {_many(counted.events, 'event')}"


def _count(document: dict[str, JsonValue], what: str) -> str:
    listed = document[f"{what}s"]
    return _many(len(listed) if isinstance(listed, list) else 0, what)


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _read_date(text: str) -> float:
    """The beginning of that day, or that moment, in seconds since the epoch; raises `InvalidRequest`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            "--since is not a date.", next_step="Write it as 2026-11-01, or as 2026-11-01T09:30:00Z."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_age(text: str) -> float:
    """An age in seconds; raises `InvalidRequest`."""
    found = _AGE.fullmatch(text.strip())
    days = int(found[1]) * _AGE_DAYS[found[2]] if found else 0
    if days < 1:
        raise InvalidRequest("--older-than is a number of days or weeks.", next_step="Write it as 90d or 26w.")
    return days * DAY_SECONDS


COMMANDS = (
    Command("export", export, KNOW, "all sheets and tasks, for your own books", EXPORT_EXAMPLES),
    Command("prune", prune, SET_UP, "remove what is old and has ended", PRUNE_EXAMPLES),
)

__all__ = ["COMMANDS"]
