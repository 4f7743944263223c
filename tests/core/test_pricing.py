"""Prices are those of the gateways' own figures, exact, and unknown where nobody documents them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue.cards import AddOn, ModelCard, PriceRule
from callsheet.core.catalogue.expressions import read_components
from callsheet.core.catalogue.fields import Field, InputRule
from callsheet.core.catalogue.prices import Price, dollars, from_micros, price_clip, to_micros
from callsheet.core.shot import Shot
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
URL = "https://cdn.acme.com/a"


def card(card_id: str) -> ModelCard:
    found = CATALOGUE.card(*card_id.split("/", 1))
    assert found is not None
    return found


def with_price(**changes: object) -> ModelCard:
    rule = PriceRule(
        per="clip",
        unit="credits",
        amounts=MappingProxyType({"any": Decimal(40)}),
        usd_per_unit=Decimal("0.005"),
        as_of="2026-08-07",
        source="page",
    )
    return replace(card("poyo/sora-2-beta"), price=replace(rule, **changes))  # type: ignore[arg-type]


def test_every_card_of_the_catalogue_is_priced_here() -> None:
    """No card of Sora can be added without a figure, or the word unknown, in these tables."""
    assert {*BY_DURATION, *PER_SECOND, *PER_REQUEST, *UNKNOWN} == {
        card.id for card in CATALOGUE.cards if card.family == "sora-2"
    }


@cases(
    ("card_id", "seconds", "usd"),
    [(card_id, seconds, usd) for card_id, table in BY_DURATION.items() for seconds, usd in table.items()],
)
def test_a_price_by_duration_is_the_figure_of_that_length(card_id: str, seconds: int, usd: str) -> None:
    """Each documented length costs its documented figure, whatever the resolution."""
    for resolution in (None, "720p"):
        price = price_clip(card(card_id), Shot.of(duration_seconds=seconds, resolution=resolution))
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
    price = price_clip(card(card_id), Shot.of(duration_seconds=seconds, resolution=resolution))
    assert price.usd == Decimal(rate) * seconds


@cases(("card_id", "usd"), PER_REQUEST.items())
def test_a_price_per_request_is_the_same_for_every_length(card_id: str, usd: str) -> None:
    """A fixed price depends on nothing."""
    for seconds in (None, 4, 12, 25):
        assert price_clip(card(card_id), Shot.of(duration_seconds=seconds)).usd == Decimal(usd)


@cases("card_id", sorted(UNKNOWN))
def test_a_price_that_nobody_documents_is_unknown(card_id: str) -> None:
    """Unknown is said in a word, with the date and source of the search, and never guessed."""
    price = price_clip(card(card_id), Shot.of(duration_seconds=8, resolution="720p"))
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
    price = price_clip(card(card_id), Shot.of(duration_seconds=seconds, resolution=resolution))
    assert (price.amount, price.unit, str(price)) == (Decimal(in_credits), "credits", text)


def test_a_price_in_dollars_is_shown_once() -> None:
    """EvoLink's figures are dollars already."""
    assert str(price_clip(card("evolink/sora-2-preview"), Shot.of(duration_seconds=4))) == "0.339 USD"


# ---------------------------------------------------------------------------------------------------- what a rule says


@cases(
    ("changes", "seconds", "resolution"),
    [
        ({"keys": ("duration_seconds",), "amounts": {"4": Decimal(48)}}, 6, None),
        ({"per": "second", "keys": ("resolution",), "amounts": {"720p": Decimal(48)}}, 4, "1080p"),
        ({"per": "second", "amounts": {"any": Decimal(48)}}, 0, "720p"),
        ({"usd_per_unit": None}, 4, None),
        ({"per": "unknown", "amounts": {}}, 4, None),
        ({"per": "published", "amounts": {}}, 4, None),
    ],
)
def test_what_a_rule_does_not_cover_is_unknown(
    changes: dict[str, object], seconds: int | None, resolution: str | None
) -> None:
    """Another length or resolution, or no rate of exchange, gives no price in dollars."""
    price = price_clip(with_price(**changes), Shot.of(duration_seconds=seconds, resolution=resolution))
    assert not price.known
    assert str(price) == "unknown"


def test_without_a_length_a_price_per_second_is_unknown() -> None:
    """A card that has no field for the length, and implies none, is not priced by the second."""
    model = replace(with_price(per="second", amounts={"any": Decimal(1)}), fields=())
    assert price_clip(model, Shot()).amount is None
    assert price_clip(model, Shot.of(duration_seconds=3)).amount == 3
    assert price_clip(replace(model, implied={"duration_seconds": 8}), Shot()).amount == 8


