"""Model cards: what is known of each gateway and model, with source and date.

`edges.config.catalogue_files` reads a gateway's `.toml` into these values and checks them. "Not known" is None or an
empty tuple, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from callsheet.core.shot import InputRole, Kind, Scalar

from .expressions import Component
from .fields import Field, InputRule, Role

GATEWAY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
Authority = Literal["gateway", "sister brand", "third party", "OpenAI", "measured", "you"]


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

    `LIVE`: seen working. `LISTED`: the gateway's own catalogue lists it, on the date of the evidence; that is no proof
    that it works. `UNVERIFIED`: the gateway once listed it, its maker has shut it down since, or nothing newer was
    seen. `LEGACY`: the gateway calls it deprecated. `DROPPED`: the gateway removed it from its catalogue.
    """

    LIVE = "live"
    LISTED = "listed"
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


Billed = Literal["output", "output+input", "output+longer", "output+input-up-to"]


@dataclass(frozen=True, slots=True)
class AddOn:
    """What is added to a price; it never makes one lower.

    With a `role`: `amount` for each input of it above the first `above`, or with `seconds` for each of their seconds.
    Without one: `amount` once, and `factor` times the rest. With an `option`, a parameter or option of the shot, only
    where that has the value `value` or is open.
    """

    amount: Decimal = Decimal(0)
    factor: Decimal = Decimal(1)
    role: InputRole | None = None
    above: int = 0
    seconds: bool = False
    option: str = ""
    value: Scalar | None = None


@dataclass(frozen=True, slots=True)
class PriceRule:
    """How a model is billed, in the gateway's unit.

    Where sources disagree, the amount is the highest and `note` says so.

    Attributes:
        per: `clip`, `second`, `published` (the gateway's own rule in `components`) or `unknown`.
        keys: what the amount depends on: parameters, options, `kind` or `video_input`.
        amounts: the values of the keys in their order, joined by ` / ` (`720p / true`; `any` stands for every value)
            -> the amount; `any` alone where there are no keys.
        billed: the seconds that count: the clip's own, those and the reference videos', those and the longer of both,
            or those and the reference videos' up to `billed_input_seconds`.
        minimum: the least that a request costs.
        usd_per_unit: converts; None when the gateway names no rate.
    """

    per: Literal["clip", "second", "published", "unknown"]
    as_of: str
    source: str
    unit: str = ""
    keys: tuple[str, ...] = ()
    amounts: Mapping[str, Decimal] = field(default_factory=dict)
    usd_per_unit: Decimal | None = None
    billed: Billed = "output"
    billed_input_seconds: int | None = None
    added: tuple[AddOn, ...] = ()
    minimum: Decimal | None = None
    components: tuple[Component, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class PollAdvice:
    """When to ask for the first time after submission, and how often then.

    `usual_seconds` is (low, high), `usual_by_length` the same for clips of that many seconds. `least_every_seconds`
    is the shortest interval that the gateway's pages or programs use themselves; nothing is asked more often. With
    `patience`, a person is asked after a task that is overdue, whatever its gateway says.
    """

    first_after_seconds: float
    every_seconds: float
    source: str
    usual_seconds: tuple[float, float] | None = None
    least_every_seconds: float | None = None
    usual_by_length: tuple[tuple[int, tuple[float, float]], ...] = ()
    patience: bool = False
    note: str = ""

    def usual_for(self, clip_seconds: int | None) -> tuple[float, float] | None:
        """How long a clip of that length usually takes, from the earliest to the latest; None if no source says."""
        return dict(self.usual_by_length).get(clip_seconds or 0) or self.usual_seconds


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
class UploadRule:
    """Where the gateway takes files and how many; `url` is None where that is its usual address."""

    source: str
    url: str | None = None
    per_minute: int | None = None
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

    `family` is the model under all its gateways and ids. `kinds` are the kinds of clip that a shot can ask of it;
    empty when the model generates none or its request body is not known. `implied` are parameters that the model has
    no field for, at all or in a kind of clip, but that every such clip has. `schema` is the JSON schema that the
    gateway publishes of the object at `schema_path` in the body, empty where it publishes none.
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
    family: str = ""
    inputs: tuple[InputRule, ...] = ()
    implied: Mapping[str, Scalar] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    notes: tuple[str, ...] = ()
    schema: str = ""
    schema_path: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`gateway/model`, as people and policies name it."""
        return f"{self.gateway}/{self.model}"

    def field_for(self, role: Role) -> Field | None:
        """The first field of that role."""
        return next((field for field in self.fields if field.role == role), None)

    def input_fields(self, kind: Kind) -> tuple[Field, ...]:
        """The fields that hold inputs in that kind of clip."""
        return tuple(field for field in self.fields if field.role == "input" and field.exists_in(kind))

    def rules_for(self, role: InputRole) -> tuple[InputRule, ...]:
        """The limits on inputs of that role."""
        return tuple(rule for rule in self.inputs if role in rule.roles)


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What is known of one gateway. `version` is the digest of the file it was read from, and of what was published.

    `catalogue_url` is where it publishes its models, `upload` how it takes files; None where it is not known to.
    `key_env` is empty where it needs no key. `body` is how requests are encoded. `own`: an endpoint of the person's.
    """

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
    catalogue_url: str | None = None
    upload: UploadRule | None = None
    body: Literal["json", "multipart"] = "json"
    own: bool = False

    @property
    def takes_files(self) -> bool:
        """Whether a picture of the person's own can be sent: uploaded before, or in the request itself."""
        inside = self.own and any(rule.files_only for card in self.models for rule in card.inputs)
        return self.upload is not None or inside

    def last_word(self, card: ModelCard) -> Evidence | None:
        """What the gateway itself said last about a model; others' news of it are no listing."""
        own = (item for item in card.lifecycle.evidence if self.sources[item.source].authority == "gateway")
        return next(own, None)


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
