"""The models of one name side by side (Sora, Seedance, Kling, ...), whatever their version and gateway.

A line is what the families of a name have in common: `kling-2.6` and `kling-o3` are Kling. `render_families` compares
a line's models, `field_blocks` lists the fields of one gateway's models, once for models that have the same. Pure
Markdown from the catalogue; only the renderer calls this.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from typing import TypeVar

from callsheet.core.catalogue.cards import AddOn, Availability, Catalogue, GatewayFacts, ModelCard, PriceRule
from callsheet.core.catalogue.fields import Field
from callsheet.core.catalogue.prices import dollars
from callsheet.core.shot import FIRST_LAST_FRAME, IMAGE_TO_VIDEO, REFERENCE_TO_VIDEO, TEXT_TO_VIDEO
from callsheet.surface.views.cards import amount_terms, choices_of, length_words

from .cards import (
    NOT_DOCUMENTED,
    by_limit,
    conflict_table,
    field_condition,
    find_shared,
    format_values,
    input_limits,
    input_roles,
)
from .markdown import bullets, code, paged, table

SHUTDOWN = (
    "OpenAI shut the Videos API and every `sora-2` model down on 2026-09-24. Whether a gateway still serves its Sora"
    " ids is not known for any of them; say so before naming a price."
)
SORA = "sora"

_FROM = {
    TEXT_TO_VIDEO: "text",
    IMAGE_TO_VIDEO: "image",
    FIRST_LAST_FRAME: "two frames",
    REFERENCE_TO_VIDEO: "references",
}
_Key = TypeVar("_Key")
_CENTS = Decimal("0.0001")


def line_of(card: ModelCard) -> str:
    """The name of a card's model without its version: `kling` of `kling-o3`."""
    return re.split(r"-[a-z]?\d", card.family)[0]


def title_of(line: str, cards: Iterable[ModelCard]) -> str:
    """A line as the titles of its models write it: `MiniMax`, `Happy Horse`."""
    pattern = re.compile(line.replace("-", "[ -]"), re.IGNORECASE)
    found = (match[0] for card in cards if (match := pattern.search(card.title)))
    return next(found, line.replace("-", " ").title())


def lines_of(cards: Iterable[ModelCard]) -> dict[str, list[ModelCard]]:
    """Cards by line."""
    lines: dict[str, list[ModelCard]] = {}
    for card in cards:
        lines.setdefault(line_of(card), []).append(card)
    return lines


def render_families(catalogue: Catalogue, fields: Mapping[str, str]) -> dict[str, str]:
    """A page for each line: what its models take, what they cost, what was seen; with links to their `fields`."""
    pages: dict[str, str] = {}
    for line, cards in lines_of(card for facts in catalogue.gateways for card in living(facts)).items():
        name, title = f"family-{line}", title_of(line, cards)
        sold = [facts for facts in catalogue.gateways if any(card.gateway == facts.id for card in cards)]
        told = [
            page for page, text in fields.items() if any(card.gateway in page and tells(text, card) for card in cards)
        ]
        wire = ", ".join(f"[{page}.md]({page}.md)" for page in told)
        sources = ", ".join(f"[sources-{facts.id}.md](sources-{facts.id}.md)" for facts in sold)
        opening = (
            f"Open this to choose a {title} model, or for its lengths, ratios, resolutions, sound, price and"
            f" availability. The exact fields of a request are in {wire}; the keys in brackets in {sources}."
        )
        blocks = [SHUTDOWN if line == SORA else "", *_family_blocks(sold, cards)]
        pages |= paged(name, f"{title}: models, limits, prices", opening, blocks)
    return pages


def tells(text: str, card: ModelCard) -> bool:
    """Whether a page has a heading with that model."""
    return any(line.startswith("##") and code(card.model) in line for line in text.split("\n"))


def render_fields(catalogue: Catalogue) -> dict[str, str]:
    """The fields of every model that may answer but Sora's, which have pages of their own."""
    pages: dict[str, str] = {}
    for facts in catalogue.gateways:
        cards = [card for card in living(facts) if line_of(card) != SORA]
        opening = (
            f"Open this to write or check the body of a request to a model of {facts.name} other than Sora"
            f" ([sora-{facts.id}.md](sora-{facts.id}.md)). As of {facts.as_of}; the keys in brackets are those of"
            f" [sources-{facts.id}.md](sources-{facts.id}.md)."
        )
        pages |= paged(f"fields-{facts.id}", f"{facts.name}: fields of each model", opening, field_blocks(cards))
    return pages


