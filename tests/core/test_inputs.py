"""Which input of a shot an address in a payload is: by its field, its mode, its name and the number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from callsheet.core.catalogue.cards import Availability, Catalogue, ModelCard
from callsheet.core.catalogue.fields import Field
from callsheet.core.payload.body import build_body
from callsheet.core.payload.recognition import Recognised, recognise
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import KINDS, Shot
from callsheet.edges.config.catalogue_files import load_catalogue

CATALOGUE = load_catalogue()
A, B, C = (f"https://cdn.acme.com/{name}.png" for name in "abc")
PROMPT = Field(("input", "prompt"), "prompt", "string", "page", required=True)
MODEL = Field(("model",), "model", "string", "page", required=True)


def images(*roles: Any, **changes: Any) -> Field:
    return Field(("input", "image_urls"), "input", "array", "page", inputs=roles, **changes)


def one(name: str, *roles: Any, **changes: Any) -> Field:
    return Field(("input", name), "input", "string", "page", inputs=roles, **changes)


MODE = Field(
    ("input", "mode"),
    "fixed",
    "string",
    "page",
    fixed=(
        ("image-to-video", "FRAMES"),
        ("first-last-frame", "FRAMES"),
        ("reference-to-video", "REFERENCE"),
        ("text-to-video", "TEXT"),
    ),
)
FRAMES = images("first_frame", "last_frame", max_items=2)
ALL = images("first_frame", "last_frame", "reference_image", max_items=9)
PICTURES = Field(("input", "reference_image_urls"), "input", "array", "page", inputs=("reference_image",), max_items=9)
VIDEOS = Field(("input", "reference_video_urls"), "input", "array", "page", inputs=("reference_video",), max_items=3)
SOUNDS = Field(("input", "audio_urls"), "input", "array", "page", inputs=("reference_audio",), max_items=3)
ENDS = (one("image_start", "first_frame"), one("image_end", "last_frame"))


def catalogue_of(*fields: Field) -> tuple[Catalogue, ModelCard]:
    """A catalogue with one live model that has these fields."""
    facts = CATALOGUE.gateways[0]
    card = facts.models[0]
    life = replace(card.lifecycle, availability=Availability.LIVE)
    card = replace(card, model="veo", kinds=KINDS, fields=(MODEL, PROMPT, *fields), inputs=(), lifecycle=life)
    return Catalogue((replace(facts, models=(card,)),)), card


def read(payload: dict[str, Any], *fields: Field) -> Recognised:
    return recognise({"model": "veo", "input": {"prompt": "A kite", **payload}}, catalogue_of(*fields)[0])


def inputs_of(found: Recognised) -> list[tuple[str, str]]:
    return [(item.role, item.url) for item in found.shot.inputs]


def errors(found: Recognised) -> list[tuple[str, str]]:
    return [(finding.field, finding.instead) for finding in found.findings if finding.severity == "error"]


FIRST, LAST = [("first_frame", A)], [("first_frame", A), ("last_frame", B)]
PLACED: dict[str, tuple[tuple[Field, ...], dict[str, Any], list[tuple[str, str]]]] = {
    "one picture in a list of frames": ((FRAMES,), {"image_urls": [A]}, FIRST),
    "two pictures in a list of frames": ((FRAMES,), {"image_urls": [A, B]}, LAST),
    "a field for each end": (ENDS, {"image_end": B, "image_start": A}, LAST),
    "the last frame alone": (ENDS, {"image_end": B}, [("last_frame", B)]),
    "a list of references": (
        (FRAMES, PICTURES),
        {"reference_image_urls": [A, B]},
        [("reference_image", A), ("reference_image", B)],
    ),
    "references of three sorts": (
        (PICTURES, VIDEOS, SOUNDS),
        {"audio_urls": [C], "reference_video_urls": [B], "reference_image_urls": [A]},
        [("reference_image", A), ("reference_video", B), ("reference_audio", C)],
    ),
    "few pictures where frames and references share a field": ((ALL,), {"image_urls": [A, B]}, LAST),
    "many pictures where frames and references share a field": (
        (ALL,),
        {"image_urls": [A, B, C]},
        [("reference_image", A), ("reference_image", B), ("reference_image", C)],
    ),
    "the mode says frames": ((ALL, MODE), {"image_urls": [A, B], "mode": "FRAMES"}, LAST),
    "the mode says references": (
        (ALL, MODE),
        {"image_urls": [A, B], "mode": "REFERENCE"},
        [("reference_image", A), ("reference_image", B)],
    ),
    "a field of references alone needs no mode": (
        (images("reference_image"),),
        {"image_urls": [A]},
        [("reference_image", A)],
    ),
}


@pytest.mark.parametrize(("fields", "payload", "inputs"), PLACED.values(), ids=PLACED)
def test_an_address_in_its_place_has_its_role(
    fields: tuple[Field, ...], payload: dict[str, Any], inputs: list[tuple[str, str]]
) -> None:
    """No error, and the body that is built from the shot has every address where it was."""
    found = read(payload, *fields)
    assert inputs_of(found) == inputs
    assert errors(found) == []
    assert found.card is not None
    body = build_body(found.card, found.shot)
    assert payload.items() <= body["input"].items()  # type: ignore[union-attr]


NAMED: dict[str, tuple[tuple[Field, ...], dict[str, Any], list[tuple[str, str]], str]] = {
    "a reference image where none is taken": ((FRAMES,), {"reference_image": A}, FIRST, "image_urls"),
    "a reference image where one is taken": (
        (FRAMES, PICTURES),
        {"reference_images": [A]},
        [("reference_image", A)],
        "reference_image_urls",
    ),
    "a reference image in a shared field": ((ALL,), {"ref_images": [A]}, [("reference_image", A)], "image_urls"),
    "a last frame in a list of frames": ((FRAMES,), {"tail_image_url": [B]}, [("last_frame", B)], "image_urls"),
    "an end image for a field of its own": (ENDS, {"end_image_url": B}, [("last_frame", B)], "image_end"),
    "a start image for a field of its own": (ENDS, {"image": A}, FIRST, "image_start"),
    "a video": ((FRAMES, VIDEOS), {"videos": [B]}, [("reference_video", B)], "reference_video_urls"),
    "a sound": ((FRAMES, SOUNDS), {"audioUrl": [C]}, [("reference_audio", C)], "audio_urls"),
}


@pytest.mark.parametrize(("fields", "payload", "inputs", "write"), NAMED.values(), ids=NAMED)
def test_another_name_says_the_role(
    fields: tuple[Field, ...], payload: dict[str, Any], inputs: list[tuple[str, str]], write: str
) -> None:
    """The finding names the field; the address keeps the meaning that its name had."""
    found = read(payload, *fields)
    assert inputs_of(found) == inputs
    assert errors(found)[0] == (f"input.{next(iter(payload))}", f"Write input.{write}.")


def test_two_names_for_one_list_are_both_read() -> None:
    """A first and a last frame under names of their own are the two of the list; a second of either is left out."""
    found = read({"image_urls": [A], "last_frame": [B], "end_image": [C]}, FRAMES)
    assert inputs_of(found) == LAST
    assert errors(found) == [("input.last_frame", "Write input.image_urls."), ("input.end_image", "Leave it out.")]
    assert found.card is not None
    corrected = check_shot(found.card, found.shot, Hosts()).corrected
    assert build_body(found.card, corrected)["input"] == {"prompt": "A kite", "image_urls": [A, B]}


@pytest.mark.parametrize(
    ("fields", "payload", "advice"),
    [
        ((ALL, MODE), {"image_urls": [A], "mode": "REFERENCE"}, None),
        ((ALL, MODE), {"image_urls": [A, B, C], "mode": "FRAMES"}, ("input.mode", "Write REFERENCE.")),
        ((ALL, MODE), {"image_urls": [A], "mode": "TEXT"}, ("input.mode", "Write FRAMES.")),
        ((ALL, MODE), {"mode": "REFERENCE"}, ("input.mode", "Write TEXT.")),
        ((FRAMES,), {"image_urls": [A, B, C]}, ("input.image_urls", "Keep 2.")),
        ((FRAMES,), {"image_urls": A}, ("input.image_urls", 'Write ["https://…"].')),
        (ENDS, {"image_start": [A]}, ("input.image_start", 'Write "https://…".')),
        (ENDS, {"image_start": [A, B]}, ("input.image_start", "Keep one.")),
        (ENDS, {"image_start": {"url": A}}, ("input.image_start", 'Write "https://…".')),
    ],
)
def test_what_does_not_fit_together_is_told(
    fields: tuple[Field, ...], payload: dict[str, Any], advice: tuple[str, str] | None
) -> None:
    """A mode that the addresses do not have, too many of them, and another shape."""
    found = errors(read(payload, *fields))
    assert (advice in found) if advice else found == []


def test_what_the_mode_says_keeps_what_follows_from_it() -> None:
    """One picture as a reference stays one when its body is read again."""
    catalogue, card = catalogue_of(ALL, MODE)
    for shot in (
        Shot.of("A", first_frame=A),
        Shot.of("A", first_frame=A, last_frame=B),
        Shot.of("A", reference_image=A),
        Shot.of("A", reference_image=[A, B, C]),
        Shot.of("A"),
    ):
        body = build_body(card, shot)
        assert recognise(body, catalogue, gateway=card.gateway, model=card.model).shot == shot
