"""The rules of the catalogue that no type expresses: known sources, dates, prices and times that make sense."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .cards import Conflict, GatewayFacts, Lifecycle, PollAdvice, PriceRule, Source

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|undated")


class CatalogueMistake(ValueError):
    """A fact file breaks a rule of the catalogue: a bug of this project, never the user's mistake."""


def find_mistakes(facts: GatewayFacts) -> Iterator[tuple[str, str]]:
    """Every broken rule as (place, rule); the place is a dotted path, `models.0.price`."""
    models = [card.model for card in facts.models]
    for model in sorted({model for model in models if models.count(model) > 1}):
        yield "models", f"the id {model!r} is used twice"
    for place, value in _parts(facts):
        for rule in _check_part(value, facts.sources):
            yield place, rule


def _parts(facts: GatewayFacts) -> Iterator[tuple[str, object]]:
    """Each record of the facts with its place."""
    yield "", facts
    yield "callback", facts.callback
    yield from ((f"sources.{key}", source) for key, source in facts.sources.items())
    yield from ((f"errors.{number}", error) for number, error in enumerate(facts.errors))
    for number, card in enumerate(facts.models):
        place = f"models.{number}"
        for name in ("price", "lifecycle", "poll", "retention", "rate_limit", "image"):
            yield f"{place}.{name}", getattr(card, name)
        rows = {"fields": card.fields, "lifecycle.evidence": card.lifecycle.evidence, "conflicts": card.conflicts}
        for name, records in rows.items():
            yield from ((f"{place}.{name}.{row}", record) for row, record in enumerate(records))


def _check_part(value: object, sources: Mapping[str, Source]) -> Iterator[str]:
    named = value.sources if isinstance(value, Conflict) else (getattr(value, "source", None),)
    for name in named:
        if name is not None and name not in sources:
            yield f"the source {name!r} is not in [sources]"
    for attribute in ("date", "as_of"):
        date = getattr(value, attribute, "undated")
        if not _DATE.fullmatch(date):
            yield f"{attribute} {date!r} is neither YYYY-MM-DD nor 'undated'"
    match value:
        case PriceRule():
            yield from _check_price(value)
        case PollAdvice():
            yield from _check_poll(value)
        case Lifecycle(evidence=()):
            yield "a claim needs evidence"


def _check_price(rule: PriceRule) -> Iterator[str]:
    if (rule.kind == "unknown") == bool(rule.amounts):
        yield "amounts are given if and only if the price is known"
    if any(amount < 0 for amount in (*rule.amounts.values(), rule.usd_per_unit or 0)):
        yield "an amount is negative"


def _check_poll(advice: PollAdvice) -> Iterator[str]:
    least = advice.least_every_seconds
    if least is not None and not 0 < least <= advice.every_seconds:
        yield "least_every_seconds must be positive and at most every_seconds"
    spans = [span for _, span in advice.usual_by_length]
    for low, high in [*spans, *([advice.usual_seconds] if advice.usual_seconds else [])]:
        if not 0 < low < high:
            yield f"{low:g} to {high:g} s is not a low and a high time"
