"""`callsheet doctor`: shows what `service.diagnostics` finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import anyio
import typer
from rich.text import Text

from callsheet.core.consent import Mode, Policy
from callsheet.core.shot import JsonValue
from callsheet.errors import NextStep
from callsheet.service.diagnostics.installation import Check, Grade, Install
from callsheet.service.diagnostics.online import GatewayAnswer, Listing
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import KNOW, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import Output, indent, label_table
from callsheet.surface.cli.console.session import begin
from callsheet.surface.next_steps import for_person
from callsheet.surface.next_steps import program as program_name
from callsheet.surface.text import format_count, one_line

EXAMPLES = ("doctor", "doctor --online", "doctor --notice", "doctor --json")
PLACES = {
    Mode.SANDBOX: "rehearsed in the sandbox, for free",
    Mode.LIVE: "live: they cost money, and you agree to each",
    Mode.READ_ONLY: "not made: the policy is read-only",
}
GENERATE = 'generate "what to show" --model GATEWAY/ID'
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
        if online:
            _write_answers(session.output, answers)
        if notice:
            session.output.write_heading("Test notice")
            rows = [(where, Text(one_line(outcome))) for where, outcome in sent]
            session.output.write(indent(label_table(rows or [("nowhere", Text("notices are off"))])))
        _write_verdict(session.output, checks, program.policy)
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


def _write_verdict(output: Output, checks: list[Check], policy: Callable[[], Policy]) -> None:
    """One sentence on all of it, and the one thing to do next."""
    problems = [check for check in checks if check.grade is Grade.PROBLEM]
    warnings = [check for check in checks if check.grade is Grade.WARNING]
    if problems:
        output.write("", Text(f"{format_count(len(problems), 'problem')} to fix.", style="bold red"))
        output.write_next_step(problems[0].next_step)
        return
    mode = policy().mode
    heed = f", {format_count(len(warnings), 'warning')}" if warnings else ""
    output.write("", Text(f"No problems found{heed}. Clips are {PLACES[mode]}.", style="bold green"))
    step = next((check.next_step for check in warnings if for_person(check.next_step)), None)
    output.write_next_step(step or NextStep(text=f"{program_name()} {GENERATE}" if mode is not Mode.READ_ONLY else ""))


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
