"""A model card as JSON: every fact that is known, with the sources it names. What is not known is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts, ModelCard


def card_json(catalogue: Catalogue, card: ModelCard) -> dict[str, Any]:
    """The card, with the sources that stand behind its keys and when the gateway's file was last looked at."""
    table: dict[str, Any] = plain(card)
    keys = _source_keys(table)
    facts = catalogue.gateway(card.gateway)
    assert facts is not None
    sources = {key: plain(source) for key, source in facts.sources.items() if key in keys}
    return {"id": card.id, "as_of": facts.as_of, **table, "sources": sources}


def gateway_json(facts: GatewayFacts) -> dict[str, Any]:
    """A gateway in a few words."""
    return {
        "id": facts.id,
        "name": facts.name,
        "base_url": facts.base_url,
        "docs": facts.docs,
        "key_env": facts.key_env,
        "key_page": facts.key_page,
        "as_of": facts.as_of,
        "callback": plain(facts.callback),
        "errors": plain(facts.errors),
    }


def plain(value: object) -> Any:
    """A value of the catalogue as JSON: empty and unknown parts are left out, sums are text."""
    if is_dataclass(value):
        pairs = ((field.name, plain(getattr(value, field.name))) for field in fields(value))
        return {name: part for name, part in pairs if part not in (None, "", [], {})}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Decimal) else value


def _source_keys(value: object) -> set[str]:
    """Every key that a card names under `source` or `sources`."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            named = item.get("source"), *item.get("sources", ())
            found.update(key for key in named if isinstance(key, str))
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return found
