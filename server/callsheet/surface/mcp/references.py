"""Finds, lists and reads the reference documents that come with the program. They hold facts, never a key.

In an installed wheel they are inside the package, in a checkout next to it. Both places are read each time, so a
document that is written while the server runs is found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import callsheet
from callsheet.errors import UnknownThing

MOST_DESCRIPTION = 200

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One document. `title` is its first heading, `description` its first paragraph."""

    name: str
    title: str
    description: str
    size: int


def reference_names() -> list[str]:
    """The names of all documents, in order."""
    return sorted({path.stem for directory in _directories() for path in directory.glob("*.md")})


def list_references() -> list[Reference]:
    """All documents, in order of their names."""
    return [_describe(name, read_reference(name)) for name in reference_names()]


def read_reference(name: str) -> str:
    """That document's Markdown; raises `UnknownThing`."""
    if _NAME.fullmatch(name):
        for directory in _directories():
            path = directory / f"{name}.md"
            if path.is_file():
                return path.read_text(encoding="utf-8")
    known = ", ".join(reference_names()) or "none are installed"
    raise UnknownThing(f"There is no reference document of that name (known: {known}).", next_step="Name one of these.")


def _directories() -> Iterator[Path]:
    package = Path(callsheet.__file__).parent
    for directory in (package / "_references", package.parents[1] / "references"):
        if directory.is_dir():
            yield directory


def _describe(name: str, text: str) -> Reference:
    lines = [line.strip() for line in text.splitlines()]
    title = next((line.lstrip("# ") for line in lines if line.startswith("#")), name)
    blocks = [block.strip() for block in text.split("\n\n")]
    first = next((block for block in blocks if block and not block.startswith(("#", "<!--", "---", "|"))), title)
    return Reference(name, title, " ".join(first.split())[:MOST_DESCRIPTION], len(text.encode()))
