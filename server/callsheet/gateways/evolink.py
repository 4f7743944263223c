"""EvoLink's wire: flat bodies, the task itself as the answer, errors in two generations of envelope.

Sources by key are in `evolink.toml`. EvoLink's own client is the only source for the idempotency
header and for two error codes that leave the outcome of a paid request open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from urllib.parse import quote

from callsheet.core.catalogue.cards import PriceRule
from callsheet.core.catalogue.expressions import Unpriced, read_components
from callsheet.core.catalogue.published import (
    MOST_MODELS,
    SOURCE,
    UNDATED,
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
    RecentTask,
    StatusOutcome,
    SubmitOutcome,
    SubmitParts,
    TaskRef,
)
from callsheet.core.gateway.replies import (
    NO_STATUS,
    SubmitReading,
    answered,
    decide_submit,
    find,
    find_near_id,
    quote_task_id,
    read_amount,
    read_complaint,
    read_items,
    read_object,
    read_status_number,
    read_task_id,
    read_text,
    read_time,
)
from callsheet.core.gateway.task_status import StatusShape, read_task_status
from callsheet.core.gateway.uploads import build_multipart, read_link
from callsheet.core.shot import JsonValue

# `results` is documented; `result_data` is in EvoLink's own client.
_STATUS = StatusShape(
    id="id",
    state="status",
    videos=(("results",), ("result_data",)),
    charges=(("usage", "credits_used"), ("usage", "cost", "credits")),
    wrapped=False,
)

_OPEN_CODES = frozenset({"idempotency_conflict", "paid_outcome_unknown"})

# The newer envelope has words where the older has numbers; these are the numbers that the same
# sources give for them (evolink-tasks-copy, evolink-mcp).
_NUMBERS = {
    "invalid_request": 400,
    "unauthorized": 401,
    "insufficient_quota": 402,
    "insufficient_user_quota": 402,
    "quota_not_enough": 402,
    "account_balance_insufficient": 402,
    "insufficient_token_quota": 402,
    "key_quota_exhausted": 402,
    "token_daily_quota_exceeded": 402,
    "key_daily_quota_exhausted": 402,
    "model_access_denied": 403,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
}


def build_submit(parts: SubmitParts) -> HttpRequest:
    """The paid request, with the approval's idempotency key."""
    headers = (("Content-Type", "application/json"), ("Idempotency-Key", parts.idempotency_key))
    return HttpRequest("POST", "/v1/videos/generations", parts.body, headers)


def read_submit(reply: HttpReply) -> SubmitOutcome:
    """Accepted under `id`, or why not."""
    body = read_object(reply.body)
    code, message = read_complaint(body)
    reading = SubmitReading(
        id=find(body, "id"),
        state=read_text(find(body, "status")),
        number=_number(body),
        code=code,
        message=message,
        unclear=not _OPEN_CODES.isdisjoint(_words(body)),
        near_id=find_near_id(body),
    )
    return decide_submit(reply, reading)


