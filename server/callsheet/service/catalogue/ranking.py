"""Which cards can take a shot: at equal terms, cheapest first, and how many cannot and why.

Two cards are compared at the same length and resolution. What the shot leaves open is taken as `EQUAL_TERMS` where a
card offers that, else as the card fills it; such a card follows those that are at equal terms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from callsheet.core.catalogue.cards import Availability, ModelCard
from callsheet.core.catalogue.fields import wire_value
from callsheet.core.catalogue.prices import Price, price_clip
from callsheet.core.payload.body import carriers
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import PARAMETERS, Scalar, Shot
from callsheet.service.dependencies import Dependencies

EQUAL_TERMS: dict[str, Scalar] = {"duration_seconds": 5, "resolution": "720p"}
MOST_OPTIONS = 8
MOST_LINES = 40


@dataclass(frozen=True, slots=True)
class Option:
    """One card that was considered for a shot. `why_not` is empty when it can take the shot.

    `terms` is what the price is for, `8 s, 720p`, and `shot` says it; a card that cannot take the shot has no price.
    `wrong_field` is what of the shot it cannot take.
    """

    card: ModelCard
    price: Price
    why_not: str = ""
    terms: str = ""
    wrong_field: str = ""
    at_equal_terms: bool = True
    shot: Shot = field(default_factory=Shot)

    @property
    def fits(self) -> bool:
        """Whether the card can take the shot."""
        return not self.why_not


@dataclass(frozen=True, slots=True)
class Ranking:
    """Every card that was considered, the best first."""

    options: tuple[Option, ...]

    @property
    def fitting(self) -> tuple[Option, ...]:
        """Those that can take the shot."""
        return tuple(option for option in self.options if option.fits)

    def rest(self, shown: int) -> str:
        """A sentence on what is not among the first `shown`; empty where that is nothing."""
        more, retired = len(self.fitting) - shown, 0
        reasons: Counter[str] = Counter()
        for option in self.options:
            if option.card.lifecycle.availability is Availability.DROPPED:
                retired += 1
            elif not option.fits:
                reasons[option.wrong_field or "model"] += 1
        parts = [f"{more} more can take it" if more > 0 else ""]
        if reasons:
            causes = ", ".join(f"{name} {count}" for name, count in reasons.most_common(5))
            parts.append(f"{reasons.total()} cannot ({causes})")
        parts.append(f"{retired} are retired" if retired else "")
        text = "; ".join(part for part in parts if part)
        return f"{text}." if text else ""


@dataclass(frozen=True, slots=True)
class Query:
    """What a list of models is asked for; None and empty leave it open."""

    gateway: str | None = None
    family: str | None = None
    shot: Shot = field(default_factory=Shot)


def rank(
    deps: Dependencies, shot: Shot, *, gateway: str | None = None, model: str | None = None, hosts: Hosts
) -> Ranking:
    """Every card considered for a shot: those that can take it first, cheapest first, unknown prices last."""
    cards = deps.catalogue().cards
    if gateway is not None:
        cards = deps.facts(gateway).models
    return rank_cards([card for card in cards if model in (None, card.model)], shot, hosts)


def rank_cards(cards: Iterable[ModelCard], shot: Shot, hosts: Hosts, *, ignored: Sequence[str] = ()) -> Ranking:
    """The same for these cards; mistakes in the fields `ignored` do not count."""
    return Ranking(tuple(sorted((_option(card, shot, hosts, ignored) for card in cards), key=_rank)))


def _rank(option: Option) -> tuple[bool, bool, bool, bool, object, str]:
    legacy = option.card.lifecycle.availability is Availability.LEGACY
    unknown = option.price.usd is None
    return (not option.fits, legacy, unknown, not option.at_equal_terms, option.price.usd or 0, option.card.id)


def _option(card: ModelCard, shot: Shot, hosts: Hosts, ignored: Sequence[str]) -> Option:
    if card.lifecycle.availability is Availability.DROPPED:
        # Whatever else is wrong: it is retired.
        price = replace(price_clip(card, shot), amount=None, usd=None)
        return Option(card, price, card.lifecycle.summary, wrong_field="model")
    wanted = {name: value for name, value in EQUAL_TERMS.items() if shot.get(name) is None}
    offered = {name: value for name, value in wanted.items() if offers(card, shot, name, value)}
    shot = shot.having(**offered)
    verdict = check_shot(card, shot, hosts)
    errors = [item for item in verdict.findings if item.severity == "error" and item.field not in ignored]
    price = price_clip(card, verdict.corrected)
    if errors:
        # It would be the price of another length or resolution than the one that was asked for.
        return Option(card, replace(price, amount=None, usd=None), errors[0].rule, wrong_field=errors[0].field)
    return Option(
        card,
        price,
        terms=price_terms(verdict.corrected),
        at_equal_terms=offered == wanted,
        shot=shot,
    )


def offers(card: ModelCard, shot: Shot, name: str, value: Scalar) -> bool:
    """Whether a card offers that value of a parameter for a shot of that kind."""
    fields = carriers(card, name, shot.kind)
    if not fields:
        return card.implied.get(name) == value
    return any(
        value in {dict(meaning).get(name) for _, meaning in part.spelling}
        if part.role == "size"
        else part.under(shot).takes(wire_value(part, value))
        for part in fields
    )


def price_terms(shot: Shot) -> str:
    """The terms that a price is for: `8 s, 720p, no audio`."""
    names = ("duration_seconds", "resolution", "audio")
    return ", ".join(PARAMETERS[name].shown(value) for name in names if (value := shot.get(name)) is not None)


def list_models(deps: Dependencies, query: Query) -> Ranking:
    """The cards that fit a question about the catalogue, each with the price of exactly that."""
    cards = deps.facts(query.gateway).models if query.gateway else deps.catalogue().cards
    wanted = query.family.strip().lower() if query.family else None
    chosen = [card for card in cards if wanted is None or card.family == wanted or wanted in card.family]
    return rank_cards(chosen, query.shot, Hosts(), ignored=("prompt", "image_url"))
