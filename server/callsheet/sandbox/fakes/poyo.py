"""PoYo: `{code, data}` envelopes, `task-unified-` ids, ISO times without a zone.

Words and shapes after PoYo's documentation of 2025-11 to 2026-08 and its own client. `unified_*` are
shared with APIDot, which runs the same backend design under other error words.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from callsheet.sandbox.published import poyo_item, poyo_page

from .protocol import (
    Answer,
    Callback,
    Generation,
    Json,
    Page,
    PageRequest,
    Profile,
    Reason,
    Refusal,
    UploadedFile,
    read_credits,
)
from .tasks import Phase, SandboxTask, Snapshot

SUBMIT_PATH = "/api/generate/submit"
STATUS_PATH = "/api/generate/status/{task_id}"
WEBHOOK_KEY = "sandbox-webhook-hmac-key"

STATE_WORDS: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.QUEUED: "not_started",
        Phase.RUNNING: "running",
        Phase.UNNAMED: "colour_grading",
        Phase.FINISHED: "finished",
        Phase.FAILED: "failed",
    }
)
FAILURE_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "content-violation": "The prompt violates our content policy",
        "unreachable-image": "Failed to download the reference image",
    }
)

# "Video 90-300 s" and the two ages of webhooks: PoYo docs 2026-01-07 and 2026-07-15.
PROFILE = Profile(
    usual_seconds=lambda seconds: (90.0, 300.0),
    callback_retries=MappingProxyType(
        {Generation.NEW: (60.0, 120.0, 240.0, 480.0, 600.0), Generation.OLD: (1.0, 2.0, 4.0)}
    ),
    answer_within=MappingProxyType({Generation.NEW: 10.0, Generation.OLD: 10.0}),
)

_ERRORS: Mapping[Reason, tuple[int, str, str]] = MappingProxyType(
    {
        Reason.UNAUTHORIZED: (401, "authentication_error", "Invalid API key"),
        Reason.INVALID: (400, "validation_error", "Invalid request parameters"),
        Reason.TOO_LONG: (400, "content_too_long_error", "The content is too long"),
        Reason.UNKNOWN_MODEL: (400, "validation_error", "Unsupported model"),
        Reason.MODERATION: (400, "content_moderation_error", "The prompt violates our content policy"),
        Reason.NO_CREDITS: (402, "insufficient_credits_error", "Insufficient credits to complete this request"),
        Reason.BAD_TASK_ID: (404, "resource_not_found_error", "Task not found"),
        Reason.UNKNOWN_TASK: (404, "resource_not_found_error", "Task not found"),
        Reason.UNKNOWN_PATH: (404, "resource_not_found_error", "Not found"),
        Reason.TOO_LARGE: (400, "content_too_long_error", "The request is too large"),
        Reason.REPLAY_CONFLICT: (400, "validation_error", "Invalid request parameters"),
        Reason.RATE_LIMITED: (429, "rate_limit_error", "Rate limit exceeded. Please try again later."),
        Reason.SERVER_ERROR: (500, "internal_error", "An internal error occurred. Please try again later."),
        Reason.UNAVAILABLE: (503, "service_error", "The server is busy. Please try again later."),
    }
)


def build_task_id(now: int, letters: str) -> str:
    """`task-unified-<epoch>-<random>`."""
    return f"task-unified-{now}-{letters[:8]}"


def check_task_id(task_id: str) -> bool:
    """Every id is well formed; an unknown one is a 404."""
    return True


def build_accepted(task: SandboxTask) -> Json:
    """The answer to a submission."""
    data: Json = {"task_id": task.task_id, "status": "not_started", "created_time": unified_time(task.created)}
    return {"code": 200, "data": data}


def build_status(task: SandboxTask, snapshot: Snapshot, video_url: str, generation: Generation) -> Json:
    """The answer to a status read; `credits_amount` once finished and known."""
    data = unified_task(task, snapshot, video_url)
    data["progress"] = snapshot.percent
    return {"code": 200, "data": data}


def build_callback(task: SandboxTask, snapshot: Snapshot, video_url: str, generation: Generation) -> Callback:
    """New: the task object alone, signed over id and time. Old: the status envelope, unsigned."""
    if generation is Generation.OLD:
        return Callback(build_status(task, snapshot, video_url, generation))
    timestamp = str(int(snapshot.ended or task.created))
    return Callback(
        unified_task(task, snapshot, video_url),
        {"X-Webhook-Timestamp": timestamp, "X-Webhook-Signature": sign(task.task_id, timestamp)},
    )


def sign(task_id: str, timestamp: str, key: str = WEBHOOK_KEY) -> str:
    """base64(HMAC-SHA256(task_id + "." + timestamp)): the body is not signed (PoYo docs, quoted 2026-08-05)."""
    return base64.b64encode(hmac.digest(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256)).decode()


def build_refusal(refusal: Refusal, generation: Generation) -> Answer:
    """New: `{code, error{message, type}}`. Old: `{detail}`."""
    status, kind, message = _ERRORS[refusal.reason]
    message = refusal.detail or message
    if generation is Generation.OLD:
        return Answer(status, {"detail": "Not authenticated" if status == 401 else message})
    return Answer(status, {"code": status, "error": {"message": message, "type": kind}})


def unified_time(seconds: float) -> str:
    """ISO 8601 without a zone, as every documented example has it; the sandbox means UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def unified_task(task: SandboxTask, snapshot: Snapshot, video_url: str) -> Json:
    """The task object without `progress`, which callbacks do not have."""
    done = snapshot.phase is Phase.FINISHED
    data: Json = {
        "task_id": task.task_id,
        "status": STATE_WORDS[snapshot.phase],
        "files": [{"file_url": video_url, "file_type": "video"}] if done else [],
        "created_time": unified_time(task.created),
        "error_message": FAILURE_WORDS[snapshot.failure] if snapshot.failure else None,
    }
    if done and (amount := read_credits(task.credits)) is not None:
        data["credits_amount"] = amount
    return data


def _build_balance(request: PageRequest) -> Answer:
    return Answer(200, {"code": 200, "data": {"email": "sandbox@callsheet.invalid", "credits_amount": 10000}})


def _build_catalogue(request: PageRequest) -> Answer:
    page = poyo_page(request.query.get("cursor", ""), request.query.get("limit", ""))
    return Answer(200, {"code": 200, "data": page})


def _build_catalogue_item(request: PageRequest) -> Answer:
    """The real answer for a model that is not listed is not documented; the sandbox says 404."""
    item = poyo_item(request.path.get("model", ""))
    if item is None:
        return build_refusal(Refusal(Reason.UNKNOWN_PATH, detail="Model not found"), request.generation)
    return Answer(200, {"code": 200, "data": item})


UPLOAD_PATH = "/api/common/upload/stream"
UPLOAD_HOURS = 72


def build_uploaded(file: UploadedFile) -> Json:
    """The answer to an upload (PoYo docs, added 2025-12-29)."""
    return {
        "success": True,
        "code": 200,
        "msg": "File uploaded successfully",
        "data": {
            "file_id": file.id,
            "file_name": file.name,
            "original_name": file.name,
            "file_size": file.size,
            "mime_type": file.media_type,
            "upload_path": "temp",
            "file_url": file.url,
            "download_url": file.url,
            "upload_time": unified_time(file.now),
            "expires_at": unified_time(file.now + UPLOAD_HOURS * 3600),
        },
    }


PAGES = (
    Page("/api/user/balance", True, _build_balance),
    Page("/v1/catalog/models", False, _build_catalogue),
    Page("/v1/catalog/models/{model:path}", False, _build_catalogue_item),
)
