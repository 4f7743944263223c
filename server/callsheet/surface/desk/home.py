"""The first page: what waits for the person, what is being made, and the latest clips."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from callsheet.core.tasks.states import SheetState

from .requests import Visit
from .sealed import held_keys
from .sheets import has_lapsed, summary
from .tasks import brief

CLIPS = 8
LOOKED_AT = 60


async def show(visit: Visit) -> Response:
    """The page."""
    return visit.page("home.html", **_contents(visit))


async def live(visit: Visit) -> Response:
    """What of it changes by itself."""
    return visit.part("_home_live.html", **_contents(visit))


def _contents(visit: Visit) -> dict[str, Any]:
    service, now = visit.office.service, visit.now
    briefs = [brief(service, report) for report in service.tasks(limit=LOOKED_AT)]
    going = [brief(service, report) for report in service.tasks(only_open=True, limit=LOOKED_AT)]
    pending = service.pending()
    asked = {sheet.id for sheet in pending}
    approved = [sheet for sheet in service.sheets([SheetState.APPROVED]) if not has_lapsed(visit, sheet)]
    return {
        "waiting": [summary(sheet) for sheet in pending],
        "approved": [summary(sheet) for sheet in approved if sheet.id not in asked],
        "held": held_keys(service),
        "unknown": [task for task in going if not task["open"]],
        "running": [task for task in going if task["open"]],
        "clips": [task for task in briefs if task["clip"]][:CLIPS],
        "now": now,
    }


__all__ = ["live", "show"]
