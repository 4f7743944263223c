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
from callsheet.core.tasks import RESERVING_STATES, Task, TaskState
from callsheet.service.blockers import spending_windows
from callsheet.service.export import charged_usd
from callsheet.surface.text import read_audit_detail

from .requests import RequestContext

FULL = 100
NEARLY = 80
AUDIT_ENTRIES = 100
NOT_SENT = (TaskState.WAITING, TaskState.SUBMITTING)


async def spending_page(context: RequestContext) -> Response:
    """The caps, and the month by model and by day. In the sandbox, what the rehearsals would have cost."""
    service = context.state.service
    policy = service.policy
    mode = Mode.SANDBOX if policy.mode is Mode.SANDBOX else Mode.LIVE
    spent, caps = service.spending(mode), policy.caps
    month = tasks_that_count(service.task_records(), mode=mode, since=spending_windows(context.now)[1])
    charged = {task.id: charged_usd(service.sheet(task.sheet_id), task) for task in month}
    costs = [(task, task.reserve_micros if (usd := charged[task.id]) is None else to_micros(usd)) for task in month]
    models = _grouped(costs, lambda task: task.card_id)
    models.sort(key=lambda group: -group[1])
    return context.page(
        "spending.html",
        rehearsed=mode is Mode.SANDBOX,
        bars=[bar("Today", spent.today, caps.per_day), bar("This month", spent.this_month, caps.per_month)],
        per_clip=dollars(caps.per_clip) if caps.per_clip is not None else "",
        open_tasks=spent.open_tasks,
        concurrent=caps.concurrent,
        models=_rows(models),
        days=_rows(sorted(_grouped(costs, lambda task: day_of(sent_at(task))), key=lambda group: group[0])),
        total=dollars(from_micros(sum(micros for _, micros in costs))),
        agreed=dollars(from_micros(sum(task.reserve_micros for task in month))),
        unknown=sum(usd is None for usd in charged.values()),
        clips=len(month),
    )


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
        "action": entry.action.replace("_", " "),
        "subject": clean(subject, limit=80),
        "link": f"/{kind}/{subject}" if kind else "",
        "detail": read_audit_detail(entry.detail),
        "hash": entry.hash[:12],
    }
