"""APIDot: PoYo's backend design with files under `output`, and error words of its own.

After APIDot's README (`docs/`, `curl/generate.md`). Its error envelope is not documented; its examples
test `body.code >= 400`. The sandbox uses PoYo's envelope with APIDot's documented types. Pace,
callback shape and retries are not documented, so PoYo's are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import poyo
from .protocol import Answer, Callback, Generation, Json, Page, Profile, Reason, Refusal
from .tasks import SandboxTask, Snapshot

SUBMIT_PATH = "/api/generate/submit"
STATUS_PATH = "/api/generate/status/{task_id}"
PROFILE: Profile = poyo.PROFILE
PAGES: tuple[Page, ...] = ()

build_task_id = poyo.build_task_id
check_task_id = poyo.check_task_id
build_accepted = poyo.build_accepted

_ERRORS: Mapping[Reason, tuple[int, str, str]] = MappingProxyType(
    {
        Reason.UNAUTHORIZED: (401, "authentication_error", "Invalid API key"),
        Reason.INVALID: (400, "invalid_request", "Invalid request"),
        Reason.TOO_LONG: (400, "invalid_request", "The prompt is too long"),
        Reason.UNKNOWN_MODEL: (400, "invalid_request", "Unsupported model"),
        Reason.MODERATION: (400, "invalid_request", "The prompt violates our content policy"),
        Reason.NO_CREDITS: (402, "insufficient_credits", "Insufficient credits"),
        Reason.BAD_TASK_ID: (404, "not_found", "Task not found"),
        Reason.UNKNOWN_TASK: (404, "not_found", "Task not found"),
        Reason.UNKNOWN_PATH: (404, "not_found", "Not found"),
        Reason.TOO_LARGE: (400, "invalid_request", "The request is too large"),
        Reason.REPLAY_CONFLICT: (400, "invalid_request", "Invalid request"),
        Reason.RATE_LIMITED: (429, "rate_limited", "Rate limit exceeded"),
        Reason.SERVER_ERROR: (500, "internal_error", "Internal error"),
        Reason.UNAVAILABLE: (503, "service_unavailable", "Temporary upstream pressure"),
    }
)


def build_status(task: SandboxTask, snapshot: Snapshot, video_url: str, generation: Generation) -> Json:
    """New: files under `data.output`. Old: PoYo's shape, which the site's own code of 2026-04-27 reads."""
    if generation is Generation.OLD:
        return poyo.build_status(task, snapshot, video_url, generation)
    data = poyo.unified_task(task, snapshot, video_url)
    data["output"] = {"files": data.pop("files")}
    data["progress"] = snapshot.percent
    return {"code": 200, "data": data}


def build_callback(task: SandboxTask, snapshot: Snapshot, video_url: str, generation: Generation) -> Callback:
    """The status envelope, unsigned; old: the task object alone. Both are read by the published receivers."""
    if generation is Generation.OLD:
        return Callback(poyo.unified_task(task, snapshot, video_url))
    return Callback(build_status(task, snapshot, video_url, generation))


def build_refusal(refusal: Refusal, generation: Generation) -> Answer:
    """New: `{code, error{message, type}}`. Old: `{code, message}`, as the site's own code reads it."""
    status, kind, message = _ERRORS[refusal.reason]
    message = refusal.detail or message
    if generation is Generation.OLD:
        return Answer(status, {"code": status, "message": message})
    return Answer(status, {"code": status, "error": {"message": message, "type": kind}})
