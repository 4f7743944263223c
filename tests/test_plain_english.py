"""No text of the project uses the words that made it hard to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import callsheet
from cases import cases

ROOT = Path(callsheet.__file__).parents[2]
AVOIDED = re.compile(
    r"\b(?:mend(?:s|ed|ing)?|anew|amiss|whoever|lies in|(?:is|are) told|at once|by itself|for want of|so dear"
    r"|nobody else|may not leave|of its own accord|stands in|of which|as it is)\b",
    re.IGNORECASE,
)
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "SKILL.md")),
    *sorted(path for folder in ("skill", "references", "docs") for path in (ROOT / folder).rglob("*.md")),
]
SOURCES = sorted([*(ROOT / "server").rglob("*.py"), *(ROOT / "tools").rglob("*.py")])
OTHER_TEXTS = sorted(
    path
    for folder in ("server", "tools", "scripts", "skill")
    for suffix in ("*.html", "*.md", "*.sh", "*.toml")
    for path in (ROOT / folder).rglob(suffix)
)


def name_of(path: Path) -> str:
    """A path inside the checkout."""
    return path.relative_to(ROOT).as_posix()


def avoided_in(text: str, first_line: int = 1) -> list[str]:
    """Each avoided word with its line."""
    lines = enumerate(text.splitlines(), first_line)
    return [f"{number}: {found[0]}" for number, line in lines for found in AVOIDED.finditer(line)]


def strings_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a module, docstrings included, with its first line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@cases("path", SOURCES, ids=name_of)
def test_strings_and_docstrings_use_plain_words(path: Path) -> None:
    """Messages, help and docstrings are written as a native technical writer would write them."""
    assert [found for line, text in strings_of(path) for found in avoided_in(text, line)] == []


@cases("path", sorted({*PAGES, *OTHER_TEXTS}), ids=name_of)
def test_pages_and_templates_use_plain_words(path: Path) -> None:
    """The documents, the skills, the facts of the catalogue and the pages of the desk."""
    assert avoided_in(path.read_text(encoding="utf-8")) == []
