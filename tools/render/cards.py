"""Model cards as Markdown: a single card, and all cards of a gateway.

All facts come from the catalogue; nothing is added and nothing is omitted. What all models of a gateway have in
common is stated once, before them. "Not documented" is written out, never left blank.
Called by the renderer of the reference documents and by surfaces that show a card.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from callsheet.core.catalogue.cards import (
    Availability,
    Catalogue,
    Conflict,
    Evidence,
    GatewayFacts,
    ModelCard,
    PollAdvice,
    PriceRule,
    RateLimit,
    Retention,
    Source,
)
from callsheet.core.catalogue.fields import Field, InputRule, Limit
from callsheet.core.catalogue.prices import dollars
from callsheet.core.payload.values import neutral_choices
from callsheet.core.shot import PARAMETERS, Scalar
from callsheet.surface.views.cards import NOT_DOCUMENTED, amount_terms, kept_text, polling_text

from .markdown import bullets, code, document, table

_SITUATIONS = {"always": "always", "callback": "with a callback", "no_callback": "without a callback"}


@dataclass(frozen=True, slots=True)
class SharedFacts:
    """What is stated once for all cards of a gateway and not repeated in each."""

    poll: PollAdvice | None = None
    retention: Retention | None = None
    rate_limit: RateLimit | None = None
    evidence: tuple[Evidence, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def render_card(catalogue: Catalogue, card: ModelCard) -> str:
    """One card, whole, with the sources that it names."""
    facts = catalogue.gateway(card.gateway)
    assert facts is not None
    sources = [facts.sources[key] for key in facts.sources if key in _keys(card)]
    return document(
        f"# {card.title} ({code(card.id)})",
        f"What is known of this model of {facts.name}, as of {facts.as_of}. Source keys are in brackets.",
        *_card_blocks(card, SharedFacts()),
        "## Sources",
        source_table(sources),
    )


def render_gateway_cards(facts: GatewayFacts) -> str:
    """All cards of a gateway: what they share, each model that may answer, those that were dropped."""
    shared = find_shared(facts.models)
    kept = [card for card in facts.models if card.lifecycle.availability is not Availability.DROPPED]
    dropped = [card for card in facts.models if card not in kept]
    opening = (
        f"Open this for the exact fields, limits and prices of a model of {facts.name}, and for whose word each of"
        f" them is. As of {facts.as_of}; the keys in brackets are those of"
        f" [sources-{facts.id}.md](sources-{facts.id}.md)."
    )
    blocks = [
        f"# {facts.name}: the Sora models",
        opening,
        "## True of every model here",
        *_shared_blocks(shared),
    ]
    for card in kept:
        blocks += [f"## {card.title}: {code(card.model)}", *_card_blocks(card, shared)]
    if dropped:
        blocks += [
            "## Dropped",
            "No sheet is made for these; they are listed so that an old payload is recognised.",
            table(("Model", "Took", "Last price", "Seen last"), (_dropped_row(facts, card) for card in dropped)),
        ]
    return document(*blocks)


def find_shared(cards: Sequence[ModelCard]) -> SharedFacts:
    """What is true of all these cards alike."""
    first, lives = cards[0], [card.lifecycle for card in cards]
    return SharedFacts(
        poll=first.poll if all(card.poll == first.poll for card in cards) else None,
        retention=first.retention if all(card.retention == first.retention for card in cards) else None,
        rate_limit=first.rate_limit if all(card.rate_limit == first.rate_limit for card in cards) else None,
        evidence=tuple(item for item in first.lifecycle.evidence if all(item in life.evidence for life in lives)),
        conflicts=tuple(item for item in first.conflicts if all(item in card.conflicts for card in cards)),
    )


def source_table(sources: Iterable[Source]) -> str:
    """Sources with date, authority and address."""
    rows = ((source.key, source.title, source.date, source.authority, source.url) for source in sources)
    return table(("Key", "What", "Date", "Whose word", "Where"), rows)


def format_poll(advice: PollAdvice) -> str:
    """When the gateway advises to ask after a task."""
    return f"first after {advice.first_after_seconds:g} s, then every {advice.every_seconds:g} s. {advice.note}"


def schedule_lines(advice: PollAdvice) -> list[str]:
    """When this program asks, for each length of clip whose usual time is documented."""
    lengths: list[int | None] = [seconds for seconds, _ in advice.usual_by_length]
    return [
        f"Callsheet asks{f' for a clip of {seconds} s' if seconds else ''}: {polling_text(advice, seconds)}"
        for seconds in (lengths or [None])
    ]


def format_retention(retention: Retention) -> str:
    """How long a result link works."""
    return f"{kept_text(retention)}. {retention.note}"


def format_rate(limit: RateLimit) -> str:
    """The documented limits, and the pace that is kept."""
    pace = f"{limit.requests_per_minute} requests a minute" if limit.requests_per_minute else ""
    tasks = f"{limit.concurrent_tasks} concurrent tasks" if limit.concurrent_tasks else ""
    known = ", ".join(part for part in (pace, tasks) if part) or NOT_DOCUMENTED
    kept = "" if limit.requests_per_minute else f"; kept to {limit.assumed_per_minute} requests a minute"
    return f"{known}{kept}. {limit.note}"


def durations_of(card: ModelCard) -> tuple[int, ...]:
    """The lengths that a model takes, in seconds; empty when none is documented."""
    field = card.field_for("duration_seconds")
    return tuple(int(value) for value in neutral_choices(field)) if field else ()


def _shared_blocks(shared: SharedFacts) -> list[str]:
    return [
        bullets(_course_lines(shared.poll, shared.retention, shared.rate_limit)),
        bullets(_evidence_line(item) for item in shared.evidence),
        conflict_table(shared.conflicts),
    ]


def _card_blocks(card: ModelCard, shared: SharedFacts) -> list[str]:
    life = card.lifecycle
    evidence = [item for item in life.evidence if item not in shared.evidence]
    conflicts = [item for item in card.conflicts if item not in shared.conflicts]
    course = _course_lines(
        None if shared.poll else card.poll,
        None if shared.retention else card.retention,
        None if shared.rate_limit else card.rate_limit,
    )
    absent = [PARAMETERS[name].shown(value) for name, value in card.implied.items()]
    return [
        f"**Availability: {life.availability.value}.** {life.summary}",
        bullets(
            [
                f"Makes: {', '.join(card.kinds) or 'no clip that can be drawn up here'}.",
                f"Price: {format_price(card.price)} [{card.price.source}]",
                *_input_lines(card),
                f"Without a field for it: {', '.join(absent)}." if absent else "",
                *course,
                *card.notes,
                *(_evidence_line(item) for item in evidence),
            ]
        ),
        table(
            ("Field", "Type", "Takes", "Default", "Written if not said", "Note"),
            (_field_row(card, field) for field in card.fields),
        ),
        conflict_table(conflicts),
    ]


def _course_lines(poll: PollAdvice | None, retention: Retention | None, rate: RateLimit | None) -> list[str]:
    return [
        f"Advice on polling: {format_poll(poll)} [{poll.source}]" if poll else "",
        f"A result link works: {format_retention(retention)} [{retention.source}]" if retention else "",
        f"Limits: {format_rate(rate)} [{rate.source}]" if rate else "",
    ]


def format_price(rule: PriceRule) -> str:
    """The price table in one sentence, in dollars and the gateway's unit, with its date and note."""
    return f"{_amounts(rule)} ({rule.as_of}). {rule.note}".strip()


