"""Prices are those of the gateways' own figures, exact, and unknown where nobody documents them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue import ModelCard, Price, PriceRule, dollars, from_micros, price_clip, to_micros
from callsheet.edges.config.catalogue_files import load_catalogue
from cases import cases
from examples import examples

CATALOGUE = load_catalogue()

OFFICIAL = {4: "0.24", 8: "0.48", 12: "0.72", 16: "0.96", 20: "1.20"}
PRO_PER_SECOND = {"720p": "0.24", "1024p": "0.40", "1080p": "0.56"}

BY_DURATION = {
    "poyo/sora-2-official": OFFICIAL,
    "apidot/sora-2-official": OFFICIAL,
    "evolink/sora-2-preview": {4: "0.339", 8: "0.678", 12: "1.016"},
    "evolink/sora-2-beta-max": {10: "0.08", 15: "0.12"},
}
PER_SECOND = {"poyo/sora-2-pro-official": PRO_PER_SECOND, "apidot/sora-2-pro-official": PRO_PER_SECOND}
PER_REQUEST = {
    "poyo/sora-2-beta": "0.20",
    "poyo/sora-2": "0.05",
    "poyo/sora-2-private": "0.05",
    "poyo/sora-2-stable": "0.25",
    "poyo/sora-2-pro": "0.50",
    "poyo/sora-2-pro-private": "0.50",
    "poyo/sora-2-svip": "0.04",
    "poyo/sora-2-svip-stable": "0.09",
}
UNKNOWN = {
    "poyo/sora-2-characters",
    "apixo/sora-2",
    "apixo/sora-2-pro",
    "evolink/sora-2-pro-preview",
    "evolink/sora-2",
    "evolink/sora-2-pro-remix",
    "evolink/sora-2-pro",
    "evolink/sora-character",
    "evolink/sora-2-character",
}
SECONDS = (4, 8, 12, 16, 20)


def card(card_id: str) -> ModelCard:
    found = CATALOGUE.card(*card_id.split("/"))
    assert found is not None
    return found


def with_price(**changes: object) -> ModelCard:
    rule = PriceRule(
        kind="fixed",
        unit="credits",
        amounts=MappingProxyType({"any": Decimal(40)}),
        usd_per_unit=Decimal("0.005"),
        as_of="2026-08-07",
        source="page",
    )
    return replace(card("poyo/sora-2-beta"), price=replace(rule, **changes))  # type: ignore[arg-type]


def test_every_card_of_the_catalogue_is_priced_here() -> None:
    """No card can be added without a figure, or the word unknown, in these tables."""
    assert {*BY_DURATION, *PER_SECOND, *PER_REQUEST, *UNKNOWN} == {card.id for card in CATALOGUE.cards}


@cases(
    ("card_id", "seconds", "usd"),
    [(card_id, seconds, usd) for card_id, table in BY_DURATION.items() for seconds, usd in table.items()],
)
def test_a_price_by_duration_is_the_figure_of_that_length(card_id: str, seconds: int, usd: str) -> None:
    """Each documented length costs its documented figure, whatever the resolution."""
    for resolution in (None, "720p"):
        price = price_clip(card(card_id), duration_seconds=seconds, resolution=resolution)
        assert price.usd == Decimal(usd)


@cases(
    ("card_id", "resolution", "rate", "seconds"),
    [
        (card_id, resolution, rate, seconds)
        for card_id, table in PER_SECOND.items()
        for resolution, rate in table.items()
        for seconds in SECONDS
    ],
)
def test_a_price_per_second_is_the_rate_of_the_resolution_times_the_length(
    card_id: str, resolution: str, rate: str, seconds: int
) -> None:
    """The pro models cost their rate for every second."""
    price = price_clip(card(card_id), duration_seconds=seconds, resolution=resolution)
    assert price.usd == Decimal(rate) * seconds


@cases(("card_id", "usd"), PER_REQUEST.items())
def test_a_price_per_request_is_the_same_for_every_length(card_id: str, usd: str) -> None:
    """A fixed price depends on nothing."""
    for seconds in (None, 4, 12, 25):
        assert price_clip(card(card_id), duration_seconds=seconds, resolution=None).usd == Decimal(usd)


@cases("card_id", sorted(UNKNOWN))
def test_a_price_that_nobody_documents_is_unknown(card_id: str) -> None:
    """Unknown is said in a word, with the date and source of the search, and never guessed."""
    price = price_clip(card(card_id), duration_seconds=8, resolution="720p")
    assert (price.amount, price.usd, price.known, str(price)) == (None, None, False, "unknown")
    assert (price.as_of, price.source) == (card(card_id).price.as_of, card(card_id).price.source)


@cases(
    ("card_id", "seconds", "resolution", "in_credits", "text"),
    [
        ("poyo/sora-2-official", 8, None, 96, "0.48 USD (96 credits)"),
        ("poyo/sora-2-pro-official", 8, "1024p", 640, "3.20 USD (640 credits)"),
        ("poyo/sora-2-pro-official", 4, "1024p", 320, "1.60 USD (320 credits)"),
        ("poyo/sora-2-beta", 12, None, 40, "0.20 USD (40 credits)"),
    ],
)
def test_a_price_is_shown_in_dollars_and_in_the_gateways_unit(
    card_id: str, seconds: int, resolution: str | None, in_credits: int, text: str
) -> None:
    """A person reads dollars first and the gateway's own figure beside them."""
    price = price_clip(card(card_id), duration_seconds=seconds, resolution=resolution)
    assert (price.amount, price.unit, str(price)) == (Decimal(in_credits), "credits", text)


