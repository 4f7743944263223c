"""`callsheet export`: the ledger for a person's own books."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from callsheet.core.shot import JsonValue
from callsheet.edges.files.files import write_exported
from callsheet.errors import InvalidRequest
from callsheet.service.export import export_rows
from callsheet.surface.cli.console.command import KNOW, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.session import begin
from callsheet.surface.text import format_count, format_json

EXAMPLES = ("export > books.json", "export --format csv --out clips-2026-11.csv --since 2026-11-01")


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
        str | None, typer.Option(metavar="DATE", help="Only what was created from that day on (UTC), as 2026-11-01.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> int:
    """Export all sheets and tasks with their history, for your own books. Keys are never exported.

    JSON has everything, with a version; CSV has one row for each task. Without --out it goes to standard output.
    """
    session = begin(context)
    document = session.service.export(since=None if since is None else _read_date(since))
    text = export_rows(document) if form is Format.CSV else f"{format_json(document)}\n"
    if out is None:
        session.output.write_raw(text)
        return ExitCode.OK
    path = session.program.working_directory / out.expanduser()
    write_exported(path, text.encode("utf-8", "backslashreplace"), force=force)
    session.output.write_note(f"{_count(document, 'task')} and {_count(document, 'sheet')} written to:")
    session.output.write_unwrapped(str(path), indent=0)
    return ExitCode.OK


def _count(document: dict[str, JsonValue], noun: str) -> str:
    listed = document[f"{noun}s"]
    return format_count(len(listed) if isinstance(listed, list) else 0, noun)


def _read_date(text: str) -> float:
    """The start of that day, or that moment, in seconds since the epoch; raises `InvalidRequest`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            "--since is not a date.", next_step="For example: 2026-11-01, or 2026-11-01T09:30:00Z."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


COMMANDS = (Command("export", export, KNOW, "all sheets and tasks, for your own books", EXAMPLES),)
