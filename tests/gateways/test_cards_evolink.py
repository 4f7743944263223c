"""EvoLink's cards against its public price rules of 2026-10-10 and the bodies that its pages show.

A price is the rule's rate in `uc`, 680,000 to the dollar, times what counts, up to the next millionth of a dollar.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from callsheet.core.payload.body import build_body
from callsheet.core.payload.recognition import recognise
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import Shot
from callsheet.sandbox.checks import check_body
from card_cases import CATALOGUE, FIRST, LAST, URL, Example, card_of, clips, errors_of, pictures, price_of

EXAMPLES = json.loads((Path(__file__).parent / "evolink_examples.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["model"])
def test_a_documented_body_is_recognised_taken_and_sent_as_it_stands(row: Example) -> None:
    """By its model id alone; what it leaves open may be added."""
    found = recognise(row["body"], CATALOGUE)
    card = card_of("evolink", row["model"])
    assert found.card is card
    findings = (*found.findings, *check_shot(card, found.shot, Hosts()).findings)
    assert [finding for finding in findings if finding.severity == "error"] == []
    assert check_body(card, row["body"]) == ()
    assert row["body"].items() <= build_body(card, found.shot).items()


PRICES: dict[str, list[tuple[str, Example, str]]] = {
    "resolution": [
        # A second of the clip, by resolution.
        ("seedance-2.0-text-to-video", {}, "0.992648"),
        ("seedance-2.0-text-to-video", {"duration_seconds": 4, "resolution": "480p"}, "0.369265"),
        ("seedance-2.0-text-to-video", {"duration_seconds": 15, "resolution": "1080p", "audio": False}, "7.444853"),
        ("seedance-2.0-image-to-video", {"duration_seconds": 10, "resolution": "4k", **FIRST, **LAST}, "10.125"),
        ("seedance-2.0-fast-text-to-video", {"duration_seconds": 7}, "0.844252"),
        ("seedance-2.0-fast-image-to-video", {"duration_seconds": 15, "resolution": "480p", **FIRST}, "0.841237"),
        ("seedance-2.0-mini-text-to-video", {"duration_seconds": 15}, "0.595589"),
        ("seedance-2.0-mini-image-to-video", {"duration_seconds": 4, "resolution": "480p", **FIRST}, "0.073853"),
        ("seedance-2.5-text-to-video", {"duration_seconds": 30, "resolution": "1080p"}, "22.158089"),
        ("seedance-2.5-image-to-video", {"duration_seconds": 17, **FIRST}, "5.0225"),
        ("kling-v3-turbo-text-to-video", {"duration_seconds": 3}, "0.317648"),
        ("kling-v3-turbo-image-to-video", {"duration_seconds": 15, "resolution": "1080p", **FIRST}, "1.985295"),
        (
            "kling-o3-reference-to-video",
            {"duration_seconds": 10, "resolution": "1080p", **clips(1), **pictures(4)},
            "1.58903",
        ),
        ("kling-o1-image-to-video", {"duration_seconds": 10, **FIRST, **LAST}, "1.176471"),
        ("wan2.5-text-to-video", {"duration_seconds": 10, "resolution": "480p"}, "0.375"),
        ("wan2.5-image-to-video", {"duration_seconds": 10, "resolution": "1080p", **FIRST}, "1.2525"),
        ("wan2.6-text-to-video", {"duration_seconds": 15, "resolution": "1080p"}, "1.7535"),
        ("wan2.6-image-to-video", {"duration_seconds": 2, **FIRST}, "0.14"),
        ("wan2.7-text-to-video", {"duration_seconds": 15, "resolution": "1080p", "seed": 1}, "2.004"),
        ("wan2.7-image-to-video", {"duration_seconds": 2, **FIRST, **LAST}, "0.16"),
        ("wan3.0-text-to-video", {"duration_seconds": 30, "resolution": "480p"}, "1.125"),
        ("wan3.0-image-to-video", {"duration_seconds": 8, "resolution": "1080p", "audio": False, **FIRST}, "1.2"),
        ("wan3.0-prime-text-to-video", {"duration_seconds": 2, "resolution": "480p"}, "0.1156"),
        ("wan3.0-prime-image-to-video", {"duration_seconds": 7, "resolution": "1080p", **FIRST}, "1.666952"),
        ("minimax-h3-text-to-video", {"duration_seconds": 15, "resolution": "2k"}, "1.8525"),
        ("minimax-h3-image-to-video", {"duration_seconds": 6, **LAST}, "0.456"),
        ("minimax-h3-max-text-to-video", {"duration_seconds": 15}, "1.14"),
        ("minimax-h3-max-image-to-video", {"resolution": "480p", **FIRST}, "0.2375"),
        ("minimax-h3-max-turbo-text-to-video", {"resolution": "480p"}, "0.11875"),
        ("minimax-h3-max-turbo-image-to-video", {"duration_seconds": 8, **FIRST, **LAST}, "0.304"),
        ("grok-imagine-video-1.0-t2v", {"duration_seconds": 15, "resolution": "720p"}, "0.735"),
        ("grok-imagine-text-to-video-beta", {}, "0.12"),
        ("grok-imagine-text-to-video", {"duration_seconds": 30, "resolution": "720p"}, "0.84"),
        ("grok-imagine-image-to-video-beta", FIRST, "0.12"),
        ("grok-imagine-image-to-video", {"duration_seconds": 10, "resolution": "720p", **pictures(7)}, "0.28"),
        ("happyhorse-1.0-text-to-video", {"duration_seconds": 3}, "0.336"),
        ("happyhorse-1.0-image-to-video", {"duration_seconds": 15, "resolution": "1080p", **FIRST}, "2.8896"),
        ("happyhorse-1.0-reference-to-video", {"resolution": "1080p", **pictures(9)}, "0.9632"),
        ("happyhorse-1.1-text-to-video", {"resolution": "1080p"}, "0.7224"),
        ("happyhorse-1.1-image-to-video", {"duration_seconds": 15, "resolution": "1080p", **FIRST}, "2.1672"),
        ("happyhorse-1.1-reference-to-video", pictures(1), "0.56"),
    ],
    "resolution and sound": [
        # A second of the clip, by resolution and sound.
        ("seedance-1.5-pro", {}, "0.26153"),
        # The least that a request costs.
        ("seedance-1.5-pro", {"duration_seconds": 4, "resolution": "480p", "audio": False}, "0.050655"),
        (
            "seedance-1.5-pro",
            {"duration_seconds": 12, "resolution": "1080p", "audio": True, **FIRST, **LAST},
            "1.399706",
        ),
        ("kling-v3-text-to-video", {}, "0.397059"),
        ("kling-v3-text-to-video", {"duration_seconds": 15, "resolution": "4k", "audio": True}, "5.955883"),
        ("kling-v3-text-to-video", {"duration_seconds": 10, "resolution": "1080p", "audio": False}, "1.059353"),
        ("kling-v3-image-to-video", {"duration_seconds": 3, "audio": True, **FIRST}, "0.357353"),
        (
            "kling-v3-image-to-video",
            {"duration_seconds": 10, "resolution": "1080p", "audio": True, **FIRST, **LAST},
            "1.588236",
        ),
        ("kling-o3-text-to-video", {"audio": True}, "0.529677"),
        (
            "kling-o3-image-to-video",
            {"duration_seconds": 10, "resolution": "1080p", "audio": True, **FIRST, **pictures(6)},
            "1.323795",
        ),
        ("wan2.6-image-to-video-flash", {"duration_seconds": 15, "resolution": "1080p", **FIRST}, "0.87675"),
        # The least that a request costs.
        ("wan2.6-image-to-video-flash", {"duration_seconds": 2, "audio": False, **FIRST}, "0.088236"),
        (
            "wan2.6-image-to-video-flash",
            {"duration_seconds": 10, "resolution": "1080p", "audio": False, **FIRST},
            "0.29225",
        ),
        ("veo-3.1-fast-generate-preview", {}, "0.559059"),
        ("veo-3.1-fast-generate-preview", {"duration_seconds": 8, "resolution": "4k", "audio": True}, "2.616396"),
        ("veo-3.1-fast-generate-preview", {"duration_seconds": 4, "audio": False, **FIRST}, "0.372706"),
        # 8 s at 720p: the only ones with references.
        ("veo-3.1-generate-preview", {"audio": False, **pictures(3)}, "1.490824"),
        ("veo-3.1-generate-preview", {"duration_seconds": 6, "resolution": "4k", "audio": False}, "2.236236"),
        ("veo-3.1-generate-preview", {"duration_seconds": 8, "resolution": "1080p", **FIRST, **LAST}, "2.981648"),
    ],
    "clip and the longer of it and the videos": [
        # The clip, and the longer of it and the reference videos: 15 s at most (2.0), 30 s (2.5).
        # No video: the other rate, the clip alone.
        ("seedance-2.0-reference-to-video", pictures(9), "0.992648"),
        ("seedance-2.0-reference-to-video", clips(1), "2.418089"),
        ("seedance-2.0-reference-to-video", {"duration_seconds": 15, "resolution": "4k", **clips(3)}, "18.76103"),
        ("seedance-2.0-reference-to-video", {"duration_seconds": 4, "resolution": "480p", **clips(1)}, "1.071265"),
        ("seedance-2.0-reference-to-video", {"duration_seconds": 9, "resolution": "1080p", **clips(2)}, "7.242353"),
        ("seedance-2.0-fast-reference-to-video", clips(2), "1.435228"),
        ("seedance-2.0-fast-reference-to-video", {"duration_seconds": 8, "resolution": "480p", **clips(1)}, "0.76839"),
        ("seedance-2.0-mini-reference-to-video", {"duration_seconds": 12, **clips(1)}, "0.652884"),
        ("seedance-2.0-mini-reference-to-video", {"duration_seconds": 4, "resolution": "480p", **clips(1)}, "0.214253"),
        ("seedance-2.5-reference-to-video", {"duration_seconds": 30, "resolution": "1080p", **clips(1)}, "26.944236"),
        ("seedance-2.5-reference-to-video", {"resolution": "480p", **clips(10)}, "2.936686"),
        ("seedance-2.5-reference-to-video", {"reference_audio": f"{URL}a.mp3"}, "1.477206"),
    ],
    "clip and videos": [
        # The clip and the reference videos: 15 s in all at most (H3), 30 s each (Wan 2.6).
        ("wan2.6-reference-video", clips(1), "2.45"),
        ("wan2.6-reference-video", {"duration_seconds": 10, "resolution": "1080p", **clips(3)}, "11.69"),
        ("wan2.6-reference-video", {"duration_seconds": 2, **clips(2)}, "4.34"),
        ("wan2.6-reference-video-flash", {"duration_seconds": 2, "audio": False, **clips(1)}, "0.56"),
        ("wan2.6-reference-video-flash", {"resolution": "1080p", **clips(2)}, "3.79925"),
        ("minimax-h3-reference-to-video", clips(1), "1.444"),
        ("minimax-h3-reference-to-video", {"duration_seconds": 15, "resolution": "2k", **clips(3)}, "3.705"),
        ("minimax-h3-reference-to-video", {"duration_seconds": 10, **clips(2), **pictures(5)}, "1.9"),
        # The videos' seconds have their own rate.
        ("minimax-h3-max-reference-to-video", {"resolution": "480p", **clips(3)}, "1.0256"),
        ("minimax-h3-max-reference-to-video", {"duration_seconds": 15, **clips(1)}, "3.17775"),
    ],
    "clip and videos up to a limit": [
        # The clip, and the reference videos up to 5 s (Wan 2.7) or 15 s (Wan 3.0).
        ("wan2.7-reference-video", pictures(5), "0.4"),
        ("wan2.7-reference-video", clips(1), "0.8"),
        ("wan2.7-reference-video", {"duration_seconds": 10, "resolution": "1080p", **clips(5)}, "2.004"),
        ("wan2.7-reference-video", {"duration_seconds": 2, **FIRST, **clips(4), **pictures(1)}, "0.56"),
        ("wan3.0-reference-video", {"duration_seconds": 30, "resolution": "1080p", **pictures(10)}, "4.5"),
        ("wan3.0-reference-video", clips(5), "1.5"),
        ("wan3.0-reference-video", {"duration_seconds": 2, "resolution": "480p", **clips(1)}, "0.6375"),
        ("wan3.0-reference-video", {"duration_seconds": 15, "resolution": "1080p", **clips(1)}, "4.5"),
        ("wan3.0-prime-reference-video", {"duration_seconds": 10, **clips(2)}, "2.9767"),
        ("wan3.0-prime-reference-video", {"resolution": "1080p", **pictures(2)}, "1.19068"),
    ],
    "what is added, and whole clips": [
        # What is added, and the whole clip.
        ("seedance-2.0-text-to-video", {"options": {"content_filter": False}}, "1.091912"),
        ("seedance-2.0-reference-to-video", {"options": {"content_filter": False}, **clips(1)}, "2.659898"),
        ("seedance-2.5-image-to-video", {"options": {"content_filter": True}, **FIRST}, "1.477206"),
        ("minimax-h3-reference-to-video", pictures(6), "0.342"),
        (
            "minimax-h3-reference-to-video",
            {"duration_seconds": 15, "resolution": "2k", **clips(3), **pictures(9)},
            "3.857",
        ),
        ("minimax-h3-max-reference-to-video", pictures(2), "0.38"),
        ("minimax-h3-max-reference-to-video", {"resolution": "480p", **clips(1), **pictures(9)}, "1.5177"),
        ("grok-imagine-video-1.5-preview", {}, "0.336"),
        ("grok-imagine-video-1.5-preview", {"duration_seconds": 15, "resolution": "1080p", **FIRST}, "2.632"),
        ("grok-imagine-video-1.5-preview", {"duration_seconds": 10, "resolution": "720p", **pictures(7)}, "1.029"),
        ("grok-imagine-video-1.0-i2v", {"duration_seconds": 1, **FIRST}, "0.0364"),
        ("grok-imagine-video-1.0-i2v", {"duration_seconds": 15, "resolution": "720p", **pictures(7)}, "0.7448"),
        ("veo3.1-fast-beta", pictures(3), "0.317648"),
        ("veo3.1-fast", {"duration_seconds": 8, "audio": True}, "0.317648"),
        ("veo3.1-pro-beta", {**FIRST, **LAST}, "2.382353"),
        ("veo3.1-pro", {"resolution": "720p", "aspect_ratio": "9:16"}, "2.382353"),
    ],
}
"""Formula -> model, shot, dollars."""


@pytest.mark.parametrize("formula", PRICES)
def test_a_price_is_that_of_the_rules(formula: str) -> None:
    """Every row, each of a shot that the card and the sandbox take."""
    priced = [(model, said, price_of("evolink", model, said).usd) for model, said, _ in PRICES[formula]]
    assert priced == [(model, said, Decimal(usd)) for model, said, usd in PRICES[formula]]


def test_every_card_with_a_price_has_one_here() -> None:
    """None is left out, and those without one are named."""
    cards = [card for card in CATALOGUE.cards if card.gateway == "evolink" and card.family != "sora-2" and card.kinds]
    priced = {model for rows in PRICES.values() for model, _, _ in rows}
    assert {card.model for card in cards if card.price.per != "unknown"} == priced
    assert {card.family for card in cards if card.price.per == "unknown"} == {"hailuo-2.3", "hailuo-02", "omni-flash"}


def test_options_of_a_model_are_sent_in_their_place() -> None:
    """Beside each other in one object, and a word where the gateway has one for yes and no."""
    shot = Shot.of("A red kite", options={"web_search": False})
    assert build_body(card_of("evolink", "seedance-2.0-text-to-video"), shot)["model_params"] == {"web_search": False}
    shot = Shot.of("A red kite", options={"prompt_optimizer": False, "fast_pretreatment": True})
    params = build_body(card_of("evolink", "MiniMax-Hailuo-2.3"), shot)["model_params"]
    assert params == {"prompt_optimizer": False, "fast_pretreatment": True}
    assert build_body(card_of("evolink", "kling-v3-text-to-video"), Shot.of("A red kite", audio=True))["sound"] == "on"


WRONG: list[tuple[str, Example, str]] = [
    ("seedance-2.0-text-to-video", FIRST, "image_url"),
    ("seedance-2.0-text-to-video", {"duration_seconds": 16}, "duration_seconds"),
    ("seedance-2.0-text-to-video", {"aspect_ratio": "21:9", "resolution": "4k"}, "aspect_ratio"),
    ("seedance-2.0-text-to-video", {"options": {"web_search": True}}, "model_params.web_search"),
    ("seedance-2.0-fast-text-to-video", {"resolution": "1080p"}, "resolution"),
    ("seedance-2.0-mini-text-to-video", {"options": {"web_search": False}}, "web_search"),
    ("seedance-2.0-image-to-video", {}, "image_url"),
    ("seedance-2.0-image-to-video", LAST, "last_frame"),
    ("seedance-2.0-reference-to-video", {"reference_audio": f"{URL}a.mp3"}, "reference_audio"),
    ("seedance-2.0-reference-to-video", clips(4), "reference_video"),
    ("seedance-2.5-text-to-video", {"duration_seconds": -1}, "duration_seconds"),
    ("seedance-2.5-text-to-video", {"options": {"output_format": "mov"}}, "output_format"),
    ("seedance-2.5-image-to-video", {"aspect_ratio": "16:9", **FIRST}, "aspect_ratio"),
    ("kling-v3-image-to-video", {"aspect_ratio": "16:9", **FIRST}, "aspect_ratio"),
    ("kling-v3-turbo-image-to-video", {**FIRST, **LAST}, "last_frame"),
    ("kling-o3-image-to-video", {**FIRST, **LAST, **pictures(1)}, "last_frame"),
    ("kling-o3-image-to-video", {**FIRST, **pictures(7)}, "reference_image"),
    ("kling-o3-image-to-video", {"aspect_ratio": "9:16", **FIRST}, "aspect_ratio"),
    ("kling-o3-reference-to-video", {"duration_seconds": 11, **clips(1)}, "duration_seconds"),
    ("kling-o1-image-to-video", {"duration_seconds": 7, **FIRST}, "duration_seconds"),
    ("wan2.5-text-to-video", {"aspect_ratio": "4:3", "resolution": "480p"}, "aspect_ratio"),
    ("wan2.6-text-to-video", {"options": {"prompt_extend": False, "shot_type": "multi"}}, "model_params.shot_type"),
    ("wan2.7-reference-video", {"duration_seconds": 11, **clips(1)}, "duration_seconds"),
    ("wan2.7-reference-video", {**clips(3), **pictures(3)}, "reference_image"),
    ("wan2.7-text-to-video", {"seed": 0}, "seed"),
    ("minimax-h3-image-to-video", {}, "image_url"),
    ("minimax-h3-max-image-to-video", LAST, "last_frame"),
    ("MiniMax-Hailuo-2.3", {"duration_seconds": 10, "resolution": "1080p"}, "duration_seconds"),
    ("MiniMax-Hailuo-02", {"resolution": "512p"}, "resolution"),
    ("veo-3.1-generate-preview", {"duration_seconds": 4, **pictures(1)}, "duration_seconds"),
    ("veo-3.1-generate-preview", {"aspect_ratio": "9:16", **pictures(1)}, "aspect_ratio"),
    ("veo-3.1-generate-preview", {"seed": 1, **pictures(1)}, "seed"),
    ("veo-3.1-generate-preview", {**FIRST, **pictures(1)}, "image_url"),
    ("veo3.1-fast-beta", {"duration_seconds": 4}, "duration_seconds"),
    ("veo3.1-fast-beta", {"audio": False}, "audio"),
    ("veo3.1-pro-beta", pictures(1), "reference_image"),
    ("grok-imagine-video-1.5-preview", {"resolution": "1080p", **pictures(2)}, "resolution"),
    ("grok-imagine-video-1.5-preview", pictures(1), "reference_image"),
    ("grok-imagine-video-1.5-preview", {"aspect_ratio": "9:16", **FIRST}, "aspect_ratio"),
    ("gemini-omni-1.1-flash-reference-to-video", clips(1), "reference_video"),
]
"""Model, shot, the field that is wrong."""


def test_what_the_documentation_rules_out_is_an_error() -> None:
    """By the card alone."""
    missed = [row for row in WRONG if row[2] not in errors_of("evolink", row[0], row[1])]
    assert missed == []
