"""What the gateways publish, as the sandbox publishes it too: models, prices and the schemas of their bodies.

`data/` has facts only, with their source and without prose. A request body is checked by these schemas, which know
nothing of the cards that drafted it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from callsheet.core.catalogue.cards import Catalogue
from callsheet.core.catalogue.published import overlay
from callsheet.core.gateway.protocol import CatalogueReader
from callsheet.edges.config.published_files import read_published
from callsheet.gateways import load_gateway

PAGE_LENGTH = 20


@cache
def load_data(name: str) -> Mapping[str, Any]:
    """One of the files in `data/`."""
    text = resources.files("callsheet.sandbox").joinpath("data", name).read_text()
    data: Mapping[str, Any] = json.loads(text)
    return data


def poyo_page(cursor: str, limit: str) -> dict[str, Any]:
    """A page of PoYo's catalogue; the cursor is the number of the first item."""
    items = load_data("poyo_catalogue.json")["items"]
    first = int(cursor) if cursor.isdigit() else 0
    length = min(int(limit), PAGE_LENGTH) if limit.isdigit() and int(limit) else PAGE_LENGTH
    after = first + length
    more = after < len(items)
    return {
        "schema_version": load_data("poyo_catalogue.json")["schema_version"],
        "items": items[first:after],
        "next_cursor": str(after) if more else None,
        "has_more": more,
    }


def poyo_item(model: str) -> dict[str, Any] | None:
    """One item of PoYo's catalogue."""
    return next((item for item in load_data("poyo_catalogue.json")["items"] if item["model_id"] == model), None)


def find_schema(gateway: str, model: str) -> tuple[tuple[str, ...], Mapping[str, Any]] | None:
    """The published schema of a model's body, and where in the body it applies."""
    if gateway == "poyo":
        item = poyo_item(model)
        return None if item is None else (("input",), item["input_schema"])
    schema = load_data("evolink_schemas.json")["schemas"].get(model) if gateway == "evolink" else None
    return None if schema is None else ((), schema)


def check_schema(gateway: str, model: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each field of a body that breaks the published schema, with the rule in the schema's words."""
    from jsonschema import Draft202012Validator

    found = find_schema(gateway, model)
    if found is None:
        return
    path, schema = found
    value: Any = body
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    for error in Draft202012Validator(schema).iter_errors(value):
        field = ".".join((*path, *map(str, error.absolute_path)))
        yield field or "body", f"{error.validator}: {json.dumps(error.validator_value)[:200]}"


def with_published(catalogue: Catalogue) -> Catalogue:
    """The catalogue and the models that are only published: the sandbox plays those too."""
    found = []
    for gateway_id, page in (("poyo", _poyo_reply()), ("evolink", load_data("evolink_rules.json"))):
        gateway = load_gateway(gateway_id)
        assert isinstance(gateway, CatalogueReader)
        raw = json.dumps(page).encode()
        found.append(read_published(gateway, gateway_id, url="", date="undated", pages=[raw]))
    laid_over = overlay(catalogue, found)
    gateways = []
    for own, other in zip(catalogue.gateways, laid_over.gateways, strict=True):
        known = {card.model for card in own.models}
        new = tuple(card for card in other.models if card.model not in known and card.kinds)
        gateways.append(replace(own, models=(*own.models, *new)))
    return Catalogue(tuple(gateways))


def _poyo_reply() -> dict[str, Any]:
    catalogue = load_data("poyo_catalogue.json")
    data = {"schema_version": catalogue["schema_version"], "items": catalogue["items"], "has_more": False}
    return {"code": 200, "data": {**data, "next_cursor": ""}}
