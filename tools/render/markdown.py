"""Markdown from values: tables, code, blocks. Pure; only the renderer calls this.

A value can never break the line or table around it: line breaks and bars are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

LONGEST = 9_700
"""Characters of a page, so that readers with a bound of 10,000 see all of it."""


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


def paged(name: str, title: str, opening: str, blocks: Iterable[str]) -> dict[str, str]:
    """Blocks as as many documents as their length needs, `name` and `name-2` and so on: name -> text.

    A block that is too long for a page is divided between its lines; a table's heading is repeated.
    """
    pages: list[list[str]] = [[]]
    for block in (part for whole in blocks if whole for part in _divide(whole)):
        if pages[-1] and len(document(title, opening, *pages[-1], block)) > LONGEST:
            pages.append([])
        pages[-1].append(block)
    names = [name if number == 1 else f"{name}-{number}" for number in range(1, len(pages) + 1)]
    more = f" Continued in {', '.join(f'[{other}.md]({other}.md)' for other in names[1:])}." if names[1:] else ""
    whole = {name: document(f"# {title}", opening + more, *pages[0])}
    for number, (other, page) in enumerate(zip(names[1:], pages[1:], strict=True), 2):
        begun = f"{opening.split('. ', maxsplit=1)[0].rstrip('.')}; begins in [{name}.md]({name}.md)."
        whole[other] = document(f"# {title}, page {number}", begun, *page)
    return whole


def _divide(block: str) -> Iterator[str]:
    lines = block.split("\n")
    rule = next((place for place, line in enumerate(lines) if line.startswith("| --- ")), None)
    head = [] if rule is None else lines[: rule + 1]
    part = [*head]
    for line in lines[len(head) :]:
        if len(part) > len(head) and len("\n".join([*part, line])) > LONGEST - 1_000:
            yield "\n".join(part)
            part = [*head]
        part.append(line)
    yield "\n".join(part)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


__all__ = ["bullets", "cell", "code", "document", "fenced", "paged", "table"]
