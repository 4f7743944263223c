"""APIDot's wire: the sister brand's endpoints and envelope, with the files one level deeper.

Sources by key are in `apidot.toml`. APIDot documents no idempotency header, no balance and no listing.
"""

from __future__ import annotations

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

_PHASES = {
    "not_started": Phase.QUEUED,
    "running": Phase.RUNNING,
    "finished": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}


def build_submit(parts: SubmitParts) -> HttpRequest:
    """The paid request."""
    return HttpRequest("POST", "/api/generate/submit", parts.body, (("Content-Type", "application/json"),))


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
    """The task's phase, progress, files and charge."""
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
        failure=problem_of(reply, "", text(look(data, "error_message"))) if phase is Phase.FAILED else None,
        charge=Charge(charged, "credits") if charged is not None else None,
    )


def read_callback(body: bytes) -> str | None:
    """The task id of a delivery; APIDot's receivers read it wrapped and flat (apidot-examples)."""
    delivery = read_object(body)
    return task_id(look(delivery, "data", "task_id")) or task_id(look(delivery, "task_id"))


def build_balance() -> HttpRequest | None:
    """None: APIDot documents no balance endpoint."""
    return None


def read_balance(reply: HttpReply) -> Balance | None:
    """None, for there is nothing to read."""
    return None


def build_listing(model: str) -> HttpRequest | None:
    """None: APIDot documents no catalogue endpoint."""
    return None


def read_listing(reply: HttpReply) -> bool | None:
    """None, for there is nothing to read."""
    return None


def build_recent() -> HttpRequest | None:
    """None: APIDot documents no list of tasks."""
    return None


def read_recent(reply: HttpReply) -> tuple[RecentTask, ...]:
    """Empty, for there is nothing to read."""
    return ()


def _complaint(body: object) -> tuple[str, str]:
    """Code and message. APIDot shows no error body; these are its sister's, and the one its site reads."""
    error = look(body, "error")
    code = text(look(error, "type"), look(error, "code"))
    return code, text(look(error, "message"), error, look(body, "message"), look(body, "msg"), look(body, "detail"))


def _videos(data: object) -> tuple[str, ...]:
    # The README shows `output.files`, the site's code and the webhook receivers read `files`: both.
    entries = [*items(look(data, "output", "files")), *items(look(data, "files"))]
    return video_links(look(entry, "file_url") for entry in entries if look(entry, "file_type") in ("video", None))
