"""The audit trail: who agreed to what, by which means, when; and whether it is still as it was written."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from callsheet.core.consent.audit import AuditEntry
from callsheet.core.security.redaction import clean
from callsheet.surface.text import read_audit_detail

from .requests import Visit

MOST = 100


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
        "detail": read_audit_detail(entry.detail),
        "hash": entry.hash[:12],
    }


__all__ = ["show"]