def _amounts(rule: PriceRule) -> str:
    if not rule.amounts:
        return "unknown"
    per = {"clip": "" if "duration_seconds" in rule.keys else "a clip", "second": "a second"}[rule.per]
    rows = []
    for key, amount in rule.amounts.items():
        terms = ", ".join(part for part in (amount_terms(rule, key), per) if part)
        rows.append(f"{terms}: {_amount(rule, amount)}")
    return "; ".join(rows)


def _amount(rule: PriceRule, amount: Decimal) -> str:
    own = f"{amount:f} {rule.unit}"
    if rule.usd_per_unit is None:
        return own
    usd = f"{dollars(amount * rule.usd_per_unit)} USD"
    return usd if rule.unit == "USD" else f"{usd} ({own})"


def _input_lines(card: ModelCard) -> list[str]:
    if not any(field.role == "input" for field in card.fields):
        return ["Inputs: none are taken."]
    return [_input_line(rule) for rule in card.inputs]


def _input_line(rule: InputRule) -> str:
    return f"{input_roles(rule).capitalize()}: {input_limits(rule)}. {rule.note} [{rule.source}]"


def input_roles(rule: InputRule) -> str:
    """The inputs that a rule is about."""
    return ", ".join(map(_words, rule.roles))


def input_limits(rule: InputRule) -> str:
    """What a rule says of the number, the company and the files of its inputs."""
    size = f"at most {rule.max_bytes / 1_000_000:g} MB each" if rule.max_bytes else f"size {NOT_DOCUMENTED}"
    formats = ", ".join(rule.formats) or f"formats {NOT_DOCUMENTED}"
    count = f"at most {rule.most}" if rule.most else ""
    least = f"at least {rule.least}" if rule.least else ""
    needs = f"only with a {' or a '.join(map(_words, rule.needs))}" if rule.needs else ""
    excludes = f"not with a {' or a '.join(map(_words, rule.excludes))}" if rule.excludes else ""
    sides = f"{rule.min_side} to {rule.max_side} pixels a side" if rule.min_side and rule.max_side else ""
    seconds = f"at most {rule.max_seconds_in_all} s in all" if rule.max_seconds_in_all else ""
    return "; ".join(part for part in (least, count, needs, excludes, size, formats, sides, seconds) if part)


