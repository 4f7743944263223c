"""The payloads that people publish, paste and invent, each with its right reading (`payload_cases.json`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from callsheet.core.catalogue import Availability
from callsheet.core.payload.body import build_body
from callsheet.core.payload.recognition import recognise
from callsheet.core.payload.request import parse_request
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.errors import ANOTHER_MODEL
from cases import cases

CATALOGUE = load_catalogue()
CASES = json.loads(Path(__file__).with_name("payload_cases.json").read_text(encoding="utf-8"))
SHOT = ("duration_seconds", "aspect_ratio", "resolution", "image_url", "callback_url")


@cases("case", CASES, ids=lambda case: case["why"])
def test_a_published_payload_has_its_right_reading(case: dict[str, Any]) -> None:
    """A card, a choice, a dropped model or another model; and the shot that it asks for, with nothing lost."""
    payload, means = parse_request(case["text"]) if "text" in case else case["payload"], case["means"]
    assert payload is not None
    found = recognise(payload, CATALOGUE, gateway=case.get("gateway"))
    dropped = found.what.endswith("which is dropped") and found.findings[0].instead == ANOTHER_MODEL
    status = "card" if found.card else "foreign" if found.foreign else "dropped" if dropped else "choose"
    assert (status, found.card and found.card.id) == (means["status"], means.get("card"))
    assert {name: getattr(found.shot, name) for name in SHOT} == {name: means.get(name) for name in SHOT}
    assert found.shot.prompt == means.get("prompt", "A cat.")
    assert "sk-REPLACED" not in repr(found)


@cases("case", CASES, ids=lambda case: case["why"])
def test_a_corrected_body_names_no_other_model_and_keeps_the_image(case: dict[str, Any]) -> None:
    """Of a payload for a card the body holds what was asked for; no other payload leads to a body."""
    payload = parse_request(case["text"]) if "text" in case else case["payload"]
    assert payload is not None
    found = recognise(payload, CATALOGUE, gateway=case.get("gateway"))
    if found.card is None:
        return
    assert found.card.lifecycle.availability is not Availability.DROPPED
    body = build_body(found.card, check_shot(found.card, found.shot, Hosts()).corrected)
    assert body.get("model", found.card.model) == found.card.model
    assert ("first.png" in json.dumps(body)) == ("image_url" in case["means"])


def test_the_table_is_long_enough() -> None:
    """A table that is cut in half would still pass."""
    assert len(CASES) >= 120