def build_status(task: TaskRef) -> HttpRequest:
    """Ask for a task's status; ValueError for an id that no gateway could have given."""
    return HttpRequest("GET", f"/v1/tasks/{quote_task_id(task.gateway_task_id)}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase, progress, results and charge."""
    return read_task_status(reply, _STATUS)


def build_balance() -> HttpRequest:
    """Ask for the credits left."""
    return HttpRequest("GET", "/v1/credits")


def read_balance(reply: HttpReply) -> Balance | None:
    """The credits that can be spent: the account's, or what the key may still use of them if that is less."""
    body = read_object(reply.body)
    if not answered(reply) or find(body, "success") is False:
        return None
    known = [read_amount(find(body, "data", "user", "remaining_credits"))]
    if find(body, "data", "token", "unlimited_credits") is not True:
        known.append(read_amount(find(body, "data", "token", "remaining_credits")))
    left = min((figure for figure in known if figure is not None), key=Decimal, default=None)
    return None if left is None else Balance(left, "credits")


def build_listing(model: str) -> HttpRequest:
    """Look the model's prices up in the public catalogue, which takes no key.

    Seen only in an earlier revision of EvoLink's own client. Unlike the plain list of models, it can be asked about
    a single model.
    """
    return HttpRequest("GET", f"/v1/catalog/pricing?model_id={quote(model, safe='')}", authorized=False)


def read_listing(reply: HttpReply) -> bool | None:
    """Whether the catalogue prices the model; None unless the reply is the versioned catalogue of one model."""
    body = read_object(reply.body)
    prices = find(body, "prices")
    if not answered(reply) or not read_text(find(body, "meta", "catalog_version")) or not isinstance(prices, list):
        return None
    models = {read_text(find(price, "model_id")) for price in prices}
    return False if not models else (True if len(models) == 1 and models != {""} else None)


def build_recent() -> HttpRequest:
    """Ask for the latest tasks; seen in EvoLink's own client, not in its documentation."""
    return HttpRequest("GET", "/v1/tasks?type=video&page=1&page_size=20")


def read_recent(reply: HttpReply) -> tuple[RecentTask, ...]:
    """The listed tasks that have a usable id."""
    rows = read_items(find(read_object(reply.body), "data")) if answered(reply) else ()
    return tuple(
        RecentTask(found, read_text(find(row, "model")), read_time(find(row, "created_at")))
        for row in rows
        if (found := read_task_id(find(row, "id"))) is not None
    )


def _number(body: object) -> int | None:
    error = find(body, "error")
    known = next((_NUMBERS[word] for word in _words(body) if word in _NUMBERS), None)
    if error is None:
        # No document has a number outside of `error`, but a proxy in front of the gateway may write one.
        found = read_status_number(find(body, "code"))
        return known if found == NO_STATUS else found
    return known or read_status_number(find(error, "code")) or NO_STATUS


def _words(body: object) -> tuple[str, ...]:
    """Every place in which an envelope of either generation names its error."""
    error = find(body, "error")
    found = (error, find(error, "code"), find(error, "type"), find(body, "code"))
    return tuple(word.lower() for word in found if isinstance(word, str))


def build_upload(name: str, content: bytes) -> HttpRequest:
    """Upload one picture (evolink-files)."""
    return build_multipart("/api/v1/files/upload/stream", name, content)


def read_upload(reply: HttpReply) -> str | None:
    """The link of the uploaded picture."""
    return read_link(reply)


def build_catalogue(cursor: str) -> HttpRequest:
    """The public price rules, all in one reply (evolink-rules); no key is sent."""
    return HttpRequest("GET", "/v1/catalog/pricing-rules?view=full", authorized=False)


def read_catalogue(reply: HttpReply) -> CataloguePage:
    """The video models with their price rules; raises `CatalogueRefused`."""
    body = read_reply(reply.body)
    items = find(body, "models")
    currency, scope = find(body, "meta", "currency"), find(body, "meta", "price_scope")
    if reply.status != 200 or not isinstance(items, list) or (currency, scope) != ("USD", "public_default"):
        raise CatalogueRefused("it is not the documented list of price rules")
    if len(items) > MOST_MODELS:
        raise CatalogueRefused("it lists far too many models")
    return CataloguePage(*read_models(items, "model_id", _read_model))


def _read_model(item: Mapping[str, JsonValue], model: str) -> PublishedModel | None:
    """One model; None for what makes no video. EvoLink publishes prices, not the fields of a request."""
    if item.get("modality") != "video" or item.get("lifecycle") != "active":
        return None
    rule = PriceRule("published", as_of=UNDATED, source=SOURCE, unit="USD", usd_per_unit=Decimal(1))
    try:
        rule = replace(rule, components=read_components(item))
    except Unpriced as error:
        rule = replace(rule, per="unknown", note=f"The published rule was not understood: {error}.")
    return PublishedModel(model=model, title=model, price=rule)
