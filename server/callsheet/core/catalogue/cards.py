"""The catalogue: what is known of each gateway and model, with source and date.

Values only. `core.catalogue_reading` turns the mapping of a gateway's `.toml` into them, and
`edges.catalogue_files` reads the file. "Not known" is None or an empty tuple, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from callsheet.core.shot import IMAGE_TO_VIDEO, JsonValue, Mode

Scalar = str | int | bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact was read. `date` is ISO (`2026-08-07`) or `undated`; `authority` says whose word it is."""

    key: str
    title: str
    url: str
    date: str
    authority: str


class Availability(StrEnum):
    """Whether a model may be expected to answer.

    `LIVE`: seen working after OpenAI's shutdown. `UNVERIFIED`: the gateway listed it last, upstream
    is gone since 2026-09-24, nothing seen since. `LEGACY`: the gateway calls it deprecated.
    `DROPPED`: the gateway took it out of its catalogue.
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
Unit = Literal["characters", "tokens"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model's request body.

    Attributes:
        path: where it stands in the body, `("input", "duration")`.
        role: the neutral meaning. `size` carries ratio and resolution at once; `fixed` is written by
            the program alone; `extra` exists only for this model and is passed through.
        kind: JSON type; an `array` holds strings.
        values: allowed wire values, empty when any. `values_with_image` replaces them in
            image-to-video.
        default, default_with_image: what the gateway documents it assumes; None is "not stated".
        fill, fill_with_image: what is written when the shot does not say; None sends nothing.
        fixed: wire value for role `fixed`, by situation: `always`, `image`, `text`, `callback`,
            `no_callback`. The first that holds is written.
        only: the one mode in which the field exists, or None for both.
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
    fixed: tuple[tuple[str, Scalar], ...] = ()
    only: Mode | None = None
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

    def allowed(self, mode: Mode) -> tuple[Scalar, ...]:
        """The wire values allowed in that mode; empty when any."""
        return self.values_with_image if mode == IMAGE_TO_VIDEO and self.values_with_image else self.values

    def filled(self, mode: Mode) -> Scalar | None:
        """What is written when the shot does not say."""
        return self.fill_with_image if mode == IMAGE_TO_VIDEO and self.fill_with_image is not None else self.fill

    def exists_in(self, mode: Mode) -> bool:
        """Whether the field may be sent in that mode."""
        return self.only is None or self.only == mode


@dataclass(frozen=True, slots=True)
class PriceRule:
    """How a model is billed, in the gateway's unit.

    `kind`: `by_duration` (amount for each length), `per_second` (rate, by resolution or `any`),
    `fixed` (per request), `unknown`. `amounts` maps the key (`"8"`, `"720p"`, `"any"`) to the amount.
    `usd_per_unit` converts; None when the gateway names no rate. Where sources disagree the highest
    figure stands here and `note` says so.
    """

    kind: Literal["by_duration", "per_second", "fixed", "unknown"]
    unit: str
    amounts: Mapping[str, Decimal]
    usd_per_unit: Decimal | None
    as_of: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ImageRule:
    """Limits on the reference image; None and empty are "not documented"."""

    max_bytes: int | None
    formats: tuple[str, ...]
    note: str
    source: str


@dataclass(frozen=True, slots=True)
class PollAdvice:
    """When to ask for the first time after submission, and how often then.

    `usual_seconds` is (low, high), `usual_by_length` the same for clips of so many seconds. `least_every_seconds` is
    the shortest interval that the gateway's pages or programs use themselves; nothing is asked more often.
    """

    first_after_seconds: float
    every_seconds: float
    usual_seconds: tuple[float, float] | None
    source: str
    note: str = ""
    least_every_seconds: float | None = None
    usual_by_length: tuple[tuple[int, tuple[float, float]], ...] = ()


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a result link works; None is "not documented"."""

    result_hours: int | None
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Documented limits, None where not documented; `assumed_per_minute` is what we keep to then."""

    requests_per_minute: int | None
    concurrent_tasks: int | None
    assumed_per_minute: int
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class CallbackRule:
    """The gateway's rules for `callback_url` and how its deliveries can be trusted."""

    max_length: int | None
    answer_within_seconds: int | None
    retries: str
    signature: str
    source: str


@dataclass(frozen=True, slots=True)
class ErrorFact:
    """One documented error: HTTP status (or None for a task failure), code, meaning, advice."""

    status: int | None
    code: str
    meaning: str
    advice: str
    source: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Sources that disagree, what each says, and what is done so that each is satisfied."""

    about: str
    sources: tuple[str, ...]
    choice: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of one gateway's model.

    `modes` are what a shot can be drawn up for; empty when the model makes no clip or its request
    body is not known.
    """

    gateway: str
    model: str
    title: str
    modes: tuple[Mode, ...]
    fields: tuple[Field, ...]
    price: PriceRule
    lifecycle: Lifecycle
    image: ImageRule | None
    poll: PollAdvice
    retention: Retention
    rate_limit: RateLimit
    conflicts: tuple[Conflict, ...]
    resolution_when_absent: str | None
    notes: tuple[str, ...]

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
    idempotency_header: str | None
    result_hosts: tuple[str, ...]
    callback: CallbackRule
    errors: tuple[ErrorFact, ...]
    sources: Mapping[str, Source]
    models: tuple[ModelCard, ...]
    as_of: str
    version: str


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


__all__ = [
    "Availability",
    "CallbackRule",
    "Catalogue",
    "Conflict",
    "ErrorFact",
    "Evidence",
    "Field",
    "GatewayFacts",
    "ImageRule",
    "JsonValue",
    "Lifecycle",
    "ModelCard",
    "PollAdvice",
    "PriceRule",
    "RateLimit",
    "Retention",
    "Role",
    "Scalar",
    "Source",
]
