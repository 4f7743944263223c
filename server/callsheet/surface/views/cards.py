"""A model card for readers: in a line, as JSON with its sources, and the wording of its single facts.

Retention, polling advice, prices and lengths are worded here only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from callsheet.core.catalogue import (
    Availability,
    Catalogue,
    Field,
    GatewayFacts,
    ModelCard,
    PollAdvice,
    Retention,
    Role,
    dollars,
)
from callsheet.core.payload.body import neutral_value
from callsheet.core.poll_schedule import poll_schedule

from .answers import ModelDetails, ModelLine

NOT_DOCUMENTED = "not documented"


@dataclass(frozen=True, slots=True)
class Choices:
    """Lengths in seconds, aspect ratios, resolutions; empty where the card has no such field."""

    durations: tuple[int, ...]
    ratios: tuple[str, ...]
    resolutions: tuple[str, ...]


def choices_of(card: ModelCard) -> Choices:
    """Everything that the card offers, with or without a reference image."""
    durations = [value for value in _values(card, "duration") if value.isdigit()]
    return Choices(
        durations=tuple(sorted({int(value) for value in durations})),
        ratios=_values(card, "aspect_ratio"),
        resolutions=_values(card, "resolution"),
    )


def _values(card: ModelCard, role: Role) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for field in card.fields:
        if field.role == role:
            wires = (*field.values, *field.values_with_image)
            found.update(dict.fromkeys(str(neutral_value(field, wire)) for wire in wires))
        elif field.role == "size":
            found.update(dict.fromkeys(_meanings(field, role)))
    return tuple(found)


def _meanings(field: Field, role: str) -> list[str]:
    return [value for _, meaning in field.spelling for name, value in meaning if name == role]


def price_range(card: ModelCard) -> str:
    """The card's price in US dollars: `0.24-1.20`, `0.10/s`, `0.25` or `unknown`."""
    rule = card.price
    if rule.kind == "unknown" or rule.usd_per_unit is None or not rule.amounts:
        return "unknown"
    amounts = sorted(amount * rule.usd_per_unit for amount in rule.amounts.values())
    low, high = dollars(amounts[0]), dollars(amounts[-1])
    text = low if low == high else f"{low}-{high}"
    return f"{text}/s" if rule.kind == "per_second" else text


def price_table(card: ModelCard) -> str:
    """The card's prices in one phrase, `4 s 0.24, 8 s 0.48 USD`, or `unknown`."""
    rule = card.price
    if rule.kind == "unknown" or rule.usd_per_unit is None:
        return "unknown"
    rate = rule.usd_per_unit
    amounts = [(key, dollars(amount * rate)) for key, amount in rule.amounts.items()]
    match rule.kind:
        case "by_duration":
            return ", ".join(f"{seconds} s {usd}" for seconds, usd in amounts) + " USD"
        case "per_second":
            return ", ".join(f"{key} {usd}" for key, usd in amounts) + " USD a second"
        case _:
            return ", ".join(usd for _, usd in amounts) + " USD a clip"


def availability_text(card: ModelCard) -> str:
    """Whether the model may be expected to answer, and why."""
    return f"{card.lifecycle.availability.value}: {card.lifecycle.summary}"


def retention_text(retention: Retention) -> str:
    """How long the gateway keeps a result, and what that means here."""
    where = " at the gateway" if retention.result_hours else ""
    return f"{kept_text(retention)}{where}; the clip is saved locally when it is ready"


def kept_text(retention: Retention) -> str:
    """How long a result link works."""
    return f"{retention.result_hours} hours" if retention.result_hours else NOT_DOCUMENTED


def polling_text(advice: PollAdvice, clip_seconds: int | None = None) -> str:
    """When this program asks after a task, for a clip of that length; and how long the gateway says that it takes."""
    plan = poll_schedule(advice, clip_seconds=clip_seconds)
    usual = dict(advice.usual_by_length).get(clip_seconds or 0) or advice.usual_seconds
    done = f"; usually done after {usual[0]:g} to {usual[1]:g} s" if usual else ""
    every = _span(plan.loose, plan.dense)
    return (
        f"first after {_span(*plan.first)} s, then at {plan.second:g} s, every {every} s until {plan.latest:g} s,"
        f" then less often, up to {plan.slowest:g} s apart{done}"
    )


def advice_text(advice: PollAdvice) -> str:
    """When the gateway advises to ask after a task."""
    return f"first after {advice.first_after_seconds:g} s, then every {advice.every_seconds:g} s"


def _span(start: float, end: float) -> str:
    return f"{start:g}" if start == end else f"{start:g} to {end:g}"


def source_text(catalogue: Catalogue, card: ModelCard, key: str) -> str:
    """Where a fact of the card was read."""
    source = catalogue.source(card, key)
    return f"{source.title}, {source.url}" if source else key


def model_line(card: ModelCard) -> ModelLine:
    """The card in a line."""
    line = ModelLine(gateway=card.gateway, model=card.model, availability=availability_text(card))
    if card.lifecycle.availability is Availability.DROPPED:
        return line
    offered = choices_of(card)
    resolutions = list(offered.resolutions) or [card.resolution_when_absent or ""]
    return line.model_copy(
        update={
            "kinds": list(card.kinds),
            "durations_seconds": list(offered.durations) or None,
            "aspect_ratios": list(offered.ratios) or None,
            "resolutions": [value for value in resolutions if value] or None,
            "price": price_table(card),
            "price_as_of": card.price.as_of,
        }
    )


def model_details(catalogue: Catalogue, card: ModelCard) -> ModelDetails:
    """The card in a line, with all its facts and sources."""
    return ModelDetails(**model_line(card).model_dump(), title=card.title, card=card_json(catalogue, card))


def card_json(catalogue: Catalogue, card: ModelCard) -> dict[str, Any]:
    """The card, with the sources that its keys name and when the gateway's file was last checked."""
    table: dict[str, Any] = plain(card)
    keys = _source_keys(table)
    facts = catalogue.gateway(card.gateway)
    assert facts is not None
    sources = {key: plain(source) for key, source in facts.sources.items() if key in keys}
    return {"id": card.id, "as_of": facts.as_of, **table, "sources": sources}


def gateway_json(facts: GatewayFacts) -> dict[str, Any]:
    """The facts of a gateway that are not about one model."""
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
