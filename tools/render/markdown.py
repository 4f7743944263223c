"""Markdown from values: tables, code, blocks. Pure; only the renderer calls this.

A value can never break the line or table around it: line breaks and bars are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with these headings; the empty text when there are no rows."""
    lines = [_row([cell(value) for value in row]) for row in rows]
    return "\n".join([_row(headings), _row(["---"] * len(headings)), *lines]) if lines else ""


def cell(text: str) -> str:
    """A text as a table cell: one line, bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """A short text as code; the empty text stays empty."""
    return f"`{text}`" if text else ""


def fenced(text: str, language: str = "") -> str:
    """Several lines as a code block."""
    return f"```{language}\n{text}\n```"


def bullets(lines: Iterable[str]) -> str:
    """A list; empty lines are left out."""
    return "\n".join(f"- {' '.join(line.split())}" for line in lines if line)


def document(*blocks: str) -> str:
    """Blocks with a blank line between them, ended by one line break; empty blocks are left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


__all__ = ["bullets", "cell", "code", "document", "fenced", "table"]
