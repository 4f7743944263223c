"""What an entry of the audit trail says beside who did what: its details as pairs, for the terminal and the desk."""

from __future__ import annotations

import json
import re

from callsheet.core.security.redaction import clean
from callsheet.service.results import iso

_HEX = re.compile("[0-9a-f]{40,}")


def read_detail(detail: object) -> list[tuple[str, str]]:
    """The details as names and texts, without empty ones, whatever became of the row; digests are cut short."""
    try:
        found = detail if isinstance(detail, dict) else json.loads(str(detail))
        pairs = [(clean(name, limit=40).replace("_", " "), _shown(name, value)) for name, value in found.items()]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return [("unreadable", clean(detail, limit=200))]
    return [(name, text) for name, text in pairs if text]


def _shown(name: str, value: object) -> str:
    text = clean(value, limit=200)
    if name == "expires" and text.isascii() and text.isdigit() and len(text) <= 10:
        return iso(float(text)) or ""
    return f"{text[:16]}…" if _HEX.fullmatch(text) else text


__all__ = ["read_detail"]
