"""PoYo's cards against its public catalogue of 2026-08-07: prices by hand, and every body that it shows.

The catalogue shows one set of examples for all ids of a page; those of another id are refused. The prompts of the
examples are shortened.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import Shot
from card_cases import (
    CATALOGUE,
    FIRST,
    LAST,
    URL,
    Example,
    assert_price,
    card_of,
    clips,
    errors_of,
    pictures,
    price_of,
)

PRICES: list[tuple[str, Example, str, str]] = [
    ("seedance-2", {}, "80", "0.40"),
    ("seedance-2", {"duration_seconds": 10, "resolution": "720p"}, "400", "2.00"),
    ("seedance-2", {"duration_seconds": 15, "resolution": "1080p", "audio": True}, "1350", "6.75"),
    ("seedance-2", {"duration_seconds": 5, "resolution": "4k", **FIRST}, "1000", "5.00"),
    ("seedance-2", {"duration_seconds": 5, "resolution": "720p", **pictures(9)}, "200", "1.00"),
    # 15 s of reference video are the most, whatever their number: (5 + 15) x 25.
    ("seedance-2", {"duration_seconds": 5, "resolution": "720p", **clips(1)}, "500", "2.50"),
    ("seedance-2", {"duration_seconds": 4, "resolution": "480p", **clips(3)}, "218.5", "1.0925"),
    ("seedance-2", {"duration_seconds": 15, "resolution": "4k", **clips(1)}, "3840", "19.20"),
    ("seedance-2-fast", {}, "56", "0.28"),
    ("seedance-2-fast", {"duration_seconds": 15, "resolution": "720p"}, "420", "2.10"),
    ("seedance-2-fast", {"duration_seconds": 10, "resolution": "480p", **clips(1)}, "225", "1.125"),
    ("seedance-2-mini", {}, "96", "0.48"),
    ("seedance-2-mini", {"duration_seconds": 8, "resolution": "720p", **clips(1)}, "287.5", "1.4375"),
    ("seedance-2.5", {}, "168", "0.84"),
    ("seedance-2.5", {"duration_seconds": 30, "resolution": "480p"}, "570", "2.85"),
    ("seedance-1.5-pro", {}, "9", "0.045"),
    ("seedance-1.5-pro", {"duration_seconds": 12, "resolution": "720p", "audio": True}, "84", "0.42"),
    ("seedance-1.5-pro", {"duration_seconds": 8, "resolution": "1080p", "audio": False}, "70", "0.35"),
    ("seedance-1.5-pro", {"duration_seconds": 8, "resolution": "1080p", "audio": True}, "70", "0.35"),
    ("kling-3.0/standard", {}, "117", "0.585"),
    ("kling-3.0/standard", {"duration_seconds": 15, "audio": False}, "405", "2.025"),
    ("kling-3.0/pro", {"duration_seconds": 10, "resolution": "1080p", "audio": True, **FIRST}, "490", "2.45"),
    ("kling-3.0/4K", {"duration_seconds": 8, **FIRST, **LAST}, "400", "2.00"),
    ("kling-3.0-turbo/standard", {}, "85", "0.425"),
    ("kling-3.0-turbo/pro", {"duration_seconds": 15}, "330", "1.65"),
    ("kling-o3/standard", {"duration_seconds": 5, "audio": True, **pictures(4)}, "65", "0.325"),
    ("kling-o3/pro", {"duration_seconds": 5, "audio": False}, "65", "0.325"),
    ("kling-o3/4K", {"duration_seconds": 3, "resolution": "4k"}, "150", "0.75"),
    ("kling-2.6", {"duration_seconds": 10, "audio": True, **FIRST}, "240", "1.20"),
    ("kling-2.6", {"duration_seconds": 10, **FIRST, **LAST}, "130", "0.65"),
    ("kling-2.5-turbo-pro", {"duration_seconds": 10, "negative_prompt": "blur"}, "84", "0.42"),
    ("wan2.7-text-to-video", {}, "60", "0.30"),
    ("wan2.7-text-to-video", {"duration_seconds": 15, "resolution": "1080p", "seed": 0}, "270", "1.35"),
    ("wan2.7-image-to-video", {"duration_seconds": 7, **FIRST, **LAST}, "84", "0.42"),
    ("wan2.7-reference-to-video", {"duration_seconds": 10, "resolution": "1080p", **clips(2)}, "180", "0.90"),
    ("wan2.6-text-to-video", {"duration_seconds": 15, "resolution": "1080p"}, "360", "1.80"),
    ("wan2.6-image-to-video", FIRST, "80", "0.40"),
    ("wan2.6-video-to-video", {"duration_seconds": 10, **clips(3)}, "160", "0.80"),
    ("hailuo-03", {}, "105", "0.525"),
    ("hailuo-03", {"duration_seconds": 10, "resolution": "2k", **pictures(5)}, "210", "1.05"),
    # 10 x 21, and 6.4 for each of the four above five.
    ("hailuo-03", {"duration_seconds": 10, **pictures(9)}, "235.6", "1.178"),
    # (8 + 15) x 21, and 6.4.
    ("hailuo-03", {"duration_seconds": 8, **pictures(6), **clips(1)}, "489.4", "2.447"),
    ("hailuo-2.3", {"duration_seconds": 10}, "70", "0.35"),
    ("hailuo-2.3", {"resolution": "1080p"}, "60", "0.30"),
    ("veo3.1-lite", {}, "20", "0.10"),
    ("veo3.1-fast", {"resolution": "4k", **FIRST, **LAST}, "60", "0.30"),
    ("veo3.1-fast", pictures(3), "36", "0.18"),
    ("veo3.1-quality", {"resolution": "1080p"}, "200", "1.00"),
    ("veo3.1-lite-official", {"audio": False}, "14.4", "0.072"),
    ("veo3.1-lite-official", {"resolution": "1080p"}, "76.8", "0.384"),
    ("veo3.1-fast-official", {"duration_seconds": 8, "resolution": "4k", **pictures(3)}, "280", "1.40"),
    ("veo3.1-quality-official", {"duration_seconds": 6, "audio": False}, "144", "0.72"),
    ("grok-imagine-video-1.5", {"duration_seconds": 6, "resolution": "480p"}, "87", "0.435"),
    ("grok-imagine-video-1.5", {"duration_seconds": 6, "resolution": "1080p", **FIRST}, "272", "1.36"),
    ("grok-imagine-video-1.5", {"duration_seconds": 15, **pictures(7)}, "389", "1.945"),
    ("runway-gen-4.5", {"duration_seconds": 10, "aspect_ratio": "21:9"}, "150", "0.75"),
    ("happy-horse", {}, "160", "0.80"),
    ("happy-horse", {"duration_seconds": 3, "resolution": "720p", **pictures(1)}, "48", "0.24"),
    ("happy-horse-1.1", {"duration_seconds": 15, "aspect_ratio": "9:21"}, "420", "2.10"),
    ("omni-flash", {}, "150", "0.75"),
    ("omni-flash", {"duration_seconds": 10, "resolution": "4k", **pictures(3)}, "450", "2.25"),
    ("flux-3/text-to-video", {"duration_seconds": 20, "resolution": "1080p", "audio": False}, "1160", "5.80"),
    ("flux-3/image-to-video", {"duration_seconds": 7, **FIRST}, "238", "1.19"),
    ("flux-3/first-last-frame-to-video", {**FIRST, **LAST}, "170", "0.85"),
]
"""Model, shot, credits, dollars: from the tables of the catalogue at 0.005 dollars a credit."""


@pytest.mark.parametrize(("model", "said", "amount", "usd"), PRICES)
def test_a_price_is_the_catalogues(model: str, said: Example, amount: str, usd: str) -> None:
    """Each model once at least, each rule at its edge."""
    assert_price("poyo", model, said, amount, usd)


def test_every_card_has_a_price_here() -> None:
    """None is left out."""
    cards = {card.model for card in CATALOGUE.cards if card.gateway == "poyo" and card.family != "sora-2"}
    assert {model for model, *_ in PRICES} == cards


def test_the_seconds_of_a_reference_video_without_a_limit_make_the_price_unknown() -> None:
    """PoYo bills them for Seedance 2.5 too and does not say how many there may be; nothing is guessed."""
    assert price_of("poyo", "seedance-2.5", clips(1)).usd is None
    assert price_of("poyo", "seedance-2.5", pictures(30)).usd == Decimal("0.84")


WRONG: list[tuple[str, Example, str]] = [
    ("seedance-2", {**FIRST, **pictures(1)}, "image_url"),
    ("seedance-2", {"reference_audio": f"{URL}a.mp3"}, "reference_audio"),
    ("seedance-2", {"duration_seconds": 16}, "duration_seconds"),
    ("seedance-2-fast", {"resolution": "1080p"}, "resolution"),
    ("seedance-2.5", {"aspect_ratio": "16:9", **FIRST}, "aspect_ratio"),
    ("kling-3.0/standard", {"aspect_ratio": "16:9", **FIRST}, "aspect_ratio"),
    ("kling-3.0/standard", {"resolution": "1080p"}, "resolution"),
    ("kling-2.6", {"audio": True, **FIRST, **LAST}, "audio"),
    ("kling-3.0-turbo/pro", {**FIRST, **LAST}, "last_frame"),
    ("wan2.7-text-to-video", {"duration_seconds": 7}, "duration_seconds"),
    ("wan2.6-video-to-video", {"duration_seconds": 15, **clips(1)}, "duration_seconds"),
    ("hailuo-2.3", {"duration_seconds": 10, "resolution": "1080p"}, "duration_seconds"),
    ("hailuo-03", {"aspect_ratio": "auto"}, "aspect_ratio"),
    ("veo3.1-fast", FIRST, "model"),
    ("veo3.1-fast", pictures(2), "reference_image"),
    ("veo3.1-fast", {"duration_seconds": 4}, "duration_seconds"),
    ("veo3.1-fast", {"audio": False}, "audio"),
    ("veo3.1-quality", pictures(3), "reference_image"),
    ("veo3.1-lite", FIRST, "image_url"),
    ("veo3.1-lite-official", {"duration_seconds": 4, **FIRST, **LAST}, "duration_seconds"),
    ("veo3.1-fast-official", {"aspect_ratio": "auto"}, "aspect_ratio"),
    ("omni-flash", pictures(2), "reference_image"),
    ("grok-imagine-video-1.5", pictures(8), "reference_image"),
]
"""Model, shot, the field that is wrong."""


@pytest.mark.parametrize(("model", "said", "field"), WRONG)
def test_what_the_catalogue_rules_out_is_an_error(model: str, said: Example, field: str) -> None:
    """By the card alone."""
    assert field in errors_of("poyo", model, said)


@pytest.mark.parametrize("card", CATALOGUE.cards, ids=lambda card: card.id)
def test_a_field_is_limited_only_by_fields_before_it(card: ModelCard) -> None:
    """Values are judged in the order of the fields: one that is mended later would undo what was judged."""
    for place, field in enumerate(card.fields):
        later = {name for other in card.fields[place + 1 :] for name in (other.role, other.path[-1])}
        assert not later & {name for limit in field.limits for name, _ in limit.when}, field.name


@pytest.mark.parametrize(("gateway", "model"), [("poyo", "hailuo-2.3"), ("apidot", "hailuo-2.3")])
def test_one_mending_is_enough(gateway: str, model: str) -> None:
    """A resolution that becomes 1080p takes the length with it."""
    card = card_of(gateway, model)
    mended = check_shot(card, Shot.of("A cat.", duration_seconds=10, resolution="4k"), Hosts()).corrected

    assert (mended.get("resolution"), mended.get("duration_seconds")) == ("1080p", 6)
    assert check_shot(card, mended, Hosts()).corrected == mended
