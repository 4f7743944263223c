"""Where a command writes: answers to standard output, everything else to standard error.

All of it passes the redactor on its way out. Nothing is ever read as markup: text from prompts and
gateways is shown as it is. Colours and lines are for terminals; a pipe and `NO_COLOR` get plain text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import IO, cast

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.errors import FATE_SENTENCES, CallsheetError
from callsheet.surface.next_steps import for_person

from .wording import in_commands, json_text

PIPE_WIDTH = 120
NARROW = 100

_PADDING = re.compile(r"[ ]+(?=\n)")

Redact = Callable[[str], str]


class _Redacted:
    """A stream that takes keys out of whatever is written to it; for a pipe also the padding at the ends of lines."""

    def __init__(self, inner: IO[str], redact: Redact) -> None:
        self._inner = inner
        self._redact = redact

    def write(self, text: str, /) -> int:
        shown = self._redact(text)
        self._inner.write(shown if self._inner.isatty() else _PADDING.sub("", shown))
        return len(text)

    def flush(self) -> None:
        self._inner.flush()

    def isatty(self) -> bool:
        return self._inner.isatty()

    def fileno(self) -> int:
        return self._inner.fileno()

    @property
    def encoding(self) -> str:
        return getattr(self._inner, "encoding", None) or "utf-8"


def wants_plain(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """Whether that stream is to get no colours and no lines."""
    return not stream.isatty() or bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"


def make_console(stream: IO[str], environ: Mapping[str, str], redact: Redact) -> Console:
    """A console on that stream that shows text as it is."""
    terminal = stream.isatty()
    return Console(
        file=cast("IO[str]", _Redacted(stream, redact)),
        force_terminal=terminal,
        color_system=None if wants_plain(stream, environ) else "auto",
        width=None if terminal else _pipe_width(environ),
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
    )


def _pipe_width(environ: Mapping[str, str]) -> int:
    named = environ.get("COLUMNS", "")
    return max(40, int(named)) if named.isascii() and named.isdigit() else PIPE_WIDTH


class Screen:
    """The two streams of one run."""

    def __init__(self, environ: Mapping[str, str], redact: Redact) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A prompt may hold what an old locale cannot write; that is no reason to fail.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        self.out = make_console(sys.stdout, environ, redact)
        self.err = make_console(sys.stderr, environ, redact)
        self.plain = wants_plain(sys.stdout, environ)
        self._ascii = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()

    @property
    def narrow(self) -> bool:
        """Whether there is no room for what is nice to have."""
        return self.out.width < NARROW

    def answer(self, value: JsonValue, *, compact: bool = False) -> None:
        """Write the one JSON answer of a command (or, compact, one line of several)."""
        text = json_text(value, indent=None if compact else 2, ascii_only=self._ascii)
        self.out.file.write(f"{text}\n")
        self.out.file.flush()

    def show(self, *parts: RenderableType) -> None:
        """Write to standard output; strings are shown as they are, wrapped at words."""
        for part in parts:
            self.out.print(part)

    def whole(self, text: str, *, indent: int = 2, style: str = "") -> None:
        """Write something to be copied: never broken into lines."""
        self.out.print(Text(" " * indent + text, style=style), soft_wrap=True)

    def heading(self, text: str) -> None:
        """Begin a part of an answer."""
        self.out.print()
        self.out.print(Text(text, style="bold"), soft_wrap=True)

    def next_step(self, text: str) -> None:
        """Close an answer with the one thing to do now."""
        self.out.print()
        self.out.print(facts([("Next", Text(text, style="bold cyan"))]))

    def note(self, text: str, style: str = "dim", *, whole: bool = False) -> None:
        """Say something aside, on standard error; if `whole`, never broken into lines."""
        self.err.print(Text(text, style=style), soft_wrap=whole)

    def error(self, error: CallsheetError) -> None:
        """Tell what happened, whether money was spent, and what to do."""
        rows = [
            ("Error", Text(error.message, style="bold red")),
            ("", Text(FATE_SENTENCES[error.fate])),
            ("Next", Text(in_commands(for_person(error.next_step)), style="cyan")),
        ]
        self.err.print(facts(rows))

    def table(self, *columns: str) -> Table:
        """An empty table; `>` before a heading: numbers; `!`: ids, never broken."""
        style = (
            {"box": None, "padding": (0, 2, 0, 0)} if self.plain else {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
        )
        table = Table(header_style="dim", pad_edge=False, show_edge=False, border_style="dim", **style)
        for column in columns:
            justify = "right" if column.startswith(">") else "left"
            whole = column.startswith("!")
            table.add_column(Text(column.lstrip(">!")), justify=justify, overflow="fold", no_wrap=whole)  # type: ignore[arg-type]
        return table


def facts(rows: Iterable[tuple[str, RenderableType]], *, label_width: int = 12) -> Table:
    """Labels on the left, what they say on the right."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=label_width)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(label), Text(value) if isinstance(value, str) else value)
    return grid


def indented(part: RenderableType, by: int = 2) -> Padding:
    """Something moved to the right."""
    return Padding(part, (0, 0, 0, by))


__all__ = ["NARROW", "Screen", "facts", "indented", "make_console", "wants_plain"]
