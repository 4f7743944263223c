"""The index of all lines of models, and the sources behind every fact. Pure Markdown from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from callsheet.core.catalogue.cards import Availability, Catalogue, GatewayFacts, ModelCard
from callsheet.surface.views.cards import choices_of

from .cards import NOT_DOCUMENTED, source_table
from .families import SHUTDOWN, lines_of, living, rounded, title_of
from .markdown import bullets, code, document, paged, table

AVAILABILITY_WORDS = {
    Availability.LIVE: "seen working",
    Availability.LISTED: "in the gateway's own catalogue on the date of the evidence, which is no proof that it works",
    Availability.UNVERIFIED: "the gateway once listed it; its maker has shut it down since, or nothing newer was seen",
    Availability.LEGACY: "the gateway calls it deprecated",
    Availability.DROPPED: "the gateway took it out of its catalogue; no sheet is made for it",
}


def render_models(catalogue: Catalogue) -> str:
    """The index: each line of models with what it costs and where to read on; dropped ids; other spellings."""
    lines = lines_of(card for facts in catalogue.gateways for card in living(facts))
    return document(
        "# Models",
        "Open this to choose a line of models and a gateway, or to see whether an id is still in a catalogue. Each"
        " line has a page with lengths, ratios, resolutions, sound, prices and evidence.",
        SHUTDOWN,
        "## What may be expected to answer",
        table(
            ("Line", "Families", "Gateways", "Seconds", "USD a second", "Newest listing", "Page"),
            _line_rows(catalogue, lines),
        ),
        "The prices are the lowest and the highest of the line, of a clip of the shortest length where a clip has a"
        " fixed price. `unknown`: no source names one.",
        bullets(f"`{state.value}`: {meaning}" for state, meaning in AVAILABILITY_WORDS.items()),
        "Editing, extending and motion control are not covered, nor are models for still images.",
        "## Fields of a request",
        table(
            ("Gateway", "Sora", "All other models", "Whose word"), [_page_row(facts) for facts in catalogue.gateways]
        ),
        "## Dropped ids",
        bullets(_dropped_line(facts) for facts in catalogue.gateways),
        "## Other names that are understood",
        "`explain_payload` also takes a raw payload, and understands these names in it; what is sent always has the"
        " gateway's own.",
        table(("Meaning", "Also written as"), _alias_rows(catalogue)),
    )


def render_sources(catalogue: Catalogue) -> dict[str, str]:
    """Where every fact was read, gateway by gateway."""
    listed = [f"{facts.name}: [sources-{facts.id}.md](sources-{facts.id}.md)" for facts in catalogue.gateways]
    pages = {
        "sources": document(
            "# Sources",
            "Open this to find where a fact was read, how old it is and whose word it is: the references name a source"
            " by its key, in brackets, and each gateway has a page of keys. `undated` means that a page has no date.",
            bullets(listed),
        )
    }
    for facts in catalogue.gateways:
        opening = f"Open this for the address, date and authority behind a key that a page on {facts.name} names."
        pages |= paged(
            f"sources-{facts.id}", f"Sources for {facts.name}", opening, [source_table(facts.sources.values())]
        )
    return pages


def _line_rows(catalogue: Catalogue, lines: Mapping[str, Sequence[ModelCard]]) -> Iterator[tuple[str, ...]]:
    for line, cards in lines.items():
        lengths = sorted({seconds for card in cards for seconds in choices_of(card).durations})
        yield (
            title_of(line, cards),
            ", ".join(dict.fromkeys(code(card.family) for card in cards)),
            ", ".join(dict.fromkeys(card.gateway for card in cards)),
            f"{lengths[0]}-{lengths[-1]}" if lengths else NOT_DOCUMENTED,
            price_span(cards),
            _newest(catalogue, cards),
            f"[family-{line}.md](family-{line}.md)",
        )


def price_span(cards: Sequence[ModelCard]) -> str:
    """The lowest and the highest amount that a second costs, in dollars."""
    amounts = sorted(usd for card in cards for usd in _second_prices(card))
    if not amounts:
        return "unknown"
    low, high = rounded(amounts[0]), rounded(amounts[-1])
    return low if low == high else f"{low}-{high}"


def _second_prices(card: ModelCard) -> Iterator[Decimal]:
    rule, lengths = card.price, choices_of(card).durations
    for key, amount in rule.amounts.items():
        if rule.usd_per_unit is None:
            continue
        said = dict(zip(rule.keys, key.split(" / "), strict=False)).get("duration_seconds", "any")
        seconds = lengths[0] if said == "any" and lengths else int(said) if said != "any" else None
        if rule.per == "second":
            yield amount * rule.usd_per_unit
        elif seconds:
            yield amount * rule.usd_per_unit / seconds


def _newest(catalogue: Catalogue, cards: Sequence[ModelCard]) -> str:
    """The gateways' last word on any of these models."""
    said = []
    for facts in catalogue.gateways:
        words = (facts.last_word(card) for card in cards if card.gateway == facts.id)
        said += [f"{item.date} {facts.id}" for item in words if item and item.date != "undated"]
    return max(said, default="undated")


def _page_row(facts: GatewayFacts) -> tuple[str, ...]:
    return facts.name, *(f"[{name}-{facts.id}.md]({name}-{facts.id}.md)" for name in ("sora", "fields", "sources"))


def _dropped_line(facts: GatewayFacts) -> str:
    dropped = [card.model for card in facts.models if card.lifecycle.availability is Availability.DROPPED]
    return f"{facts.name}: {', '.join(map(code, dropped))}" if dropped else ""


def _alias_rows(catalogue: Catalogue) -> list[tuple[str, str]]:
    names: dict[str, dict[str, None]] = {}
    for card in catalogue.cards:
        for field in card.fields:
            if field.aliases:
                names.setdefault(field.role.replace("_", " "), {}).update(dict.fromkeys(field.aliases))
    return [(role, ", ".join(map(code, aliases))) for role, aliases in names.items()]


__all__ = ["AVAILABILITY_WORDS", "price_span", "render_models", "render_sources"]
