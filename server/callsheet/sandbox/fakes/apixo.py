"""APIXO: model in the path, parameters in `input`, result as JSON inside a string, times in milliseconds.

After apixo.ai/docs (undated; which generation is newer is inferred from their layout). There is no
progress. A failed task is HTTP 200 with `code` 200.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from callsheet.core.shot import JsonValue

from .protocol import Answer, Callback, Generation, Json, Page, PageRequest, Profile, Reason, Refusal
from .tasks import Phase, SandboxTask, Snapshot

SUBMIT_PATH = "/api/v1/generateTask/{model}"
STATUS_PATH = "/api/v1/statusTask/{model}"

STATE_WORDS: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.QUEUED: "pending",
        Phase.RUNNING: "processing",
        Phase.UNNAMED: "colour_grading",
        Phase.FINISHED: "success",
        Phase.FAILED: "failed",
    }
)
# The newer list of codes is CamelCase but cut off in the copies that were read: no image code is known in it.
FAILURE_WORDS: Mapping[tuple[str, Generation], tuple[str, str]] = MappingProxyType(
    {
        ("content-violation", Generation.NEW): ("SensitiveContentDetected", "Content violates usage policy"),
        ("content-violation", Generation.OLD): ("CONTENT_VIOLATION", "Content violates usage policy"),
        ("unreachable-image", Generation.NEW): ("INVALID_IMAGE_URL", "Cannot access provided image URL"),
        ("unreachable-image", Generation.OLD): ("INVALID_IMAGE_URL", "Cannot access provided image URL"),
    }
)


def _usual_seconds(seconds: int) -> tuple[float, float]:
    """4 s: 2-4 min, 8 s: 3-5 min, 12 s: 4-6 min (apixo.ai/docs, sora-2)."""
    if seconds <= 4:
        return (120.0, 240.0)
    return (180.0, 300.0) if seconds <= 8 else (240.0, 360.0)


# "Up to 3 times with increasing delays", 30 s to answer; the delays are not readable, these are the sandbox's own.
PROFILE = Profile(
    usual_seconds=_usual_seconds,
    callback_retries=MappingProxyType({Generation.NEW: (30.0, 60.0, 120.0), Generation.OLD: (30.0, 60.0, 120.0)}),
    answer_within=MappingProxyType({Generation.NEW: 30.0, Generation.OLD: 30.0}),
)

_ERRORS: Mapping[Reason, tuple[int, str, str]] = MappingProxyType(
    {
        Reason.UNAUTHORIZED: (401, "Unauthorized", "Invalid or missing API Key"),
        Reason.INVALID: (400, "Invalid request", "Invalid parameters"),
        Reason.TOO_LONG: (400, "Invalid request", "PromptLengthExceeded"),
        Reason.UNKNOWN_MODEL: (404, "Resource not found", "Check the model id"),
        Reason.MODERATION: (403, "Content violates policy", "SensitiveContentDetected"),
        Reason.NO_CREDITS: (402, "Insufficient balance", "Insufficient balance"),
        Reason.BAD_TASK_ID: (400, "Invalid request", "Missing required field: taskId"),
        Reason.UNKNOWN_TASK: (404, "Resource not found", "Check the task id"),
        Reason.UNKNOWN_PATH: (404, "Resource not found", "Not found"),
        Reason.TOO_LARGE: (400, "Invalid request", "The request is too large"),
        Reason.REPLAY_CONFLICT: (400, "Invalid request", "Invalid parameters"),
        Reason.RATE_LIMITED: (429, "Rate limit exceeded", "Too many requests"),
        Reason.SERVER_ERROR: (500, "Internal server error", "Internal server error"),
        Reason.UNAVAILABLE: (503, "Service unavailable", "Service unavailable"),
    }
)
# The older page has no 402, and its 403 means "API key lacks permission".
_OLDER: Mapping[Reason, tuple[int, str, str]] = MappingProxyType(
    {
        Reason.TOO_LONG: (400, "Invalid request", "PROMPT_TOO_LONG"),
        Reason.MODERATION: (400, "Invalid request", "CONTENT_VIOLATION"),
        Reason.NO_CREDITS: (400, "Invalid request", "INSUFFICIENT_CREDITS"),
    }
)


def build_task_id(now: int, letters: str) -> str:
    """`task_<random>`."""
    return f"task_{letters}"


def check_task_id(task_id: str) -> bool:
    """The query must name one."""
    return bool(task_id)


def build_accepted(task: SandboxTask) -> Json:
    """The answer to a submission."""
    return _envelope({"taskId": task.task_id})


def build_status(task: SandboxTask, snapshot: Snapshot, video_url: str, generation: Generation) -> Json:
    """The answer to a status read; times are Unix milliseconds."""
    data: Json = {"taskId": task.task_id, "state": STATE_WORDS[snapshot.phase]}
    if snapshot.phase is Phase.FINISHED:
        data["resultJson"] = json.dumps({"resultUrls": [video_url]})
    if snapshot.failure:
        data["failCode"], data["failMsg"] = FAILURE_WORDS[snapshot.failure, generation]
    data["createTime"] = int(task.created * 1000)
    if snapshot.ended is not None:
        data["completeTime"] = int(snapshot.ended * 1000)
        data["costTime"] = int(snapshot.ended * 1000) - int(task.created * 1000)
    return _envelope(data)


def build_callback(task: SandboxTask, snapshot: Snapshot, video_url: str, generation: Generation) -> Callback:
    """The same envelope as the status; unsigned."""
    return Callback(build_status(task, snapshot, video_url, generation))


def build_refusal(refusal: Refusal, generation: Generation) -> Answer:
    """`{code, message, data{error}}`; the generations differ in codes, not in shape."""
    older = _OLDER if generation is Generation.OLD else {}
    status, message, error = older.get(refusal.reason) or _ERRORS[refusal.reason]
    if refusal.detail and refusal.reason is not Reason.TOO_LONG:
        error = refusal.detail
    return Answer(status, {"code": status, "message": message, "data": {"error": error}})


def _envelope(data: JsonValue) -> Json:
    return {"code": 200, "message": "success", "data": data}


def _build_balance(request: PageRequest) -> Answer:
    return Answer(200, _envelope(100.0))


PAGES = (Page("/api/v1/apikeys/current-balance", True, _build_balance),)
