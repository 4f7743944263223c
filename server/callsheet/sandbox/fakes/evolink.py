"""EvoLink: flat bodies, `results`, times in seconds, idempotency keys that replay.

After docs.evolink.ai (undated copies), the vendor's own MCP source, and two ages of its OpenAPI error
bodies. The catalogue pages have the shape that an earlier revision of that source types.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from callsheet.core.catalogue.cards import Availability
from callsheet.core.shot import JsonValue
from callsheet.sandbox.published import load_data

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
from .tasks import Phase, SandboxTask, Snapshot, snapshot_at

SUBMIT_PATH = "/v1/videos/generations"
STATUS_PATH = "/v1/tasks/{task_id}"
ESTIMATED_SECONDS = 300

STATE_WORDS: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.QUEUED: "pending",
        Phase.RUNNING: "processing",
        Phase.UNNAMED: "colour_grading",
        Phase.FINISHED: "completed",
        Phase.FAILED: "failed",
    }
)
FAILURE_WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "content-violation": (
            "content_policy_violation",
            "Content policy violation.\nYour request was blocked by safety filters...",
        ),
        "unreachable-image": ("image_processing_error", "Image processing failed: the image could not be fetched."),
    }
)
# `estimated_time` 300; callbacks: 10 s to answer, retried after 1, 2 and 4 s (EvoLink docs, undated).
# Replays by idempotency key, and 68 credits to the dollar: the vendor's own MCP source.
PROFILE = Profile(
    usual_seconds=lambda seconds: (180.0, float(ESTIMATED_SECONDS)),
    callback_retries=MappingProxyType({Generation.NEW: (1.0, 2.0, 4.0), Generation.OLD: (1.0, 2.0, 4.0)}),
    answer_within=MappingProxyType({Generation.NEW: 10.0, Generation.OLD: 10.0}),
    replays=True,
    credits_per_usd=68,
)

_LIFECYCLE_WORDS: Mapping[Availability, str] = MappingProxyType(
    {
        Availability.LIVE: "active",
        Availability.LISTED: "active",
        Availability.UNVERIFIED: "preview",
        Availability.LEGACY: "deprecated",
        Availability.DROPPED: "retired",
    }
)
# Reason -> HTTP status, code of the newer age, type of the older age, message.
_ERRORS: Mapping[Reason, tuple[int, str, str, str]] = MappingProxyType(
    {
        Reason.UNAUTHORIZED: (401, "unauthorized", "authentication_error", "Invalid or expired token"),
        Reason.INVALID: (400, "invalid_request", "invalid_request_error", "Invalid request parameters"),
        Reason.TOO_LONG: (400, "invalid_request", "invalid_request_error", "Prompt is too long"),
        Reason.UNKNOWN_MODEL: (404, "model_unavailable", "not_found_error", "Specified model not found"),
        Reason.MODERATION: (400, "content_policy_violation", "invalid_request_error", "Content policy violation."),
        Reason.NO_CREDITS: (402, "insufficient_quota", "insufficient_quota_error", "Insufficient quota"),
        Reason.BAD_TASK_ID: (
            400,
            "invalid_task_id",
            "invalid_request_error",
            "Invalid task ID format, must start with 'task-unified-'",
        ),
        Reason.UNKNOWN_TASK: (404, "task_not_found", "not_found_error", "Task not found"),
        Reason.UNKNOWN_PATH: (404, "resource_not_found", "not_found_error", "Resource not found"),
        Reason.TOO_LARGE: (413, "request_too_large", "request_too_large_error", "Request body is too large"),
        Reason.REPLAY_CONFLICT: (
            409,
            "idempotency_conflict",
            "invalid_request_error",
            "This Idempotency-Key was used for a different request",
        ),
        Reason.RATE_LIMITED: (429, "rate_limit_exceeded", "rate_limit_error", "Rate limit exceeded"),
        Reason.SERVER_ERROR: (500, "internal_error", "internal_server_error", "Internal server error"),
        Reason.UNAVAILABLE: (
            503,
            "service_unavailable",
            "service_unavailable_error",
            "Service temporarily unavailable",
        ),
    }
)
_SUGGESTIONS: Mapping[Reason, str] = MappingProxyType(
    {Reason.RATE_LIMITED: "retry after 60 seconds", Reason.UNAVAILABLE: "retry after 30 seconds"}
)


def build_task_id(now: int, letters: str) -> str:
    """`task-unified-<epoch>-<random>`."""
    return f"task-unified-{now}-{letters[:8]}"


def check_task_id(task_id: str) -> bool:
    """An id of another form is a 400, not a 404."""
    return task_id.startswith("task-unified-")


def build_accepted(task: SandboxTask) -> Json:
    """The answer to a submission, with what is reserved for it."""
    usage: Json = {"billing_rule": "per_call", "user_group": "default"}
    if (amount := read_credits(task.credits)) is not None:
        usage["credits_reserved"] = amount
    info: Json = {"can_cancel": True, "estimated_time": ESTIMATED_SECONDS, "video_duration": task.seconds}
    return {**_head(task), "progress": 0, "status": "pending", "task_info": info, "usage": usage}


def build_status(task: SandboxTask, snapshot: Snapshot, video_url: str, generation: Generation) -> Json:
    """The answer to a status read; `created` is Unix seconds."""
    over = snapshot.ended is not None
    body: Json = {
        **_head(task),
        "progress": snapshot.percent,
        "status": STATE_WORDS[snapshot.phase],
        "task_info": {"can_cancel": not over},
    }
    if snapshot.phase is Phase.FINISHED:
        body["results"] = [video_url]
        if (amount := read_credits(task.credits)) is not None:
            body["usage"] = {"credits_used": amount}
    if snapshot.failure:
        code, message = FAILURE_WORDS[snapshot.failure]
        error: Json = {"code": code, "message": message}
        body["error"] = error if generation is Generation.OLD else {**error, "type": "task_error"}
    return body


def build_callback(task: SandboxTask, snapshot: Snapshot, video_url: str, generation: Generation) -> Callback:
    """The same body as the status; unsigned."""
    return Callback(build_status(task, snapshot, video_url, generation))


def build_refusal(refusal: Refusal, generation: Generation) -> Answer:
    """New: a string `code`. Old: an integer `code` with `type`, `param` and, at times, a suggestion."""
    status, code, kind, message = _ERRORS[refusal.reason]
    message = refusal.detail or message
    if generation is Generation.NEW:
        error: Json = {"code": code, "message": message, "type": "evo_api_error"}
        return Answer(status, {"error": error | ({"param": refusal.field} if refusal.field else {})})
    older: Json = {"code": status, "message": message, "type": kind}
    if refusal.field:
        older["param"] = refusal.field
    if refusal.reason in _SUGGESTIONS:
        older["fallback_suggestion"] = _SUGGESTIONS[refusal.reason]
    return Answer(status, {"error": older})


def _head(task: SandboxTask) -> Json:
    return {
        "created": int(task.created),
        "id": task.task_id,
        "model": task.model,
        "object": "video.generation.task",
        "type": "video",
    }


def _build_credits(request: PageRequest) -> Answer:
    token: Json = {"remaining_credits": 10000.0, "unlimited_credits": False, "used_credits": 0.0}
    user: Json = {"remaining_credits": 10000.0, "used_credits": 0.0}
    return Answer(200, {"data": {"token": token, "user": user}, "message": "", "success": True})


def _catalogue_meta(request: PageRequest) -> Json:
    as_of = f"{request.facts.as_of}T00:00:00Z"
    return {"schema_version": "1", "catalog_version": "sandbox", "updated_at": as_of, "fresh_until": as_of}


def _build_catalogue(request: PageRequest) -> Answer:
    items: list[JsonValue] = [
        {
            "model_id": card.model,
            "display_name": card.title,
            "provider": "sandbox",
            "aliases": [],
            "capabilities": ["video"],
            "protocols": [],
            "lifecycle": _LIFECYCLE_WORDS[card.lifecycle.availability],
            "deprecates_at": None,
        }
        for card in request.facts.models
    ]
    return Answer(200, {"meta": _catalogue_meta(request), "models": items})


def _build_pricing(request: PageRequest) -> Answer:
    """A row for each model that is listed; everything in the sandbox is free."""
    parameters = request.query.get("model_id", "")
    rows: list[JsonValue] = [
        {
            "sku_id": f"sandbox-{card.model}",
            "model_id": card.model,
            "role": "sandbox",
            "currency": "USD",
            "unit": "video",
            "price": "0",
            "official_price": None,
            "effective_at": f"{request.facts.as_of}T00:00:00Z",
            "source_url": None,
        }
        for card in request.facts.models
        if parameters in ("", card.model) and card.lifecycle.availability is not Availability.DROPPED
    ]
    return Answer(200, {"meta": _catalogue_meta(request), "prices": rows})


def _build_tasks(request: PageRequest) -> Answer:
    page, size = _number(request, "page", 1, 10_000), _number(request, "page_size", 20, 100)
    rows: list[JsonValue] = []
    for task in request.load_tasks():
        snapshot = snapshot_at(task, request.now)
        status = STATE_WORDS[snapshot.phase]
        if request.query.get("status", status) == status and request.query.get("model", task.model) == task.model:
            rows.append(_row(task, snapshot, status))
    shown = rows[(page - 1) * size : page * size]
    return Answer(200, {"data": shown, "total": len(rows), "page": page, "page_size": size})


def _row(task: SandboxTask, snapshot: Snapshot, status: str) -> Json:
    done = snapshot.phase is Phase.FINISHED
    return {
        "id": task.task_id,
        "model": task.model,
        "type": "video",
        "status": status,
        "progress": snapshot.percent,
        "created_at": int(task.created),
        "duration": task.seconds,
        "has_results": done,
        "result_count": 1 if done else 0,
        "has_error": bool(snapshot.failure),
        "credits_used": read_credits(task.credits) if done else 0,
    }


def _number(request: PageRequest, name: str, default: int, most: int) -> int:
    text = request.query.get(name, "")
    return min(max(int(text), 1), most) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _build_rules(request: PageRequest) -> Answer:
    return Answer(200, dict(load_data("evolink_rules.json")))


UPLOAD_PATH = "/api/v1/files/upload/stream"


def build_uploaded(file: UploadedFile) -> Json:
    """The answer to an upload (docs.evolink.ai, undated); served by a server of its own there, by this one here."""
    data: Json = {
        "file_id": f"file_{file.id[:12]}",
        "file_name": file.name,
        "original_name": file.name,
        "file_size": file.size,
        "mime_type": file.media_type,
        "upload_path": "",
        "file_url": file.url,
        "download_url": file.url,
        "upload_time": _time(file.now),
        "expires_at": _time(file.now + 72 * 3600),
    }
    return {"success": True, "code": 200, "msg": "File uploaded successfully", "data": data}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


PAGES = (
    Page("/v1/credits", True, _build_credits),
    Page("/v1/catalog/models", False, _build_catalogue),
    Page("/v1/catalog/pricing", False, _build_pricing),
    Page("/v1/catalog/pricing-rules", False, _build_rules),
    Page("/v1/tasks", True, _build_tasks),
)
