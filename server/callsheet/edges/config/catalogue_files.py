"""Reads the fact files in the package into the catalogue's values, and checks the rules that no type expresses.

Strict: an unknown or missing key, a wrong type or a fact without a known source is a `CatalogueMistake`, so that a
typo in a fact file fails the tests instead of silently changing a payload. A model inherits `poll`, `retention` and
`rate_limit` from its gateway unless it has its own. The gateway's `conflicts`, and its `evidence` on the model's
family, apply to each of its models.

`like` names an earlier model of the same file. What a model does not say itself (fields, inputs, price, lifecycle, …)
is as there, except notes and conflicts. `changes` are fields by path that differ in what
they name, or are new; `without` are those that it lacks.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from callsheet.core.catalogue.cards import (
    Catalogue,
    Conflict,
    GatewayFacts,
    Lifecycle,
    ModelCard,
    PollAdvice,
    PriceRule,
    Source,
)
from callsheet.core.catalogue.fields import Field, Limit
from callsheet.core.shot import PARAMETERS
from callsheet.gateways import GATEWAYS

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Table = Mapping[str, Any]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|undated")
_INHERITED = ("poll", "retention", "rate_limit")
_PER_MODEL = ("evidence", "conflicts")
_OWN = ("id", "title", "notes", "conflicts")


class CatalogueMistake(ValueError):
    """A fact file breaks a rule of the catalogue: a bug of this project, never the user's mistake."""


@lru_cache(maxsize=1)
def load_catalogue() -> Catalogue:
    """Every gateway's facts, in the order of `GATEWAYS`; each `version` is 12 hex digits of its file's SHA-256.

    Raises:
        CatalogueMistake: when a file breaks the catalogue's rules.
    """
    return Catalogue(tuple(_load_facts(gateway_id) for gateway_id in GATEWAYS))


def _load_facts(gateway_id: str) -> GatewayFacts:
    raw = resources.files("callsheet.gateways").joinpath(f"{gateway_id}.toml").read_bytes()
    return read_facts(tomllib.loads(raw.decode()), version=hashlib.sha256(raw).hexdigest()[:12])


def read_facts(table: Table, version: str) -> GatewayFacts:
    """Turn one gateway's table into values; `version` identifies the bytes that it was read from.

    Raises:
        CatalogueMistake: with the file, the place and the rule of each mistake.
    """
    from pydantic import ValidationError

    try:
        [facts] = _adapter().validate_json(json.dumps([_complete(table, version)]))
        mistakes = list(find_mistakes(facts))
    except ValidationError as error:
        mistakes = [(".".join(map(str, each["loc"][1:])), each["msg"]) for each in error.errors(include_url=False)]
    if mistakes:
        file = f"{table.get('id', '?')}.toml"
        raise CatalogueMistake("\n".join(f"{file}: {place}: {rule}" for place, rule in mistakes))
    return facts


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[tuple[GatewayFacts, ...]]:
    """Validates JSON strictly. A tuple, because pydantic takes no configuration for a dataclass of its own."""
    from pydantic import ConfigDict, TypeAdapter  # slow to import, and not needed before the first reading

    return TypeAdapter(tuple[GatewayFacts, ...], config=ConfigDict(strict=True, extra="forbid"))


def _complete(table: Table, version: str) -> Table:
    """The table in the shape of `GatewayFacts`, with what the models share copied into each."""
    own = {key: value for key, value in table.items() if key not in (*_INHERITED, *_PER_MODEL)}
    sources = {key: {"key": key, **row} for key, row in table.get("sources", {}).items()}
    return {**own, "sources": sources, "models": list(_complete_models(table)), "version": version}


def _complete_models(table: Table) -> Iterator[Table]:
    done: dict[str, Any] = {}
    for row in table.get("models", []):
        model = {key: table[key] for key in _INHERITED if key in table} | _inherited(row, done)
        done[model["id"]] = model
        evidence = [
            {key: value for key, value in each.items() if key != "family"}
            for each in (*model["lifecycle"].get("evidence", ()), *table.get("evidence", ()))
            if each.get("family") in (None, model.get("family"))
        ]
        whole = {
            **model,
            "fields": [_complete_field(field) for field in model["fields"]],
            "lifecycle": {**model["lifecycle"], "evidence": sorted(evidence, key=_age, reverse=True)},
            "conflicts": [*model.get("conflicts", ()), *table.get("conflicts", ())],
            "price": _complete_price(model["price"], f"{table.get('id')}.toml: {model['id']}"),
            "poll": _complete_poll(model["poll"]) if "poll" in model else None,
        }
        yield {"gateway": table.get("id"), "model": whole.pop("id"), **whole}


def _inherited(row: Table, done: Mapping[str, Table]) -> dict[str, Any]:
    """The row with what it takes over from the model that it is like."""
    if "like" in row and row["like"] not in done:
        raise CatalogueMistake(f"{row.get('id', '?')}: it is like {row['like']!r}, which no model before it is")
    like = done[row["like"]] if "like" in row else {}
    own = {key: value for key, value in row.items() if key not in ("like", "changes", "without")}
    shared = {key: value for key, value in like.items() if key not in _OWN}
    whole: dict[str, Any] = {**shared, **own}
    changes = {change["path"]: change for change in row.get("changes", [])}
    fields = [{**field, **changes.pop(field["path"], {})} for field in whole.get("fields", [])]
    gone = row.get("without", [])
    if {*gone} - {field["path"] for field in whole.get("fields", [])}:
        raise CatalogueMistake(f"{row.get('id', '?')}: `without` names a field that is not there")
    return {**whole, "fields": [field for field in (*fields, *changes.values()) if field["path"] not in gone]}


