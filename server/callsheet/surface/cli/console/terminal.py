"""The controlling terminal: the only way to reach the person.

Questions go to the controlling terminal and answers come from there, not from standard input, an
argument or the environment, so nothing that is piped in can answer. Without a terminal there
is no person. (A program can allocate a terminal; that is why consent also needs the passphrase.)
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from callsheet.errors import NotApproved

from .output import Redact, build_console, is_plain

TERMINAL = "/dev/tty"
TRIES = 3


class Terminal:
    """A terminal with a person at it. `write` prints; `ask` and `ask_secret` wait for a line."""

    def __init__(self, keyboard: TextIO, console: Console, *, plain: bool) -> None:
        self._keyboard = keyboard
        self.console = console
        self.plain = plain

    def write(self, part: RenderableType = "", style: str = "") -> None:
        """Print something; a string is never read as markup."""
        self.console.print(Text(part, style=style) if isinstance(part, str) else part)

    def ask(self, question: str, *, usual: str = "") -> str:
        """One line, stripped; an empty one means `usual`. EOF ends the command."""
        hint = f" [{usual}]" if usual else ""
        self.console.print(Text(f"{question}{hint}: ", style="bold"), end="", soft_wrap=True)
        self.console.file.flush()
        line = self._keyboard.readline()
        if not line:
            self.console.print()
            raise KeyboardInterrupt
        return line.strip() or usual

    def confirm(self, question: str) -> bool:
        """Ask yes or no; anything but yes means no."""
        return self.ask(f"{question} (yes/no)", usual="no").lower() in ("y", "yes")

    def ask_secret(self, question: str) -> str:
        """One line that is not shown while it is typed."""
        try:
            return getpass.getpass(f"{question}: ")
        except EOFError:
            raise KeyboardInterrupt from None

    def ask_until(self, question: str, *, usual: str, check: Callable[[str], str]) -> str:
        """Ask until `check` returns no complaint (the empty text) about the answer."""
        while True:
            answer = self.ask(question, usual=usual)
            complaint = check(answer)
            if not complaint:
                return answer
            self.write(f"  {complaint}", style="yellow")


def is_interactive() -> bool:
    """Whether a person seems to be at a terminal, for commands that ask only if somebody can answer."""
    try:
        with open(TERMINAL, encoding="utf-8"):  # noqa: PTH123
            return sys.stdin.isatty()
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def open_terminal(environ: Mapping[str, str], redact: Redact, *, purpose: str) -> Iterator[Terminal]:
    """The controlling terminal; raises `NotApproved` if there is none."""
    try:
        keyboard = open(TERMINAL, encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115 - closed below
    except OSError:
        raise NotApproved(
            f"Only a person at a terminal can {purpose}, and there is no terminal here.",
            next_step="Run this in your own terminal.",
        ) from None
    with keyboard, open(TERMINAL, "w", encoding="utf-8", errors="backslashreplace") as screen:  # noqa: PTH123
        yield Terminal(keyboard, build_console(screen, environ, redact), plain=is_plain(screen, environ))
