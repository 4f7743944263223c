"""Where a command writes: answers to standard output, everything else to standard error.

All of it passes the redactor. Nothing is read as markup: text from prompts and gateways is shown
unchanged. Colours and lines are for terminals; a pipe and `NO_COLOR` get plain text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, cast

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from callsheet.core.shot import JsonValue
from callsheet.errors import FATE_SENTENCES, CallsheetError, Fate, NextStep
from callsheet.surface.next_steps import command
from callsheet.surface.text import format_json

PIPE_WIDTH = 120
NARROW = 100
LABEL_WIDTH = 12

_PADDING = re.compile(r"[ ]+(?=\n)")

Redact = Callable[[str], str]


class _Redacted:
    """A stream that removes keys from what is written to it; for a pipe also the padding at the ends of lines."""

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


def is_plain(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """Whether that stream gets no colours and no lines."""
    return not stream.isatty() or bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"


class _Console(Console):
    """A console that leaves a closed pipe to the caller."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def build_console(stream: IO[str], environ: Mapping[str, str], redact: Redact) -> Console:
    """A console on that stream that reads no markup."""
    terminal = stream.isatty()
    return _Console(
        file=cast("IO[str]", _Redacted(stream, redact)),
        force_terminal=terminal,
        color_system=None if is_plain(stream, environ) else "auto",
        width=None if terminal else _pipe_width(environ),
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
    )


def _pipe_width(environ: Mapping[str, str]) -> int:
    named = environ.get("COLUMNS", "")
    return max(40, int(named)) if named.isascii() and named.isdigit() else PIPE_WIDTH


class Output:
    """The two streams of one run."""

    def __init__(self, environ: Mapping[str, str], redact: Redact) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A prompt may contain what an old locale cannot write; the command must not fail because of it.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        self.out = build_console(sys.stdout, environ, redact)
        self.err = build_console(sys.stderr, environ, redact)
        self.plain = is_plain(sys.stdout, environ)
        self._ascii = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()

    @property
    def narrow(self) -> bool:
        """Whether optional columns have no room."""
        return self.out.width < NARROW

    def write_json(self, value: JsonValue, *, compact: bool = False) -> None:
        """Write the one JSON answer of a command (or, compact, one line of several)."""
        self.write_raw(f"{format_json(value, indent=None if compact else 2, ascii_only=self._ascii)}\n")

    def write_raw(self, text: str) -> None:
        """Write text for a file or a program to standard output: redacted, otherwise unchanged."""
        self.out.file.write(text)
        self.out.file.flush()

    def write(self, *parts: RenderableType) -> None:
        """Write to standard output, wrapped at words."""
        for part in parts:
            self.out.print(part)

    def write_unwrapped(self, text: str, *, indent: int = 2, style: str = "") -> None:
        """Write something to be copied: never broken into lines."""
        self.out.print(Text(" " * indent + text, style=style), soft_wrap=True)

    def write_path(self, path: str) -> None:
        """Write the absolute path of a file, which a terminal that can (OSC 8) opens at a click."""
        link = Style(color="cyan", link=Path(path).as_uri())
        self.out.print(Text.assemble("  ", (path, link)), soft_wrap=True)

    def write_heading(self, text: str) -> None:
        """Begin a part of an answer."""
        self.out.print()
        self.out.print(Text(text, style="bold"), soft_wrap=True)

    def write_next_step(self, step: NextStep, *, apart: bool = True) -> None:
        """End an answer with the one thing to do now; `apart` from what is above."""
        if apart:
            self.out.print()
        _print_step(self.out, step, style="bold cyan")

    def write_note(self, text: str, style: str = "dim", *, wrap: bool = True) -> None:
        """Write a remark to standard error; without `wrap`, never broken into lines."""
        self.err.print(Text(text, style=style), soft_wrap=not wrap)

    def write_error(self, error: CallsheetError, *, money: bool) -> None:
        """Write what happened, whether money was spent if that could be (`money`), and what to do."""
        rows = [("Error", Text(error.message, style="bold red"))]
        if money or error.fate is not Fate.NOTHING_SENT:
            rows.append(("", Text(FATE_SENTENCES[error.fate])))
        self.err.print(label_table(rows))
        _print_step(self.err, error.next_step, style="cyan")

    def build_table(self, *columns: str) -> Table:
        """An empty table; `>` before a heading: numbers; `!`: ids, never broken."""
        style = (
            {"box": None, "padding": (0, 2, 0, 0)} if self.plain else {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
        )
        table = Table(header_style="dim", pad_edge=False, show_edge=False, border_style="dim", **style)
        for column in columns:
            justify = "right" if column.startswith(">") else "left"
            unbroken = column.startswith("!")
            table.add_column(Text(column.lstrip(">!")), justify=justify, overflow="fold", no_wrap=unbroken)  # type: ignore[arg-type]
        return table


def _print_step(console: Console, step: NextStep, *, style: str) -> None:
    """The sentence wrapped at words; the command below it on one line, so that it can be copied."""
    call = command(step)
    if step.text or not call:
        console.print(label_table([("Next", Text(step.text, style=style))]))
    if call:
        label = "" if step.text else "Next"
        console.print(Text.assemble((f"{label:<{LABEL_WIDTH}}  ", "dim"), (call, style)), soft_wrap=True)
    if step.desk_url:
        console.print(Text(f"{'':<{LABEL_WIDTH}}  or open {step.desk_url}", style=style), soft_wrap=True)


def label_table(rows: Iterable[tuple[str, RenderableType]], *, label_width: int = LABEL_WIDTH) -> Table:
    """Labels on the left, their values on the right."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=label_width)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(label), Text(value) if isinstance(value, str) else value)
    return grid


def indent(part: RenderableType, by: int = 2) -> Padding:
    """The same, moved to the right."""
    return Padding(part, (0, 0, 0, by))
