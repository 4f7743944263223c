"""`callsheet audit`: who approved what, when and by which means; and whether the trail is unchanged."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from callsheet.core.audit import AuditEntry
from callsheet.errors import LedgerProblem
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import KNOW, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.text import format_count, join_words, one_line, read_audit_detail
from callsheet.surface.views.builders import JsonObject

MOST_NAMED = 10
EXAMPLES = ("audit", "audit verify", "audit export > trail.json", "audit --limit 500 --json")


class Wanted(StrEnum):
    """What to do with the audit trail."""

    SHOW = "show"
    VERIFY = "verify"
    EXPORT = "export"


def audit(
    context: typer.Context,
    wanted: Annotated[
        Wanted, typer.Argument(metavar="[show|verify|export]", help="Show the latest entries, check all, or write all.")
    ] = (Wanted.SHOW),
    limit: Annotated[int, typer.Option(metavar="N", help="How many entries to show.", min=1, max=100_000)] = 50,
    as_json: Json = False,
) -> int:
    """Show the audit trail, newest first, or check each entry against the hash of the entry before it.

    The check also looks for live tasks that no approval in the trail precedes. Keep the latest hash that `verify`
    prints in another place. It shows whether the whole trail was rewritten. Signatures by passkeys are kept in the
    trail and checked too. `export` writes the whole trail for `docs/verify_trail.py`, which needs no Callsheet.
    """
    session = begin(context, as_json or wanted is Wanted.EXPORT)
    if wanted is Wanted.EXPORT:
        entries = [asdict(entry) for entry in reversed(session.service.audit(limit=-1))]
        session.write_json({"format": "callsheet-trail", "version": 1, "entries": entries})
        return ExitCode.OK
    return _verify(session) if wanted is Wanted.VERIFY else _write(session, limit)


def _verify(session: Session) -> int:
    verdict = session.service.verify_audit()
    if verdict.broken is not None:
        raise LedgerProblem(
            f"The audit trail was changed: {verdict.problem}.",
            next_step="Compare it with a copy of the ledger. Do not trust an approval that you do not remember.",
        )
    if verdict.unapproved:
        raise LedgerProblem(
            f"The audit trail has no approval that precedes {_name(verdict.unapproved)}. The ledger was changed outside"
            " Callsheet.",
            next_step="Compare them with the gateway's own list of tasks. Replace the key if you did not approve them.",
        )
    if session.as_json:
        answer = {"entries": verdict.entries, "latest": verdict.latest, "intact": True, "older": list(verdict.older)}
        session.write_json({**answer, "signatures": dict(verdict.keys), "unsigned": list(verdict.unsigned)})
        return ExitCode.OK
    session.output.write(Text(f"All {verdict.entries} entries are unchanged, and each live task was approved."))
    if verdict.older:
        older = f"Older than the trail, which can say nothing about them: {_name(verdict.older)}."
        session.output.write(Text(older, style="yellow"))
    for key, count in verdict.keys.items():
        session.output.write(Text(f"Signed by the passkey {key}: {format_count(count, 'approval')}."))
    if verdict.unsigned:
        unsigned = f"By passkey, without a signature: {join_words(verdict.unsigned)}. An older version kept none."
        session.output.write(Text(unsigned, style="yellow"))
    session.output.write(Text("Latest hash:"))
    session.output.write_unwrapped(verdict.latest)
    return ExitCode.OK


def _name(found: tuple[str, ...]) -> str:
    """How many live tasks, or spent sheets without one, and the first of them."""
    more = ", …" if len(found) > MOST_NAMED else ""
    return f"{len(found)} live {'tasks' if len(found) > 1 else 'task'} ({', '.join(found[:MOST_NAMED])}{more})"


def _write(session: Session, limit: int) -> int:
    entries = session.service.audit(limit=limit)
    if session.as_json:
        session.write_json({"entries": [_entry_answer(entry) for entry in entries]})
        return ExitCode.OK
    if not entries:
        session.output.write(Text("The audit trail is empty."))
        return ExitCode.OK
    for entry in entries:
        session.output.write(_entry(entry))
    return ExitCode.OK


def _entry(entry: AuditEntry) -> Table:
    """One entry: when, who and what, with the details on the next line, at any width of the terminal."""
    act = one_line(entry.action, 40).replace("_", " ")
    what = Text.assemble((act, "bold"), " ", (one_line(entry.subject, 80), "cyan"))
    when = Text(f"{iso(entry.at) or ''}  {one_line(entry.actor, 40)}: ")
    details = Text(" · ".join(f"{name} {value}" for name, value in read_audit_detail(entry.detail)), style="dim")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", min_width=len("0000"), no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(Text(str(entry.seq)), when + what)
    if details:
        grid.add_row(Text(), details)
    return grid


def _entry_answer(entry: AuditEntry) -> JsonObject:
    return {
        "seq": entry.seq,
        "at": iso(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": json.loads(entry.detail),
        "hash": entry.hash,
    }


COMMANDS = (Command("audit", audit, KNOW, "who approved what and when; check the trail", EXAMPLES),)
