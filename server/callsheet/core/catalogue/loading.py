"""From the mapping of a gateway's `.toml` to `GatewayFacts`.

Strict: an unknown key, a missing key, a wrong type or a fact without a known source is a
`CatalogueMistake`, so that a typo in a fact file fails the tests instead of silently changing a
payload. A model inherits `poll`, `retention` and `rate_limit` from its gateway unless it has its own;
what the gateway has under `evidence` and `conflicts` is true of each of its models and is added to
theirs. `fields_of` names an earlier model of the same file whose fields a model shares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, cast, get_args

from callsheet.core.shot import Mode

from .cards import (
    Availability,
    CallbackRule,
    Conflict,
    ErrorFact,
    Evidence,
    Field,
    GatewayFacts,
    ImageRule,
    Lifecycle,
    ModelCard,
    PollAdvice,
    PriceRule,
    RateLimit,
    Retention,
    Role,
    Source,
    Unit,
)

Table = Mapping[str, Any]

_PRICE_KINDS = ("by_duration", "per_second", "fixed", "unknown")
_FIELD_KINDS = ("string", "integer", "boolean", "array")
_SITUATIONS = ("always", "image", "text", "callback", "no_callback")
_AUTHORITIES = ("gateway", "sister brand", "third party", "OpenAI", "measured")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|undated")


class CatalogueMistake(ValueError):
    """A fact file breaks the catalogue's own rules: our bug, never the user's."""


class _Reader:
    """Takes keys out of one table and complains about what is missing or left over."""

    def __init__(self, table: Table, where: str, sources: Mapping[str, Source] | None = None) -> None:
        self._left = dict(table)
        self._where = where
        self._sources = sources

    def take(self, key: str, *kinds: type) -> Any:
        if key not in self._left:
            raise CatalogueMistake(f"{self._where}: {key!r} is missing")
        value = self._left.pop(key)
        if kinds and not isinstance(value, kinds):
            raise CatalogueMistake(f"{self._where}.{key}: {type(value).__name__} is not one of {kinds}")
        return value

    def maybe(self, key: str, *kinds: type) -> Any:
        return self.take(key, *kinds) if key in self._left else None

    def text(self, key: str) -> str:
        return cast("str", self.maybe(key, str) or "")

    def texts(self, key: str) -> tuple[str, ...]:
        found = tuple(self.maybe(key, list) or ())
        if not all(isinstance(item, str) for item in found):
            raise CatalogueMistake(f"{self._where}.{key}: {found} has more than texts")
        return found

    def date(self, key: str) -> str:
        value = cast("str", self.take(key, str))
        if not _DATE.fullmatch(value):
            raise CatalogueMistake(f"{self._where}.{key}: {value!r} is neither YYYY-MM-DD nor 'undated'")
        return value

    def source(self, key: str = "source") -> str:
        name = cast("str", self.take(key, str))
        if self._sources is not None and name not in self._sources:
            raise CatalogueMistake(f"{self._where}: source {name!r} is not in [sources]")
        return name

    def one_of(self, key: str, allowed: Iterable[str]) -> str:
        value = cast("str", self.take(key, str))
        self.check(key, (value,), allowed)
        return value

    def maybe_one_of(self, key: str, allowed: Iterable[str]) -> str | None:
        return self.one_of(key, allowed) if key in self._left else None

    def check(self, key: str, values: Iterable[str], allowed: Iterable[str]) -> None:
        if wrong := [value for value in values if value not in tuple(allowed)]:
            raise CatalogueMistake(f"{self._where}.{key}: {wrong} not among {tuple(allowed)}")

    def close(self) -> None:
        if self._left:
            raise CatalogueMistake(f"{self._where}: unknown keys {sorted(self._left)}")


@dataclass(frozen=True, slots=True)
class _Shared:
    """What a gateway's models have in common, not yet read."""

    gateway: str
    defaults: Mapping[str, Table]
    evidence: tuple[Table, ...]
    conflicts: tuple[Table, ...]
    sources: Mapping[str, Source]