def test_one_rate_for_every_resolution_is_used_for_each() -> None:
    """A rate named `any` holds where the resolution has no rate of its own; one that is open is the dearest."""
    rule = with_price(per="second", keys=("resolution",), amounts={"any": Decimal(10), "1080p": Decimal(20)})
    found = [price_clip(rule, Shot.of(duration_seconds=2, resolution=name)).amount for name in ("720p", "1080p", None)]
    assert found == [Decimal(20), Decimal(40), Decimal(40)]


KEYED = {
    "720p / false": Decimal(1),
    "720p / true": Decimal(2),
    "1080p / any": Decimal(5),
    "any / true": Decimal(7),
}


@pytest.mark.parametrize(
    ("shot", "amount"),
    [
        ({"resolution": "720p", "audio": False}, 1),
        ({"resolution": "720p", "audio": True}, 2),
        ({"resolution": "1080p", "audio": False}, 5),
        pytest.param({"resolution": "1080p", "audio": True}, 7, id="two rows apply, the dearer counts"),
        ({"resolution": "4k", "audio": True}, 7),
        ({"resolution": "4k", "audio": False}, None),
        pytest.param({"resolution": "720p"}, 2, id="open audio"),
        pytest.param({"audio": False}, 5, id="open resolution"),
        pytest.param({}, 7, id="both open"),
    ],
)
def test_an_amount_is_found_by_its_keys(shot: dict[str, Any], amount: int | None) -> None:
    """The row of the values; else one with `any`; what is open counts as the dearest."""
    model = with_price(keys=("resolution", "audio"), amounts=KEYED)
    assert price_clip(model, Shot.of(**shot)).amount == amount


def test_what_is_open_counts_as_the_cards_own_choice() -> None:
    """What is filled in decides, in the words of a shot; then the documented default; then what is implied."""
    model = with_price(keys=("resolution",), amounts={"2k": Decimal(3), "4k": Decimal(9)})
    field = Field(("r",), "resolution", "string", "page", spelling=(("2K", (("resolution", "2k"),)),))
    for changed in ({"fill": "2K"}, {"default": "2K"}):
        assert price_clip(replace(model, fields=(replace(field, **changed),)), Shot()).amount == 3
    assert price_clip(replace(model, fields=(field,)), Shot()).amount == 9
    assert price_clip(replace(model, fields=(), implied={"resolution": "2k"}), Shot()).amount == 3
    only = replace(field, fill="2K", only=("image-to-video",))
    assert price_clip(replace(model, fields=(only,)), Shot()).amount == 9


def test_a_price_may_depend_on_the_kind_an_option_and_a_video() -> None:
    """`kind` and `video_input` are what the inputs make of the shot; an option goes by its name."""
    kinds = with_price(keys=("kind",), amounts={"text-to-video": Decimal(1), "any": Decimal(2)})
    assert [price_clip(kinds, shot).amount for shot in (Shot(), Shot.of(first_frame=URL))] == [1, 2]
    video = with_price(keys=("video_input",), amounts={"true": Decimal(4), "false": Decimal(3)})
    assert [price_clip(video, shot).amount for shot in (Shot(), Shot.of(reference_video=URL))] == [3, 4]
    option = with_price(keys=("tier",), amounts={"std": Decimal(5), "pro": Decimal(6)})
    tiers: list[dict[str, Any]] = [{"tier": "std"}, {"tier": "pro"}, {"tier": "other"}, {}, {"tier": ["std"]}]
    assert [price_clip(option, Shot.of(options=said)).amount for said in tiers] == [5, 6, None, 6, 6]


VIDEOS = InputRule(("reference_video",), "page", most=3, max_seconds=15, max_seconds_in_all=20)