def _words(role: str) -> str:
    return role.replace("_", " ")


def _evidence_line(item: Evidence) -> str:
    return f"{item.date}: {item.text} [{item.source}]"


def conflict_table(conflicts: Iterable[Conflict]) -> str:
    """Points on which sources disagree, and the choice that was made."""
    rows = ((item.about, item.choice, ", ".join(item.sources)) for item in conflicts)
    return table(("Where sources disagree", "What is done", "Sources"), rows)


def _field_row(card: ModelCard, field: Field) -> tuple[str, ...]:
    return (
        code(field.name) + (" (required)" if field.required else ""),
        field.kind,
        card.model if field.role == "model" else format_values(field),
        by_limit(field, "default") or "not stated",
        by_limit(field, "fill") or "nothing",
        f"{field_condition(field)} {field.note} [{field.source}]",
    )


def format_values(field: Field) -> str:
    """What a field takes: values, lengths, numbers of items."""
    parts = [_spelled(field, field.values) or _range(field)]
    for limit in field.limits:
        shown = _spelled(field, limit.values) or _range(limit)
        parts += [f"for {_when(limit)} {shown}"] if shown else []
    if field.max_length is not None:
        least = f"{field.min_length} to " if field.min_length else "at most "
        parts.append(f"{least}{field.max_length:,} {field.unit or 'characters'}")
    if field.max_items is not None:
        parts.append(f"at most {field.max_items} item{'s' if field.max_items > 1 else ''}")
    return "; ".join(part for part in parts if part) or "any"


def _spelled(field: Field, values: tuple[Scalar, ...]) -> str:
    spelling = dict(field.spelling)
    shown = [
        f"{value} ({' at '.join(_json(neutral) for _, neutral in spelling[str(value)])})"
        if str(value) in spelling
        else _json(value)
        for value in values
    ]
    return ", ".join(shown)


def field_condition(field: Field) -> str:
    """When a field exists, and what the program writes when."""
    parts = [f"Only {' or '.join(field.only)}." if field.only else ""]
    parts += [f"{_SITUATIONS.get(when, when)}: {_json(value)}." for when, value in field.fixed]
    return " ".join(part for part in parts if part)


def _range(part: Field | Limit) -> str:
    low, high = part.minimum, part.maximum
    if low is None and high is None:
        return ""
    return f"at most {high}" if low is None else f"at least {low}" if high is None else f"{low} to {high}"


def _when(limit: Limit) -> str:
    parts = [(name.replace("kind", ""), " or ".join(map(_json, values))) for name, values in limit.when]
    return " and ".join(f"{name} {values}".strip() for name, values in parts)


def by_limit(field: Field, name: str) -> str:
    """A field's `default` or `fill`, with those of its limits."""
    parts = [("", getattr(field, name)), *((f"for {_when(limit)} ", getattr(limit, name)) for limit in field.limits)]
    return "; ".join(f"{when}{_json(value)}" for when, value in parts if value is not None)


def _json(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _dropped_row(facts: GatewayFacts, card: ModelCard) -> tuple[str, ...]:
    takes = [f"{seconds} s" for seconds in durations_of(card)]
    newest = facts.last_word(card)
    return (
        code(card.model),
        ", ".join([*(card.kinds or ("no clip that can be drawn up",)), *takes]),
        format_price(card.price),
        " ".join([*card.notes, _evidence_line(newest) if newest else ""]),
    )


def _keys(card: ModelCard) -> set[str]:
    """Every source that a card names."""
    keys = {card.price.source, card.poll.source, card.retention.source, card.rate_limit.source}
    keys |= {field.source for field in card.fields} | {item.source for item in card.lifecycle.evidence}
    keys |= {key for conflict in card.conflicts for key in conflict.sources}
    return keys | {rule.source for rule in card.inputs}


__all__ = [
    "NOT_DOCUMENTED",
    "SharedFacts",
    "by_limit",
    "conflict_table",
    "field_condition",
    "input_limits",
    "input_roles",
    "durations_of",
    "find_shared",
    "format_poll",
    "format_price",
    "format_rate",
    "format_retention",
    "format_values",
    "source_table",
    "render_card",
    "render_gateway_cards",
]
