"""Words for people: the use cases speak to agents in tool names, people type commands.

Also how text is made safe to show, and how times, lengths and sizes are said. Pure.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable

from callsheet.core.security.redaction import clean
from callsheet.core.shot import JsonValue

COMMANDS = {
    "explain_payload": "explain",
    "submit_video": "submit",
    "get_task": "get",
    "list_tasks": "list",
    "list_models": "models",
}

_SUBMIT = re.compile(r'submit_video with sheet_id="(\w+)"')
_WAIT = re.compile(r"get_task with wait_seconds=\d+")
_GET = re.compile(r"get_task with (task_\w+)")
_CHOICE = re.compile(r'gateway="([^"]*)", model="([^"]*)"')
_TOOL = re.compile(rf"\b({'|'.join(COMMANDS)})\b")
_CALL = re.compile(r"\b([Cc])all (?=`)")
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def in_commands(text: str) -> str:
    """A sentence of the use cases with commands in the place of tools.

    >>> in_commands('call submit_video with sheet_id="sheet_a"')
    'run `callsheet submit sheet_a`'
    """
    text = _SUBMIT.sub(r"`callsheet submit \1`", text)
    text = _WAIT.sub("`callsheet watch`", text)
    text = _GET.sub(r"`callsheet get \1`", text)
    text = _CHOICE.sub(r"--gateway \1 --model \2", text)
    text = _TOOL.sub(lambda found: f"`callsheet {COMMANDS[found[1]]}`", text)
    return _CALL.sub(lambda found: f"{'R' if found[1] == 'C' else 'r'}un ", text)


def one_line(text: object, limit: int = 500) -> str:
    """Text of unknown origin as one harmless line."""
    return clean(text, limit=limit)


def json_text(value: JsonValue, *, indent: int | None = 2, ascii_only: bool = False) -> str:
    """JSON that can be shown on any terminal: what is invisible or moves a cursor is escaped, all else is readable."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in _UNSHOWN:
        return character
    return json.dumps(character)[1:-1]


def age(seconds: float) -> str:
    """How long ago, in the largest unit that fits: `12 s`, `5 min`, `3 h`, `2 days`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h"
    days = whole // 86400
    return f"{days} day" if days == 1 else f"{days} days"


def length(seconds: float) -> str:
    """A span of time to the minute, with nothing rounded off: `30 min`, `1 h 30 min`, `1 day 12 h`."""
    minutes = round(seconds / 60)
    parts = (
        (minutes // 1440, "day" if minutes // 1440 == 1 else "days"),
        (minutes // 60 % 24, "h"),
        (minutes % 60, "min"),
    )
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 min"


def span(low: float, high: float) -> str:
    """A range of seconds as people say it: `90-300 s`, `2-5 min`."""
    if low >= 120:
        return f"{round(low / 60)}-{round(high / 60)} min"
    return f"{round(low)}-{round(high)} s"


def size(octets: int) -> str:
    """A file's size: `248 kB`, `3.1 MB`."""
    if octets < 1_000_000:
        return f"{max(1, round(octets / 1000))} kB"
    if octets < 1_000_000_000:
        return f"{octets / 1_000_000:.1f} MB"
    return f"{octets / 1_000_000_000:.1f} GB"


def joined(words: Iterable[object], otherwise: str = "not documented") -> str:
    """Words in a row, or what to say when there are none."""
    return ", ".join(str(word) for word in words) or otherwise


__all__ = ["age", "in_commands", "joined", "json_text", "length", "one_line", "size", "span"]