def living(facts: GatewayFacts) -> list[ModelCard]:
    """The models of a gateway that may answer."""
    return [card for card in facts.models if card.lifecycle.availability is not Availability.DROPPED]


def keep_line(facts: GatewayFacts, line: str) -> GatewayFacts:
    """A gateway with the models of one line alone."""
    return replace(facts, models=tuple(card for card in facts.models if line_of(card) == line))


def _family_blocks(sold: Sequence[GatewayFacts], cards: Sequence[ModelCard]) -> Iterator[str]:
    heads = ("Model", "Makes it from", "Seconds", "Ratios", "Resolutions", "Sound", "Availability")
    yield "## What each takes\n\n" + table(heads, [_overview_row(facts, card) for facts, card in _pairs(sold, cards)])
    yield "## Price in US dollars\n\n" + PRICE_WORDS + "\n\n" + price_table(cards, lambda card: card.id)
    notes = _grouped(cards, lambda card: f"{extra_terms(card.price)} {card.price.note}".strip())
    yield bullets(f"{_ids(group)}: {text} [{group[0].price.source}]" for text, group in notes.items() if text)
    seen: dict[str, list[ModelCard]] = {}
    for card in cards:
        for item in card.lifecycle.evidence:
            seen.setdefault(f"{item.date}: {item.text} [{item.source}]", []).append(card)
    rows = sorted(seen.items(), key=lambda row: row[0].replace("undated", ""), reverse=True)
    yield "## What was seen\n\n" + bullets(f"{text} ({_ids(group, cards)})" for text, group in rows)
    common = {item for facts in sold for item in find_shared(facts.models).conflicts}
    own = dict.fromkeys(item for card in cards for item in card.conflicts if item not in common)
    if own:
        yield f"## Where sources disagree\n\n{conflict_table(own)}"


PRICE_WORDS = (
    "The highest documented figure, rounded up to a hundredth of a cent. Without one, a live clip is refused unless the"
    " person set a ceiling in their policy."
)


def _pairs(sold: Sequence[GatewayFacts], cards: Sequence[ModelCard]) -> list[tuple[GatewayFacts, ModelCard]]:
    return [(facts, card) for facts in sold for card in cards if card.gateway == facts.id]


def _overview_row(facts: GatewayFacts, card: ModelCard) -> tuple[str, ...]:
    offered, said = choices_of(card), facts.last_word(card)
    return (
        code(card.id),
        ", ".join(_FROM[kind] for kind in card.kinds),
        ", ".join(length_words(offered.durations)) or NOT_DOCUMENTED,
        ", ".join(offered.ratios) or NOT_DOCUMENTED,
        ", ".join(offered.resolutions) or NOT_DOCUMENTED,
        _sound(card),
        f"{card.lifecycle.availability.value}, {said.date if said else 'undated'}",
    )


def _sound(card: ModelCard) -> str:
    if card.field_for("audio"):
        return "on or off"
    known = {True: "always", False: "none"}
    return known.get(bool(card.implied["audio"]), "") if "audio" in card.implied else NOT_DOCUMENTED


def price_table(cards: Sequence[ModelCard], name: Callable[[ModelCard], str]) -> str:
    """The amounts of these models, a row each; models of one price share their rows."""
    groups = _grouped(cards, lambda card: (tuple(_price_rows(card.price)), card.price.as_of))
    rows = []
    for (amounts, as_of), group in groups.items():
        for place, (terms, usd, per) in enumerate(amounts):
            named = "" if place else ", ".join(code(name(card)) for card in group)
            rows.append((named, terms, usd, per, "" if place else as_of))
    return table(("Model", "For", "USD", "Per", "As of"), rows)


def _price_rows(rule: PriceRule) -> Iterator[tuple[str, str, str]]:
    if not rule.amounts:
        yield "any", "unknown", ""
    for key, amount in rule.amounts.items():
        rate = rule.usd_per_unit
        usd = f"{amount:f} {rule.unit}" if rate is None else rounded(amount * rate)
        yield amount_terms(rule, key) or "any", usd, rule.per


