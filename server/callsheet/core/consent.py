"""Consent as values: the person's policy, and what an approval binds.

The policy says what may be spent, where, and who is asked. `edges.config.policy_file` reads it from the user's
configuration directory; no tool, argument, environment variable or project file changes it. Its money is in US dollars.

An approval is for one sheet. `Binding` lists everything it depends on; its digest is the sheet's identity, so any later
change leads to another sheet. The text that a person sees is rendered here from the bytes that will be sent, price
first, and no prompt can imitate or push away its lines.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from callsheet.core.security.redaction import clean, escape_block
from callsheet.core.security.urls import is_loopback

from .catalogue.prices import DECLARED, Price, dollars
from .clips import DEFAULT_NAME
from .gateway.endpoint import Endpoint
from .gateway.protocol import Route
from .notices import Notices
from .payload.own_files import format_inputs
from .shot import PARAMETERS, PLAIN, OwnFile, Shot


class Mode(StrEnum):
    """`SANDBOX` rehearses on loopback, `LIVE` may spend money, `READ_ONLY` submits nothing at all."""

    SANDBOX = "sandbox"
    LIVE = "live"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class Caps:
    """Upper limits in US dollars (None is "no limit of this kind"), on open tasks, and on a gateway's clips a day."""

    per_clip: Decimal | None = Decimal("2.00")
    per_day: Decimal | None = Decimal("10.00")
    per_month: Decimal | None = Decimal("50.00")
    concurrent: int = 5
    clips_at_gateway: int | None = None

    def in_words(self) -> list[str]:
        """The limits in US dollars: `2.00 USD a clip`, `no limit a month`."""
        limits = ((self.per_clip, "a clip"), (self.per_day, "a day"), (self.per_month, "a month"))
        return [f"{dollars(cap)} USD {what}" if cap is not None else f"no limit {what}" for cap, what in limits]


class Floor(StrEnum):
    """The minimum that approves a clip: the amount typed in the client's form, or the passphrase (or a passkey)."""

    CLIENT = "client"
    PASSPHRASE = "passphrase"  # noqa: S105 - the word


