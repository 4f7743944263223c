"""The catalogue: what is known of each gateway and model, with source and date, and what a clip costs by it.

`edges.config.catalogue_files` reads a gateway's `.toml` into these values and checks them. "Not known" is None or an
empty tuple, never a guess. Money is `Decimal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from .shot import IMAGE_TO_VIDEO, Kind

Scalar = str | int | bool
Authority = Literal["gateway", "sister brand", "third party", "OpenAI", "measured"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact was read. `date` is ISO (`2026-08-07`) or `undated`; `authority` is who said it."""

    key: str
    title: str
    url: str
    date: str
    authority: Authority


class Availability(StrEnum):
    """Whether a model can be expected to work.

    `LIVE`: seen working after OpenAI's shutdown. `UNVERIFIED`: the gateway once listed it, OpenAI shut the model
    down on 2026-09-24, and nothing has been seen since. `LEGACY`: the gateway calls it deprecated. `DROPPED`: the
    gateway removed it from its catalogue.
    """

    LIVE = "live"
    UNVERIFIED = "unverified"
    LEGACY = "legacy"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One dated observation about a model's lifecycle."""

    date: str
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """A model's availability and the evidence for it, newest first."""

    availability: Availability
    summary: str
    evidence: tuple[Evidence, ...]


Role = Literal[
    "prompt", "duration", "aspect_ratio", "resolution", "size", "image", "callback", "model", "fixed", "extra"
]
Situation = Literal["always", "image", "text", "callback", "no_callback"]
Unit = Literal["characters", "tokens"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model's request body.

    Attributes:
        path: its place in the body, `("input", "duration")`.
        role: the neutral meaning. `size` carries ratio and resolution together; only the program writes `fixed`;
            `extra` exists only for this model and is passed through.
        kind: JSON type; an `array` holds strings.
        values: allowed wire values, empty when any. `values_with_image` replaces them in
            image-to-video.
        default, default_with_image: what the gateway documents it assumes; None is "not stated".
        fill, fill_with_image: what is written when the shot leaves it open; None sends nothing.
        fixed: wire value for role `fixed`, by situation. The first situation that applies is written.
        only: the one kind of clip that has the field, or None for both.
        spelling: wire value -> neutral values, `{"landscape": {"aspect_ratio": "16:9"}}`.
        aliases: names that people write instead.
        max_length, min_length, unit: of a string, in the unit that the gateway counts.
        max_items: of an array.
    """

    path: tuple[str, ...]
    role: Role
    kind: Literal["string", "integer", "boolean", "array"]
    source: str
    required: bool = False
    values: tuple[Scalar, ...] = ()
    values_with_image: tuple[Scalar, ...] = ()
    default: Scalar | None = None
    default_with_image: Scalar | None = None
    fill: Scalar | None = None
    fill_with_image: Scalar | None = None
    fixed: tuple[tuple[Situation, Scalar], ...] = ()
    only: Kind | None = None
    spelling: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    aliases: tuple[str, ...] = ()
    min_length: int | None = None
    max_length: int | None = None
    unit: Unit | None = None
    max_items: int | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The dotted path, `input.duration`."""
        return ".".join(self.path)

    def allowed(self, kind: Kind) -> tuple[Scalar, ...]:
        """The wire values allowed in that kind of clip; empty when any."""
        return self.values_with_image if kind == IMAGE_TO_VIDEO and self.values_with_image else self.values

    def filled(self, kind: Kind) -> Scalar | None:
        """What is written when the shot leaves the field open."""
        return self.fill_with_image if kind == IMAGE_TO_VIDEO and self.fill_with_image is not None else self.fill

    def exists_in(self, kind: Kind) -> bool:
        """Whether the field may be sent for that kind of clip."""
        return self.only is None or self.only == kind


@dataclass(frozen=True, slots=True)
class PriceRule:
    """How a model is billed, in the gateway's unit.

    `kind`: `by_duration` (amount for each length), `per_second` (rate, by resolution or `any`),
    `fixed` (per request), `unknown`. `amounts` maps the key (`"8"`, `"720p"`, `"any"`) to the amount.
    `usd_per_unit` converts; None when the gateway names no rate. Where sources disagree, the amount is the highest
    and `note` says so.
    """

    kind: Literal["by_duration", "per_second", "fixed", "unknown"]
    as_of: str
    source: str
    unit: str = ""
    amounts: Mapping[str, Decimal] = field(default_factory=dict)
    usd_per_unit: Decimal | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ImageRule:
    """Limits on the reference image; None and empty are "not documented"."""

    source: str
    max_bytes: int | None = None
    formats: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class PollAdvice:
    """When to ask for the first time after submission, and how often then.

    `usual_seconds` is (low, high), `usual_by_length` the same for clips of that many seconds. `least_every_seconds`
    is the shortest interval that the gateway's pages or programs use themselves; nothing is asked more often.
    """

    first_after_seconds: float
    every_seconds: float
    source: str
    usual_seconds: tuple[float, float] | None = None
    least_every_seconds: float | None = None
    usual_by_length: tuple[tuple[int, tuple[float, float]], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a result link works; None is "not documented"."""

    source: str
    result_hours: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Documented limits, None where not documented; without one, the program stays under `assumed_per_minute`."""

    assumed_per_minute: int
    source: str
    requests_per_minute: int | None = None
    concurrent_tasks: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class CallbackRule:
    """The gateway's rules for `callback_url`, and how its deliveries are signed."""

    signature: str
    source: str
    max_length: int | None = None
    answer_within_seconds: int | None = None
    retries: str = ""


@dataclass(frozen=True, slots=True)
class ErrorFact:
    """One documented error: HTTP status (or None for a task failure), code, meaning, advice."""

    meaning: str
    source: str
    status: int | None = None
    code: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Sources that disagree, and the choice that satisfies each of them."""

    about: str
    sources: tuple[str, ...]
    choice: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of one gateway's model.

    `kinds` are the kinds of clip that a shot can ask of it; empty when the model generates none or its request body
    is not known.
    """

    gateway: str
    model: str
    title: str
    kinds: tuple[Kind, ...]
    fields: tuple[Field, ...]
    price: PriceRule
    lifecycle: Lifecycle
    poll: PollAdvice
    retention: Retention
    rate_limit: RateLimit
    image: ImageRule | None = None
    conflicts: tuple[Conflict, ...] = ()
    resolution_when_absent: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`gateway/model`, as people and policies name it."""
        return f"{self.gateway}/{self.model}"

    def field_for(self, role: Role) -> Field | None:
        """The first field of that role."""
        return next((field for field in self.fields if field.role == role), None)


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What is known of one gateway. `version` is the digest of the file it was read from."""

    id: str
    name: str
    base_url: str
    submit_path: str
    key_env: str
    key_page: str
    docs: str
    callback: CallbackRule
    errors: tuple[ErrorFact, ...]
    sources: Mapping[str, Source]
    models: tuple[ModelCard, ...]
    as_of: str
    version: str
    idempotency_header: str | None = None
    result_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All gateways, in the order of the explicit tuple in `gateways`."""

    gateways: tuple[GatewayFacts, ...]

    def gateway(self, gateway_id: str) -> GatewayFacts | None:
        """The facts of that gateway, or None."""
        return next((facts for facts in self.gateways if facts.id == gateway_id), None)

    def card(self, gateway_id: str, model: str) -> ModelCard | None:
        """That model's card, or None."""
        facts = self.gateway(gateway_id)
        return next((card for card in facts.models if card.model == model), None) if facts else None

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Every card, gateway by gateway."""
        return tuple(card for facts in self.gateways for card in facts.models)

    def source(self, card: ModelCard, key: str) -> Source | None:
        """The source behind a key that a card names."""
        facts = self.gateway(card.gateway)
        return facts.sources.get(key) if facts else None


MICROS = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """The highest documented price of one clip.

    `amount` is in `unit` (the gateway's own, `credits` or `USD`), `usd` in US dollars; both are None
    when the price is not known. `as_of` and `source` say when and where it was read.
    """

    amount: Decimal | None
    unit: str
    usd: Decimal | None
    as_of: str
    source: str
    note: str = ""

    @property
    def known(self) -> bool:
        """Whether the clip's cost in dollars is documented."""
        return self.usd is not None

    def __str__(self) -> str:
        if self.usd is None:
            return "unknown"
        own = "" if self.unit == "USD" or self.amount is None else f" ({_plain(self.amount)} {self.unit})"
        return f"{dollars(self.usd)} USD{own}"


def price_clip(card: ModelCard, *, duration_seconds: int | None, resolution: str | None) -> Price:
    """The price of one clip of that length (seconds) and resolution; `amount` None when not documented."""
    rule = card.price
    amount = _amount(rule, duration_seconds, resolution)
    usd = amount * rule.usd_per_unit if amount is not None and rule.usd_per_unit is not None else None
    return Price(amount=amount, unit=rule.unit, usd=usd, as_of=rule.as_of, source=rule.source, note=rule.note)


def _amount(rule: PriceRule, duration_seconds: int | None, resolution: str | None) -> Decimal | None:
    match rule.kind:
        case "unknown":
            return None
        case "fixed":
            return rule.amounts.get("any")
        case "by_duration":
            return rule.amounts.get(str(duration_seconds))
    per_second = rule.amounts.get(resolution or "any", rule.amounts.get("any"))
    return None if per_second is None or duration_seconds is None else per_second * duration_seconds


def dollars(usd: Decimal) -> str:
    """At least two decimals, more only where they carry value: `0.24`, `0.339`, `5.00`.

    >>> dollars(Decimal("0.3390"))
    '0.339'
    """
    text = _plain(usd)
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents.ljust(2, '0')}"


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def to_micros(usd: Decimal) -> int:
    """Dollars as a whole number of millionths, rounded up, so that sums in the ledger are exact."""
    return int((usd * MICROS).to_integral_value(rounding="ROUND_CEILING"))


def from_micros(micros: int) -> Decimal:
    """The way back from `to_micros`."""
    return Decimal(micros) / MICROS
