"""The audit trail: who agreed to what, by which means, when; and whether it is still as it was written."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import Response

from callsheet.core.audit import AuditEntry
from callsheet.core.redaction import clean
from callsheet.service.reports import iso

from .visits import Visit

MOST = 100
_HEX = re.compile("[0-9a-f]{40,}")


async def show(visit: Visit) -> Response:
    """The latest entries, newest first."""
    service = visit.office.service
    verdict = service.verify_audit()
    return visit.page("audit.html", verdict=verdict, entries=[_facts(entry) for entry in service.audit(limit=MOST)])


def _facts(entry: AuditEntry) -> dict[str, Any]:
    subject = entry.subject
    kind = {"sheet": "sheets", "task_": "tasks"}.get(subject[:5])
    return {
        "seq": entry.seq,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action.replace("_", " "),
        "subject": clean(subject, limit=80),
        "link": f"/{kind}/{subject}" if kind else "",
        "detail": _read(entry.detail),
        "hash": entry.hash[:12],
    }


def _read(detail: Any) -> list[tuple[str, str]]:
    """The details as pairs, whatever became of the text."""
    try:
        found = detail if isinstance(detail, dict) else json.loads(detail)
        return [(clean(name, limit=40).replace("_", " "), _shown(name, value)) for name, value in found.items()]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return [("unreadable", clean(detail, limit=200))]


def _shown(name: str, value: object) -> str:
    text = clean(value, limit=200)
    if name == "expires" and text.isascii() and text.isdigit():
        return iso(float(text)) or ""
    return f"{text[:16]}…" if _HEX.fullmatch(text) else text


__all__ = ["show"]
