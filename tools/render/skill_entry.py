"""What the MCP server serves of the root skill: the text of `SKILL.md`, and its frontmatter as JSON.

The frontmatter is read by a reader of the little YAML that it uses; what that does not know is an error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from callsheet.surface.mcp.extensions.skills import FILE

ROOT = Path(__file__).resolve().parents[2]
PATH = f"server/callsheet/surface/mcp/extensions/{FILE}"
WORDS = {"true": True, "false": False}
_LINE = re.compile(r"(?P<indent> *)(?P<item>- )?(?P<key>[A-Za-z-]+):(?: (?P<value>.+))?")
_PLAIN = re.compile(r"(?![\[{\"'|>&*!%@`#-])(?!.*(?:: | #)).*[^\s:]")


def build_skill_entry() -> dict[str, str]:
    """The committed file: path below the checkout -> text."""
    text = (ROOT / "SKILL.md").read_text(encoding="utf-8")
    front = parse_frontmatter(text.split("---\n", 2)[1])
    return {PATH: json.dumps({"frontmatter": front, "text": text}, indent=1, ensure_ascii=False) + "\n"}


def parse_frontmatter(text: str) -> dict[str, Any]:
    """Mappings of plain texts, `true` and `false`, and lists of mappings; raises `ValueError` for anything else."""
    lines = [_LINE.fullmatch(line) for line in text.splitlines()]
    found = [(line, len(line["indent"] + (line["item"] or ""))) for line in lines if line is not None]
    if len(found) < len(lines):
        raise ValueError("the frontmatter of SKILL.md has a line that is not `key: value`")
    value, rest = _parse_block(found, 0)
    if rest:
        raise ValueError(f"the indentation of {rest[0][0]['key']} fits nothing")
    return dict(value)


def _parse_block(lines: list[Any], depth: int) -> tuple[Any, list[Any]]:
    """What stands at that depth, and the lines after it."""
    mapping: dict[str, Any] = {}
    items: list[Any] = []
    is_list = bool(lines and lines[0][0]["item"])
    while lines and lines[0][1] == depth:
        line = lines[0][0]
        if line["item"] and mapping:
            items.append(mapping)
            mapping = {}
        rest = lines[1:]
        if line["value"] is None:
            mapping[line["key"]], rest = _parse_block(rest, rest[0][1] if rest else depth)
        else:
            mapping[line["key"]] = _parse_scalar(line["value"])
        lines = rest
    return ([*items, mapping] if is_list else mapping), lines


def _parse_scalar(value: str) -> object:
    if not _PLAIN.fullmatch(value) or re.fullmatch(r"[\d.+-]+|null|yes|no|~", value):
        raise ValueError(f"the frontmatter of SKILL.md has a value that is no plain text: {value[:60]}")
    return WORDS.get(value, value)
