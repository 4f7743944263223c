"""APIXO's wire: the model is part of both paths, the result is JSON inside a JSON string.

Sources by key are in `apixo.toml`. A failed task is an HTTP 200 with code 200: only `data.state` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from callsheet.core.catalogue.published import (
    MOST_MODELS,
    CataloguePage,
    CatalogueRefused,
    PublishedModel,
    read_models,
    read_reply,
)
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
    read_wrapped_submit,
)
from callsheet.core.gateway.task_status import StatusShape, read_task_status
from callsheet.core.security.redaction import clean
from callsheet.core.shot import JsonValue

# The result is JSON in a text; MP4 for Sora, though the documented example is an image.
_STATUS = StatusShape(id="taskId", state="state", videos=(("resultJson", "resultUrls"),))


def build_submit(parts: SubmitParts) -> HttpRequest:
    """The paid request. APIXO documents no idempotency header, so none is sent."""
    path = f"/api/v1/generateTask/{quote(parts.model, safe='')}"
    return HttpRequest("POST", path, parts.body, (("Content-Type", "application/json"),))


def read_submit(reply: HttpReply) -> SubmitOutcome:
    """Accepted under `data.taskId`, or why not."""
    return read_wrapped_submit(reply, id_name="taskId", state_name="state")


def build_status(task: TaskRef) -> HttpRequest:
    """Ask for a task's status; ValueError for an id that no gateway could have given."""
    wanted = quote_task_id(task.gateway_task_id)
    return HttpRequest("GET", f"/api/v1/statusTask/{quote(task.model, safe='')}?taskId={wanted}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase and result. APIXO reports neither progress nor what was charged."""
    return read_task_status(reply, _STATUS)


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


def build_catalogue(cursor: str) -> HttpRequest:
    """The index of the published schemas (apixo-mcp-server); it names the models, and no price."""
    return HttpRequest("GET", "/docs/models/schemas/index.json", authorized=False)


def read_catalogue(reply: HttpReply) -> CataloguePage:
    """The listed video models; raises `CatalogueRefused`. The schemas' own shape is not known, so they are not read."""
    found = read_reply(reply.body)
    items = found.get("models") if isinstance(found, dict) else found
    if reply.status != 200 or not isinstance(items, list) or len(items) > MOST_MODELS:
        raise CatalogueRefused("it is not the documented index")
    return CataloguePage(*read_models(items, "model_id", _read_model))


def _read_model(item: Mapping[str, JsonValue], model: str) -> PublishedModel | None:
    is_video = "video" in str(item.get("category")).lower()
    return PublishedModel(model=model, title=clean(str(item.get("title") or model), limit=80)) if is_video else None
