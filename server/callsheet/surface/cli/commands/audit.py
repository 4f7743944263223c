"""`callsheet audit`: who agreed to what, by which means, when; and whether that trail is as it was written."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from callsheet.core.consent.audit import AuditEntry
from callsheet.errors import LedgerProblem
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import KNOW, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.wording import one_line
from callsheet.surface.trail import read_audit_detail
from callsheet.surface.views.builders import JsonObject

EXAMPLES = ("audit", "audit verify", "audit --limit 500 --json")


class Wanted(StrEnum):
    """What to do with the trail."""

    SHOW = "show"
    VERIFY = "verify"


def audit(
    context: typer.Context,
    wanted: Annotated[Wanted, typer.Argument(metavar="[show|verify]", help="Show the latest, or check all.")] = (
        Wanted.SHOW
    ),
    limit: Annotated[int, typer.Option(metavar="N", help="How many entries to show.", min=1, max=100_000)] = 50,
    as_json: Json = False,
) -> int:
    """Show the audit trail, newest first, or check every entry of it against the seal of the one before.

    Keep the latest hash that `verify` prints somewhere else: it shows whether the whole trail was written anew.
    """
    session = begin(context, as_json)
    return _verify(session) if wanted is Wanted.VERIFY else _show(session, limit)


def _verify(session: Session) -> int:
    verdict = session.service.verify_audit()
    if verdict.broken is not None:
        raise LedgerProblem(
            f"The audit trail is not as it was written: {verdict.problem}.",
            next_step="Compare with a copy of the ledger; trust no approval that you do not remember.",
        )
    if session.as_json:
        session.screen.answer({"entries": verdict.entries, "latest": verdict.latest, "intact": True})
    else:
        session.screen.show(Text(f"All {verdict.entries} entries are as they were written. Latest hash:"))
        session.screen.whole(verdict.latest)
    return ExitCode.OK


def _show(session: Session, limit: int) -> int:
    entries = session.service.audit(limit=limit)
    if session.as_json:
        session.screen.answer(session.redactor.value({"entries": [_form(entry) for entry in entries]}))
        return ExitCode.OK
    if not entries:
        session.screen.show(Text("Nobody has agreed to anything yet."))
        return ExitCode.OK
    for entry in entries:
        session.screen.show(_entry(entry))
    return ExitCode.OK


def _entry(entry: AuditEntry) -> Table:
    """One entry: by whom and when, what, and under that the details, at any width of the terminal."""
    act = one_line(entry.action, 40).replace("_", " ")
    what = Text.assemble((act, "bold"), " ", (one_line(entry.subject, 80), "cyan"))
    when = Text(f"{iso(entry.at) or ''}  {one_line(entry.actor, 40)}: ")
    told = Text(" · ".join(f"{name} {value}" for name, value in read_audit_detail(entry.detail)), style="dim")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", min_width=len("0000"), no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(Text(str(entry.seq)), when + what)
    if told:
        grid.add_row(Text(), told)
    return grid


def _form(entry: AuditEntry) -> JsonObject:
    return {
        "seq": entry.seq,
        "at": iso(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": json.loads(entry.detail),
        "hash": entry.hash,
    }


COMMANDS = (Command("audit", audit, KNOW, "who agreed to what, when; and check it", EXAMPLES),)

__all__ = ["COMMANDS"]
