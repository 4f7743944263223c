"""What a model card offers, in the words of a shot, and its price in a few characters. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from callsheet.core.catalogue.cards import Field, ModelCard, Role
from callsheet.core.catalogue.pricing import dollars
from callsheet.core.payload.build import neutral_value


@dataclass(frozen=True, slots=True)
class Choices:
    """Lengths in seconds, aspect ratios, resolutions; empty where the card has no such field."""

    durations: tuple[int, ...]
    ratios: tuple[str, ...]
    resolutions: tuple[str, ...]


def choices_of(card: ModelCard) -> Choices:
    """Everything that card offers, with or without a reference image."""
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


__all__ = ["Choices", "choices_of", "price_range"]
