"""The tasks: what runs, how far it is, the clip with its pictures, and what it cost."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from callsheet.core.catalogue.pricing import dollars, from_micros
from callsheet.core.security.redaction import clean
from callsheet.core.tasks.models import Clip, Task
from callsheet.core.tasks.states import OPEN_STATES, TaskState
from callsheet.errors import CallsheetError
from callsheet.service import Service, TaskReport
from callsheet.service.results import fate_sentence, status_text
from callsheet.surface.next_steps import for_person
from callsheet.surface.text import STATE_LABELS, format_range, in_commands, progress_share, usual_seconds

from .media import is_there
from .requests import Visit
from .sealed import held_keys
from .spending import NOT_SENT, counts

A_PAGE = 100
MOST_PAGES = 9999
EXCERPT = 140
GONE = "The clip was saved, but its file is no longer where it was put."
TONES = {
    TaskState.SAVED: "good",
    TaskState.REJECTED: "bad",
    TaskState.FAILED: "bad",
    TaskState.EXPIRED: "bad",
    TaskState.OUTCOME_UNKNOWN: "doubt",
    TaskState.ABANDONED: "quiet",
}


async def show_all(visit: Visit) -> Response:
    """Tasks, a page of them: those of unknown outcome first, then the newest."""
    return visit.page("tasks.html", held=held_keys(visit.office.service), **_all(visit))


async def live_all(visit: Visit) -> Response:
    """The same list by itself."""
    return visit.part("_tasks_live.html", **_all(visit))


async def show(visit: Visit) -> Response:
    """One task with everything that is known of it."""
    return visit.page("task.html", **_one(visit))


async def live(visit: Visit) -> Response:
    """Where that task is now."""
    return visit.part("_task_live.html", **_one(visit))


def brief(service: Service, report: TaskReport) -> dict[str, Any]:
    """A task in few words, for lists."""
    task = report.task
    clip = clip_facts(task.clip) if task.clip else None
    # The gateway's words have a place of their own, where they cannot be taken for ours.
    status = status_text(task, quoting=False) if clip is None or clip["there"] else GONE
    return {
        "id": task.id,
        "mode": task.mode.value,
        "model": task.card_id,
        "prompt": clean(report.prompt, limit=EXCERPT),
        "state": task.state.value,
        "word": STATE_LABELS[task.state],
        "tone": TONES.get(task.state, "going"),
        "open": task.state in OPEN_STATES,
        "percent": round(100 * _share(service, task)),
        "status": in_commands(status),
        "created_at": task.created_at,
        "clip": clip,
        "usual": _usual(service, task),
    }


def clip_facts(clip: Clip) -> dict[str, Any]:
    """What is worth knowing of a clip."""
    return {
        "path": clip.path,
        "there": is_there(clip.path),
        "poster": is_there(clip.poster),
        "contact_sheet": is_there(clip.contact_sheet),
        "seconds": f"{clip.duration_seconds:g} s",
        "picture": f"{clip.width} x {clip.height}",
        "width": clip.width,
        "height": clip.height,
        "bytes": clip.size,
        "sha256": clip.sha256,
    }


def _all(visit: Visit) -> dict[str, Any]:
    service, page = visit.office.service, _page_wanted(visit)
    found = service.tasks(limit=A_PAGE + 1, offset=(page - 1) * A_PAGE)
    return {
        "tasks": [brief(service, report) for report in found[:A_PAGE]],
        "page": page,
        "more": len(found) > A_PAGE,
        "now": visit.now,
    }


def _page_wanted(visit: Visit) -> int:
    named = visit.request.query_params.get("page", "1")
    good = named.isascii() and named.isdigit() and len(named) < 6
    return min(max(1, int(named)), MOST_PAGES) if good else 1


def _one(visit: Visit) -> dict[str, Any]:
    service = visit.office.service
    report = service.task(visit.named("task_id"))
    task = report.task
    return {
        "task": brief(service, report),
        "prompt": report.prompt,
        "money": fate_sentence(task),
        "counted": dollars(from_micros(task.reserve_micros)) if counts(task) else "",
        "sheet_id": task.sheet_id,
        "gateway_task_id": task.gateway_task_id or ("none yet" if task.state in NOT_SENT else "none"),
        "updated_at": task.updated_at,
        "problem": {"message": task.problem.message, "said": task.problem.said} if task.problem else None,
        "todo": _todo(service, task, in_commands(for_person(report.next_step))),
        "history": [_event(entry) for entry in service.deps.ledger().history(task.id)],
        "now": visit.now,
    }


def _todo(service: Service, task: Task, next_step: str) -> dict[str, str]:
    """What only the person can do now: in words, with the page of the desk on which it is done."""
    if task.id in {held.id for held in service.held()}:
        if task.state is TaskState.WAITING:
            return {"text": "It was not sent; agree to its call sheet again.", "link": f"/sheets/{task.sheet_id}"}
        return {"text": "Open the key, so that it is asked after.", "link": "/tasks"}
    return {"text": next_step, "link": ""} if task.state is TaskState.OUTCOME_UNKNOWN else {}


def _event(entry: dict[str, Any]) -> dict[str, Any]:
    detail = {
        name: value
        for name, value in entry.items()
        if name not in ("at", "kind", "state", "sheet", "reserve_micros") and value
    }
    return {
        "at": entry["at"],
        "what": str(entry["kind"]).replace("_", " "),
        "detail": clean(json.dumps(detail, ensure_ascii=False), limit=200) if detail else "",
    }


def _share(service: Service, task: Task) -> float:
    try:
        return progress_share(service, task)
    except CallsheetError:
        # A model that the catalogue no longer has: how far it is cannot be told, all else can.
        return 0.0


def _usual(service: Service, task: Task) -> str:
    if task.state not in (TaskState.QUEUED, TaskState.RUNNING):
        return ""
    try:
        usual = usual_seconds(service, task)
    except CallsheetError:
        return ""
    return f"usually {format_range(*usual)}" if usual else ""


__all__ = ["brief", "clip_facts", "live", "live_all", "show", "show_all"]
