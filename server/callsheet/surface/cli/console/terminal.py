"""The person at the terminal, and the only way to reach them.

Questions go to the controlling terminal and answers come from there, not from standard input, an
argument or the environment, so that nothing that was piped in can answer. Without a terminal there
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

from .output import Redact, make_console, wants_plain

TERMINAL = "/dev/tty"
TRIES = 3


class Person:
    """Somebody at a terminal. `say` shows, `ask` and `ask_secret` wait for a line."""

    def __init__(self, keyboard: TextIO, console: Console, *, plain: bool) -> None:
        self._keyboard = keyboard
        self.console = console
        self.plain = plain

    def say(self, part: RenderableType = "", style: str = "") -> None:
        """Show something; a string as it is."""
        self.console.print(Text(part, style=style) if isinstance(part, str) else part)

    def ask(self, question: str, *, usual: str = "") -> str:
        """One line, without the white space around it; `usual` is what an empty one means. EOF ends the command."""
        hint = f" [{usual}]" if usual else ""
        self.console.print(Text(f"{question}{hint}: ", style="bold"), end="", soft_wrap=True)
        self.console.file.flush()
        line = self._keyboard.readline()
        if not line:
            self.console.print()
            raise KeyboardInterrupt
        return line.strip() or usual

    def agree(self, question: str) -> bool:
        """A plain yes or no; anything but a yes is a no."""
        return self.ask(f"{question} (yes/no)", usual="no").lower() in ("y", "yes")

    def ask_secret(self, question: str) -> str:
        """One line that is not shown while it is typed."""
        try:
            return getpass.getpass(f"{question}: ")
        except EOFError:
            raise KeyboardInterrupt from None

    def ask_until(self, question: str, *, usual: str, check: Callable[[str], str]) -> str:
        """Ask until `check` has no complaint (the empty text) about the answer."""
        while True:
            answer = self.ask(question, usual=usual)
            complaint = check(answer)
            if not complaint:
                return answer
            self.say(f"  {complaint}", style="yellow")


def somebody_types() -> bool:
    """Whether a person seems to type at a terminal: for commands that ask only if somebody is there to answer."""
    try:
        with open(TERMINAL, encoding="utf-8"):  # noqa: PTH123
            return sys.stdin.isatty()
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def meet_person(environ: Mapping[str, str], redact: Redact, *, purpose: str) -> Iterator[Person]:
    """The person at the controlling terminal; raises `NotApproved` when there is none."""
    try:
        keyboard = open(TERMINAL, encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115 - closed below
    except OSError:
        raise NotApproved(
            f"Only a person at a terminal can {purpose}, and there is no terminal here.",
            next_step="A person runs this in their own terminal.",
        ) from None
    with keyboard, open(TERMINAL, "w", encoding="utf-8", errors="backslashreplace") as paper:  # noqa: PTH123
        yield Person(keyboard, make_console(paper, environ, redact), plain=wants_plain(paper, environ))


__all__ = ["TRIES", "Person", "meet_person", "somebody_types"]
