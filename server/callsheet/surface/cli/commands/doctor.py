"""`callsheet doctor`: shows what `service.checkup` finds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import anyio
import typer
from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.service.diagnostics import Check, GatewayAnswer, Grade, Install, Listing
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import KNOW, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import Screen, facts, indented
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.session import begin
from callsheet.surface.cli.console.wording import one_line
from callsheet.surface.next_steps import for_person

EXAMPLES = ("doctor", "doctor --online", "doctor --json")
MARKS = {
    Grade.OK: ("✓", "green"),
    Grade.NOTE: ("·", "dim"),
    Grade.WARNING: ("!", "bold yellow"),
    Grade.PROBLEM: ("✗", "bold red"),
}


def doctor(
    context: typer.Context,
    online: Annotated[
        bool, typer.Option("--online", help="Also ask the gateways what is free: balance, models that they list.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Look for what is missing or amiss. Nothing is sent, unless --online is given.

    The exit code is 8 when something keeps Callsheet from working.
    """
    session = begin(context, as_json)
    program = session.program
    install = Install(program.paths, program.policy_path, program.verifier_path, program.environ)
    checks = session.service.check_up(install)
    answers = anyio.run(session.service.ask_gateways) if online else []
    if as_json:
        session.screen.answer(session.redactor.value(_form(checks, answers, online)))
    else:
        _show_checks(session.screen, checks)
        if online:
            _show_answers(session.screen, answers)
    return ExitCode.SETUP if any(check.grade is Grade.PROBLEM for check in checks) else ExitCode.OK


def _form(checks: list[Check], answers: list[GatewayAnswer], online: bool) -> dict[str, JsonValue]:
    form: dict[str, JsonValue] = {
        "healthy": all(check.grade is not Grade.PROBLEM for check in checks),
        "checks": [
            {**asdict(check), "grade": check.grade.value, "next_step": for_person(check.next_step)} for check in checks
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


def _show_checks(screen: Screen, checks: list[Check]) -> None:
    grid = facts([], label_width=1)
    grid.add_column(overflow="fold")
    for check in checks:
        mark, style = MARKS[check.grade]
        text = Text(check.text)
        if step := for_person(check.next_step):
            text.append(f"\n→ {step}", style="cyan")
        grid.add_row(Text(check.grade.value if screen.plain else mark, style=style), Text(check.name), text)
    screen.show(grid)
    problems = sum(1 for check in checks if check.grade is Grade.PROBLEM)
    screen.show("", _verdict(problems))


def _verdict(problems: int) -> Text:
    if not problems:
        return Text("Nothing keeps it from working.", style="green")
    return Text(f"{problems} problem{'s' if problems > 1 else ''} to mend.", style="bold red")


def _show_answers(screen: Screen, answers: list[GatewayAnswer]) -> None:
    screen.heading("Asked now")
    for answer in answers:
        left = f"{one_line(answer.balance.amount)} {answer.balance.unit} left" if answer.balance else answer.said
        screen.show(indented(facts([(answer.name, Text(f"{left} · {iso(answer.at)}"))])))
        for listing in answer.listings:
            screen.show(indented(Text.assemble(_listed(listing), f"  {listing.model}"), 6))


def _listed(listing: Listing) -> tuple[str, str]:
    if listing.listed is None:
        return f"does not say ({listing.said})", "dim"
    return ("listed    ", "green") if listing.listed else ("not listed", "yellow")


COMMANDS = (Command("doctor", doctor, KNOW, "what is missing or amiss", EXAMPLES),)

__all__ = ["COMMANDS"]