def _complete_field(field: Table) -> Table:
    pairs = {key: list(field[key].items()) for key in ("fixed", "spelling") if key in field}
    if "spelling" in pairs:
        pairs["spelling"] = [(wire, list(neutral.items())) for wire, neutral in pairs["spelling"]]
    limits = [{**limit, "when": list(limit.get("when", {}).items())} for limit in field.get("limits", [])]
    return {**field, "path": field["path"].split("."), "limits": limits, **pairs}


def _age(evidence: Table) -> tuple[bool, str]:
    date = evidence.get("date", "")
    return date != "undated", date


def _complete_price(price: Table, place: str) -> Table:
    # Text only: a TOML float has already lost the exact amount.
    added = price.get("added", [])
    amounts = [*price.get("amounts", {}).values(), price.get("usd_per_unit", ""), price.get("minimum", "")]
    amounts += [each[key] for each in added for key in ("amount", "factor") if key in each]
    if not all(isinstance(amount, str) for amount in amounts):
        raise CatalogueMistake(f"{place}.price: amounts must be written as text")
    return price


def _complete_poll(poll: Table) -> Table:
    by_length = poll.get("usual_by_length", {})
    return {**poll, "usual_by_length": [(int(length), span) for length, span in by_length.items()]}


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
    yield "upload", facts.upload
    yield from ((f"sources.{key}", source) for key, source in facts.sources.items())
    yield from ((f"errors.{number}", error) for number, error in enumerate(facts.errors))
    for number, card in enumerate(facts.models):
        place = f"models.{number}"
        yield place, card
        for name in ("price", "lifecycle", "poll", "retention", "rate_limit"):
            yield f"{place}.{name}", getattr(card, name)
        rows = {
            "fields": card.fields,
            "inputs": card.inputs,
            "lifecycle.evidence": card.lifecycle.evidence,
            "conflicts": card.conflicts,
        }
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
        case ModelCard():
            yield from _check_card(value)
        case Field():
            yield from _check_field(value)
        case PollAdvice():
            yield from _check_poll(value)
        case Lifecycle(evidence=()):
            yield "a claim needs evidence"


def _check_price(rule: PriceRule) -> Iterator[str]:
    if (rule.per in ("clip", "second")) != bool(rule.amounts):
        yield "amounts are given if and only if the price is known"
    if any(amount < 0 for amount in (*rule.amounts.values(), rule.usd_per_unit or 0)):
        yield "an amount is negative"
    if any(extra.amount < 0 or extra.factor < 1 for extra in rule.added):
        yield "what is added makes the price lower"
    if any(extra.role is None and not extra.option for extra in rule.added):
        yield "what is added is for inputs of a role or for an option"
    if any(extra.seconds and extra.role != "reference_video" for extra in rule.added):
        yield "only the seconds of reference videos are added"
    if any(len(key.split(" / ")) != max(len(rule.keys), 1) for key in rule.amounts):
        yield "an amount's key has another number of parts than `keys`"


def _check_card(card: ModelCard) -> Iterator[str]:
    for name in card.implied.keys() - PARAMETERS.keys():
        yield f"implied names {name!r}, which is no parameter"
    names = {"kind", "video_input", *PARAMETERS, *(field.path[-1] for field in card.fields if field.role == "option")}
    limited = {name for field in card.fields for limit in field.limits for name, _ in limit.when}
    priced = {*card.price.keys, *(extra.option for extra in card.price.added if extra.option)}
    for name in sorted((limited | priced) - names):
        yield f"a price or limit depends on {name!r}, which no shot has"
    roles = {role for field in card.fields for role in field.inputs}
    for role in sorted({role for rule in card.inputs for role in rule.roles} - roles):
        yield f"a rule is about {role!r}, which no field holds"
    for kind in card.kinds:
        held = [role for field in card.input_fields(kind) for role in field.inputs]
        if len({*held}) < len(held):
            yield f"two fields hold the same input for {kind}"
    if any(rule.needs and not roles & {*rule.needs} for rule in card.inputs):
        yield "a rule needs an input that no field holds"


def _check_field(field: Field) -> Iterator[str]:
    if (field.role == "input") != bool(field.inputs):
        yield "a field of role input names the inputs that it holds"
    if not all(limit.when for limit in field.limits):
        yield "a limit needs a condition"
    parts: tuple[Field | Limit, ...] = (field, *field.limits)
    for part in parts:
        limited = field.limited_by(part) if isinstance(part, Limit) else field
        if any(value is not None and not limited.takes(value) for value in (limited.fill, part.default)):
            yield "fill or default is not among the values"
        if limited.minimum is not None and limited.maximum is not None and limited.minimum > limited.maximum:
            yield "a range is empty"


def _check_poll(advice: PollAdvice) -> Iterator[str]:
    least = advice.least_every_seconds
    if least is not None and not 0 < least <= advice.every_seconds:
        yield "least_every_seconds must be positive and at most every_seconds"
    spans = [span for _, span in advice.usual_by_length]
    for low, high in [*spans, *([advice.usual_seconds] if advice.usual_seconds else [])]:
        if not 0 < low < high:
            yield f"{low:g} to {high:g} s must be a low and a high time"
