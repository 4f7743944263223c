"""The seam to a gateway: the Protocol and the values that cross it.

A gateway module is pure: it builds `HttpRequest` values and reads `HttpReply` values. It cannot
send, sleep, retry or see a key: `HttpRequest` has a path on the gateway's own origin and says whether
it needs the key; `edges.http` adds the origin and the key. `Gateway` is what each module must have; the
readers and `Uploader` are what it may have, and `isinstance` tells which it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from callsheet.core.catalogue.published import CataloguePage

UNENCRYPTED = "NOT ENCRYPTED: anyone on the network reads prompt, image and key"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request to a gateway. `path` begins with `/` and carries the query; never a host."""

    method: str
    path: str
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    authorized: bool = True


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back. Header names are lower case; `body` is bounded by the sender."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Route:
    """How a server is reached and known; empty for the usual way.

    The connection goes to `address`; or the name is `looked_up` and must lead to public addresses only. A `proxy` opens
    the tunnel. `ca` are certificates in PEM, the only ones with `only_ca`; `fingerprint` is of the one certificate that
    counts. `open`: nothing is encrypted; `plain_key`: a person declared that the key travels so. `hosts`, if a person
    named some, are the only ones that a download may ask.
    """

    address: str = ""
    looked_up: bool = False
    proxy: str = ""
    ca: str = ""
    only_ca: bool = False
    fingerprint: str = ""
    plain_key: bool = False
    open: bool = False
    hosts: tuple[str, ...] | None = None

    @property
    def mark(self) -> str:
        """Everything that decides who gets a request beside the URL, in words; empty for the usual way."""
        only = "only " if self.only_ca else ""
        parts = [
            f"at {self.address}" if self.address else "",
            f"through the proxy {self.proxy}" if self.proxy else "",
            f"trusting {only}ca_file {hashlib.sha256(self.ca.encode()).hexdigest()[:16]}" if self.ca else "",
            f"certificate {self.fingerprint}" if self.fingerprint else "",
            UNENCRYPTED if self.open else "",
        ]
        return ", ".join(part for part in parts if part)

    def destination(self, base_url: str) -> str:
        """The base URL with the mark: what a key is sealed for, or allowed to go to."""
        return f"{base_url} ({self.mark})" if self.mark else base_url


USUAL = Route()


@dataclass(frozen=True, slots=True)
class OwnWay:
    """How a clip comes that its gateway hands out itself. A redirect is followed keyless, to the hosts of `public`."""

    route: Route = USUAL
    public: Route = Route(hosts=())


@dataclass(frozen=True, slots=True)
class SubmitParts:
    """What a gateway needs to build the paid request: model id, frozen body, key for replays."""

    model: str
    body: bytes
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class TaskRef:
    """What a gateway needs to read a task's status. APIXO needs the model id too."""

    model: str
    gateway_task_id: str


@dataclass(frozen=True, slots=True)
class GatewayProblem:
    """A gateway's complaint. `message` is the gateway's own, untrusted text (not yet cleaned).

    `page` says what came instead of words, where that is worth saying: `an HTML page`, `an empty reply`.
    """

    status: int
    code: str
    message: str
    retry_after_seconds: float | None = None
    page: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway accepted the job under this id, and may say what it charged. `note` is ours, for a person."""

    gateway_task_id: str
    state: str = ""
    charge: Charge | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A documented refusal: nothing was accepted, the same bytes will be refused again."""

    problem: GatewayProblem


@dataclass(frozen=True, slots=True)
class Postponed:
    """The rate limiter answered: nothing was executed, the same bytes may be sent later."""

    problem: GatewayProblem


@dataclass(frozen=True, slots=True)
class Unclear:
    """The reply does not say whether the job was accepted. `named_id` is an id that it gives; it proves nothing."""

    problem: GatewayProblem
    named_id: str = ""
    note: str = ""


SubmitOutcome = Accepted | Rejected | Postponed | Unclear