@pytest.mark.parametrize(
    ("rule", "inputs", "videos", "seconds"),
    [
        ({"billed": "output"}, VIDEOS, 2, 8),
        ({"billed": "output+input"}, VIDEOS, 0, 8),
        ({"billed": "output+input"}, VIDEOS, 1, 8 + 15),
        ({"billed": "output+input"}, VIDEOS, 2, 8 + 20),
        ({"billed": "output+input"}, replace(VIDEOS, max_seconds=None), 1, 8 + 20),
        ({"billed": "output+input"}, replace(VIDEOS, max_seconds_in_all=None), 3, 8 + 45),
        ({"billed": "output+input"}, replace(VIDEOS, max_seconds=None, max_seconds_in_all=None), 1, None),
        ({"billed": "output+longer"}, VIDEOS, 1, 8 + 15),
        ({"billed": "output+longer"}, replace(VIDEOS, max_seconds=3), 1, 8 + 8),
        ({"billed": "output+input-up-to", "billed_input_seconds": 10}, VIDEOS, 1, 8 + 10),
        ({"billed": "output+input-up-to", "billed_input_seconds": 30}, VIDEOS, 1, 8 + 15),
        ({"billed": "output+input-up-to"}, VIDEOS, 1, 8 + 15),
        (
            {"billed": "output+input-up-to", "billed_input_seconds": 10},
            replace(VIDEOS, max_seconds=None, max_seconds_in_all=None),
            1,
            8 + 10,
        ),
    ],
)
def test_the_seconds_of_reference_videos_count_as_the_longest_that_are_taken(
    rule: dict[str, object], inputs: InputRule, videos: int, seconds: int | None
) -> None:
    """How long a video is, is not known before: the limits are; without one there is no price."""
    model = replace(with_price(per="second", amounts={"any": Decimal(1)}, **rule), inputs=(inputs,))
    shot = Shot.of(duration_seconds=8, reference_video=[URL] * videos)
    assert price_clip(model, shot).amount == seconds


@pytest.mark.parametrize(
    ("added", "shot", "amount"),
    [
        (AddOn(amount=Decimal(3), role="reference_image", above=1), {}, 40),
        (AddOn(amount=Decimal(3), role="reference_image", above=1), {"reference_image": [URL]}, 40),
        (AddOn(amount=Decimal(3), role="reference_image", above=1), {"reference_image": [URL] * 3}, 46),
        (AddOn(factor=Decimal("1.1"), option="filter", value=False), {"options": {"filter": False}}, Decimal("44")),
        (AddOn(factor=Decimal("1.1"), option="filter", value=False), {"options": {"filter": True}}, 40),
        pytest.param(AddOn(amount=Decimal(5), option="hd", value=True), {}, 45, id="open counts"),
        (AddOn(amount=Decimal(5), option="audio", value=True), {"audio": True}, 45),
        (AddOn(amount=Decimal(5), option="audio", value=True), {"audio": False}, 40),
    ],
)
def test_what_is_added_depends_on_the_inputs_or_on_an_option(added: AddOn, shot: dict[str, Any], amount: Any) -> None:
    """Above a number of inputs, each costs; an option that is not said is counted as if it were."""
    assert price_clip(with_price(added=(added,)), Shot.of(**shot)).amount == amount


def test_no_clip_costs_less_than_the_least() -> None:
    """The least counts after everything else."""
    model = with_price(per="second", amounts={"any": Decimal(1)}, minimum=Decimal(6))
    assert [price_clip(model, Shot.of(duration_seconds=length)).amount for length in (4, 8)] == [6, 8]


def test_a_published_rule_is_asked_in_its_own_words() -> None:
    """Its names stand for the shot's: pictures and seconds are counted, `quality` is the resolution."""
    amount: dict[str, Any] = {"uc": "680000"}
    picture = {"op": "variable", "name": "input_images"}
    parts = [picture, {"op": "variable", "name": "output_seconds"}, {"op": "variable", "name": "input_seconds"}]
    components = read_components(
        {
            "pricing_status": "available",
            "parameters": [{"name": "input_images"}, {"name": "output_seconds"}, {"name": "input_seconds"}],
            "components": [
                {
                    "pricing_status": "available",
                    "rate": amount,
                    "minimum_charge": {"uc": "0"},
                    "quantity_rule": {"op": "add", "args": parts},
                    "rounding": {"mode": "half_up", "point": "per_component_subtotal"},
                }
            ],
        }
    )
    model = with_price(per="published", amounts={}, components=components, usd_per_unit=Decimal(1), unit="USD")
    assert price_clip(model, Shot.of(duration_seconds=8, first_frame=URL, last_frame=URL)).usd == 10
    assert price_clip(model, Shot.of(duration_seconds=8, reference_video=URL)).usd is None
    limited = replace(model, inputs=(VIDEOS,))
    assert price_clip(limited, Shot.of(duration_seconds=8, reference_video=URL)).usd == 8 + 15


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
