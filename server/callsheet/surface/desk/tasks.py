"""The pages of the tasks: state, progress, cost, and the clip with its stills."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.responses import FileResponse, Response

from callsheet.core.catalogue.prices import dollars, from_micros
from callsheet.core.clips import OBJECT
from callsheet.core.consent import Means, Mode
from callsheet.core.security.redaction import clean
from callsheet.core.shot import PARAMETERS
from callsheet.core.tasks import OPEN_STATES, Clip, Sheet, Task, TaskFilter, TaskState
from callsheet.edges.process.desktop import find_opener
from callsheet.errors import Action, CallsheetError, UnknownThing
from callsheet.service import Service, TaskReport
from callsheet.service.export import charge_text
from callsheet.service.results import fate_sentence, status_text
from callsheet.surface.text import STATE_LABELS, format_range, progress_share

from .records import NOT_SENT, counts
from .requests import RequestContext
from .sheets import approval_ways

A_PAGE = 24
MOST_PAGES = 9999
EXCERPT = 140
LONGEST_SEARCH = 100
GONE = "The clip was saved, but its file is no longer there."
KINDS = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".png": "image/png"}
TONES = {
    TaskState.SAVED: "good",
    TaskState.REJECTED: "bad",
    TaskState.FAILED: "bad",
    TaskState.EXPIRED: "bad",
    TaskState.OUTCOME_UNKNOWN: "doubt",
    TaskState.ABANDONED: "quiet",
}
ENDED_BADLY = (TaskState.REJECTED, TaskState.FAILED, TaskState.EXPIRED, TaskState.ABANDONED)
FILTERS: dict[str, tuple[TaskState, ...]] = {
    "All": (),
    "Saved": (TaskState.SAVED,),
    "In progress": tuple(state for state in TaskState if state in OPEN_STATES),
    "Outcome unknown": (TaskState.OUTCOME_UNKNOWN,),
    "Not delivered": ENDED_BADLY,
}


async def list_page(context: RequestContext) -> Response:
    """A page of the clips and of everything that was to become one, the newest first, with filters and a search."""
    return context.page("tasks.html", held=held_keys(context.state.service), **_all(context))


async def list_fragment(context: RequestContext) -> Response:
    """The list without the page around it."""
    return context.fragment("_tasks_live.html", **_all(context))


async def page_view(context: RequestContext) -> Response:
    """One task with all its details."""
    return context.page("task.html", **_one(context))


async def fragment(context: RequestContext) -> Response:
    """The task's current state."""
    return context.fragment("_task_live.html", **_one(context))


def task_summary(service: Service, report: TaskReport) -> dict[str, Any]:
    """A short summary of a task, for lists."""
    task = report.task
    sheet = report.sheet or service.sheet(task.sheet_id)
    clip = clip_summary(task.clip) if task.clip else None
    # The gateway's words are shown separately, so that they are not mistaken for ours.
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
        "status": status,
        "created_at": task.created_at,
        "length": f"{sheet.shot.seconds} s" if sheet.shot.seconds else "",
        "price": sheet.price.in_dollars if sheet.price.known else "not known",
        "clip": clip,
        "differs": [finding.rule for finding in report.findings],
        "usual": _usual(service, task),
    }


def task_card(context: RequestContext, report: TaskReport) -> dict[str, Any]:
    """A task that needs a person, with its reason, its money and what can be done."""
    service, task = context.state.service, report.task
    facts = service.facts(task.gateway) if task.gateway in {item.id for item in service.catalogue.gateways} else None
    is_live = task.mode is Mode.LIVE
    return {
        **task_summary(service, report),
        "money": fate_sentence(task),
        "said": task.problem.said if task.problem else "",
        "resolvable": report.next_step.action is Action.RESOLVE,
        "repeatable": task.state in ENDED_BADLY or task.state is TaskState.SAVED,
        "gateway": facts.name if facts else task.gateway,
        "gateway_page": facts.key_page if facts and is_live else "",
        "named_id": report.next_step.accepted_as,
        "live": is_live,
    }


def clip_summary(clip: Clip) -> dict[str, Any]:
    """The facts of a clip that the page shows."""
    return {
        "path": clip.path,
        "there": is_there(clip.path),
        "poster": is_there(clip.poster),
        "contact_sheet": is_there(clip.contact_sheet),
        "seconds": f"{clip.duration_seconds:g} s",
        "width": clip.width,
        "height": clip.height,
        "bytes": clip.size,
        "sha256": clip.sha256,
        "note": clip.note,
    }


def _all(context: RequestContext) -> dict[str, Any]:
    service, page, asked = context.state.service, _page_wanted(context), context.request.query_params
    show, card = asked.get("show", "All"), asked.get("model", "")
    words = clean(asked.get("q", ""), limit=LONGEST_SEARCH)
    cards = service.task_cards()
    wanted = TaskFilter(FILTERS.get(show, ()), words, card if card in cards else "")
    found = service.find_tasks(wanted, limit=A_PAGE + 1, offset=(page - 1) * A_PAGE)
    chosen = {"q": words, "show": show if wanted.states else "", "model": wanted.card}
    return {
        "tasks": [task_summary(service, report) for report in found[:A_PAGE]],
        "page": page,
        "more": len(found) > A_PAGE,
        "filters": list(FILTERS),
        "cards": cards,
        "chosen": chosen,
        "query": urlencode({name: value for name, value in chosen.items() if value}),
        "can_sample": service.policy.mode is Mode.SANDBOX,
        "now": context.now,
    }


