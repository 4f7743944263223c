"""Consent: what an approval is bound to, what the person is shown, and when it is needed.

An approval is for one sheet. `Binding` lists everything it depends on; its digest is the sheet's
identity, so any later change leads to another sheet. The text that a person sees is rendered here
from the bytes that will be sent, price first, and no prompt can imitate or push away its lines.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum

from callsheet.core.catalogue.pricing import Price, dollars
from callsheet.core.security.redaction import clean, escape_block
from callsheet.core.shot import Shot

from .policy import Mode, Policy

PROMPT_SHOWN = 600
DUPLICATE = "POSSIBLE DUPLICATE CHARGE"


@dataclass(frozen=True, slots=True)
class Binding:
    """Everything an approval is bound to; all strings, so that the digest is stable.

    `account` is the key's fingerprint (empty without a key: such a sheet cannot go live), `price` the
    highest price with its unit, `prices` the version of the price table, `policy` the policy's, `expires`
    when the sheet ends (Unix seconds).
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

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON of all fields."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

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
    """What is reserved or spent in the current UTC day and month, and how many tasks are open."""

    today: Decimal
    this_month: Decimal
    open_tasks: int


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
    """The values in the text for the person, all from the sheet. `account` is a key's fingerprint."""

    mode: Mode
    gateway_name: str
    origin: str
    account: str
    model: str
    shot: Shot
    price: Price
    ceiling: Decimal | None
    cap_left: str
    image_host: str | None
    callback_host: str | None
    availability: str
    body_bytes: int
    body_sha256: str
    earlier: str


APPROVAL_LABELS = (
    "Price",
    "Goes to",
    "Model",
    "Reference image from",
    "Result also sent to",
    "Availability",
    "Request",
)


def split_approval(text: str) -> list[tuple[str, str]]:
    """The text that a person agrees to as (label, rest), line by line; a warning has no label.

    The prompt is a single line and comes last, so it cannot imitate another line.
    """
    lines = []
    for line in text.split("\n"):
        label, _, rest = line.partition(": ")
        known = label in APPROVAL_LABELS or label.startswith("Prompt (")
        lines.append((label, rest) if known else ("", line))
    return lines


def render_approval(view: ApprovalView) -> str:
    """The text that a person agrees to: price and caps first, the prompt last and escaped."""
    price = str(view.price)
    if not view.price.known and view.ceiling is not None:
        price += f", counted as {dollars(view.ceiling)} USD (your ceiling); the gateway may charge more"
    rehearsal = " · SANDBOX REHEARSAL: free" if view.mode is Mode.SANDBOX else ""
    twice = f" · {DUPLICATE}" if view.earlier.startswith(DUPLICATE) else ""
    lines = [f"Price: {price}{twice} · {view.cap_left}{rehearsal}"]
    if view.earlier:
        lines.append(clean(view.earlier, limit=300))
    shot = view.shot
    lines += [
        f"Goes to: {clean(view.gateway_name, limit=40)}, {clean(view.origin, limit=120)}{_format_account(view)}",
        f"Model: {clean(view.model, limit=80)} · {_format_shot(shot)}",
        f"Reference image from: {clean(view.image_host, limit=260) or 'none'}",
        f"Result also sent to: {clean(view.callback_host, limit=260) or 'nobody'}",
        f"Availability: {clean(view.availability, limit=300)}",
        f"Request: {view.body_bytes} bytes, SHA-256 {view.body_sha256[:16]}",
        f"Prompt ({len(shot.prompt)} characters): {escape_block(shot.prompt, PROMPT_SHOWN)}",
    ]
    return "\n".join(lines)


def warns_of_duplicate(shown: str) -> bool:
    """Whether that text warns of a possible duplicate charge; only its first line counts, no prompt can fake it."""
    return DUPLICATE in shown.partition("\n")[0]


def _format_account(view: ApprovalView) -> str:
    return f", paid with the key {clean(view.account, limit=20)}" if view.account else ""


def _format_shot(shot: Shot) -> str:
    length = f"{shot.duration_seconds} s" if shot.duration_seconds else "length not documented"
    ratio = clean(shot.aspect_ratio, limit=20) or "ratio not documented"
    return f"{shot.kind} · {length} · {ratio} · {clean(shot.resolution, limit=20) or 'resolution not documented'}"