def rounded(usd: Decimal) -> str:
    """An amount in dollars, never lower than it is, with four decimals at most."""
    return dollars(usd.quantize(_CENTS, rounding=ROUND_CEILING))


def extra_terms(rule: PriceRule) -> str:
    """What a price has beside its amounts and its note: what is added, what multiplies it, the least of a request."""
    rate = rule.usd_per_unit
    if rate is None:
        return ""
    added = [_added(item, rounded(item.amount * rate)) for item in rule.added]
    least = f"At least {rounded(rule.minimum * rate)} USD a request." if rule.minimum else ""
    return " ".join(part for part in (*added, least) if part)


def _added(item: AddOn, usd: str) -> str:
    only = f" with {item.option} {str(item.value).lower()}" if item.option else ""
    if item.role is None:
        return f"{item.factor.normalize():f} times that{only}." if item.factor != 1 else f"{usd} USD more{only}."
    each = f"each second of a {item.role.replace('_', ' ')}" if item.seconds else f"each {item.role.replace('_', ' ')}"
    return f"{usd} USD for {each}{f' above {item.above}' if item.above else ''}{only}."


def field_blocks(cards: Sequence[ModelCard], *, notes: bool = True) -> Iterator[str]:
    """The fields of these models of a gateway, family by family, what several share stated once, before them.

    Without `notes`, what the gateway says of single fields is left out.
    """
    told = {card.model: _field_lines(card, notes=notes) for card in cards}
    terms = [_terms(card) for card in cards]
    usual = _Terms(
        _most([each.availability for each in terms]),
        _most([each.read for each in terms]),
        _most([each.note for each in terms]),
    )
    every = [line for line in told[cards[0].model] if all(line in own for own in told.values())]
    opening = bullets([*_differing(usual, None), *every])
    yield f"## Of every model here, unless its family says otherwise\n\n{opening}"
    families: dict[str, list[ModelCard]] = {}
    for card in cards:
        families.setdefault(card.family, []).append(card)
    for family, models in families.items():
        known = [line for line in told[models[0].model] if all(line in told[card.model] for card in models)]
        shared = [line for line in known if line not in every] if len(models) > 1 else []
        heading = f"## {family}\n\n{bullets([*_family_lines(models, usual), *shared])}\n\n"
        own = {card.model: [line for line in told[card.model] if line not in (*every, *shared)] for card in models}
        for text, group in _grouped(models, lambda card, own=own: bullets(own[card.model])).items():
            named = ", ".join(code(card.model) for card in group)
            yield f"{heading}### {named}\n\n{text}\n{bullets(_amount_lines(group))}".replace("\n\n\n\n", "\n\n")
            heading = ""


def _most(texts: Sequence[str]) -> str:
    """The text that most of them are, if there is one."""
    text, count = Counter(texts).most_common(1)[0]
    return text if 2 * count > len(texts) else ""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What is said of a model's availability and price; empty where most models of a gateway differ."""

    availability: str
    read: str
    note: str


def _terms(card: ModelCard) -> _Terms:
    life, price = card.lifecycle, card.price
    date = price.as_of if price.as_of == "undated" else f"as of {price.as_of}"
    return _Terms(f"{life.availability.value}. {life.summary}", f"{date}, [{price.source}].", price.note)


def _differing(terms: _Terms, usual: _Terms | None) -> Iterator[str]:
    if terms.availability and (usual is None or terms.availability != usual.availability):
        yield f"Availability: {terms.availability}"
    read = terms.read if usual is None or terms.read != usual.read else ""
    note = terms.note.removesuffix(usual.note).strip() if usual else terms.note
    if read or note:
        yield f"Price: {read} {note}".strip()


def _family_lines(models: Sequence[ModelCard], usual: _Terms) -> Iterator[str]:
    lines: dict[str, list[ModelCard]] = {}
    for card in models:
        for line in _differing(_terms(card), usual):
            lines.setdefault(line, []).append(card)
    for line, part in lines.items():
        yield line.replace(":", f"{_of(part, models)}:", 1)


