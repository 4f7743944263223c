"""APIDot's cards against its pages: prices by hand, and every body that it shows for these models.

Pages: the documentation and prices in the site's source (2026-04-27), and the examples' READMEs (undated). The prompts
of the examples are shortened.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from card_cases import (
    CATALOGUE,
    FIRST,
    LAST,
    Example,
    assert_price,
    clips,
    errors_of,
    pictures,
    price_of,
)

PRICES: list[tuple[str, Example, str, str]] = [
    ("seedance-2", {}, "80", "0.40"),
    ("seedance-2", {"duration_seconds": 15, "resolution": "1080p"}, "1350", "6.75"),
    ("seedance-2", {"duration_seconds": 4, "resolution": "480p", **FIRST, **LAST}, "80", "0.40"),
    ("seedance-2", {"duration_seconds": 10, "resolution": "720p", **pictures(3)}, "400", "2.00"),
    ("seedance-2-fast", {"duration_seconds": 5, "resolution": "720p"}, "140", "0.70"),
    ("seedance-2-fast", {"duration_seconds": 4, "resolution": "480p", "audio": False}, "56", "0.28"),
    ("kling-3.0/standard", {}, "81", "0.405"),
    ("kling-3.0/standard", {"duration_seconds": 10, "audio": True}, "390", "1.95"),
    ("kling-3.0/pro", {"duration_seconds": 15, "audio": False, **FIRST}, "585", "2.925"),
    ("kling-3.0/pro", {"duration_seconds": 5, "audio": True, **FIRST, **LAST}, "245", "1.225"),
    ("wan2.7-text-to-video", {}, "60", "0.30"),
    ("wan2.7-text-to-video", {"duration_seconds": 15, "resolution": "1080p"}, "270", "1.35"),
    ("wan2.7-image-to-video", {"duration_seconds": 6, "resolution": "1080p", **FIRST}, "108", "0.54"),
    ("wan2.7-reference-to-video", {"duration_seconds": 5, **pictures(9), **clips(1)}, "60", "0.30"),
    ("hailuo-2.3", {}, "35", "0.175"),
    ("hailuo-2.3", {"duration_seconds": 10, **FIRST}, "70", "0.35"),
    ("hailuo-2.3", {"resolution": "1080p"}, "60", "0.30"),
    ("veo3.1-lite", {"resolution": "4k"}, "30", "0.15"),
    ("veo3.1-lite", {}, "10", "0.05"),
    ("veo3.1-fast", {"resolution": "1080p", **FIRST}, "20", "0.10"),
    ("veo3.1-fast", {"resolution": "4k", **pictures(1)}, "60", "0.30"),
    ("veo3.1-quality", {**FIRST, **LAST}, "120", "0.60"),
    ("veo3.1-quality", {"resolution": "4k"}, "400", "2.00"),
    ("runway-gen-4.5", {}, "75", "0.375"),
    ("runway-gen-4.5", {"duration_seconds": 10, "aspect_ratio": "1:1", **FIRST}, "150", "0.75"),
    ("happy-horse", {"duration_seconds": 15, "resolution": "1080p"}, "480", "2.40"),
    ("happy-horse", {"duration_seconds": 5, "resolution": "720p", **pictures(9)}, "80", "0.40"),
]
"""Model, shot, credits, dollars: from APIDot's own tables at 0.005 dollars a credit."""
UNKNOWN: list[tuple[str, Example]] = [
    ("grok-imagine-video-1.5", FIRST),
    ("omni-flash", {}),
    ("seedance-2", clips(1)),
    ("seedance-2-fast", {"resolution": "480p", **clips(1), **pictures(1)}),
]
"""Model and shot whose price APIDot's pages do not tell, or not wholly."""


@pytest.mark.parametrize(("model", "said", "amount", "usd"), PRICES)
def test_a_price_is_that_of_the_gateways_pages(model: str, said: Example, amount: str, usd: str) -> None:
    """Never the sister brand's."""
    assert_price("apidot", model, said, amount, usd)


@pytest.mark.parametrize(("model", "said"), UNKNOWN)
def test_a_price_that_is_not_told_is_unknown(model: str, said: Example) -> None:
    """No other gateway's price stands in for it."""
    assert price_of("apidot", model, said).usd is None


def test_every_card_has_a_price_here() -> None:
    """Known by hand, or known to be unknown."""
    told = {model for model, *_ in PRICES} | {model for model, _ in UNKNOWN}
    assert told == {card.model for card in CATALOGUE.cards if card.gateway == "apidot" and card.family != "sora-2"}


def test_the_sister_brands_price_differs() -> None:
    """One id, two gateways, two dates, two prices."""
    here, there = price_of("apidot", "veo3.1-fast", {}), price_of("poyo", "veo3.1-fast", {})
    assert (here.usd, there.usd) == (Decimal("0.10"), Decimal("0.18"))


WRONG: list[tuple[str, Example, str]] = [
    ("seedance-2", {"aspect_ratio": "auto"}, "aspect_ratio"),
    ("seedance-2", {**FIRST, **clips(1)}, "image_url"),
    ("seedance-2-fast", {"resolution": "1080p"}, "resolution"),
    ("wan2.7-image-to-video", {"aspect_ratio": "16:9", **FIRST}, "aspect_ratio"),
    ("wan2.7-reference-to-video", pictures(10), "reference_image"),
    ("hailuo-2.3", {"duration_seconds": 10, "resolution": "1080p"}, "duration_seconds"),
    ("veo3.1-lite", FIRST, "image_url"),
    ("veo3.1-quality", pictures(1), "reference_image"),
    ("veo3.1-fast", pictures(4), "reference_image"),
    ("runway-gen-4.5", {"aspect_ratio": "1:1"}, "aspect_ratio"),
    ("grok-imagine-video-1.5", {}, "image_url"),
    ("grok-imagine-video-1.5", {"resolution": "1080p", **FIRST}, "resolution"),
    ("happy-horse", {"aspect_ratio": "16:9", **FIRST}, "aspect_ratio"),
    ("omni-flash", pictures(2), "reference_image"),
]
"""Model, shot, the field that is wrong."""


@pytest.mark.parametrize(("model", "said", "field"), WRONG)
def test_what_the_pages_rule_out_is_an_error(model: str, said: Example, field: str) -> None:
    """By the card alone."""
    assert field in errors_of("apidot", model, said)