def read_facts(table: Table, version: str) -> GatewayFacts:
    """Turn one gateway's table into values; `version` names the bytes that it was read from.

    Raises:
        CatalogueMistake: when the table breaks a rule of the catalogue.
    """
    gateway_id = str(table.get("id", "?"))
    sources = {key: _source(key, value, gateway_id) for key, value in table.get("sources", {}).items()}
    reader = _Reader({k: v for k, v in table.items() if k != "sources"}, gateway_id, sources)
    shared = _Shared(
        gateway=gateway_id,
        defaults={key: reader.take(key, dict) for key in ("poll", "retention", "rate_limit")},
        evidence=tuple(reader.maybe("evidence", list) or ()),
        conflicts=tuple(reader.maybe("conflicts", list) or ()),
        sources=sources,
    )
    facts = GatewayFacts(
        id=reader.take("id", str),
        name=reader.take("name", str),
        base_url=reader.take("base_url", str),
        submit_path=reader.take("submit_path", str),
        key_env=reader.take("key_env", str),
        key_page=reader.take("key_page", str),
        docs=reader.take("docs", str),
        idempotency_header=reader.maybe("idempotency_header", str),
        result_hosts=reader.texts("result_hosts"),
        callback=_callback(reader.take("callback", dict), f"{gateway_id}.callback", sources),
        errors=tuple(
            _error(row, f"{gateway_id}.errors[{n}]", sources) for n, row in enumerate(reader.take("errors", list))
        ),
        sources=MappingProxyType(sources),
        models=_models(reader.take("models", list), shared),
        as_of=reader.date("as_of"),
        version=version,
    )
    reader.close()
    return facts


def _source(key: str, table: Table, where: str) -> Source:
    reader = _Reader(table, f"{where}.sources.{key}")
    source = Source(
        key=key,
        title=reader.take("title", str),
        url=reader.take("url", str),
        date=reader.date("date"),
        authority=reader.one_of("authority", _AUTHORITIES),
    )
    reader.close()
    return source


def _callback(table: Table, where: str, sources: Mapping[str, Source]) -> CallbackRule:
    reader = _Reader(table, where, sources)
    rule = CallbackRule(
        max_length=reader.maybe("max_length", int),
        answer_within_seconds=reader.maybe("answer_within_seconds", int),
        retries=reader.text("retries"),
        signature=reader.take("signature", str),
        source=reader.source(),
    )
    reader.close()
    return rule


def _error(table: Table, where: str, sources: Mapping[str, Source]) -> ErrorFact:
    reader = _Reader(table, where, sources)
    fact = ErrorFact(
        status=reader.maybe("status", int),
        code=reader.text("code"),
        meaning=reader.take("meaning", str),
        advice=reader.text("advice"),
        source=reader.source(),
    )
    reader.close()
    return fact


def _models(rows: Iterable[Table], shared: _Shared) -> tuple[ModelCard, ...]:
    cards: dict[str, ModelCard] = {}
    for row in rows:
        card = _model(row, shared, cards)
        if card.model in cards:
            raise CatalogueMistake(f"{card.id} stands twice in its file")
        cards[card.model] = card
    return tuple(cards.values())


def _model(table: Table, shared: _Shared, earlier: Mapping[str, ModelCard]) -> ModelCard:
    where, sources = f"{shared.gateway}/{table.get('id', '?')}", shared.sources
    reader = _Reader(table, where, sources)
    image = reader.maybe("image", dict)
    defaults = {key: reader.maybe(key, dict) or table for key, table in shared.defaults.items()}
    conflicts = (*(reader.maybe("conflicts", list) or ()), *shared.conflicts)
    card = ModelCard(
        gateway=shared.gateway,
        model=reader.take("id", str),
        title=reader.take("title", str),
        modes=_modes(reader),
        fields=_fields(reader, where, sources, earlier),
        price=_price(reader.take("price", dict), where, sources),
        lifecycle=_lifecycle(reader.take("lifecycle", dict), where, shared),
        image=_image(image, where, sources) if image else None,
        poll=_poll(defaults["poll"], where, sources),
        retention=_retention(defaults["retention"], where, sources),
        rate_limit=_rate_limit(defaults["rate_limit"], where, sources),
        conflicts=tuple(_conflict(row, where, sources) for row in conflicts),
        resolution_when_absent=reader.maybe("resolution_when_absent", str),
        notes=reader.texts("notes"),
    )
    reader.close()
    return card


