"""APIXO's wire: the model is part of both paths, the result is JSON inside a JSON string.

Sources by key are in `apixo.toml`. A failed task is an HTTP 200 with code 200: only `data.state` shows it.
"""

from __future__ import annotations

from urllib.parse import quote

from callsheet.core.gateway.protocol import (
    Balance,
    HttpReply,
    HttpRequest,
    Phase,
    Progress,
    StatusOutcome,
    SubmitOutcome,
    SubmitParts,
    TaskRef,
)
from callsheet.core.gateway.replies import (
    answered,
    build_problem,
    build_unavailable,
    find,
    quote_task_id,
    read_amount,
    read_items,
    read_object,
    read_phase,
    read_status_number,
    read_text,
    read_video_links,
    read_wrapped_submit,
)

_PHASES = {
    "pending": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}


def build_submit(parts: SubmitParts) -> HttpRequest:
    """The paid request. APIXO documents no idempotency header, so none is sent."""
    path = f"/api/v1/generateTask/{quote(parts.model, safe='')}"
    return HttpRequest("POST", path, parts.body, (("Content-Type", "application/json"),))


def read_submit(reply: HttpReply) -> SubmitOutcome:
    """Accepted under `data.taskId`, or why not."""
    return read_wrapped_submit(reply, _read_complaint, id_name="taskId", state_name="state")


def build_status(task: TaskRef) -> HttpRequest:
    """Ask for a task's status; ValueError for an id that no gateway could have given."""
    wanted = quote_task_id(task.gateway_task_id)
    return HttpRequest("GET", f"/api/v1/statusTask/{quote(task.model, safe='')}?taskId={wanted}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase and result. APIXO reports neither progress nor what was charged."""
    body = read_object(reply.body)
    number = read_status_number(find(body, "code"))
    data = find(body, "data")
    said = read_text(find(data, "state"))
    if not answered(reply, number) or not said:
        return build_unavailable(reply, body, number, *_read_complaint(body))
    phase = read_phase(said, _PHASES)
    failure = build_problem(reply, read_text(find(data, "failCode")), read_text(find(data, "failMsg")))
    return Progress(
        phase=phase,
        said=said,
        video_urls=_read_videos(find(data, "resultJson")) if phase is Phase.SUCCEEDED else (),
        failure=failure if phase is Phase.FAILED else None,
    )


def build_balance() -> HttpRequest:
    """Ask for the dollars left for this key."""
    return HttpRequest("GET", "/api/v1/apikeys/current-balance")


def read_balance(reply: HttpReply) -> Balance | None:
    """The dollars left for this key: the bare number in `data`."""
    body = read_object(reply.body)
    left = read_amount(find(body, "data"))
    if left is None or not answered(reply, read_status_number(find(body, "code"))):
        return None
    return Balance(left, "USD")


def _read_complaint(body: object) -> tuple[str, str]:
    """Code and message; some immediate errors have `failCode` too (apixo-errors)."""
    data = find(body, "data")
    code = read_text(find(data, "failCode"))
    return code, read_text(find(data, "failMsg"), find(data, "error"), find(body, "message"))


def _read_videos(result: object) -> tuple[str, ...]:
    """The addresses in `resultJson`; MP4 for Sora, though the documented example is an image."""
    decoded = read_object(result.encode("utf-8", "replace")) if isinstance(result, str) else result
    return read_video_links(read_items(find(decoded, "resultUrls")))
