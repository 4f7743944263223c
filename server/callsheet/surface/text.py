"""How values are written for a person on the terminal and on the desk: safe text, times, sizes, states, audit details.

Pure, except that the progress of a task is read through the service.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable

from callsheet.core.security.redaction import clean
from callsheet.core.shot import JsonValue
from callsheet.core.signatures import EVIDENCE
from callsheet.core.tasks import OPEN_STATES, Task, TaskState
from callsheet.service import Service
from callsheet.service.results import iso

STATE_LABELS = {
    TaskState.WAITING: "Waiting to be sent",
    TaskState.SUBMITTING: "Sending",
    TaskState.QUEUED: "In the queue",
    TaskState.RUNNING: "Generating",
    TaskState.SUCCEEDED: "Saving the clip",
    TaskState.SAVED: "Saved",
    TaskState.REJECTED: "Refused",
    TaskState.FAILED: "Failed",
    TaskState.EXPIRED: "Expired",
    TaskState.OUTCOME_UNKNOWN: "Outcome unknown",
    TaskState.ABANDONED: "Given up",
}
NEARLY_DONE = 0.95

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_DIGEST = re.compile("[0-9a-f]{40,}")


def one_line(text: object, limit: int = 500) -> str:
    """Text of unknown origin as one harmless line."""
    return clean(text, limit=limit)


def format_json(value: JsonValue, *, indent: int | None = 2, ascii_only: bool = False) -> str:
    """JSON that any terminal can show: characters that are invisible or move the cursor are escaped."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in _INVISIBLE
        else json.dumps(character)[1:-1]
        for character in text
    )


def format_age(seconds: float) -> str:
    """How long ago, in the largest unit that fits: `12 s`, `5 min`, `3 h`, `2 days`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h"
    return format_count(whole // 86400, "day")


def format_duration(seconds: float) -> str:
    """A length of time to the minute: `30 min`, `1 h 30 min`, `1 day 12 h`."""
    minutes = round(seconds / 60)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = (days and format_count(days, "day"), hours and f"{hours} h", rest and f"{rest} min")
    return " ".join(part for part in parts if part) or "0 min"


def format_range(low: float, high: float) -> str:
    """A range of seconds: `90-300 s`, `2-5 min`."""
    if low >= 120:
        return f"{round(low / 60)}-{round(high / 60)} min"
    return f"{round(low)}-{round(high)} s"


def format_size(octets: int) -> str:
    """A file's size: `248 kB`, `3.1 MB`."""
    if octets < 1_000_000:
        return f"{max(1, round(octets / 1000))} kB"
    if octets < 1_000_000_000:
        return f"{octets / 1_000_000:.1f} MB"
    return f"{octets / 1_000_000_000:.1f} GB"


def format_count(number: int, noun: str) -> str:
    """A number of things: `1 task`, `3 tasks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def join_words(words: Iterable[object], otherwise: str = "not documented") -> str:
    """Words with commas between them, or `otherwise` if there are none."""
    return ", ".join(str(word) for word in words) or otherwise


def progress_share(service: Service, task: Task) -> float:
    """How much is done, 0 to 1: the gateway's own percentage, else the elapsed share of the usual time."""
    if task.state in (TaskState.WAITING, TaskState.SUBMITTING):
        return 0.0
    if task.state not in OPEN_STATES:
        return 1.0 if task.state is TaskState.SAVED else 0.0
    if task.state is TaskState.SUCCEEDED:
        return NEARLY_DONE + 0.03
    if task.percent is not None:
        return min(task.percent / 100, NEARLY_DONE + 0.03)
    usual = service.usual_seconds(task)
    if usual is None or task.accepted_at is None:
        return 0.0
    return min((service.now() - task.accepted_at) / usual[1], NEARLY_DONE)


def read_audit_detail(detail: object) -> list[tuple[str, str]]:
    """An audit entry's details as names and texts, also from a damaged row; empty ones are left out."""
    try:
        found = detail if isinstance(detail, dict) else json.loads(str(detail))
        pairs = [
            (clean(name, limit=40).replace("_", " "), _format_detail(name, value))
            for name, value in found.items()
            if name not in EVIDENCE or name == "signature"
        ]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return [("unreadable", clean(detail, limit=200))]
    return [(name, text) for name, text in pairs if text]


def _format_detail(name: str, value: object) -> str:
    text = clean(value, limit=200)
    if name == "expires" and text.isascii() and text.isdigit() and len(text) <= 10:
        return iso(float(text)) or ""
    return f"{text[:16]}…" if _DIGEST.fullmatch(text) or name == "signature" else text
