"""APIXO's cards against the bodies and limits that its pages show. Prices were found for one model only."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from callsheet.core.gateway.protocol import SubmitParts
from callsheet.core.payload.body import build_body
from callsheet.core.payload.recognition import recognise
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import Shot
from callsheet.gateways import load_gateway
from callsheet.sandbox.checks import check_body
from card_cases import CATALOGUE, FIRST, LAST, URL, Example, card_of, clips, errors_of, pictures, price_of

EXAMPLES = json.loads((Path(__file__).parent / "apixo_examples.json").read_text(encoding="utf-8"))
HOSTS = Hosts(callbacks=("hooks.acme.com",))


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["model"])
def test_a_documented_body_is_recognised_taken_and_sent_as_it_stands(row: Example) -> None:
    """By the model in its address; what it leaves open may be added."""
    card = card_of("apixo", row["model"])
    request = {"url": f"https://api.apixo.ai/api/v1/generateTask/{card.model}", "json": row["body"]}
    found = recognise(request, CATALOGUE)
    assert found.card is card
    findings = (*found.findings, *check_shot(card, found.shot, HOSTS).findings)
    assert [finding for finding in findings if finding.severity == "error"] == []
    assert check_body(card, row["body"]) == ()
    sent = build_body(card, found.shot)
    assert isinstance(sent["input"], dict)
    assert row["body"]["input"].items() <= sent["input"].items()


def test_the_address_keeps_the_capitals_of_an_id() -> None:
    """`happyHorse` is another address than `happyhorse`."""
    request = load_gateway("apixo").build_submit(SubmitParts("happyHorse", b"{}", "key-0123456789abcdef"))
    assert request.path == "/api/v1/generateTask/happyHorse"


def mode_of(model: str, said: Example) -> object:
    """What a body says of its inputs and of the tier."""
    card = card_of("apixo", model)
    sent = build_body(card, Shot.of("A red kite", **said))
    assert check_body(card, sent) == ()
    assert isinstance(sent["input"], dict)
    return sent["input"].get("generationType", sent["input"]["mode"])


MODES: list[tuple[str, Example, str]] = [
    ("seedance-2-0", {}, "text-to-video"),
    ("seedance-2-0", FIRST, "first_and_last_frames"),
    ("seedance-2-0", {**FIRST, **LAST}, "first_and_last_frames"),
    ("seedance-2-0-fast", pictures(2), "omni_reference"),
    ("seedance-2-0-fast", clips(1), "omni_reference"),
    ("seedance-1-5-pro", {**FIRST, **LAST}, "image-to-video"),
    ("kling-3-0-std", FIRST, "image-to-video"),
    ("kling-3-0-turbo", {}, "text-to-video"),
    ("kling-2-6", {**FIRST, **LAST}, "image-to-video"),
    ("kling-2-5-turbo-pro", {}, "text-to-video"),
    ("wan-2-7-video", {**FIRST, **LAST}, "image-to-video"),
    ("wan-2-7-video", pictures(3), "reference-to-video"),
    ("hailuo-2-3", FIRST, "standard-image-to-video"),
    ("hailuo-2-3-fast", FIRST, "standard-image-to-video"),
    ("hailuo-2-3-fast", {"resolution": "1080p", **FIRST}, "pro-image-to-video"),
    ("vidu-q3", {**FIRST, **LAST}, "image-to-video"),
    ("veo-3-1", {}, "TEXT_2_VIDEO"),
    ("veo-3-1", FIRST, "FIRST_AND_LAST_FRAMES_2_VIDEO"),
    ("veo-3-1", pictures(3), "REFERENCE_2_VIDEO"),
    ("happyHorse", pictures(9), "reference-to-video"),
    ("grok-video", FIRST, "image-to-video"),
]


def test_the_mode_follows_from_the_inputs() -> None:
    """It is never left to the gateway: a wrong one makes another clip of the same pictures."""
    assert [(model, said, mode_of(model, said)) for model, said, _ in MODES] == MODES
    models = {card.model for card in CATALOGUE.cards if card.gateway == "apixo" and card.family != "sora-2"}
    assert {model for model, _, _ in MODES} == models


def test_only_the_price_of_veo_is_known() -> None:
    """From the oldest page, by mode; references force the cheaper one."""
    asked: list[tuple[Example, str]] = [
        ({}, "1.5"),
        ({"options": {"mode": "quality"}, **FIRST}, "1.5"),
        ({"options": {"mode": "fast"}}, "0.2"),
        (pictures(3), "0.2"),
    ]
    assert [price_of("apixo", "veo-3-1", said).usd for said, _ in asked] == [Decimal(usd) for _, usd in asked]
    cards = [card for card in CATALOGUE.cards if card.gateway == "apixo"]
    assert {card.model for card in cards if card.price.per != "unknown"} == {"veo-3-1"}


WRONG: list[tuple[str, Example, str]] = [
    ("seedance-2-0", {"resolution": "4k"}, "resolution"),
    ("seedance-2-0", {"reference_audio": f"{URL}a.mp3"}, "reference_audio"),
    ("seedance-2-0", {**FIRST, **pictures(1)}, "image_url"),
    ("seedance-2-0-fast", {"resolution": "1080p"}, "resolution"),
    ("seedance-1-5-pro", {"resolution": "1080p"}, "resolution"),
    ("kling-3-0-std", {"aspect_ratio": "16:9", **FIRST}, "aspect_ratio"),
    ("kling-3-0-turbo", {**FIRST, **LAST}, "last_frame"),
    ("kling-2-6", {"duration_seconds": 7}, "duration_seconds"),
    ("kling-2-5-turbo-pro", {"options": {"cfg_scale": 2}}, "input.cfg_scale"),
    ("wan-2-7-video", {"duration_seconds": 11, **clips(1)}, "duration_seconds"),
    ("wan-2-7-video", {"aspect_ratio": "9:16"}, "aspect_ratio"),
    ("hailuo-2-3", {"resolution": "1080p"}, "resolution"),
    ("hailuo-2-3-fast", {"duration_seconds": 10, "resolution": "1080p", **FIRST}, "duration_seconds"),
    ("vidu-q3", {"duration_seconds": 17}, "duration_seconds"),
    ("veo-3-1", {"options": {"mode": "quality"}, **pictures(1)}, "input.mode"),
    ("veo-3-1", {"aspect_ratio": "9:16", **pictures(1)}, "aspect_ratio"),
    ("veo-3-1", {"duration_seconds": 8}, "duration_seconds"),
    ("happyHorse", {"audio": False}, "audio"),
    ("grok-video", {"duration_seconds": 5}, "duration_seconds"),
]
"""Model, shot, the field that is wrong."""


def test_what_the_pages_rule_out_is_an_error() -> None:
    """By the card alone."""
    missed = [row for row in WRONG if row[2] not in errors_of("apixo", row[0], row[1])]
    assert missed == []
