"""A gateway's own published catalogue: what it lists and what it says that a clip costs, laid over the cards.

The gateway's module reads the reply (`core.gateway.protocol.CatalogueReader`). What it lists is no proof that a model
works; what it no longer lists is refused. A model without a card of our own gets one from its published schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from callsheet.core.security.redaction import clean
from callsheet.core.shot import JsonValue, Kind

from .cards import Availability, Catalogue, Evidence, GatewayFacts, Lifecycle, ModelCard, PriceRule, Source
from .fields import Field, InputRule

SOURCE = "published"
MOST_MODELS = 2_000
MOST_PAGES = 50
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,2}")


UNDATED = "undated"


class CatalogueRefused(ValueError):
    """The reply is no catalogue: nothing of it is used, and the catalogue before it stays."""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One model of a published catalogue.

    `price` is None where the gateway publishes none, and of `unknown` kind where its rule cannot be evaluated.
    `fields` and `schema` (of the object at `schema_path` in the body, as JSON text) are empty where it publishes no
    schema; `kinds` is empty where the model makes nothing that a shot can ask for.
    """

    model: str
    title: str
    price: PriceRule | None = None
    kinds: tuple[Kind, ...] = ()
    fields: tuple[Field, ...] = ()
    inputs: tuple[InputRule, ...] = ()
    schema: str = ""
    schema_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A model that could not be read, and why; the rest of the list stands."""

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class CataloguePage:
    """One page of a reply; `cursor` asks for the next one, empty after the last."""

    models: tuple[PublishedModel, ...]
    skipped: tuple[Skipped, ...] = ()
    cursor: str = ""


def read_reply(body: bytes) -> Mapping[str, JsonValue] | list[JsonValue]:
    """The JSON of a reply, amounts exact; raises `CatalogueRefused`. Depth is judged model by model."""
    try:
        found = json.loads(body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise CatalogueRefused("it is not JSON") from error
    if not isinstance(found, dict | list):
        raise CatalogueRefused("it is neither an object nor a list")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_models(
    items: Iterable[JsonValue],
    id_name: str,
    read: Callable[[Mapping[str, JsonValue], str], PublishedModel | None],
) -> tuple[tuple[PublishedModel, ...], tuple[Skipped, ...]]:
    """Each item by `read`, which returns None for what is no video model and raises ValueError for what it cannot read.

    An id that is used twice, that leads elsewhere or that no screen should show is skipped.
    """
    models: dict[str, PublishedModel] = {}
    skipped: list[Skipped] = []
    for item in items:
        model = item.get(id_name) if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(model, str) or not _MODEL_ID.fullmatch(model) or ".." in model:
            skipped.append(Skipped("?", "it has no id of the usual form"))
        elif model in models:
            skipped.append(Skipped(model, "its id is used twice; the first stands"))
        else:
            try:
                found = read(item, model)
            except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
                skipped.append(Skipped(model, clean(str(error), limit=120)))
                continue
            if found is not None:
                models[model] = found
    return tuple(models.values()), tuple(skipped)


@dataclass(frozen=True, slots=True)
class Published:
    """What a gateway published on a day (ISO date): `digest` is the SHA-256 of the raw reply."""

    gateway: str
    date: str
    url: str
    digest: str
    models: tuple[PublishedModel, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Every model that is listed, also those that could not be read."""
        return frozenset({item.model for item in self.models} | {item.model for item in self.skipped})


def overlay(catalogue: Catalogue, published: Iterable[Published]) -> Catalogue:
    """The catalogue with what the gateways have published since."""
    by_gateway = {item.gateway: item for item in published}
    return Catalogue(
        tuple(
            _overlay(facts, by_gateway[facts.id]) if facts.id in by_gateway else facts for facts in catalogue.gateways
        )
    )


def _overlay(facts: GatewayFacts, published: Published) -> GatewayFacts:
    source = Source(SOURCE, f"{facts.name}'s published catalogue", published.url, published.date, "gateway")
    listed = {item.model: item for item in published.models}
    own = {card.model for card in facts.models}
    cards = [_update(card, listed.get(card.model), published) for card in facts.models]
    pattern = facts.models[0]
    new = [_new_card(pattern, item, published) for item in published.models if item.model not in own]
    return replace(
        facts,
        sources={**facts.sources, SOURCE: source},
        models=(*cards, *new),
        version=f"{facts.version}+{published.digest[:12]}",
        as_of=max(facts.as_of, published.date),
    )


def _update(card: ModelCard, item: PublishedModel | None, published: Published) -> ModelCard:
    evidence = card.lifecycle.evidence
    if card.model not in published.names:
        text = f"Not in the catalogue that the gateway published on {published.date}."
        life = Lifecycle(Availability.DROPPED, text, (Evidence(published.date, text, SOURCE), *evidence))
        return replace(card, lifecycle=life)
    text = f"In the catalogue that the gateway published on {published.date}."
    known = card.lifecycle.availability
    kept = known in (Availability.LIVE, Availability.LEGACY)
    life = Lifecycle(
        known if kept else Availability.LISTED,
        card.lifecycle.summary if kept else f"{text} That is no proof that it still works.",
        (Evidence(published.date, text, SOURCE), *evidence),
    )
    return replace(card, lifecycle=life, price=_dated(item.price, published) if item and item.price else card.price)


def _dated(rule: PriceRule, published: Published) -> PriceRule:
    return replace(
        rule, as_of=published.date, note=f"Published by the gateway on {published.date}. {rule.note}".strip()
    )


def _new_card(pattern: ModelCard, item: PublishedModel, published: Published) -> ModelCard:
    text = f"In the catalogue that the gateway published on {published.date}."
    unknown = PriceRule("unknown", as_of=published.date, source=SOURCE, note="The gateway publishes no price for it.")
    poll = replace(
        pattern.poll,
        usual_seconds=None,
        usual_by_length=(),
        note="No time is documented for this model; the gateway's usual pace is kept.",
    )
    return ModelCard(
        gateway=published.gateway,
        model=item.model,
        title=item.title,
        kinds=item.kinds,
        fields=item.fields,
        inputs=item.inputs,
        price=_dated(item.price, published) if item.price else unknown,
        lifecycle=Lifecycle(
            Availability.LISTED,
            f"{text} That is no proof that it works.",
            (Evidence(published.date, text, SOURCE),),
        ),
        poll=poll,
        retention=pattern.retention,
        rate_limit=pattern.rate_limit,
        schema=item.schema,
        schema_path=item.schema_path,
        notes=("Drafted by the schema that the gateway publishes, not by documentation that was read.",),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed between two states of one gateway's cards, by model."""

    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    price: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()


def compare(before: GatewayFacts, after: GatewayFacts) -> Difference:
    """What the second has that the first had not, and the other way round; dropped cards count as gone."""
    old = {card.model: card for card in before.models}
    had, has = _available(before), _available(after)
    both = [(old[card.model], card) for card in after.models if card.model in had & has]
    return Difference(
        new=tuple(sorted(has - had)),
        gone=tuple(sorted(had - has)),
        price=tuple(card.model for earlier, card in both if _terms(earlier.price) != _terms(card.price)),
        fields=tuple(card.model for earlier, card in both if earlier.fields != card.fields),
    )


def _available(facts: GatewayFacts) -> set[str]:
    return {card.model for card in facts.models if card.lifecycle.availability is not Availability.DROPPED}


def _terms(rule: PriceRule) -> object:
    """What a rule charges, whatever its date and words."""
    return replace(rule, as_of="", source="", note="")
