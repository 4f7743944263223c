"""The first page: what waits for you, what is being generated, and the latest clips."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from callsheet.core.tasks import SheetState

from .requests import RequestContext
from .sheets import has_lapsed, sheet_summary
from .tasks import held_keys, task_summary

CLIPS = 8
LOOKED_AT = 60


async def page_view(context: RequestContext) -> Response:
    """The page."""
    return context.page("home.html", **_contents(context))


async def fragment(context: RequestContext) -> Response:
    """The part that updates automatically."""
    return context.fragment("_home_live.html", **_contents(context))


def _contents(context: RequestContext) -> dict[str, Any]:
    service, now = context.state.service, context.now
    briefs = [task_summary(service, report) for report in service.tasks(limit=LOOKED_AT)]
    going = [task_summary(service, report) for report in service.tasks(only_open=True, limit=LOOKED_AT)]
    pending = service.pending()
    asked = {sheet.id for sheet in pending}
    approved = [sheet for sheet in service.sheets([SheetState.APPROVED]) if not has_lapsed(context, sheet)]
    return {
        "waiting": [sheet_summary(sheet) for sheet in pending],
        "approved": [sheet_summary(sheet) for sheet in approved if sheet.id not in asked],
        "held": held_keys(service),
        "unknown": [task for task in going if not task["open"]],
        "running": [task for task in going if task["open"]],
        "clips": [task for task in briefs if task["clip"]][:CLIPS],
        "now": now,
    }
