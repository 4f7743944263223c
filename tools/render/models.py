"""All models side by side, for choosing one, and the sources behind every fact. Pure Markdown from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

from callsheet.core.catalogue.cards import Availability, Catalogue, GatewayFacts, ModelCard
from callsheet.core.catalogue.fields import neutral_value
from callsheet.core.catalogue.prices import dollars, price_clip
from callsheet.core.shot import Shot

from .cards import NOT_DOCUMENTED, durations_of, source_table
from .markdown import bullets, code, document, table

AVAILABILITY_WORDS = {
    Availability.LIVE: "seen working",
    Availability.LISTED: "in the gateway's own catalogue on the date of the evidence, which is no proof that it works",
    Availability.UNVERIFIED: "the gateway once listed it; its maker has shut it down since, or nothing newer was seen",
    Availability.LEGACY: "the gateway calls it deprecated",
    Availability.DROPPED: "the gateway took it out of its catalogue; no sheet is made for it",
}


def render_models(catalogue: Catalogue) -> str:
    """Every model that may be expected to answer, side by side; the ids that were dropped; other spellings."""
    kept = [card for card in catalogue.cards if card.lifecycle.availability is not Availability.DROPPED]
    pages = ", ".join(f"[models-{facts.id}.md](models-{facts.id}.md)" for facts in catalogue.gateways)
    return document(
        "# Models",
        "Open this to choose a gateway and model, to compare prices, or to see whether an id is still in a"
        f" catalogue. Every field, limit and source of one model is in {pages}.",
        "OpenAI shut the Videos API and every `sora-2` model down on 2026-09-24. Whether a gateway still serves its"
        " Sora ids is not known for any of them; say so before naming a price.",
        "## What may be expected to answer",
        table(
            ("Model", "Modes", "Seconds", "Ratios", "Resolutions", "Availability"),
            [_overview_row(facts, card) for facts in catalogue.gateways for card in facts.models if card in kept],
        ),
        bullets(f"`{state.value}`: {meaning}" for state, meaning in AVAILABILITY_WORDS.items()),
        "## Price of one clip in US dollars",
        "The highest documented figure. `unknown` means that no source names one: live, such a clip is refused unless"
        " the person set a ceiling in their policy.",
        _price_table(kept),
        "## Dropped ids",
        bullets(_dropped_line(facts) for facts in catalogue.gateways),
        "## Other names that are understood",
        "`explain_payload` also takes a raw payload, and understands these names in it; what is sent always has the"
        " gateway's own.",
        table(("Meaning", "Also written as"), _alias_rows(catalogue)),
    )


def render_sources(catalogue: Catalogue) -> str:
    """Where every fact was read, gateway by gateway."""
    opening = (
        "Open this to see where a fact was read, how old it is and whose word it is: the references name a source by"
        " its key, in brackets. `undated` means that the page carries no date."
    )
    blocks = ["# Sources", opening]
    for facts in catalogue.gateways:
        blocks += [f"## {facts.name}", source_table(facts.sources.values())]
    return document(*blocks)


def _overview_row(facts: GatewayFacts, card: ModelCard) -> tuple[str, ...]:
    said = facts.last_word(card)
    return (
        code(card.id),
        ", ".join(card.kinds),
        _choices(card, "duration_seconds"),
        _choices(card, "aspect_ratio"),
        _choices(card, "resolution") or str(card.implied.get("resolution", NOT_DOCUMENTED)),
        f"{card.lifecycle.availability.value}, named {said.date if said else 'undated'}",
    )


def _choices(card: ModelCard, role: str) -> str:
    """Allowed values in the words of a shot, in both modes, each once."""
    found: list[str] = []
    for field in card.fields:
        if field.role == role:
            for part in (field, *field.limits):
                found += [str(neutral_value(field, value)) for value in part.values]
                found += [f"{part.minimum}-{part.maximum}"] if part.minimum is not None else []
        elif field.role == "size":
            found += [str(dict(meaning).get(role, "")) for _, meaning in field.spelling]
    return ", ".join(dict.fromkeys(value for value in found if value))


def _price_table(cards: Sequence[ModelCard]) -> str:
    lengths = sorted({seconds for card in cards for seconds in durations_of(card)})
    rows = [row for card in cards for row in _price_rows(card, lengths)]
    return table(("Model", "Resolution", *(f"{seconds} s" for seconds in lengths), "As of"), rows)


def _price_rows(card: ModelCard, lengths: Sequence[int]) -> list[tuple[str, ...]]:
    offered = durations_of(card)
    resolutions = [key for key in card.price.amounts if card.price.keys == ("resolution",)] or [""]
    return [
        (
            code(card.id),
            resolution or str(card.implied.get("resolution", "")),
            *(_clip_price(card, seconds, resolution) if seconds in offered else "" for seconds in lengths),
            card.price.as_of,
        )
        for resolution in resolutions
    ]


def _clip_price(card: ModelCard, seconds: int, resolution: str) -> str:
    price = price_clip(card, Shot.of(duration_seconds=seconds, resolution=resolution or None))
    return dollars(price.usd) if price.usd is not None else "unknown"


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


__all__ = ["AVAILABILITY_WORDS", "render_models", "render_sources"]
