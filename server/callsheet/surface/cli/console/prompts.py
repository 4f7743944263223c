"""What a person sees and types before they approve: the call sheet, its amount, the passphrase."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rich import box
from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from callsheet.core.consent import split_approval, text_matches
from callsheet.core.tasks import Sheet
from callsheet.edges.keys.passphrase import check_passphrase, load_verifier
from callsheet.errors import Action, NextStep, NotApproved, SetupProblem
from callsheet.service import Service
from callsheet.surface.program import Program

from .output import label_table
from .terminal import TRIES, Terminal


def approval_panel(shown: str, *, plain: bool) -> RenderableType:
    """The call sheet as the person sees it: labels on the left, no markup, nothing cut."""
    rows: list[tuple[str, RenderableType]] = []
    for label, line in split_approval(shown):
        style = "bold yellow" if not label else "" if rows else "bold"
        rows.append((label, Text(line, style=style)))
    grid = label_table(rows)
    if plain:
        return grid
    return Panel(
        grid, title=Text("Call sheet"), title_align="left", box=box.ROUNDED, border_style="dim", padding=(1, 2)
    )


def ask_amount(terminal: Terminal, sheet: Sheet, wanted: str | None, *, meaning: str) -> None:
    """Show the sheet and ask for what agrees to it: its amount, or a name. Raises `NotApproved` for anything else."""
    show_sheet(terminal, sheet)
    terminal.write(f"{sheet.id} · {meaning} Ctrl-C means no.", style="dim")
    terminal.write()
    if wanted is None:
        return
    # Of several, one may be free and the sum is an amount all the same. A name begins with a letter.
    what, unit = ("amount", " USD") if wanted[:1].isdigit() else ("name", "")
    typed = terminal.ask(f"Type the {what} to agree, {wanted}")
    if not text_matches(typed, wanted):
        raise NotApproved(
            f"The {what} typed is not the {what} shown ({wanted}{unit}).",
            next_step=NextStep(Action.APPROVE, "Try again, or decline the sheet.", target=sheet.id),
        )


def show_sheet(terminal: Terminal, sheet: Sheet) -> None:
    """Show the sheet."""
    terminal.write()
    terminal.write(approval_panel(sheet.shown, plain=terminal.plain))


def require_verifier(program: Program) -> str:
    """The line that checks the approval passphrase; raises `SetupProblem` if no passphrase is set."""
    verifier = load_verifier(program.verifier_path)
    if verifier is None:
        raise SetupProblem(
            "No approval passphrase has been set, so this cannot be approved.",
            next_step=NextStep(Action.SETUP, "Choose an approval passphrase in your own terminal."),
        )
    return verifier


def ask_passphrase(
    service: Service, terminal: Terminal, verifier: str, *, question: str = "Approval passphrase"
) -> str:
    """The approval passphrase; raises `NotApproved` after three wrong tries."""
    return ask_until_right(service, terminal, lambda typed: check_passphrase(typed, verifier), question=question)


def ask_until_right(
    service: Service, terminal: Terminal, check: Callable[[str], bool], *, question: str = "Approval passphrase"
) -> str:
    """The first typed passphrase that `check` accepts; raises `NotApproved` after three wrong tries, or too many."""
    for left in reversed(range(TRIES)):
        typed = terminal.ask_secret(question)
        if service.count_try(partial(check, typed)):
            return typed
        if left:
            terminal.write("That is not the passphrase.", style="yellow")
    raise wrong_passphrase()


def wrong_passphrase() -> NotApproved:
    """The error after the last wrong try."""
    return NotApproved(
        f"The approval passphrase was wrong {TRIES} times.",
        next_step="Run the command again with the correct passphrase.",
    )