def test_a_price_in_dollars_is_shown_once() -> None:
    """EvoLink's figures are dollars already."""
    assert str(price_clip(card("evolink/sora-2-preview"), duration_seconds=4, resolution=None)) == "0.339 USD"


@cases(
    ("changes", "seconds", "resolution"),
    [
        ({"kind": "by_duration", "amounts": {"4": Decimal(48)}}, 6, None),
        ({"kind": "by_duration", "amounts": {"4": Decimal(48)}}, None, None),
        ({"kind": "per_second", "amounts": {"720p": Decimal(48)}}, 4, "1080p"),
        ({"kind": "per_second", "amounts": {"720p": Decimal(48)}}, 4, None),
        ({"kind": "per_second", "amounts": {"any": Decimal(48)}}, None, "720p"),
        ({"usd_per_unit": None}, 4, None),
    ],
)
def test_what_a_rule_does_not_cover_is_unknown(
    changes: dict[str, object], seconds: int | None, resolution: str | None
) -> None:
    """Another length or resolution, or no rate of exchange, gives no price in dollars."""
    price = price_clip(with_price(**changes), duration_seconds=seconds, resolution=resolution)
    assert not price.known
    assert str(price) == "unknown"


def test_one_rate_for_every_resolution_is_used_for_each() -> None:
    """A rate named `any` holds where the resolution has no rate of its own."""
    rule = with_price(kind="per_second", amounts={"any": Decimal(10), "1080p": Decimal(20)})
    found = [price_clip(rule, duration_seconds=2, resolution=name).amount for name in (None, "720p", "1080p")]
    assert found == [Decimal(20), Decimal(20), Decimal(40)]


@cases(
    ("usd", "text"),
    [
        ("0.24", "0.24"),
        ("0.2", "0.20"),
        ("0.3390", "0.339"),
        ("5", "5.00"),
        ("1.20", "1.20"),
        ("0", "0.00"),
        ("1E+2", "100.00"),
        ("10", "10.00"),
    ],
)
def test_dollars_have_at_least_two_decimals(usd: str, text: str) -> None:
    """No digit that carries value is dropped, no other is shown."""
    assert dollars(Decimal(usd)) == text


def test_a_price_without_an_own_amount_shows_only_dollars() -> None:
    """Where only dollars are known nothing is invented beside them."""
    price = Price(amount=None, unit="credits", usd=Decimal("0.5"), as_of="undated", source="page")
    assert str(price) == "0.50 USD"


@given(st.decimals(min_value=0, max_value=10_000, places=8, allow_nan=False, allow_infinity=False))
@examples(60)
def test_micros_never_fall_short_of_the_dollars(usd: Decimal) -> None:
    """What is reserved is the price to the millionth, rounded up."""
    back = from_micros(to_micros(usd))
    assert usd <= back < usd + Decimal("0.000001")
    assert to_micros(back) == to_micros(usd)
