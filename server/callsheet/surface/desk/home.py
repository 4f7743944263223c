"""The first page: what waits for you, what needs your attention, what is being generated, and the latest clips."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from callsheet.core.consent import Mode
from callsheet.core.tasks import SheetState, TaskFilter, TaskState

from .requests import RequestContext
from .sheets import approval_ways, has_lapsed, sheet_summary, sheet_view
from .tasks import held_keys, task_card, task_summary

CLIPS = 8
RUNNING = 24
ATTENTION = 12
DECIDED_HERE = 12
"""How many waiting sheets have all that a person needs to decide on this page; the others have a link."""


async def page_view(context: RequestContext) -> Response:
    """The page."""
    with context.state.service.together():
        contents = _contents(context)
        count = len(contents["waiting"]) + len(contents["more_waiting"])
        return context.page("home.html", count=count, **contents)


async def fragment(context: RequestContext) -> Response:
    """The part that updates automatically."""
    with context.state.service.together():
        return context.fragment("_home_live.html", **_contents(context))


def _contents(context: RequestContext) -> dict[str, Any]:
    service = context.state.service
    pending = service.pending()
    approved = [sheet for sheet in service.sheets([SheetState.APPROVED]) if not has_lapsed(context, sheet)]
    asked = {sheet.id for sheet in pending}
    others = [sheet for sheet in service.asked() if sheet.id not in asked]
    void = [(sheet, why) for sheet in (*others, *approved) if (why := service.find_void(sheet))]
    gone = {sheet.id for sheet, _ in void}
    going = service.tasks(only_open=True, limit=RUNNING)
    running = [report for report in going if report.task.state is not TaskState.OUTCOME_UNKNOWN]
    clips = service.find_tasks(TaskFilter((TaskState.SAVED,)), limit=CLIPS)
    return {
        "waiting": [sheet_view(context, sheet) for sheet in pending[:DECIDED_HERE]],
        "more_waiting": [sheet_summary(sheet) for sheet in pending[DECIDED_HERE:]],
        "approved": [sheet_summary(sheet) for sheet in approved if sheet.id not in asked | gone],
        "void": [{**sheet_summary(sheet), "why": why} for sheet, why in void],
        "held": held_keys(service),
        "attention": [task_card(context, report) for report in service.find_attention(limit=ATTENTION)],
        "running": [task_summary(service, report) for report in running],
        "clips": [task_summary(service, report) for report in clips if report.task.clip],
        "can_sample": service.policy.mode is Mode.SANDBOX,
        "ways": approval_ways(context),
        "now": context.now,
    }