class Phase(StrEnum):
    """Where the gateway says the task is. `UNRECOGNISED` is a state no document names."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNRECOGNISED = "unrecognised"


@dataclass(frozen=True, slots=True)
class Charge:
    """What the gateway says it charged, in its own unit (`credits` or `USD`)."""

    amount: str
    unit: str


@dataclass(frozen=True, slots=True)
class Progress:
    """One status answer. `said` is the gateway's own word for the state; `percent` is 0..100 or None.

    `named_id` is the task that the reply itself names, empty where it names none. An unrecognised state can have
    video links too. `ask_after_seconds` is when the gateway wants to be asked again, if it says so.
    """

    phase: Phase
    said: str
    percent: int | None = None
    video_urls: tuple[str, ...] = ()
    failure: GatewayProblem | None = None
    charge: Charge | None = None
    named_id: str = ""
    ask_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StatusUnavailable:
    """A status read that says nothing about the task: an HTTP error, an unreadable body."""

    problem: GatewayProblem
    unknown_task: bool = False


StatusOutcome = Progress | StatusUnavailable


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left on the account, in the gateway's own unit."""

    amount: str
    unit: str


@dataclass(frozen=True, slots=True)
class RecentTask:
    """A task as a gateway lists it. `created_at` is seconds since the epoch, None when not given.

    `said` are values of its request by their names there, as far as they are listed.
    """

    gateway_task_id: str
    model: str
    created_at: float | None
    said: Mapping[str, str] = field(default_factory=dict)


class Gateway(Protocol):
    """What every gateway module has: plain functions over values."""

    def build_submit(self, parts: SubmitParts) -> HttpRequest: ...
    def read_submit(self, reply: HttpReply) -> SubmitOutcome: ...
    def build_status(self, task: TaskRef) -> HttpRequest: ...
    def read_status(self, reply: HttpReply) -> StatusOutcome: ...


@runtime_checkable
class BalanceReader(Protocol):
    """A gateway that documents how to ask for the account's balance. None: the reply does not say."""

    def build_balance(self) -> HttpRequest: ...
    def read_balance(self, reply: HttpReply) -> Balance | None: ...


@runtime_checkable
class ListingReader(Protocol):
    """A gateway that can be asked whether it lists a model: True, False, or None when the reply does not say."""

    def build_listing(self, model: str) -> HttpRequest: ...
    def read_listing(self, reply: HttpReply) -> bool | None: ...


@runtime_checkable
class RecentReader(Protocol):
    """A gateway that can be asked for the account's latest tasks."""

    def build_recent(self) -> HttpRequest: ...
    def read_recent(self, reply: HttpReply) -> tuple[RecentTask, ...]: ...


@runtime_checkable
class ContentReader(Protocol):
    """A gateway that hands a finished clip out itself, to those who have the key."""

    def build_content(self, task: TaskRef) -> HttpRequest: ...


@runtime_checkable
class ModelsReader(Protocol):
    """A gateway that lists its models. None: the reply is no list of any."""

    def build_models(self) -> HttpRequest: ...
    def read_models(self, reply: HttpReply) -> tuple[str, ...] | None: ...


@runtime_checkable
class Uploader(Protocol):
    """A gateway that takes pictures and answers with a link. None: it did not take it, or gives no link.

    `build_upload` is given the name that the file gets there and its bytes; its path is below the upload address.
    """

    def build_upload(self, name: str, content: bytes) -> HttpRequest: ...
    def read_upload(self, reply: HttpReply) -> str | None: ...


@runtime_checkable
class CatalogueReader(Protocol):
    """A gateway that publishes its models and prices as JSON, without a key.

    `build_catalogue` asks for a page below the catalogue's own address; `read_catalogue` raises `CatalogueRefused`
    for a reply that is no catalogue, and skips single models that it cannot read.
    """

    def build_catalogue(self, cursor: str) -> HttpRequest: ...
    def read_catalogue(self, reply: HttpReply) -> CataloguePage: ...