def _modes(reader: _Reader) -> tuple[Mode, ...]:
    modes = tuple(cast("list[Mode]", reader.take("modes", list)))
    reader.check("modes", modes, get_args(Mode))
    return modes


def _fields(
    reader: _Reader, where: str, sources: Mapping[str, Source], earlier: Mapping[str, ModelCard]
) -> tuple[Field, ...]:
    namesake = reader.maybe_one_of("fields_of", earlier)
    if namesake is not None:
        return earlier[namesake].fields
    return tuple(_field(row, where, sources) for row in reader.take("fields", list))


def _field(table: Table, where: str, sources: Mapping[str, Source]) -> Field:
    reader = _Reader(table, f"{where}.{table.get('path', '?')}", sources)
    fixed = reader.maybe("fixed", dict) or {}
    if set(fixed) - set(_SITUATIONS):
        raise CatalogueMistake(f"{where}: fixed knows only {_SITUATIONS}")
    spelling = reader.maybe("spelling", dict) or {}
    field = Field(
        path=tuple(reader.take("path", str).split(".")),
        role=cast("Role", reader.one_of("role", get_args(Role))),
        kind=cast("Any", reader.one_of("kind", _FIELD_KINDS)),
        source=reader.source(),
        required=bool(reader.maybe("required", bool)),
        values=tuple(reader.maybe("values", list) or ()),
        values_with_image=tuple(reader.maybe("values_with_image", list) or ()),
        default=reader.maybe("default", str, int, bool),
        default_with_image=reader.maybe("default_with_image", str, int, bool),
        fill=reader.maybe("fill", str, int, bool),
        fill_with_image=reader.maybe("fill_with_image", str, int, bool),
        fixed=tuple(fixed.items()),
        only=cast("Mode | None", reader.maybe_one_of("only", get_args(Mode))),
        spelling=tuple((wire, tuple(neutral.items())) for wire, neutral in spelling.items()),
        aliases=reader.texts("aliases"),
        min_length=reader.maybe("min_length", int),
        max_length=reader.maybe("max_length", int),
        unit=cast("Unit | None", reader.maybe_one_of("unit", get_args(Unit))),
        max_items=reader.maybe("max_items", int),
        note=reader.text("note"),
    )
    reader.close()
    return field


def _price(table: Table, where: str, sources: Mapping[str, Source]) -> PriceRule:
    reader = _Reader(table, f"{where}.price", sources)
    usd = reader.maybe("usd_per_unit", str)
    amounts = {key: _decimal(value, where) for key, value in (reader.maybe("amounts", dict) or {}).items()}
    rule = PriceRule(
        kind=cast("Any", reader.one_of("kind", _PRICE_KINDS)),
        unit=reader.text("unit"),
        amounts=MappingProxyType(amounts),
        usd_per_unit=_decimal(usd, where) if usd else None,
        as_of=reader.date("as_of"),
        source=reader.source(),
        note=reader.text("note"),
    )
    if (rule.kind == "unknown") == bool(amounts):
        raise CatalogueMistake(f"{where}.price: amounts are given if and only if the price is known")
    reader.close()
    return rule


def _decimal(value: object, where: str) -> Decimal:
    # Texts only: a TOML float has already lost what the source said.
    try:
        number = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or number < 0:
        raise CatalogueMistake(f"{where}.price: {value!r} is not an amount written as text")
    return number


