"""What a person at the terminal is shown and asked before they agree: the call sheet, its amount, their passphrase."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from rich import box
from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from callsheet.core.catalogue.pricing import dollars
from callsheet.core.consent.approval import amount_matches, split_approval
from callsheet.core.tasks.models import Sheet
from callsheet.edges.keys.passphrase import check_passphrase
from callsheet.errors import NotApproved

from .output import facts
from .terminal import TRIES, Person


def approval_panel(shown: str, *, plain: bool) -> RenderableType:
    """The call sheet as the person sees it: labels on the left; never read as markup, never cut."""
    rows: list[tuple[str, RenderableType]] = []
    for label, line in split_approval(shown):
        style = "bold yellow" if not label else "" if rows else "bold"
        rows.append((label, Text(line, style=style)))
    grid = facts(rows)
    if plain:
        return grid
    return Panel(
        grid, title=Text("Call sheet"), title_align="left", box=box.ROUNDED, border_style="dim", padding=(1, 2)
    )


def ask_amount(person: Person, sheet: Sheet, amount: Decimal | None, *, meaning: str) -> None:
    """Show the sheet and have its amount typed, if it costs one; returns if it was right, else raises `NotApproved`."""
    person.say()
    person.say(approval_panel(sheet.shown, plain=person.plain))
    person.say(f"{sheet.id} · {meaning} Ctrl-C is a no.", style="dim")
    person.say()
    if amount is None:
        return
    typed = person.ask(f"Type the amount to agree, {dollars(amount)}")
    if not amount_matches(typed, amount):
        raise NotApproved(
            f"The amount typed is not the amount shown ({dollars(amount)} USD).",
            next_step=f"Run `callsheet approve {sheet.id}` again, or decline it.",
        )


def ask_passphrase(person: Person, verifier: str, *, question: str = "Approval passphrase") -> str:
    """Returns the passphrase once it was typed; raises `NotApproved` after three wrong tries."""
    return ask_until_right(person, lambda typed: check_passphrase(typed, verifier), question=question)


def ask_until_right(person: Person, check: Callable[[str], bool], *, question: str = "Approval passphrase") -> str:
    """Returns what was typed once `check` says that it is right; raises `NotApproved` after three wrong tries."""
    for left in reversed(range(TRIES)):
        typed = person.ask_secret(question)
        if check(typed):
            return typed
        if left:
            person.say("That is not the passphrase.", style="yellow")
    raise NotApproved(
        f"The approval passphrase was wrong {TRIES} times.",
        next_step="Somebody who knows the passphrase runs the same command again.",
    )


__all__ = ["approval_panel", "ask_amount", "ask_passphrase", "ask_until_right"]
