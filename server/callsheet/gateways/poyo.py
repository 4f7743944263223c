"""PoYo's wire: one submit endpoint, one status endpoint, an answer wrapped in `{code, data}`.

Sources by key are in `poyo.toml`. The body's own `code` counts as much as the status line: PoYo's
clients treat an HTTP 200 with another code as a failure (poyo-client, poyo-examples).
"""

from __future__ import annotations

from urllib.parse import quote

from callsheet.core.gateway.protocol import (
    Balance,
    Charge,
    HttpReply,
    HttpRequest,
    Phase,
    Progress,
    RecentTask,
    StatusOutcome,
    SubmitOutcome,
    SubmitParts,
    TaskRef,
)
from callsheet.core.gateway.replies import (
    SubmitReading,
    amount,
    answered,
    items,
    judge_submit,
    look,
    percent,
    phase_of,
    problem_of,
    quote_task_id,
    read_object,
    status_number,
    task_id,
    text,
    unavailable,
    video_links,
)

# The first four are documented (poyo-docs-2026-01); the others are tolerated by PoYo's own client.
_PHASES = {
    "not_started": Phase.QUEUED,
    "running": Phase.RUNNING,
    "finished": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "pending": Phase.QUEUED,
    "queued": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
}


def build_submit(parts: SubmitParts) -> HttpRequest:
    """The paid request. The key of the approval goes along, for PoYo's client sends one (poyo-client)."""
    headers = (("Content-Type", "application/json"), ("Idempotency-Key", parts.idempotency_key))
    return HttpRequest("POST", "/api/generate/submit", parts.body, headers)


def read_submit(reply: HttpReply) -> SubmitOutcome:
    """Accepted under `data.task_id`, or why not."""
    body = read_object(reply.body)
    code, message = _complaint(body)
    reading = SubmitReading(
        id=look(body, "data", "task_id"),
        state=text(look(body, "data", "status")),
        number=status_number(look(body, "code")),
        code=code,
        message=message,
    )
    return judge_submit(reply, reading)


def build_status(task: TaskRef) -> HttpRequest:
    """Ask after a task; ValueError for an id that no gateway could have given."""
    return HttpRequest("GET", f"/api/generate/status/{quote_task_id(task.gateway_task_id)}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase, progress, files and charge. A failed generation is an HTTP 200, too."""
    body = read_object(reply.body)
    number = status_number(look(body, "code"))
    data = look(body, "data")
    said = text(look(data, "status"))
    if not answered(reply, number) or not said:
        return unavailable(reply, body, number, *_complaint(body))
    phase = phase_of(said, _PHASES)
    charged = amount(look(data, "credits_amount"))
    return Progress(
        phase=phase,
        said=said,
        percent=percent(look(data, "progress")),
        video_urls=_videos(data) if phase is Phase.SUCCEEDED else (),
        # No source names a machine-readable failure code.
        failure=problem_of(reply, "", text(look(data, "error_message"))) if phase is Phase.FAILED else None,
        charge=Charge(charged, "credits") if charged is not None else None,
    )


def read_callback(body: bytes) -> str | None:
    """The task id of a delivery, wrapped (until 2026-05) or flat (from 2026-07); all else is unsigned."""
    delivery = read_object(body)
    return task_id(look(delivery, "data", "task_id")) or task_id(look(delivery, "task_id"))


def build_balance() -> HttpRequest:
    """Ask for the credits left."""
    return HttpRequest("GET", "/api/user/balance")


def read_balance(reply: HttpReply) -> Balance | None:
    """The credits left. The reply also has the account's e-mail address, which is never read."""
    body = read_object(reply.body)
    left = amount(look(body, "data", "credits_amount"))
    if left is None or not answered(reply, status_number(look(body, "code"))):
        return None
    return Balance(left, "credits")


def build_listing(model: str) -> HttpRequest:
    """Look a model up in the public catalogue; PoYo's own client sends no key there (poyo-client)."""
    return HttpRequest("GET", f"/v1/catalog/models/{quote(model, safe='')}", authorized=False)


def read_listing(reply: HttpReply) -> bool | None:
    """Whether the catalogue has the model. How it says no is not documented: a JSON 404 is read as no."""
    body = read_object(reply.body)
    number = status_number(look(body, "code"))
    if body is not None and 404 in (reply.status, number):
        return False
    return True if answered(reply, number) and text(look(body, "data", "model_id")) else None


def build_recent() -> HttpRequest | None:
    """None: PoYo documents no list of tasks."""
    return None


def read_recent(reply: HttpReply) -> tuple[RecentTask, ...]:
    """Empty, for there is nothing to read."""
    return ()


def _complaint(body: object) -> tuple[str, str]:
    """Code and message from both envelopes: `{code, error: {type, message}}` and `{detail}`."""
    detail = look(body, "detail")
    first = next(iter(items(detail)), None)
    error = look(body, "error")
    code = text(look(error, "type"), look(error, "code"), look(first, "type"))
    return code, text(look(error, "message"), error, detail, look(first, "msg"), look(body, "message"))


def _videos(data: object) -> tuple[str, ...]:
    # `files` is documented; `output` is in PoYo's client without its contents, and its sister brand
    # puts the files there.
    entries = [*items(look(data, "files")), *items(look(data, "output", "files"))]
    return video_links(look(entry, "file_url") for entry in entries if look(entry, "file_type") in ("video", None))
