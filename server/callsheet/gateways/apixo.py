"""APIXO's wire: the model stands in the path of both endpoints, the result is JSON inside a JSON string.

Sources by key are in `apixo.toml`. A failed task is an HTTP 200 with code 200: only `data.state` tells.
"""

from __future__ import annotations

from urllib.parse import quote

from callsheet.core.gateway.protocol import (
    Balance,
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
    body = read_object(reply.body)
    code, message = _complaint(body)
    reading = SubmitReading(
        id=look(body, "data", "taskId"),
        state=text(look(body, "data", "state")),
        number=status_number(look(body, "code")),
        code=code,
        message=message,
    )
    return judge_submit(reply, reading)


def build_status(task: TaskRef) -> HttpRequest:
    """Ask after a task; ValueError for an id that no gateway could have given."""
    wanted = quote_task_id(task.gateway_task_id)
    return HttpRequest("GET", f"/api/v1/statusTask/{quote(task.model, safe='')}?taskId={wanted}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase and result. APIXO reports neither progress nor what was charged."""
    body = read_object(reply.body)
    number = status_number(look(body, "code"))
    data = look(body, "data")
    said = text(look(data, "state"))
    if not answered(reply, number) or not said:
        return unavailable(reply, body, number, *_complaint(body))
    phase = phase_of(said, _PHASES)
    failure = problem_of(reply, text(look(data, "failCode")), text(look(data, "failMsg")))
    return Progress(
        phase=phase,
        said=said,
        video_urls=_videos(look(data, "resultJson")) if phase is Phase.SUCCEEDED else (),
        failure=failure if phase is Phase.FAILED else None,
    )


def read_callback(body: bytes) -> str | None:
    """The task id of a delivery, which is shaped like a status reply (apixo-webhooks)."""
    delivery = read_object(body)
    return task_id(look(delivery, "data", "taskId")) or task_id(look(delivery, "taskId"))


def build_balance() -> HttpRequest:
    """Ask for the dollars left for this key."""
    return HttpRequest("GET", "/api/v1/apikeys/current-balance")


def read_balance(reply: HttpReply) -> Balance | None:
    """The dollars left for this key: the bare number in `data`."""
    body = read_object(reply.body)
    left = amount(look(body, "data"))
    if left is None or not answered(reply, status_number(look(body, "code"))):
        return None
    return Balance(left, "USD")


def build_listing(model: str) -> HttpRequest | None:
    """None: APIXO's list of schemas is on its web site, not behind the API."""
    return None


def read_listing(reply: HttpReply) -> bool | None:
    """None, for there is nothing to read."""
    return None


def build_recent() -> HttpRequest | None:
    """None: APIXO documents no list of tasks."""
    return None


def read_recent(reply: HttpReply) -> tuple[RecentTask, ...]:
    """Empty, for there is nothing to read."""
    return ()


def _complaint(body: object) -> tuple[str, str]:
    """Code and message; `failCode` also stands in some immediate errors (apixo-errors)."""
    data = look(body, "data")
    code = text(look(data, "failCode"))
    return code, text(look(data, "failMsg"), look(data, "error"), look(body, "message"))


def _videos(result: object) -> tuple[str, ...]:
    """The addresses in `resultJson`; MP4 for Sora, though the documented example is a picture's."""
    decoded = read_object(result.encode("utf-8", "replace")) if isinstance(result, str) else result
    return video_links(items(look(decoded, "resultUrls")))
