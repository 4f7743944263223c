"""`callsheet doctor`: shows what `service.diagnostics` finds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import anyio
import typer
from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.service.diagnostics.installation import Check, Grade, Install
from callsheet.service.diagnostics.online import GatewayAnswer, Listing
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import KNOW, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import Output, indent, label_table
from callsheet.surface.cli.console.session import begin
from callsheet.surface.next_steps import for_person
from callsheet.surface.text import format_count, one_line

EXAMPLES = ("doctor", "doctor --online", "doctor --notice", "doctor --json")
MARKS = {
    Grade.OK: ("✓", "green"),
    Grade.NOTE: ("·", "dim"),
    Grade.WARNING: ("!", "bold yellow"),
    Grade.PROBLEM: ("✗", "bold red"),
}


def doctor(
    context: typer.Context,
    online: Annotated[
        bool, typer.Option("--online", help="Also query the gateways, for free: balance, listed models.")
    ] = False,
    notice: Annotated[
        bool, typer.Option("--notice", help="Also send a test notice, where the policy's [notify] says.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Check the installation. Sends nothing unless --online or --notice is given.

    The exit code is 8 if a problem keeps Callsheet from working.
    """
    session = begin(context, as_json)
    program = session.program
    install = Install(program.paths, program.policy_path, program.verifier_path, program.environ)
    checks = session.service.check_up(install)
    answers = anyio.run(session.service.ask_gateways) if online else []
    sent = anyio.run(session.service.send_test_notice) if notice else []
    if as_json:
        told: list[JsonValue] = [{"to": where, "outcome": outcome} for where, outcome in sent]
        session.write_json(_build_answer(checks, answers, online) | ({"notices": told} if notice else {}))
    else:
        write_checks(session.output, checks)
        problems = sum(1 for check in checks if check.grade is Grade.PROBLEM)
        found = (
            (f"{format_count(problems, 'problem')} to fix.", "bold red")
            if problems
            else ("No problems found.", "green")
        )
        session.output.write("", Text(*found))
        if online:
            _write_answers(session.output, answers)
        if notice:
            session.output.write_heading("Test notice")
            rows = [(where, Text(one_line(outcome))) for where, outcome in sent]
            session.output.write(indent(label_table(rows or [("nowhere", Text("notices are off"))])))
    return ExitCode.SETUP if any(check.grade is Grade.PROBLEM for check in checks) else ExitCode.OK


def _build_answer(checks: list[Check], answers: list[GatewayAnswer], online: bool) -> dict[str, JsonValue]:
    form: dict[str, JsonValue] = {
        "healthy": all(check.grade is not Grade.PROBLEM for check in checks),
        "checks": [
            {
                "name": check.name,
                "grade": check.grade.value,
                "text": check.text,
                "next_step": for_person(check.next_step),
            }
            for check in checks
        ],
    }
    if online:
        form["online"] = [
            {
                "gateway": answer.gateway,
                "asked_at": iso(answer.at),
                "balance": {**asdict(answer.balance)} if answer.balance else None,
                "said": answer.said,
                "listings": [{**asdict(listing)} for listing in answer.listings],
            }
            for answer in answers
        ]
    return form


def write_checks(output: Output, checks: list[Check]) -> None:
    """Each check with its mark, and what to do about it."""
    grid = label_table([], label_width=1)
    grid.add_column(overflow="fold")
    for check in checks:
        mark, style = MARKS[check.grade]
        text = Text(check.text)
        if step := for_person(check.next_step):
            text.append(f"\n→ {step}", style="cyan")
        grid.add_row(Text(check.grade.value if output.plain else mark, style=style), Text(check.name), text)
    output.write(grid)


def _write_answers(output: Output, answers: list[GatewayAnswer]) -> None:
    output.write_heading("Queried now")
    for answer in answers:
        left = f"{one_line(answer.balance.amount)} {answer.balance.unit} left" if answer.balance else answer.said
        output.write(indent(label_table([(answer.name, Text(f"{left} · {iso(answer.at)}"))])))
        for listing in answer.listings:
            output.write(indent(Text.assemble(_listed(listing), f"  {listing.model}"), 6))


def _listed(listing: Listing) -> tuple[str, str]:
    if listing.listed is None:
        return f"does not say ({listing.said})", "dim"
    return ("listed    ", "green") if listing.listed else ("not listed", "yellow")


COMMANDS = (Command("doctor", doctor, KNOW, "check the installation", EXAMPLES),)
