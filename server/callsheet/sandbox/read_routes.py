"""The GET routes: status, balance, catalogue, lists, and the videos themselves."""

from __future__ import annotations

import asyncio
import re
import secrets

from callsheet.sandbox.fakes.protocol import Answer, Generation, Page, PageRequest, Reason, Refusal
from callsheet.sandbox.fakes.tasks import Phase, SandboxTask, snapshot_at

from .context import AppState, Outcome, Request
from .faults import FAULT_BY_NAME
from .replies import CompleteReply, TruncatedReply, VideoReply, html_reply, json_reply
from .video import RenderingStopped, digest_file

_FILE_NAME = re.compile(r"([A-Za-z0-9_-]{1,80})-([0-9a-f]{32})\.mp4")


def answer_status(state: AppState, request: Request) -> Outcome:
    """The state of a task. The video of a finished one starts to render, so that it is ready when it is fetched."""
    task_id = request.path_params.get("task_id", request.query.get("taskId", ""))
    if not request.fake.check_task_id(task_id):
        return request.refuse(Refusal(Reason.BAD_TASK_ID))
    task = state.store.load_task(request.gateway, task_id)
    if task is None or request.path_params.get("model", task.model) != task.model:
        return request.refuse(Refusal(Reason.UNKNOWN_TASK))
    generation = Generation.OLD if "old-errors" in task.faults else request.generation
    if refused := refuse_status(state, request, task, generation):
        return refused
    snapshot = snapshot_at(task, state.clock())
    if snapshot.phase is Phase.FINISHED:
        state.video_cache.start(task)
    video_url = request.video_url(task.task_id, task.token)
    return Outcome(json_reply(Answer(200, request.fake.build_status(task, snapshot, video_url, generation))))


def refuse_status(state: AppState, request: Request, task: SandboxTask, generation: Generation) -> Outcome | None:
    """The refusal of a status read that the task's faults ask for."""
    for name, reason in (("not-visible", Reason.UNKNOWN_TASK), ("status-error", Reason.SERVER_ERROR)):
        if _applies(state, task, name):
            return Outcome(request.refuse(Refusal(reason), generation=generation).reply, fault=name)
    return None


def answer_page(state: AppState, request: Request, page: Page) -> Outcome:
    """A documented GET besides submit and status."""
    page_request = PageRequest(
        facts=state.facts(request.gateway),
        path=request.path_params,
        query=request.query,
        generation=request.generation,
        load_tasks=lambda: state.store.load_tasks(request.gateway),
        now=state.clock(),
    )
    return Outcome(json_reply(page.build(page_request)))


async def answer_file(state: AppState, request: Request) -> Outcome:
    """A video, under a name that only the status reveals."""
    match = _FILE_NAME.fullmatch(request.path_params.get("name", ""))
    task = state.store.load_task(request.gateway, match[1]) if match else None
    if match is None or task is None or not secrets.compare_digest(match[2], task.token):
        return _plain(404, "No such file.")
    if snapshot_at(task, state.clock()).phase is not Phase.FINISHED:
        return _plain(404, "No such file.")
    return await send_video(state, request, task)


async def send_video(state: AppState, request: Request, task: SandboxTask, *, ranges: bool = True) -> Outcome:
    """The video of a finished task, as its faults have it. Without `ranges` it is sent whole in any case."""
    if task.kept_until is not None and state.clock() > task.kept_until:
        return _plain(410, "This file has expired.")
    if "expired-link" in task.faults:
        return Outcome(_plain(task.faults["expired-link"], "This link has expired.").reply, fault="expired-link")
    try:
        path = await state.video_cache.fetch(task)
    except RenderingStopped:
        return _plain(503, "The sandbox is closing.")
    if request.method != "HEAD":
        for name in ("html-video", "truncated-video", "short-video"):
            if _applies(state, task, name):
                body = await asyncio.to_thread(path.read_bytes)
                return Outcome(_damaged(name, body), fault=name)
    if not ranges:
        return Outcome(CompleteReply(200, await asyncio.to_thread(path.read_bytes), "video/mp4"))
    return Outcome(VideoReply(path, await asyncio.to_thread(digest_file, path)))


def _damaged(name: str, body: bytes) -> CompleteReply | TruncatedReply:
    if name == "html-video":
        return html_reply()
    return (
        TruncatedReply(body) if name == "truncated-video" else CompleteReply(200, body[: len(body) // 2], "video/mp4")
    )


def _applies(state: AppState, task: SandboxTask, name: str) -> bool:
    """Whether a counted fault of a task applies to this read."""
    if name not in task.faults:
        return False
    times = task.faults[name]
    assert FAULT_BY_NAME[name].counts
    return times == 0 or state.store.count_attempt(task.gateway, name, task.task_id) <= times


def _plain(status: int, text: str) -> Outcome:
    return Outcome(CompleteReply(status, f"{text}\n".encode(), "text/plain; charset=utf-8"))
