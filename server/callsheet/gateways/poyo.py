"""PoYo's wire: one submit endpoint, one status endpoint, an answer wrapped in `{code, data}`.

Sources by key are in `poyo.toml`. The body's own `code` counts as much as the status line: PoYo's
clients treat an HTTP 200 with another code as a failure (poyo-client, poyo-examples).
"""

from __future__ import annotations

from urllib.parse import quote

from callsheet.core.gateway.protocol import (
    Balance,
    HttpReply,
    HttpRequest,
    StatusOutcome,
    SubmitOutcome,
    SubmitParts,
    TaskRef,
)
from callsheet.core.gateway.replies import (
    answered,
    find,
    quote_task_id,
    read_amount,
    read_object,
    read_status_number,
    read_text,
    read_wrapped_submit,
)
from callsheet.core.gateway.task_status import StatusShape, read_task_status

# `files` is documented; `output` is in PoYo's client without its contents, and its sister brand puts the files there.
_STATUS = StatusShape(
    id="task_id", state="status", videos=(("files",), ("output", "files")), charges=(("credits_amount",),)
)


def build_submit(parts: SubmitParts) -> HttpRequest:
    """The paid request. It carries the approval's key, because PoYo's client sends one (poyo-client)."""
    headers = (("Content-Type", "application/json"), ("Idempotency-Key", parts.idempotency_key))
    return HttpRequest("POST", "/api/generate/submit", parts.body, headers)


def read_submit(reply: HttpReply) -> SubmitOutcome:
    """Accepted under `data.task_id`, or why not."""
    return read_wrapped_submit(reply)


def build_status(task: TaskRef) -> HttpRequest:
    """Ask for a task's status; ValueError for an id that no gateway could have given."""
    return HttpRequest("GET", f"/api/generate/status/{quote_task_id(task.gateway_task_id)}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase, progress, files and charge. A failed generation is an HTTP 200 too."""
    return read_task_status(reply, _STATUS)


def build_balance() -> HttpRequest:
    """Ask for the credits left."""
    return HttpRequest("GET", "/api/user/balance")


def read_balance(reply: HttpReply) -> Balance | None:
    """The credits left. The reply also has the account's e-mail address, which is never read."""
    body = read_object(reply.body)
    left = read_amount(find(body, "data", "credits_amount"))
    if left is None or not answered(reply, read_status_number(find(body, "code"))):
        return None
    return Balance(left, "credits")


def build_listing(model: str) -> HttpRequest:
    """Look a model up in the public catalogue; PoYo's own client sends no key there (poyo-client)."""
    return HttpRequest("GET", f"/v1/catalog/models/{quote(model, safe='')}", authorized=False)


def read_listing(reply: HttpReply) -> bool | None:
    """Whether the catalogue has the model. How it says no is not documented: a JSON 404 is read as no."""
    body = read_object(reply.body)
    number = read_status_number(find(body, "code"))
    if body is not None and 404 in (reply.status, number):
        return False
    return True if answered(reply, number) and read_text(find(body, "data", "model_id")) else None
