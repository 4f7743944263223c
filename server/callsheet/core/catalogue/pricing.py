"""What one clip costs, from a card's price rule. Money is `Decimal`; unknown is a value."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from .cards import ModelCard, PriceRule

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