def _field_lines(card: ModelCard, *, notes: bool) -> list[str]:
    absent = ", ".join(f"{name.replace('_', ' ')} {str(value).lower()}" for name, value in card.implied.items())
    return [
        f"Makes: {', '.join(card.kinds)}." + (f" Without a field for it: {absent}." if absent else ""),
        *(_field_line(card, field, notes=notes) for field in card.fields if field.role != "model"),
        *_input_lines(card, notes=notes),
        *card.notes,
    ]


def _field_line(card: ModelCard, field: Field, *, notes: bool) -> str:
    """One field; without `notes` also without a limit of items, which the limits on inputs repeat."""
    plain = field if notes else replace(field, max_items=None)
    barred = [kind for kind in card.kinds if not field.exists_in(kind)]
    only = f"Not for {barred[0]}" if len(barred) == 1 else field_condition(replace(field, fixed=()))
    fixed = field_condition(replace(field, only=())).rstrip(".").replace(". ", "; ")
    values = format_values(plain)
    kind = "" if values != "any" and field.kind == "string" else field.kind
    left = by_limit(field, "fill") or by_limit(field, "default")
    takes = " ".join(part for part in (kind, "" if values == "any" else values) if part)
    takes = f"{takes}; {left} if left open" if left and left != values and not field.fixed else takes
    parts = (takes, only.rstrip("."), f"Written {fixed}" if fixed else "", field.note.rstrip(".") if notes else "")
    return f"{code(field.name)}{' (required)' if field.required else ''}: {'. '.join(part for part in parts if part)}."


def _input_lines(card: ModelCard, *, notes: bool) -> list[str]:
    """The limits on inputs; those of an earlier role are not repeated."""
    told: dict[str, str] = {}
    lines = []
    for rule in card.inputs:
        parts = [part for part in input_limits(rule).split("; ") if NOT_DOCUMENTED not in part]
        needs = [part for part in parts if part.startswith("only with")]
        limits = "; ".join(part for part in parts if part not in needs)
        limits = ". ".join(part for part in (limits, rule.note.rstrip(".") if notes else "") if part)
        roles = input_roles(rule)
        before = told.setdefault(limits, roles) if limits else roles
        same = f"otherwise as the {before}" if before != roles else limits
        lines.append(f"{roles.capitalize()}: {'; '.join(part for part in (*needs, same) if part) or NOT_DOCUMENTED}.")
    return lines


def _amount_lines(group: Sequence[ModelCard]) -> Iterator[str]:
    for text, part in _grouped(group, lambda card: _amounts(card.price)).items():
        yield f"Price{_of(part, group)}: {text}."


def _amounts(rule: PriceRule) -> str:
    dollar = " USD" if rule.usd_per_unit and rule.amounts else ""
    per = "" if not rule.amounts or "duration_seconds" in rule.keys else f" a {rule.per}"
    shown = "; ".join(f"{'' if terms == 'any' else f'{terms} '}{usd}" for terms, usd, _ in _price_rows(rule))
    shown = shown.replace("with a reference video", "with video").replace("without a reference video", "without video")
    return ". ".join(part for part in (f"{shown}{dollar}{per}", extra_terms(rule).rstrip(".")) if part)


def _of(part: Sequence[ModelCard], group: Sequence[ModelCard]) -> str:
    return "" if len(part) == len(group) else f" of {', '.join(code(card.model) for card in part)}"


def _ids(group: Sequence[ModelCard], cards: Sequence[ModelCard] = ()) -> str:
    """Models by id; a gateway's name where all of its models here are meant."""
    every = [card for card in cards if card.gateway == group[0].gateway]
    if len(every) > 1 and len(group) == len(every):
        return f"all of {group[0].gateway}"
    return ", ".join(code(card.id) for card in group)


def _grouped(cards: Iterable[ModelCard], key: Callable[[ModelCard], _Key]) -> dict[_Key, list[ModelCard]]:
    groups: dict[_Key, list[ModelCard]] = {}
    for card in cards:
        groups.setdefault(key(card), []).append(card)
    return groups


__all__ = [
    "SHUTDOWN",
    "SORA",
    "field_blocks",
    "keep_line",
    "line_of",
    "lines_of",
    "living",
    "price_table",
    "render_families",
    "render_fields",
    "rounded",
    "tells",
    "title_of",
]
