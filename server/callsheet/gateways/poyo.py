"""PoYo's wire: one submit endpoint, one status endpoint, an answer wrapped in `{code, data}`.

Sources by key are in `poyo.toml`. The body's own `code` counts as much as the status line: PoYo's
clients treat an HTTP 200 with another code as a failure (poyo-client, poyo-examples).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Literal
from urllib.parse import quote

from callsheet.core.catalogue.cards import AddOn, PriceRule
from callsheet.core.catalogue.fields import Field
from callsheet.core.catalogue.prices import ANY
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
from callsheet.core.catalogue.schemas import kinds_of, read_fields, read_inputs
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
from callsheet.core.gateway.uploads import build_multipart, read_link
from callsheet.core.security.redaction import clean
from callsheet.core.shot import JsonValue

CREDIT = Decimal("0.005")
"""One credit in US dollars (poyo.toml)."""

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


def build_upload(name: str, content: bytes) -> HttpRequest:
    """Upload one picture (poyo-docs-2026-01)."""
    return build_multipart("/api/common/upload/stream", name, content)


def read_upload(reply: HttpReply) -> str | None:
    """The link of the uploaded picture."""
    return read_link(reply)


def build_catalogue(cursor: str) -> HttpRequest:
    """A page of the public catalogue (poyo-client: at most 100 models each); no key is sent."""
    after = f"&cursor={quote(cursor, safe='')}" if cursor else ""
    return HttpRequest("GET", f"/v1/catalog/models?limit=100{after}", authorized=False)


def read_catalogue(reply: HttpReply) -> CataloguePage:
    """The models of a page; raises `CatalogueRefused`."""
    body = read_reply(reply.body)
    data = find(body, "data")
    items = data.get("items") if isinstance(data, dict) else None
    if (
        not isinstance(data, dict)
        or not isinstance(items, list)
        or not answered(reply, read_status_number(find(body, "code")))
    ):
        raise CatalogueRefused("it is not the documented list of models")
    cursor = data.get("next_cursor") if data.get("has_more") else ""
    if not isinstance(cursor, str) or bool(cursor) != bool(data.get("has_more")) or len(items) > MOST_MODELS:
        raise CatalogueRefused("its pages are not as documented")
    models, skipped = read_models(items, "model_id", _read_model)
    return CataloguePage(models, skipped, cursor)


def _read_model(item: Mapping[str, JsonValue], model: str) -> PublishedModel | None:
    """One model; None for what is no video model. ValueError where it cannot be read."""
    if "vid" not in str(item.get("category")):
        return None
    schema = item.get("input_schema")
    fields = read_fields(schema if isinstance(schema, dict) else {}, ("input",))
    outer = (
        Field(path=("model",), role="model", kind="string", source=SOURCE, required=True),
        Field(path=("callback_url",), role="callback", kind="string", source=SOURCE),
    )
    return PublishedModel(
        model=model,
        title=clean(str(item.get("title") or model), limit=80),
        price=read_billing(item.get("billing")),
        kinds=kinds_of(model, fields) if item.get("status") == "stable" else (),
        fields=(*outer, *fields),
        inputs=read_inputs(fields),
        schema=json.dumps(schema),
        schema_path=("input",),
    )


_TABLES = {
    "duration_credits": ("duration_seconds",),
    "resolution_credits": ("resolution",),
    "resolution_credit_rates": ("resolution",),
    "sound_credits": ("audio",),
    "credit_rules": ("resolution", "video_input"),
}
_KEYS = {
    "duration": "duration_seconds",
    "resolution": "resolution",
    "resolution_group": "resolution",
    "sound": "audio",
    "generate_audio": "audio",
    "mode": "kind",
}
_ROWS = {
    "with_video": "true",
    "without_video": "false",
    "text_to_video": "text-to-video",
    "image_to_video": "image-to-video",
    "generate": ANY,
    "standard": ANY,
}
_FORMULA = re.compile(r"((?:duration|billed_seconds) \* )?[a-z_]+((?:\[[a-z_]+\])*)")
_PER_IMAGE = (
    "(duration + reference_video_seconds) * credits_per_second"
    " + max(0, reference_image_count - free_reference_images) * extra_reference_image_credits"
)
_ALSO_INPUT = "(input video billing duration + output duration) * with_video rate"


def read_billing(billing: JsonValue) -> PriceRule:
    """What a model costs in credits, `unknown` where the billing is none of the published shapes."""
    unknown = PriceRule("unknown", as_of=UNDATED, source=SOURCE, note="PoYo's rule for it could not be evaluated.")
    if not isinstance(billing, dict):
        return unknown
    formula = str(billing.get("formula") or "")
    per: Literal["clip", "second"] = "second" if billing.get("unit") == "second" else "clip"
    base = replace(unknown, per=per, unit="credits", usd_per_unit=CREDIT, note="")
    try:
        if formula == _PER_IMAGE:
            terms = billing.get("parameters")
            if not isinstance(terms, dict):
                return unknown
            extra = AddOn(
                role="reference_image",
                above=int(_amount(terms.get("free_reference_images"))),
                amount=_amount(terms.get("extra_reference_image_credits")),
            )
            rate = _amount(terms.get("credits_per_second"))
            return replace(base, amounts={ANY: rate}, billed="output+input", added=(extra,))
        if billing.get("type") == "fixed":
            return replace(base, per="clip", amounts={ANY: _amount(billing.get("credits"))})
        if "credits_per_unit" in billing:
            rate = _amount(billing.get("credits_per_unit"))
            return replace(base, amounts={ANY: rate}) if formula == f"duration * {rate}" else unknown
        name, table = next((name, billing[name]) for name in ("price_table", *_TABLES) if name in billing)
        shape = _FORMULA.fullmatch(formula)
        if formula and _ALSO_INPUT not in formula and (shape is None or bool(shape[1]) != (per == "second")):
            return unknown
        named = re.findall(r"\[([a-z_]+)\]", shape[2]) if shape else []
        keys = _TABLES.get(name) or tuple(_KEYS[key] for key in named)
        amounts = {" / ".join(path): amount for path, amount in _rows(table, len(keys))}
    except (KeyError, StopIteration, ValueError):
        return unknown
    return replace(base, keys=keys, amounts=amounts, billed="output+input" if "video_input" in keys else "output")


def _rows(table: JsonValue, depth: int) -> Iterator[tuple[tuple[str, ...], Decimal]]:
    if depth == 0:
        yield (), _amount(table)
        return
    if not isinstance(table, dict) or not table:
        raise ValueError("a table of prices is not understood")
    for key, part in table.items():
        word = _ROWS.get(key, key.lower())
        # An edit is no clip that a shot can ask for.
        if key != "video_edit":
            yield from (((word, *rest), amount) for rest, amount in _rows(part, depth - 1))


def _amount(value: JsonValue) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 <= value <= 10**6:
        raise ValueError("an amount is not a number")
    return Decimal(str(value))