@dataclass(frozen=True, slots=True)
class Rule:
    """The person's decisions for one gateway or model; None leaves the general setting in force."""

    allowed: bool = True
    per_clip: Decimal | None = None
    floor: Floor | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """One reading of the policy file.

    Attributes:
        version: digest of the file's bytes (`default` when there is no file).
        mode: what may happen at all.
        caps: spending limits; they apply to live submissions.
        base_urls: gateway id -> other base URL (a proxy, a test double): https, or http on loopback.
        callback_hosts, image_hosts: exact hosts that such a URL may name; empty allows none, and any public host.
        input_directories: absolute paths; an agent may name pictures in them and below, and nowhere else.
        unknown_price_ceiling: the assumed maximum cost of a clip of unknown price; None refuses it.
        sandbox_asks, sandbox_speed: whether rehearsals ask for approval; how many times faster than real time they run.
        save_directory, save_name, save_tags: where (None: the videos directory), under which name, with which metadata.
        use_keyring: whether the OS keyring is asked for keys.
        background: whether a program that ends leaves a process behind that follows its open live tasks.
        weekly_refresh: whether what the gateways publish is fetched again when it is a week old.
        floor, passphrase_from: the minimum that approves a live clip; the price from which it is the passphrase.
        rules: gateway id or `gateway/model` -> its own settings.
        endpoints: the servers of the person's own that speak `/v1/videos`.
        proxy: the address of the proxy through which public hosts are reached.
        ca_file: a file of certificates that are trusted beside the usual ones; `ca` is what it holds.
        notices: where notices that a clip waits for the person go.
        paused: whether a person paused all submissions; approvals stay valid, and it is not part of the file.
    """

    version: str = "default"
    mode: Mode = Mode.SANDBOX
    caps: Caps = field(default_factory=Caps)
    base_urls: tuple[tuple[str, str], ...] = ()
    callback_hosts: tuple[str, ...] = ()
    image_hosts: tuple[str, ...] = ()
    input_directories: tuple[str, ...] = ()
    unknown_price_ceiling: Decimal | None = None
    sandbox_asks: bool = False
    sandbox_speed: float = 30.0
    save_directory: str | None = None
    save_name: str = DEFAULT_NAME
    save_tags: bool = True
    use_keyring: bool = False
    background: bool = True
    weekly_refresh: bool = False
    floor: Floor = Floor.CLIENT
    passphrase_from: Decimal | None = Decimal("1.00")
    rules: tuple[tuple[str, Rule], ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    proxy: str = ""
    ca_file: str = ""
    ca: str = field(default="", repr=False)
    notices: Notices = field(default_factory=Notices)
    paused: bool = False

    def base_url(self, gateway_id: str) -> str | None:
        """The base URL that the person set instead of the gateway's own, if any."""
        return dict(self.base_urls).get(gateway_id)

    @property
    def certificate_files(self) -> tuple[str, ...]:
        """The files of certificates that it names."""
        return tuple(sorted({self.ca_file, *(item.ca_file for item in self.endpoints)} - {""}))

    def endpoint(self, gateway_id: str) -> Endpoint | None:
        """The endpoint of that id, if it is one."""
        return next((item for item in self.endpoints if item.id == gateway_id), None)

    def route(self, gateway_id: str) -> Route:
        """How the network and the gateway's own settings have it reached; nothing is between this computer and itself.

        Also for the public hosts of clips, under no id.
        """
        endpoint, url = self.endpoint(gateway_id), self.base_url(gateway_id)
        if endpoint is not None:
            return endpoint.route(proxy=self.proxy, ca=self.ca)
        return Route() if url is not None and is_loopback(url) else Route(proxy=self.proxy, ca=self.ca)

    def caps_for(self, gateway_id: str) -> Caps:
        """The caps, with that endpoint's number of clips."""
        endpoint = self.endpoint(gateway_id)
        return self.caps if endpoint is None else replace(self.caps, clips_at_gateway=endpoint.clips_per_day)

    def rules_for(self, card_id: str) -> tuple[Rule, ...]:
        """The rules that apply to a model: its gateway's and its own."""
        return tuple(rule for name, rule in self.rules if name in (card_id.partition("/")[0], card_id))

    def floor_for(self, card_id: str, price: Decimal | None) -> Floor:
        """The minimum that approves a live clip of that model at that price (US dollars; None: not known)."""
        floors = {self.floor, *(rule.floor for rule in self.rules_for(card_id))}
        is_expensive = self.passphrase_from is not None and (price is None or price >= self.passphrase_from)
        return Floor.PASSPHRASE if is_expensive or Floor.PASSPHRASE in floors else Floor.CLIENT


PROMPT_SHOWN = 600
DUPLICATE = "POSSIBLE DUPLICATE CHARGE"


@dataclass(frozen=True, slots=True)
class Binding:
    """Everything an approval is bound to; all strings, so that the digest is stable.

    `account` is the key's fingerprint (empty without a key: such a sheet cannot go live), `price` the
    highest price with its unit, `prices` the version of the price table, `policy` the digest of what in the policy
    bears on it (once its version), `expires` its end (Unix time). `content_type` is empty for JSON, `route` if usual.
    """

    mode: str
    gateway: str
    model: str
    base_url: str
    method: str
    path: str
    body_sha256: str
    account: str
    price: str
    prices: str
    callback_host: str
    policy: str
    take: str
    expires: str = ""
    content_type: str = ""
    route: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON of all fields."""
        return hashlib.sha256(binding_text(self.as_written()).encode()).hexdigest()

    def as_written(self) -> dict[str, str]:
        """All fields as they are stored; the newest are left out where empty, as earlier versions wrote them."""
        return {name: value for name, value in asdict(self).items() if value or name not in ("content_type", "route")}

    @property
    def shot_digest(self) -> str:
        """The same request to the same place, whatever the price table, policy or take."""
        parts = (self.mode, self.gateway, self.base_url, self.method, self.path, self.body_sha256)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def differences(self, other: Binding) -> tuple[str, ...]:
        """The names of the parts in which two bindings differ."""
        mine, theirs = asdict(self), asdict(other)
        return tuple(name for name in mine if mine[name] != theirs[name])


def body_digest(body: bytes) -> str:
    """SHA-256 (hex) of the frozen request body."""
    return hashlib.sha256(body).hexdigest()


def sheet_id_for(digest: str) -> str:
    """A sheet's id: `sheet_` and 20 characters of its binding's digest in lower-case base 32."""
    return "sheet_" + base64.b32encode(bytes.fromhex(digest))[:20].decode().lower()


def is_older_than_trail(sheet_id: str, binding: Binding) -> bool:
    """Whether the sheet is from the version that kept no audit trail: that one did not bind a sheet's end."""
    fields = {name: value for name, value in binding.as_written().items() if name != "expires"}
    return sheet_id == sheet_id_for(hashlib.sha256(binding_text(fields).encode()).hexdigest())


def binding_text(fields: Mapping[str, str]) -> str:
    """The canonical JSON of what a sheet is bound to."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


class Means(StrEnum):
    """How a sheet was approved."""

    REHEARSAL = "rehearsal"
    ALLOWANCE = "allowance"
    CLIENT = "client"
    TERMINAL = "terminal"
    DESK = "desk"
    PASSKEY = "passkey"


class Need(StrEnum):
    """What a sheet needs before it may be spent."""

    NOTHING = "nothing"
    PERSON = "person"


def decide_need(policy: Policy, mode: Mode) -> Need:
    """Who must agree. In the sandbox nobody, unless the person wants to rehearse approval too."""
    if mode is Mode.SANDBOX and not policy.sandbox_asks:
        return Need.NOTHING
    return Need.PERSON


def amount_to_type(price: Price, policy: Policy) -> Decimal | None:
    """The amount (US dollars) that a person types to agree: the price, or their ceiling for unknown prices."""
    return price.usd if price.known else policy.unknown_price_ceiling


def text_to_type(price: Price, policy: Policy, gateway_id: str) -> str | None:
    """What a person types to agree: the amount, or the name of an endpoint that is free: typing 0.00 proves nothing."""
    amount = amount_to_type(price, policy)
    return gateway_id if price.free else None if amount is None else dollars(amount)


def text_matches(typed: str, wanted: str) -> bool:
    """Whether a person typed that, an amount in any of its spellings."""
    is_amount = re.fullmatch(r"[0-9.]+", wanted) is not None
    return amount_matches(typed, Decimal(wanted)) if is_amount else typed.strip() == wanted


def amount_matches(typed: str, amount: Decimal) -> bool:
    """Whether a person typed exactly that amount; `0.96`, `0.960`, `$0.96` and `0.96 USD` are the same."""
    text = typed.strip().removeprefix("$").strip()
    if text[-3:].upper() == "USD":
        text = text[:-3].strip()
    if not text or len(text) > 20 or set(text) - set("0123456789.") or text.count(".") > 1 or text == ".":
        return False
    return Decimal(text) == amount


@dataclass(frozen=True, slots=True)
class Spending:
    """What is reserved or spent in the current UTC day and month, open tasks, and a gateway's clips of the day."""

    today: Decimal
    this_month: Decimal
    open_tasks: int
    clips_at_gateway: int = 0


def cap_left(policy: Policy, spending: Spending) -> str:
    """What remains of the caps, in one short phrase."""
    parts = []
    if policy.caps.per_day is not None:
        parts.append(f"{dollars(max(policy.caps.per_day - spending.today, Decimal(0)))} USD left today")
    if policy.caps.per_month is not None:
        parts.append(f"{dollars(max(policy.caps.per_month - spending.this_month, Decimal(0)))} USD this month")
    return ", ".join(parts) or "no cap is set"


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """The values in the text for the person, all from the sheet. `account` is a key's fingerprint.

    `files` are the person's own among the inputs, by name, and `upload_to` is where they would be uploaded.
    """

    mode: Mode
    gateway_name: str
    origin: str
    account: str
    model: str
    shot: Shot
    price: Price
    ceiling: Decimal | None
    cap_left: str
    callback_host: str | None
    availability: str
    body_bytes: int
    body_sha256: str
    earlier: str
    files: Mapping[str, OwnFile] = field(default_factory=dict)
    upload_to: str = ""
    route: str = ""


APPROVAL_LABELS = ("Price", "Goes to", "Model", "Inputs", "Result also sent to", "Availability", "Request")
_EARLIER_LABELS = ("Reference image from",)
"""As sheets were rendered before shots had inputs with roles."""


def split_approval(text: str) -> list[tuple[str, str]]:
    """The text that a person agrees to as (label, rest), line by line; a warning has no label.

    The prompt is a single line and comes last, so it cannot imitate another line.
    """
    lines = []
    for line in text.split("\n"):
        label, _, rest = line.partition(": ")
        known = label in (*APPROVAL_LABELS, *_EARLIER_LABELS) or label.startswith("Prompt (")
        lines.append((label, rest) if known else ("", line))
    return lines


def render_approval(view: ApprovalView) -> str:
    """The text that a person agrees to: price and caps first, the prompt last and escaped."""
    price = format_price(view.price, view.ceiling)
    rehearsal = " · SANDBOX REHEARSAL: free" if view.mode is Mode.SANDBOX else ""
    twice = f" · {DUPLICATE}" if view.earlier.startswith(DUPLICATE) else ""
    lines = [f"Price: {price}{twice} · {view.cap_left}{rehearsal}"]
    if view.earlier:
        lines.append(clean(view.earlier, limit=300))
    shot = view.shot
    lines += [
        f"Goes to: {clean(view.gateway_name, limit=40)}, {clean(view.origin, limit=120)}{_format_account(view)}",
        f"Model: {clean(view.model, limit=80)} · {_format_shot(shot)}",
        f"Inputs: {format_inputs(shot, view.files, view.upload_to)}",
        f"Result also sent to: {clean(view.callback_host, limit=260) or 'nobody'}",
        f"Availability: {clean(view.availability, limit=300)}",
        f"Request: {view.body_bytes} bytes, SHA-256 {view.body_sha256[:16]}",
        f"Prompt ({len(shot.prompt)} characters): {escape_block(shot.prompt, PROMPT_SHOWN)}",
    ]
    return "\n".join(lines)


def format_price(price: Price, ceiling: Decimal | None) -> str:
    """The price as a person sees it. What they declared themselves is never taken for what the server confirms."""
    counted = f"{dollars(ceiling)} USD" if ceiling is not None else "nothing"
    if price.source == DECLARED:
        unknown = f"PRICE UNKNOWN; at most {counted} will be counted (your ceiling). {price.note}"
        return f"{price} ({price.note})" if price.known else unknown
    if not price.known and ceiling is not None:
        return f"{price}, counted as {counted} (your ceiling); the gateway may charge more"
    return str(price)


def warns_of_duplicate(shown: str) -> bool:
    """Whether that text warns of a possible duplicate charge; only its first line counts, no prompt can fake it."""
    return DUPLICATE in shown.partition("\n")[0]


def _format_account(view: ApprovalView) -> str:
    way = f" ({clean(view.route, limit=300)})" if view.route else ""
    return f"{way}, paid with the key {clean(view.account, limit=20)}" if view.account else way


def _format_shot(shot: Shot) -> str:
    parts = [f"{PARAMETERS[name].label} not documented" if shot.get(name) is None else "" for name in PLAIN]
    said = {name: PARAMETERS[name].shown(value) for name, value in shot.parameters.items()}
    shown = [clean(said.get(name, ""), limit=20) or missing for name, missing in zip(PLAIN, parts, strict=True)]
    others = [clean(text, limit=120) for name, text in said.items() if name not in PLAIN]
    return " · ".join((shot.kind, *shown, *others))