def _page_wanted(context: RequestContext) -> int:
    text = context.request.query_params.get("page", "1")
    good = text.isascii() and text.isdigit() and len(text) < 6
    return min(max(1, int(text)), MOST_PAGES) if good else 1


def _one(context: RequestContext) -> dict[str, Any]:
    service = context.state.service
    report = service.task(context.path_param("task_id"))
    task = report.task
    sheet = service.sheet(task.sheet_id)
    return {
        "task": task_card(context, report),
        "prompt": report.prompt,
        "ways": approval_ways(context),
        "orders": _orders(sheet, report) if task.clip else [],
        "is_local": context.state.is_local,
        "can_show": context.state.is_local and find_opener() is not None,
        "quote": str(sheet.price),
        "charged": charge_text(sheet, task),
        "counted": dollars(from_micros(task.reserve_micros)) if counts(task) else "",
        "sheet_id": task.sheet_id,
        "gateway_task_id": task.gateway_task_id or ("none yet" if task.state in NOT_SENT else "none"),
        "updated_at": task.updated_at,
        "todo": _todo(service, task),
        "history": [_event(entry) for entry in service.history(task.id)],
        "now": context.now,
    }


def _orders(sheet: Sheet, report: TaskReport) -> list[dict[str, Any]]:
    """What was ordered beside what was delivered."""
    clip, shot = report.task.clip, sheet.shot
    assert clip is not None
    size = f"{clip.width} x {clip.height}"
    sound = {True: "audio", False: "no audio", None: "not measured"}[clip.audio]
    delivered = {"duration_seconds": f"{clip.duration_seconds:g} s", "aspect_ratio": size, "resolution": size}
    delivered["audio"] = sound
    wrong = {finding.field for finding in report.findings}
    rows = [
        {"name": row.label, "ordered": row.shown(value), "delivered": delivered[name], "wrong": name in wrong}
        for name, row in PARAMETERS.items()
        if name in delivered and (value := shot.get(name)) is not None
    ]
    return [
        *rows,
        *({"name": "picture", "ordered": "", "delivered": "", "wrong": True} for name in wrong - {*delivered}),
    ]


def _todo(service: Service, task: Task) -> dict[str, str]:
    """What only a person can do now, with the page of the desk to do it on."""
    if task.id in {held.id for held in service.held()}:
        if task.state is TaskState.WAITING:
            return {"text": "It was not sent. Approve its call sheet again.", "link": f"/sheets/{task.sheet_id}"}
        return {"text": "Open the key, so that Callsheet can check the task.", "link": "/tasks"}
    return {}


def _event(entry: dict[str, Any]) -> dict[str, Any]:
    detail = {
        name: value
        for name, value in entry.items()
        if name not in ("at", "kind", "state", "sheet", "reserve_micros", "attempt") and value
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
        # The catalogue no longer has this model, so its progress is not known.
        return 0.0


def _usual(service: Service, task: Task) -> str:
    if task.state not in (TaskState.QUEUED, TaskState.RUNNING):
        return ""
    try:
        usual = service.usual_seconds(task)
    except CallsheetError:
        return ""
    return f"usually {format_range(*usual)}" if usual else ""


def held_keys(service: Service) -> list[dict[str, Any]]:
    """The gateways whose sent tasks wait for a sealed key, with their number."""
    counts: dict[str, int] = {}
    for task in service.held():
        if task.state is TaskState.WAITING:
            continue
        counts[task.gateway] = counts.get(task.gateway, 0) + 1
    return [{"gateway": gateway, "tasks": count} for gateway, count in counts.items()]


async def open_key(context: RequestContext) -> Response:
    """Open a key for as long as tasks need it, to check them. It cannot pay."""
    state, gateway = context.state, context.path_param("gateway")
    state.service.facts(gateway)
    passphrase = context.form.get("passphrase", "")
    try:
        await state.step_up.confirm(context.form, context.session)
    except CallsheetError as error:
        return context.redirect("/tasks", error.message)
    state.service.unlock(gateway, passphrase, by=Means.DESK)
    return context.redirect("/tasks", f"The key of {gateway} is open until its tasks have ended.")


async def clip(context: RequestContext) -> Response:
    """The video, complete or in the ranges that a player requests."""
    return file_response(need_clip(context).path)


async def poster(context: RequestContext) -> Response:
    """The first frame of the clip."""
    return file_response(need_clip(context).poster)


async def contact_sheet(context: RequestContext) -> Response:
    """The contact sheet of the clip."""
    return file_response(need_clip(context).contact_sheet)


def need_clip(context: RequestContext) -> Clip:
    """The clip of the task in the path; raises `UnknownThing`."""
    task = context.state.service.find_task(context.path_param("task_id"))
    if task is None or task.clip is None:
        raise UnknownThing("That task has no clip.", next_step="Open the task to see its state.")
    return task.clip


def is_there(recorded: str) -> bool:
    """Whether that file is still where the ledger says. Of an object in a team's storage only the storage knows."""
    return recorded.startswith(OBJECT) or _stat(recorded) is not None


def _stat(recorded: str) -> os.stat_result | None:
    try:
        status = Path(recorded).lstat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def file_response(recorded: str) -> Response:
    """That file; raises `UnknownThing` if it is gone or no clip or picture."""
    path, status = Path(recorded), _stat(recorded)
    kind = KINDS.get(path.suffix)
    if status is None or kind is None:
        raise UnknownThing(
            "The file is no longer where it was saved.", next_step="If it was moved, look for it there; it is yours."
        )
    return FileResponse(path, media_type=kind, stat_result=status)
