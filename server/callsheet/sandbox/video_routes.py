"""The routes of `/v1/videos`: create, status, content, list, delete and models, in an endpoint's dialect.

All fields of a creation are read, and their names logged, whether the dialect knows them or not.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from callsheet.sandbox.fakes.protocol import Answer, Generation, Reason
from callsheet.sandbox.fakes.tasks import Phase, SandboxTask, choose_task_seconds, snapshot_at

from .context import AppState, Outcome, Request
from .faults import UnknownTag, read_faults
from .read_routes import refuse_status, send_video
from .replies import CompleteReply, DroppedConnection, json_reply
from .submit_route import DEFAULT_RETENTION_HOURS, apply_fault, drops_answer
from .upload_route import read_form

Answerer = Callable[[AppState, Request], Outcome | Awaitable[Outcome]]
Fields = Mapping[str, Any]
USUAL_SECONDS = (60.0, 120.0)
LATE_READS = 2


class _Refused(Exception):
    """Carries a refusal to where it is answered."""

    def __init__(self, request: Request, reason: str, message: str = "", *, fault: str = "", **values: Any) -> None:
        super().__init__(reason)
        self.outcome = Outcome(json_reply(request.dialect.build_error(reason, message, **values)), fault=fault)


def _create(state: AppState, request: Request) -> Outcome:
    fields = _read_fields(request)
    try:
        outcome = _accept(state, request, fields)
    except _Refused as refused:
        outcome = refused.outcome
    return replace(outcome, fields=",".join(sorted(fields)))


def _read_fields(request: Request) -> Fields:
    """Name -> value of a form or JSON. The value of a file is its bytes."""
    form = read_form(request.headers.get("content-type", ""), request.body)
    if form is not None:
        return {name: content if file is not None else content.decode(errors="replace") for name, file, content in form}
    try:
        fields = json.loads(request.body) if request.dialect.facts["takes_json"] else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise _Refused(request, Reason.INVALID, "[{'loc': ('body', 'prompt'), 'msg': 'Field required'}]")
    return fields


def _accept(state: AppState, request: Request, fields: Fields) -> Outcome:
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise _Refused(request, Reason.INVALID, "Missing required parameter: 'prompt'.", param="prompt")
    try:
        faults = read_faults(prompt, endpoint=True)
    except UnknownTag as mistake:
        raise _Refused(request, Reason.INVALID, str(mistake), param="prompt") from None
    jobs = [_build_task(state, request, fields, faults) for _ in range(faults.get("repeated", 1))]
    if outcome := apply_fault(state, request, faults, prompt, Generation.NEW):
        return outcome
    for task in jobs:
        state.store.write_task(task)
    if drops_answer(state, jobs[0]):
        return Outcome(DroppedConnection(), task_id=jobs[0].task_id, fault="drop-after", jobs=len(jobs))
    return Outcome(json_reply(request.dialect.build_created(jobs[0])), task_id=jobs[0].task_id, jobs=len(jobs))


def _build_task(state: AppState, request: Request, fields: Fields, faults: Mapping[str, int]) -> SandboxTask:
    """The job that these fields ask for, if the dialect takes them."""
    facts = request.dialect.facts
    usual = {"model": (*facts["models"], "sora-2")[0], "seconds": "4", "size": "720x1280"}
    asked = {name: str(fields.get(name, value)) for name, value in usual.items()}
    for name, value in asked.items():
        if not re.fullmatch(facts["takes"][name], value) and (name, "echoed-model" in faults) != ("model", True):
            raise _Refused(request, name, param=name, value=value[:80])
    if not facts["takes_image_objects"] and isinstance(fields.get("input_reference"), dict):
        raise _Refused(request, Reason.INVALID, "input_reference: Input should be a valid string")
    task_id, (width, height) = request.dialect.build_task_id(secrets.token_hex(16)), asked["size"].split("x")
    return SandboxTask(
        gateway=request.gateway,
        model=asked["model"],
        task_id=task_id,
        token=secrets.token_hex(16),
        prompt=fields["prompt"],
        width=int(width),
        height=int(height),
        seconds=min(int(asked["seconds"]), faults.get("clamped-seconds", 60)),
        created=state.clock(),
        speed=state.settings.speed,
        # What is forgotten was never finished, however late it is asked for.
        lasting=choose_task_seconds(task_id, USUAL_SECONDS, {"slow": 10_000} if "forgotten" in faults else faults),
        retention_hours=DEFAULT_RETENTION_HOURS,
        faults=faults,
    )


def _find_task(state: AppState, request: Request) -> SandboxTask:
    task = state.store.load_task(request.gateway, request.dialect.read_task_id(request.path_params["task_id"]))
    if task is None:
        raise _Refused(request, Reason.UNKNOWN_TASK)
    return task


def _status(state: AppState, request: Request) -> Outcome:
    task = _find_task(state, request)
    if refused := refuse_status(state, request, task, Generation.NEW):
        return refused
    reads = task.faults.get("forgotten")
    if reads and state.store.count_attempt(task.gateway, "forgotten", task.task_id) > reads:
        state.store.remove_task(task)
        raise _Refused(request, Reason.UNKNOWN_TASK, fault="forgotten")
    snapshot = snapshot_at(task, state.clock())
    if snapshot.phase is Phase.FINISHED:
        state.video_cache.start(task)
    url = request.video_url(task.task_id, task.token)
    return Outcome(json_reply(request.dialect.build_status(task, snapshot, url)))


async def _content(state: AppState, request: Request) -> Outcome:
    facts = request.dialect.facts
    task = _find_task(state, request)
    phase = snapshot_at(task, state.clock()).phase
    if phase is not Phase.FINISHED:
        raise _Refused(request, "early_failed" if phase is Phase.FAILED else "early")
    if "variant" in request.query and not facts["takes_variant"]:
        raise _Refused(request, "variant")
    late = task.faults.get("late-content")
    if late and state.store.count_attempt(task.gateway, "late-content", task.task_id) <= LATE_READS:
        raise _Refused(request, "late", fault="late-content", status=late)
    if "content-redirect" in task.faults:
        # Another name of the same computer is another origin.
        other = "127.0.0.1" if "//localhost" in request.base_url else "localhost"
        url = re.sub(r"(?<=//)[^:/]+", other, request.video_url(task.task_id, task.token), count=1)
        return Outcome(CompleteReply(302, b"", "text/plain", (("location", url),)), fault="content-redirect")
    return await send_video(state, request, task, ranges=facts["has_ranges"] and "no-range" not in task.faults)


def _delete(state: AppState, request: Request) -> Outcome:
    task = _find_task(state, request)
    state.store.remove_task(task)
    return Outcome(json_reply(Answer(200, request.dialect.fill("deleted", task, snapshot_at(task, state.clock())))))


def _list(state: AppState, request: Request) -> Outcome:
    """The newest jobs first, on one page."""
    limit, now = request.query.get("limit", ""), state.clock()
    tasks = state.store.load_tasks(request.gateway)[: int(limit) if limit.isdecimal() else 20]
    data: list[Any] = [request.dialect.fill("video", task, snapshot_at(task, now)) for task in tasks]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return Outcome(json_reply(Answer(200, {"object": "list", "data": data, **ends, "has_more": False})))


def _models(state: AppState, request: Request) -> Outcome:
    facts = {"object": "model", "created": int(state.clock()), "owned_by": "sandbox"}
    data: list[Any] = [{"id": model, **facts} for model in request.dialect.facts["models"]]
    return Outcome(json_reply(Answer(200, {"object": "list", "data": data})))


VIDEO_ROUTES: Mapping[str, tuple[str, str, Answerer]] = MappingProxyType(
    {
        "create": ("POST", "/videos", _create),
        "list": ("GET", "/videos", _list),
        "status": ("GET", "/videos/{task_id}", _status),
        "delete": ("DELETE", "/videos/{task_id}", _delete),
        "content": ("GET", "/videos/{task_id}/content", _content),
        "models": ("GET", "/models", _models),
    }
)
"""Name -> method, path below the endpoint's base URL, and what answers there."""


async def answer_endpoint(name: str, state: AppState, request: Request) -> Outcome:
    """The answer of one of these routes, or the refusal that comes before it."""
    facts = request.dialect.facts
    if facts["needs_key"] and request.key is None:
        return _Refused(request, "wrong_key" if "authorization" in request.headers else Reason.UNAUTHORIZED).outcome
    try:
        if refusal := facts["refuses"].get("head" if request.method == "HEAD" else name):
            return _Refused(request, refusal).outcome
        answered = VIDEO_ROUTES[name][2](state, request)
        return answered if isinstance(answered, Outcome) else await answered
    except _Refused as refused:
        return refused.outcome
