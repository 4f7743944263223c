"""The person's policy: what may be spent, where, and who is asked. Values only.

`edges.config.policy_file` reads it from the user's configuration directory; no tool, argument, environment
variable or project file changes it. Money in a policy is in US dollars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class Mode(StrEnum):
    """`SANDBOX` rehearses on loopback, `LIVE` may spend money, `READ_ONLY` submits nothing at all."""

    SANDBOX = "sandbox"
    LIVE = "live"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class Caps:
    """Upper limits in US dollars (None is "no limit of this kind") and on open tasks."""

    per_clip: Decimal | None = Decimal("2.00")
    per_day: Decimal | None = Decimal("10.00")
    per_month: Decimal | None = Decimal("50.00")
    concurrent: int = 5


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
        version: digest of the file's bytes (`default` when there is no file); approvals are bound to it.
        mode: what may happen at all.
        caps: spending limits; they apply to live submissions.
        base_urls: gateway id -> other base URL (a proxy, a test double): https, or http on loopback.
        callback_hosts: exact host names that `callback_url` may name; empty allows none.
        image_hosts: exact host names that `image_url` may name; empty allows any public host.
        unknown_price_ceiling: the assumed maximum cost of a clip of unknown price; None refuses it.
        sandbox_asks: whether approval is rehearsed in the sandbox too instead of being automatic.
        sandbox_speed: how many times faster than real time the sandbox and its polling run.
        save_directory: where clips are saved; None is the platform's videos directory.
        use_keyring: whether the OS keyring is asked for keys.
        floor: the minimum that approves a live clip.
        passphrase_from: the price from which a live clip needs the passphrase, whatever the floor; None is never.
        rules: gateway id or `gateway/model` -> its own settings.
        paused: whether a person paused all submissions; approvals stay valid, and it is not part of the file.
    """

    version: str = "default"
    mode: Mode = Mode.SANDBOX
    caps: Caps = field(default_factory=Caps)
    base_urls: tuple[tuple[str, str], ...] = ()
    callback_hosts: tuple[str, ...] = ()
    image_hosts: tuple[str, ...] = ()
    unknown_price_ceiling: Decimal | None = None
    sandbox_asks: bool = False
    sandbox_speed: float = 30.0
    save_directory: str | None = None
    use_keyring: bool = False
    floor: Floor = Floor.CLIENT
    passphrase_from: Decimal | None = Decimal("1.00")
    rules: tuple[tuple[str, Rule], ...] = ()
    paused: bool = False

    def base_url(self, gateway_id: str) -> str | None:
        """The base URL that the person set instead of the gateway's own, if any."""
        return dict(self.base_urls).get(gateway_id)

    def rules_for(self, card_id: str) -> tuple[Rule, ...]:
        """The rules that apply to a model: its gateway's and its own."""
        return tuple(rule for name, rule in self.rules if name in (card_id.partition("/")[0], card_id))

    def floor_for(self, card_id: str, price: Decimal | None) -> Floor:
        """The minimum that approves a live clip of that model at that price (US dollars; None: not known)."""
        floors = {self.floor, *(rule.floor for rule in self.rules_for(card_id))}
        is_expensive = self.passphrase_from is not None and (price is None or price >= self.passphrase_from)
        return Floor.PASSPHRASE if is_expensive or Floor.PASSPHRASE in floors else Floor.CLIENT
