"""APIDot's wire: the sister brand's endpoints and envelope, with the files nested one level deeper.

Sources by key are in `apidot.toml`. APIDot documents no idempotency header, no balance and no listing.
"""

from __future__ import annotations

from callsheet.core.gateway.protocol import (
    HttpReply,
    HttpRequest,
    Phase,
    StatusOutcome,
    SubmitOutcome,
    SubmitParts,
    TaskRef,
)
from callsheet.core.gateway.replies import (
    find,
    quote_task_id,
    read_items,
    read_text,
    read_video_links,
    read_wrapped_status,
    read_wrapped_submit,
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
    return read_wrapped_submit(reply, _read_complaint)


def build_status(task: TaskRef) -> HttpRequest:
    """Ask for a task's status; ValueError for an id that no gateway could have given."""
    return HttpRequest("GET", f"/api/generate/status/{quote_task_id(task.gateway_task_id)}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase, progress, files and charge."""
    return read_wrapped_status(reply, _PHASES, _read_complaint, _read_videos)


def _read_complaint(body: object) -> tuple[str, str]:
    """Code and message. APIDot shows no error body; these are the sister brand's and the one that its site reads."""
    error = find(body, "error")
    code = read_text(find(error, "type"), find(error, "code"))
    return code, read_text(
        find(error, "message"),
        error,
        find(body, "message"),
        find(body, "msg"),
        find(body, "detail"),
    )


def _read_videos(data: object) -> tuple[str, ...]:
    # The README shows `output.files`, the site's code and the webhook receivers read `files`: both.
    entries = [*read_items(find(data, "output", "files")), *read_items(find(data, "files"))]
    return read_video_links(find(entry, "file_url") for entry in entries if find(entry, "file_type") in ("video", None))
