"""The spending page, counted as the ledger counts, and the page of the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from starlette.responses import Response

from callsheet.core.audit import AuditEntry
from callsheet.core.catalogue.prices import dollars, from_micros, to_micros
from callsheet.core.consent import Mode
from callsheet.core.security.redaction import clean
from callsheet.core.spending import read_detail
from callsheet.core.tasks import RESERVING_STATES, Task, TaskState
from callsheet.service.blockers import spending_windows
from callsheet.service.export import charged_usd
from callsheet.surface.text import read_audit_detail

from .requests import RequestContext

FULL = 100
NEARLY = 80
AUDIT_ENTRIES = 50
DAYS, DAY = 30, 86_400.0
CHART = 100
LINE_FITS = 10
"""How many times the most of a day a cap may be and still be drawn as a line."""
NOT_SENT = (TaskState.WAITING, TaskState.SUBMITTING)


async def spending_page(context: RequestContext) -> Response:
    """The caps, 30 days as a chart, the month by gateway and by model. In the sandbox, what rehearsals would cost."""
    service = context.state.service
    policy = service.policy
    mode = Mode.SANDBOX if policy.mode is Mode.SANDBOX else Mode.LIVE
    spent, caps = service.spending(mode), policy.caps
    month_start = spending_windows(context.now)[1]
    records = service.task_records()
    month = tasks_that_count(records, mode=mode, since=month_start)
    charged = {task.id: charged_usd(service.sheet(task.sheet_id), task) if task.charge else None for task in month}
    costs = [(task, task.reserve_micros if (usd := charged[task.id]) is None else to_micros(usd)) for task in month]
    by_gateway, by_model = _grouped(costs, lambda task: task.gateway), _grouped(costs, lambda task: task.card_id)
    return context.page(
        "spending.html",
        rehearsed=mode is Mode.SANDBOX,
        bars=[bar("Today", spent.today, caps.per_day), bar("This month", spent.this_month, caps.per_month)],
        per_clip=dollars(caps.per_clip) if caps.per_clip is not None else "",
        open_tasks=spent.open_tasks,
        concurrent=caps.concurrent,
        chart=draw_days(
            tasks_that_count(records, mode=mode, since=context.now - DAYS * DAY), context.now, caps.per_day
        ),
        groups={"gateway": _rows(by_gateway), "model": _rows(by_model)} if month else {},
        total=dollars(from_micros(sum(micros for _, micros in costs))),
        agreed=dollars(from_micros(sum(task.reserve_micros for task in month))),
        unknown=sum(usd is None for usd in charged.values()),
        clips=len(month),
    )


def draw_days(tasks: Iterable[Task], now: float, cap: Decimal | None) -> dict[str, Any]:
    """The last 30 UTC days as bars, counted as the caps count, with the cap of a day as a line, in percent of the top.

    The line is left out where it is so high that the bars would be flat.
    """
    sums = {day_of(now - number * DAY): 0 for number in reversed(range(DAYS))}
    for task in tasks:
        day = day_of(now if task.state in NOT_SENT else sent_at(task))
        if day in sums:
            sums[day] += task.reserve_micros
    most = max(sums.values())
    line = to_micros(cap) if cap is not None and to_micros(cap) <= LINE_FITS * most else 0
    top = max(most, line) or 1
    return {
        "days": [
            {"name": day, "sum": dollars(from_micros(micros)), "height": round(CHART * micros / top, 1)}
            for day, micros in sums.items()
        ],
        "most": dollars(from_micros(top)) if most else "",
        "cap": dollars(cap) if cap is not None else "",
        "line": round(CHART * line / top, 1),
    }


def bar(name: str, spent: Decimal, cap: Decimal | None) -> dict[str, Any]:
    """A sum against its cap; `percent` is None without a cap."""
    percent = None if cap is None else FULL if cap == 0 else min(FULL, round(FULL * spent / cap))
    tone = "" if percent is None else "full" if percent >= FULL else "nearly" if percent >= NEARLY else "fine"
    return {
        "name": name,
        "spent": dollars(spent),
        "cap": dollars(cap) if cap is not None else "",
        "left": dollars(max(cap - spent, Decimal(0))) if cap is not None else "",
        "percent": percent,
        "tone": tone,
    }


def sent_at(task: Task) -> float:
    """When the task counts as spent: the time it was sent, which is its deadline."""
    return task.deadline if task.deadline is not None else task.created_at


def tasks_that_count(tasks: Iterable[Task], *, mode: Mode, since: float) -> list[Task]:
    """The tasks whose price counts since then, by the rule of `edges.ledger`."""
    return [
        task
        for task in tasks
        if task.mode is mode and (task.state in NOT_SENT or sent_at(task) >= since) and counts(task)
    ]


def counts(task: Task) -> bool:
    """Whether the task's price counts against the caps at all, by the rule of `edges.ledger`."""
    return task.state in RESERVING_STATES or (task.state is TaskState.ABANDONED and task.gateway_task_id is not None)


def day_of(seconds: float) -> str:
    """The UTC day, as `2026-11-26`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _grouped(costs: list[tuple[Task, int]], name_of: Callable[[Task], str]) -> list[tuple[str, int, int, int]]:
    """Name, millionths of a dollar charged and agreed to, and number of clips of each group."""
    groups: dict[str, tuple[int, int, int]] = {}
    for task, cost in costs:
        micros, agreed, clips = groups.get(name_of(task), (0, 0, 0))
        groups[name_of(task)] = (micros + cost, agreed + task.reserve_micros, clips + 1)
    return [(name, *sums) for name, sums in groups.items()]


def _rows(groups: list[tuple[str, int, int, int]]) -> list[dict[str, Any]]:
    groups.sort(key=lambda group: (-group[1], group[0]))
    most = max((group[1] for group in groups), default=0) or 1
    return [
        {
            "name": name,
            "sum": dollars(from_micros(micros)),
            "agreed": dollars(from_micros(agreed)),
            "clips": clips,
            "percent": round(FULL * micros / most),
        }
        for name, micros, agreed, clips in groups
    ]


async def audit_page(context: RequestContext) -> Response:
    """The latest entries of the audit trail, newest first."""
    service = context.state.service
    verdict = service.verify_audit()
    return context.page(
        "audit.html", verdict=verdict, entries=[_entry(entry) for entry in service.audit(limit=AUDIT_ENTRIES)]
    )


def _entry(entry: AuditEntry) -> dict[str, Any]:
    subject = entry.subject
    kind = {"sheet": "sheets", "task_": "tasks"}.get(subject[:5])
    return {
        "seq": entry.seq,
        "at": entry.at,
        "actor": entry.actor,
        "who": clean(read_detail(entry).get("who", ""), limit=120),
        "action": entry.action.replace("_", " "),
        "subject": clean(subject, limit=80),
        "link": f"/{kind}/{subject}" if kind else "",
        "detail": read_audit_detail(entry.detail),
        "hash": entry.hash,
    }
