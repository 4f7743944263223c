"""What one clip costs by its card: the highest documented price, evaluated exactly. Money is `Decimal`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from callsheet.core.shot import PARAMETERS, Scalar, Shot, format_word

from .cards import AddOn, ModelCard, PriceRule
from .expressions import Unpriced, evaluate_components
from .fields import neutral_value

MICROS = Decimal(1_000_000)
ANY = "any"
DECLARED = "your policy"
"""The source of what a person declared of an endpoint of theirs."""


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

    @property
    def free(self) -> bool:
        """Whether a person declared that it costs nothing."""
        return self.usd == 0 and self.source == DECLARED

    @property
    def in_dollars(self) -> str:
        """In US dollars alone. What is free is never called 0.00."""
        if self.usd is None:
            return "unknown"
        return "no charge" if self.free else f"{dollars(self.usd)} USD"

    def __str__(self) -> str:
        if not self.usd or self.unit == "USD" or self.amount is None:
            return self.in_dollars
        return f"{self.in_dollars} ({_plain(self.amount)} {self.unit})"


def price_clip(card: ModelCard, shot: Shot) -> Price:
    """The price of that shot with that card; `amount` is None when it is not documented.

    What the shot leaves open counts as the card's own choice, else as the dearest. The seconds of reference videos are
    not known before; the longest that the gateway takes count.
    """
    rule = card.price
    amount = _amount(card, rule, shot)
    usd = amount * rule.usd_per_unit if amount is not None and rule.usd_per_unit is not None else None
    return Price(amount=amount, unit=rule.unit, usd=usd, as_of=rule.as_of, source=rule.source, note=rule.note)


def is_free(rule: PriceRule) -> bool:
    """Whether a person declared that each clip costs nothing."""
    return rule.source == DECLARED and {*rule.amounts.values()} == {Decimal(0)}


def _amount(card: ModelCard, rule: PriceRule, shot: Shot) -> Decimal | None:
    if rule.per == "unknown":
        return None
    if rule.per == "published":
        return _published(card, rule, shot)
    found = [amount for key in _keys(card, rule, shot) if (amount := _look_up(rule, key)) is not None]
    seconds = _billed_seconds(card, rule, shot) if rule.per == "second" else Decimal(1)
    if not found or seconds is None:
        return None
    amount, factor = max(found) * seconds, Decimal(1)
    for extra in rule.added:
        count = _count(card, shot, extra)
        if count is None:
            return None
        amount += extra.amount * count
        factor *= extra.factor if count else 1
    return _round_up(max(amount * factor, rule.minimum or Decimal(0)))


def _count(card: ModelCard, shot: Shot, extra: AddOn) -> int | None:
    """How many times something is added; None where that is not known before."""
    if extra.option and value_of(card, shot, extra.option) not in (None, extra.value):
        return 0
    if extra.role is None:
        return 1
    inputs = len(shot.urls(extra.role))
    return input_seconds(card, shot) if extra.seconds and inputs else max(0, inputs - extra.above)


def _round_up(amount: Decimal) -> Decimal:
    """To the millionths that the ledger counts in: a rate may be a fraction without end in decimals."""
    rounded = amount.quantize(1 / MICROS, rounding="ROUND_CEILING")
    return amount if rounded == amount else rounded


def value_of(card: ModelCard, shot: Shot, name: str) -> Scalar | None:
    """What a shot has for a parameter, an option, `kind` or `video_input`, with the card's own choice if it is open."""
    if name == "kind":
        return shot.kind
    if name == "video_input":
        return bool(shot.urls("reference_video"))
    said = shot.get(name) if name in PARAMETERS else shot.options.get(name)
    if isinstance(said, str | int | bool):
        return said
    fields = (field for field in card.fields if field.exists_in(shot.kind))
    field = next((field for field in fields if name in (field.role, field.path[-1])), None)
    if field is None:
        return card.implied.get(name)
    limited = field.under(shot)
    choice = limited.fill if limited.fill is not None else limited.default
    return None if choice is None else neutral_value(field, choice)


def _keys(card: ModelCard, rule: PriceRule, shot: Shot) -> Iterator[tuple[str, ...]]:
    """The keys that apply; a part that is open stands for each of its values."""
    parts = [value_of(card, shot, name) for name in rule.keys]
    rows = [tuple(key.split(" / ")) for key in rule.amounts]
    choices = [
        {row[place] for row in rows if place < len(row)} if part is None else {format_word(part)}
        for place, part in enumerate(parts)
    ]
    return itertools.product(*choices)


def _look_up(rule: PriceRule, key: tuple[str, ...]) -> Decimal | None:
    """The amount of a key; `any` in its place stands for a value without a row of its own.

    Of rows with as many of them, the dearest counts.
    """
    for wild in range(len(key) + 1):
        found = []
        for places in itertools.combinations(range(len(key)), wild):
            parts = [ANY if place in places else part for place, part in enumerate(key)]
            found += [rule.amounts[row] for row in (" / ".join(parts) or ANY,) if row in rule.amounts]
        if found:
            return max(found)
    return None


def _billed_seconds(card: ModelCard, rule: PriceRule, shot: Shot) -> Decimal | None:
    length = value_of(card, shot, "duration_seconds")
    if not isinstance(length, int) or length <= 0:
        return None
    if rule.billed == "output" or not shot.urls("reference_video"):
        return Decimal(length)
    longest, most = input_seconds(card, shot), rule.billed_input_seconds
    if rule.billed == "output+input-up-to" and most is not None:
        longest = most if longest is None else min(longest, most)
    if longest is None:
        return None
    return Decimal(length + (max(longest, length) if rule.billed == "output+longer" else longest))


def input_seconds(card: ModelCard, shot: Shot) -> int | None:
    """The longest that the shot's reference videos can be together; None where the gateway sets no limit."""
    limits = []
    for rule in card.rules_for("reference_video"):
        if rule.max_seconds_in_all is not None:
            limits.append(rule.max_seconds_in_all)
        if rule.max_seconds is not None:
            limits.append(rule.max_seconds * len(shot.urls("reference_video")))
    return min(limits, default=None)


_PUBLISHED_NAMES = {
    "duration": "duration_seconds",
    "output_seconds": "duration_seconds",
    "quality": "resolution",
    "generate_audio": "audio",
    "sound": "audio",
    "video_count": "n",
}
"""Names in published rules -> parameters and options of a shot."""


def _published(card: ModelCard, rule: PriceRule, shot: Shot) -> Decimal | None:
    pictures = len(shot.urls("first_frame", "last_frame", "reference_image"))
    seconds = input_seconds(card, shot) if shot.urls("reference_video") else 0
    if seconds is None:
        return None
    counted = {"input_seconds": seconds, "input_images": pictures, "image_count": pictures}

    def look_up(name: str) -> Scalar | None:
        return counted[name] if name in counted else value_of(card, shot, _PUBLISHED_NAMES.get(name, name))

    try:
        # No clip is free: a rule whose parts charge nothing does not cover this one.
        return evaluate_components(rule.components, look_up) or None
    except Unpriced:
        return None


def charge_in_usd(price: Price, charge: str | None) -> Decimal | None:
    """What a gateway says it charged (`48 credits`), in US dollars; None where it says nothing or in another unit."""
    amount, _, unit = (charge or "").partition(" ")
    try:
        rate = Decimal(1) if unit == "USD" else price.usd / price.amount if price.usd and price.amount else None
        usd = Decimal(amount) * rate if rate is not None and unit in ("USD", price.unit) else None
        return None if usd is None or not 0 <= usd < MICROS else usd.quantize(1 / MICROS)
    except ArithmeticError:
        return None


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