def _lifecycle(table: Table, where: str, shared: _Shared) -> Lifecycle:
    reader = _Reader(table, f"{where}.lifecycle", shared.sources)
    rows = (*reader.take("evidence", list), *shared.evidence)
    evidence = [_evidence(row, where, shared.sources) for row in rows]
    if not evidence:
        raise CatalogueMistake(f"{where}.lifecycle: a claim needs evidence")
    newest_first = sorted(evidence, key=lambda item: (item.date != "undated", item.date), reverse=True)
    life = Lifecycle(
        availability=Availability(reader.one_of("availability", [item.value for item in Availability])),
        summary=reader.take("summary", str),
        evidence=tuple(newest_first),
    )
    reader.close()
    return life


def _evidence(table: Table, where: str, sources: Mapping[str, Source]) -> Evidence:
    reader = _Reader(table, f"{where}.evidence", sources)
    evidence = Evidence(date=reader.date("date"), text=reader.take("text", str), source=reader.source())
    reader.close()
    return evidence


def _image(table: Table, where: str, sources: Mapping[str, Source]) -> ImageRule:
    reader = _Reader(table, f"{where}.image", sources)
    most, formats = reader.maybe("max_bytes", int), reader.texts("formats")
    rule = ImageRule(max_bytes=most, formats=formats, note=reader.text("note"), source=reader.source())
    reader.close()
    return rule


def _poll(table: Table, where: str, sources: Mapping[str, Source]) -> PollAdvice:
    reader = _Reader(table, f"{where}.poll", sources)
    usual, by_length = reader.maybe("usual_seconds", list), reader.maybe("usual_by_length", dict) or {}
    least = reader.maybe("least_every_seconds", int, float)
    advice = PollAdvice(
        first_after_seconds=float(reader.take("first_after_seconds", int, float)),
        every_seconds=float(reader.take("every_seconds", int, float)),
        usual_seconds=_span(usual, where) if usual else None,
        source=reader.source(),
        note=reader.text("note"),
        least_every_seconds=None if least is None else float(least),
        usual_by_length=tuple((int(length), _span(span, where)) for length, span in by_length.items()),
    )
    reader.close()
    if least is not None and not 0 < least <= advice.every_seconds:
        raise CatalogueMistake(f"{where}.poll: the least interval is longer than the usual one")
    return advice


def _span(span: list[Any], where: str) -> tuple[float, float]:
    match span:
        case [low, high] if 0 < low < high:
            return float(low), float(high)
    raise CatalogueMistake(f"{where}.poll: {span} is not a low and a high time")


def _retention(table: Table, where: str, sources: Mapping[str, Source]) -> Retention:
    reader = _Reader(table, f"{where}.retention", sources)
    retention = Retention(
        result_hours=reader.maybe("result_hours", int), source=reader.source(), note=reader.text("note")
    )
    reader.close()
    return retention


def _rate_limit(table: Table, where: str, sources: Mapping[str, Source]) -> RateLimit:
    reader = _Reader(table, f"{where}.rate_limit", sources)
    limit = RateLimit(
        requests_per_minute=reader.maybe("requests_per_minute", int),
        concurrent_tasks=reader.maybe("concurrent_tasks", int),
        assumed_per_minute=reader.take("assumed_per_minute", int),
        source=reader.source(),
        note=reader.text("note"),
    )
    reader.close()
    return limit


def _conflict(table: Table, where: str, sources: Mapping[str, Source]) -> Conflict:
    reader = _Reader(table, f"{where}.conflicts", sources)
    conflict = Conflict(
        about=reader.take("about", str), sources=reader.texts("sources"), choice=reader.take("choice", str)
    )
    if set(conflict.sources) - set(sources):
        raise CatalogueMistake(f"{where}.conflicts: unknown source in {conflict.sources}")
    reader.close()
    return conflict
