"""Everything that is asked after submission: status, balance, catalogue, lists, and the films themselves."""

from __future__ import annotations

import asyncio
import re
import secrets

from callsheet.sandbox.fakes.protocol import Answer, Generation, Page, Reason, Refusal, Visit
from callsheet.sandbox.fakes.tasks import Phase, SandboxTask, moment_at

from .context import Call, House, Outcome
from .faults import FAULT_BY_NAME
from .replies import CutShort, FilmFile, Whole, tell, tell_html
from .video import RenderingStopped
from .video_cache import digest_file

_FILE_NAME = re.compile(r"([A-Za-z0-9_-]{1,80})-([0-9a-f]{32})\.mp4")


def answer_status(house: House, call: Call) -> Outcome:
    """The state of a task; a finished one has its film begun, so that it is ready when it is fetched."""
    task_id = call.path_params.get("task_id", call.query.get("taskId", ""))
    if not call.stage.check_task_id(task_id):
        return call.refuse(Refusal(Reason.BAD_TASK_ID))
    task = house.store.load_task(call.gateway, task_id)
    if task is None or call.path_params.get("model", task.model) != task.model:
        return call.refuse(Refusal(Reason.UNKNOWN_TASK))
    generation = Generation.OLD if "old-errors" in task.faults else call.generation
    for name, reason in (("not-visible", Reason.UNKNOWN_TASK), ("status-error", Reason.SERVER_ERROR)):
        if _strikes(house, task, name):
            refused = call.refuse(Refusal(reason), generation=generation)
            return Outcome(refused.reply, fault=name)
    moment = moment_at(task, house.clock())
    if moment.phase is Phase.FINISHED:
        house.projector.start(task)
    video_url = call.video_url(task.task_id, task.token)
    return Outcome(tell(Answer(200, call.stage.write_status(task, moment, video_url, generation))))


def answer_page(house: House, call: Call, page: Page) -> Outcome:
    """A documented GET besides submit and status."""
    visit = Visit(
        facts=house.facts(call.gateway),
        path=call.path_params,
        query=call.query,
        generation=call.generation,
        load_tasks=lambda: house.store.load_tasks(call.gateway),
        now=house.clock(),
    )
    return Outcome(tell(page.write(visit)))


async def answer_file(house: House, call: Call) -> Outcome:
    """A film, under a name that only the status tells."""
    match = _FILE_NAME.fullmatch(call.path_params.get("name", ""))
    task = house.store.load_task(call.gateway, match[1]) if match else None
    if match is None or task is None or not secrets.compare_digest(match[2], task.token):
        return _plain(404, "No such file.")
    if moment_at(task, house.clock()).phase is not Phase.FINISHED:
        return _plain(404, "No such file.")
    if task.kept_until is not None and house.clock() > task.kept_until:
        return _plain(410, "This file has expired.")
    if "expired-link" in task.faults:
        return Outcome(_plain(task.faults["expired-link"], "This link has expired.").reply, fault="expired-link")
    try:
        path = await house.projector.fetch(task)
    except RenderingStopped:
        return _plain(503, "The sandbox is closing.")
    if call.method != "HEAD":
        for name in ("html-video", "truncated-video", "short-video"):
            if _strikes(house, task, name):
                body = await asyncio.to_thread(path.read_bytes)
                return Outcome(_spoilt(name, body), fault=name)
    return Outcome(FilmFile(path, await asyncio.to_thread(digest_file, path)))


def _spoilt(name: str, body: bytes) -> Whole | CutShort:
    if name == "html-video":
        return tell_html()
    return CutShort(body) if name == "truncated-video" else Whole(200, body[: len(body) // 2], "video/mp4")


def _strikes(house: House, task: SandboxTask, name: str) -> bool:
    """Whether a counted stage direction of a task applies to this read."""
    if name not in task.faults:
        return False
    times = task.faults[name]
    assert FAULT_BY_NAME[name].counts
    return times == 0 or house.store.count_attempt(task.gateway, name, task.task_id) <= times


def _plain(status: int, text: str) -> Outcome:
    return Outcome(Whole(status, f"{text}\n".encode(), "text/plain; charset=utf-8"))
