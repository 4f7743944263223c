"""APIDot's wire: the sister brand's endpoints and envelope, with the files nested one level deeper.

Sources by key are in `apidot.toml`. APIDot documents no idempotency header, no balance and no listing.
"""

from __future__ import annotations

from callsheet.core.gateway.protocol import (
    HttpReply,
    HttpRequest,
    StatusOutcome,
    SubmitOutcome,
    SubmitParts,
    TaskRef,
)
from callsheet.core.gateway.replies import quote_task_id, read_wrapped_submit
from callsheet.core.gateway.task_status import StatusShape, read_task_status

# The README shows `output.files`, the site's code and the webhook receivers read `files`.
_STATUS = StatusShape(
    id="task_id", state="status", videos=(("output", "files"), ("files",)), charges=(("credits_amount",),)
)


def build_submit(parts: SubmitParts) -> HttpRequest:
    """The paid request."""
    return HttpRequest("POST", "/api/generate/submit", parts.body, (("Content-Type", "application/json"),))


def read_submit(reply: HttpReply) -> SubmitOutcome:
    """Accepted under `data.task_id`, or why not."""
    return read_wrapped_submit(reply)


def build_status(task: TaskRef) -> HttpRequest:
    """Ask for a task's status; ValueError for an id that no gateway could have given."""
    return HttpRequest("GET", f"/api/generate/status/{quote_task_id(task.gateway_task_id)}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase, progress, files and charge."""
    return read_task_status(reply, _STATUS)
