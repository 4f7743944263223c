"""A model card for readers: in a line, as JSON with its sources, and the wording of its single facts.

Retention, polling advice, prices and lengths are worded here only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from callsheet.core.catalogue.cards import (
    Availability,
    Catalogue,
    GatewayFacts,
    ModelCard,
    PollAdvice,
    PriceRule,
    Retention,
)
from callsheet.core.catalogue.fields import Field, Limit, Role, neutral_value
from callsheet.core.catalogue.prices import dollars
from callsheet.core.payload.values import neutral_choices
from callsheet.core.poll_schedule import poll_schedule
from callsheet.core.shot import PARAMETERS, Scalar

from .answers import ModelDetails, ModelLine

NOT_DOCUMENTED = "not documented"


@dataclass(frozen=True, slots=True)
class Choices:
    """Lengths in seconds, aspect ratios, resolutions; empty where nothing is known."""

    durations: tuple[int, ...]
    ratios: tuple[str, ...]
    resolutions: tuple[str, ...]


def choices_of(card: ModelCard) -> Choices:
    """Everything that the card offers, in any kind of clip."""
    return Choices(
        durations=_lengths(card),
        ratios=_values(card, "aspect_ratio"),
        resolutions=_values(card, "resolution"),
    )


def length_words(lengths: Iterable[int]) -> list[str]:
    """Each length as a word, runs of three and more as `4-15`."""
    runs: list[list[int]] = []
    for length in lengths:
        if runs and length == runs[-1][-1] + 1:
            runs[-1].append(length)
        else:
            runs.append([length])
    parts = [[f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run) for run in runs]
    return [word for part in parts for word in part]


def _lengths(card: ModelCard) -> tuple[int, ...]:
    found = {card.implied["duration_seconds"]} if "duration_seconds" in card.implied else set()
    for field in card.fields:
        if field.role == "duration_seconds":
            for limited in (field, *map(field.limited_by, field.limits)):
                found.update(neutral_choices(limited))
    return tuple(sorted(length for length in found if isinstance(length, int)))


def _values(card: ModelCard, role: Role) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for field in card.fields:
        if field.role == role:
            parts: tuple[Field | Limit, ...] = (field, *field.limits)
            for part in parts:
                found.update(dict.fromkeys(str(neutral_value(field, wire)) for wire in part.values))
        elif field.role == "size":
            found.update(dict.fromkeys(_meanings(field, role)))
    if not found and role in card.implied:
        found[str(card.implied[role])] = None
    return tuple(found)


def _meanings(field: Field, role: str) -> list[str]:
    return [str(value) for _, meaning in field.spelling for name, value in meaning if name == role]


def price_range(card: ModelCard) -> str:
    """The card's price in US dollars: `0.24-1.20`, `0.10/s`, `0.25` or `unknown`."""
    rule = card.price
    if rule.usd_per_unit is None or not rule.amounts:
        return "unknown"
    amounts = sorted(amount * rule.usd_per_unit for amount in rule.amounts.values())
    low, high = dollars(amounts[0]), dollars(amounts[-1])
    text = low if low == high else f"{low}-{high}"
    return f"{text}/s" if rule.per == "second" else text


def price_table(card: ModelCard) -> str:
    """The card's prices in one phrase, `4 s 0.24, 8 s 0.48 USD`, or `unknown`."""
    rule = card.price
    if rule.usd_per_unit is None or not rule.amounts:
        return "unknown"
    rows = [(amount_terms(rule, key), dollars(amount * rule.usd_per_unit)) for key, amount in rule.amounts.items()]
    per = " a second" if rule.per == "second" else "" if "duration_seconds" in rule.keys else " a clip"
    return ", ".join(f"{terms} {usd}".strip() for terms, usd in rows) + f" USD{per}"


def amount_terms(rule: PriceRule, key: str) -> str:
    """For what an amount of a price rule is: `4 s`, `720p, no audio`, empty where it is for every clip."""
    parts = zip(rule.keys, key.split(" / "), strict=False)
    return ", ".join(_term(name, value) for name, value in parts if value != "any")


def _term(name: str, value: str) -> str:
    said: Scalar = value == "true" if value in ("true", "false") else value
    if name in PARAMETERS:
        return PARAMETERS[name].shown(said)
    if name == "video_input":
        return "with a reference video" if said else "without a reference video"
    return value if name == "kind" else f"{name} {value}"


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
    usual = usual_text(advice, clip_seconds)
    done = f"; {usual}" if usual else ""
    every = _span(plan.loose, plan.dense)
    return (
        f"first after {_span(*plan.first)} s, then at {plan.second:g} s, every {every} s until {plan.latest:g} s,"
        f" then less often, up to {plan.slowest:g} s apart{done}"
    )


def usual_text(advice: PollAdvice, clip_seconds: int | None = None) -> str:
    """How long the gateway says that such a clip takes; the empty text where it does not say."""
    usual = advice.usual_for(clip_seconds)
    return f"usually done after {usual[0]:g} to {usual[1]:g} s" if usual else ""


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
    return line.model_copy(
        update={
            "kinds": list(card.kinds),
            "durations_seconds": list(offered.durations) or None,
            "aspect_ratios": list(offered.ratios) or None,
            "resolutions": list(offered.resolutions) or None,
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
