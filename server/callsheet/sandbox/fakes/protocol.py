"""What a fake gateway provides: the paths, words, pace and bodies of one gateway. Pure values and a Protocol.

A fake gateway builds plain values; `sandbox.app` sends them. Where a gateway's
sources disagree by date there are two generations; the newer one is the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.shot import JsonValue

from .tasks import SandboxTask, Snapshot

Json = dict[str, JsonValue]


class Generation(StrEnum):
    """Which generation of a gateway's error and callback bodies is used."""

    NEW = "new"
    OLD = "old"


class Reason(StrEnum):
    """Why a request is refused, in the sandbox's own words."""

    UNAUTHORIZED = "unauthorized"
    INVALID = "invalid"
    TOO_LONG = "too_long"
    UNKNOWN_MODEL = "unknown_model"
    MODERATION = "moderation"
    NO_CREDITS = "no_credits"
    BAD_TASK_ID = "bad_task_id"
    UNKNOWN_TASK = "unknown_task"
    UNKNOWN_PATH = "unknown_path"
    TOO_LARGE = "too_large"
    REPLAY_CONFLICT = "replay_conflict"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal before it takes a gateway's shape: the reason, the field, and a detail to show."""

    reason: Reason
    field: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with a JSON body."""

    status: int
    body: JsonValue
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for another page of a gateway: the gateway's facts, the request's values, and its tasks on demand."""

    facts: GatewayFacts
    path: Mapping[str, str]
    query: Mapping[str, str]
    generation: Generation
    load_tasks: Callable[[], list[SandboxTask]]
    now: float


@dataclass(frozen=True, slots=True)
class Page:
    """A documented GET besides submit and status: balance, catalogue, list of tasks."""

    path: str
    needs_key: bool
    build: Callable[[PageRequest], Answer]


@dataclass(frozen=True, slots=True)
class Profile:
    """A gateway's pace and how it sends callbacks. Seconds are those of the real gateway, before the sandbox's speed.

    `callback_retries` are the pauses before each further delivery, `answer_within` (real seconds) is
    how long the receiver may take; both by generation. `replays` says whether an idempotency key is answered with
    the first task; `credits_per_usd` converts a price that is documented in dollars.
    """

    usual_seconds: Callable[[int], tuple[float, float]]
    callback_retries: Mapping[Generation, tuple[float, ...]]
    answer_within: Mapping[Generation, float]
    replays: bool = False
    credits_per_usd: int | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """The body and further headers of a callback."""

    body: Json
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class FakeGateway(Protocol):
    """What the module of a fake gateway provides.

    `SUBMIT_PATH` and `STATUS_PATH` are relative to the gateway's origin, with `{model}` and `{task_id}`
    where the gateway has them in the path; a status path without `{task_id}` reads it from the query.
    """

    @property
    def SUBMIT_PATH(self) -> str: ...  # noqa: N802 - a module constant

    @property
    def STATUS_PATH(self) -> str: ...  # noqa: N802

    @property
    def PROFILE(self) -> Profile: ...  # noqa: N802

    @property
    def PAGES(self) -> tuple[Page, ...]: ...  # noqa: N802

    @property
    def build_task_id(self) -> Callable[[int, str], str]: ...

    @property
    def check_task_id(self) -> Callable[[str], bool]: ...

    @property
    def build_accepted(self) -> Callable[[SandboxTask], Json]: ...

    @property
    def build_status(self) -> Callable[[SandboxTask, Snapshot, str, Generation], Json]: ...

    @property
    def build_callback(self) -> Callable[[SandboxTask, Snapshot, str, Generation], Callback]: ...

    @property
    def build_refusal(self) -> Callable[[Refusal, Generation], Answer]: ...


@runtime_checkable
class FakeUploader(Protocol):
    """A fake of a gateway that takes files. `build_uploaded` answers for (name, type, size in bytes, link)."""

    @property
    def UPLOAD_PATH(self) -> str: ...  # noqa: N802

    @property
    def build_uploaded(self) -> Callable[[UploadedFile], Json]: ...


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that was uploaded. `url` is where it is served; `now` is Unix seconds."""

    id: str
    name: str
    media_type: str
    size: int
    url: str
    now: float


def read_credits(text: str) -> int | float | None:
    """A decimal text as the JSON number a gateway would send; None for an unknown price."""
    if not text:
        return None
    amount = Decimal(text)
    return int(amount) if amount == amount.to_integral_value() else float(amount)
