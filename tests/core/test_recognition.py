"""A raw payload is recognised even when it is wrong, and each mistake is told with what to write instead."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue.cards import Availability, Catalogue
from callsheet.core.catalogue.fields import Field
from callsheet.core.payload.body import (
    Body,
    Finding,
    build_body,
    freeze_body,
    read_inputs,
    read_number,
    read_pixels,
    read_value,
)
from callsheet.core.payload.recognition import Recognised, recognise
from callsheet.core.payload.request import MAX_LEAVES, parse_request
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import JsonValue, Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.errors import ANOTHER_MODEL
from cases import cases
from examples import examples

CATALOGUE = load_catalogue()
FIXTURES = Path(__file__).parents[1] / "gateways" / "fixtures"
HOSTS = Hosts(callbacks=("your-domain.com", "your-server.com", "example.com", "hooks.acme.com"))
SECRET = "t0psecret"
IMAGE = f"https://cdn.acme.com/{SECRET}.png?token={SECRET}"
CALLBACK = f"https://hooks.acme.com/{SECRET}"
PROMPT = f"A red kite {SECRET}"


@dataclass(frozen=True)
class Reading:
    """A payload read, judged and corrected."""

    found: Recognised
    findings: tuple[Finding, ...]
    corrected: Body

    @property
    def card_id(self) -> str:
        return self.found.card.id if self.found.card else ""

    @property
    def errors(self) -> set[tuple[str, str]]:
        """What is wrong, as (field, instead)."""
        return {(finding.field, finding.instead) for finding in self.findings if finding.severity == "error"}


def read(payload: dict[str, Any], **narrow: str) -> Reading:
    found = recognise(payload, CATALOGUE, **narrow)
    if found.card is None:
        return Reading(found, found.findings, {})
    verdict = check_shot(found.card, found.shot, HOSTS)
    corrected = build_body(found.card, verdict.corrected)
    return Reading(found, (*found.findings, *verdict.findings), json.loads(freeze_body(corrected)))


def paths(body: Body, parents: tuple[str, ...] = ()) -> Iterator[str]:
    for name, value in body.items():
        yield from paths(value, (*parents, name)) if isinstance(value, dict) else [".".join((*parents, name))]


# ------------------------------------------------------------------------------------------ the documents' own examples

EXAMPLES = sorted(file for file in FIXTURES.glob("*/request_*.json") if "shot" in json.loads(file.read_text()))


@cases("file", EXAMPLES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_documents_own_examples_are_recognised_without_error(file: Path) -> None:
    """Each gateway's verbatim body is taken for what it is, and building it again changes nothing that it says."""
    example = json.loads(file.read_text())
    gateway, model, body = file.parent.name, example["model"], example["body"]
    found = recognise(body, CATALOGUE, gateway=gateway)
    named = CATALOGUE.card(gateway, model)
    assert named is not None
    if named.lifecycle.availability is Availability.DROPPED:
        assert (found.card, found.what) == (None, f"a payload for {named.id}, which is dropped")
    elif gateway != "apixo":
        assert found.card == named
    else:
        assert found.card is not None
    found = recognise(body, CATALOGUE, gateway=gateway, model=model)
    assert [str(finding) for finding in found.findings if finding.severity == "error"] == []
    card = found.card
    assert card is not None
    served = replace(card, lifecycle=replace(card.lifecycle, availability=Availability.LIVE))
    verdict = check_shot(served, found.shot, HOSTS)
    # EvoLink's own example has an http address, which is refused for its own sake.
    assert {finding.field for finding in verdict.findings if finding.severity == "error"} <= {"image_url"}
    assert build_body(card, verdict.corrected) == example.get("built", body)


def test_apixos_page_of_all_fields_contradicts_itself_and_is_told_so() -> None:
    """Its example from text has an image and a callback without the request type for one."""
    file = FIXTURES / "apixo" / "request_every_field.json"
    reading = read(json.loads(file.read_text())["body"], gateway="apixo")
    assert ("input.mode", "Write image-to-video.") in reading.errors
    assert ("request_type", "Write callback.") in reading.errors


@cases("model", ["sora-2-official", "sora-2-pro-official"])
def test_a_body_that_fits_two_sister_brands_says_so(model: str) -> None:
    """PoYo and APIDot take the same bodies; which one was meant cannot be told."""
    payload = {"model": model, "input": {"prompt": PROMPT, "duration": 8}}
    found = recognise(payload, CATALOGUE)
    assert (found.card and found.card.id, found.also) == (f"poyo/{model}", (f"apidot/{model}",))
    assert found.what == f"a payload for poyo/{model}"
    assert recognise(payload, CATALOGUE, gateway="apidot").also == ()


@cases(
    ("payload", "card_id"),
    [
        ({"model": "sora-2-preview", "prompt": "A cat"}, "evolink/sora-2-preview"),
        ({"model": "sora-2-pro-preview", "prompt": "A cat", "quality": "1080p"}, "evolink/sora-2-pro-preview"),
        ({"model": "sora-2-beta", "input": {"prompt": "A cat"}}, "poyo/sora-2-beta"),
        ({"request_type": "async", "input": {"mode": "text-to-video", "prompt": "x"}}, "apixo/sora-2"),
        (
            {"provider": "official", "input": {"mode": "text-to-video", "prompt": "x", "size": "1280*720"}},
            "apixo/sora-2-pro",
        ),
        (
            {"model": "sora-2-pro", "request_type": "async", "input": {"mode": "text-to-video", "size": "1280*720"}},
            "apixo/sora-2-pro",
        ),
    ],
)
def test_a_payload_is_known_by_its_model_its_fields_and_its_envelope(payload: dict[str, Any], card_id: str) -> None:
    """The id weighs most; where there is none, the fields in their places tell."""
    assert read(payload).card_id == card_id


# ----------------------------------------------------------------------------------------------------- typical mistakes


def test_a_flat_payload_for_poyo_is_nested() -> None:
    """Every misplaced field is named with its place, and the corrected body is nested."""
    reading = read({"model": "sora-2-official", "prompt": PROMPT, "duration": 8, "aspect_ratio": "9:16"})
    assert reading.card_id == "poyo/sora-2-official"
    assert reading.errors == {
        ("prompt", "Write input.prompt."),
        ("duration", "Write input.duration."),
        ("aspect_ratio", "Write input.aspect_ratio."),
    }
    assert reading.corrected == {
        "model": "sora-2-official",
        "input": {"prompt": PROMPT, "duration": 8, "aspect_ratio": "9:16"},
    }


def test_a_nested_payload_for_evolink_is_flattened() -> None:
    """The same the other way round, whatever the envelope is called."""
    for envelope in ("input", "parameters"):
        reading = read({"model": "sora-2-preview", envelope: {"prompt": PROMPT, "duration": 9}})
        assert reading.errors == {
            (f"{envelope}.prompt", "Write prompt."),
            (f"{envelope}.duration", "Write duration."),
            ("duration_seconds", "Nearest: 8."),
        }
        assert reading.corrected == {"model": "sora-2-preview", "prompt": PROMPT, "aspect_ratio": "16:9", "duration": 8}


def test_a_model_in_the_wrong_place_is_found() -> None:
    """The id is read wherever it stands, and its right place is named."""
    reading = read({"input": {"model": "sora-2-official", "prompt": PROMPT}})
    assert (reading.card_id, reading.errors) == ("poyo/sora-2-official", {("input.model", "Write model.")})
    assert reading.corrected["model"] == "sora-2-official"


def test_a_body_in_a_wrapper_is_unwrapped() -> None:
    """A whole body inside another object is understood, each field with its place."""
    body = {"model": "sora-2-official", "input": {"prompt": PROMPT, "duration": 4}}
    reading = read({"request": {"body": body}})
    assert reading.errors == {
        ("request.body.model", "Write model."),
        ("request.body.input.prompt", "Write input.prompt."),
        ("request.body.input.duration", "Write input.duration."),
    }
    assert reading.corrected == {
        "model": "sora-2-official",
        "input": {"prompt": PROMPT, "duration": 4, "aspect_ratio": "16:9"},
    }


def test_what_is_nested_too_deep_is_not_guessed_at() -> None:
    """Beyond four levels a value is an object that no field takes."""
    reading = read({"model": "sora-2-official", "a": {"b": {"c": {"d": {"prompt": PROMPT}}}}})
    assert reading.errors == {("a.b.c.d", "Leave it out."), ("prompt", "Describe the shot.")}


def test_wrong_names_are_read_as_what_they_mean() -> None:
    """Aliases, other spellings and other vendors' words all lead to the documented field."""
    reading = read(
        {
            "model": "sora-2-pro-official",
            "webhookUrl": CALLBACK,
            "input": {
                "description": PROMPT,
                "n_seconds": 12,
                "aspectRatio": "9:16",
                "quality": "1080p",
                "Image-URLs": [IMAGE],
            },
        }
    )
    assert reading.errors == {
        ("webhookUrl", "Write callback_url."),
        ("input.description", "Write input.prompt."),
        ("input.n_seconds", "Write input.duration."),
        ("input.aspectRatio", "Write input.aspect_ratio."),
        ("input.quality", "Write input.resolution."),
        ("input.Image-URLs", "Write input.image_urls."),
    }
    assert reading.corrected == {
        "model": "sora-2-pro-official",
        "callback_url": CALLBACK,
        "input": {
            "prompt": PROMPT,
            "duration": 12,
            "aspect_ratio": "9:16",
            "resolution": "1080p",
            "image_urls": [IMAGE],
        },
    }


def test_of_several_names_for_one_field_the_right_one_counts() -> None:
    """The value in its place wins; else the first; each of the others is to be left out."""
    payload = {"model": "sora-2-official", "prompt": "flat", "input": {"seconds": 4, "prompt": PROMPT, "length": 8}}
    reading = read(payload)
    assert reading.errors == {
        ("prompt", "Leave it out."),
        ("input.seconds", "Write input.duration."),
        ("input.length", "Leave it out."),
    }
    assert reading.corrected["input"] == {"prompt": PROMPT, "duration": 4, "aspect_ratio": "16:9"}


def test_what_no_field_takes_is_to_be_left_out() -> None:
    """Each leftover is an error; of a text only its length is told."""
    inner = {"prompt": PROMPT, "promt": PROMPT, "seed": 7, "flags": [PROMPT], "loop": True, "more": {}}
    reading = read({"model": "sora-2-official", "n": 1, "input": inner})
    told = {(finding.field, finding.value) for finding in reading.findings if finding.severity == "error"}
    assert told == {
        ("n", "1"),
        ("input.promt", "(20 characters)"),
        ("input.seed", "7"),
        ("input.flags", "(a list of 1)"),
        ("input.loop", "true"),
    }


@cases(
    ("value", "seconds", "instead"),
    [
        ("8", 8, "Write it without quotes."),
        (" 8 ", 8, "Write it without quotes."),
        ("9", 8, "Write it without quotes."),
        ("8s", 8, "Write only the number, without quotes."),
        ("8 seconds", 8, "Write only the number, without quotes."),
        ("8.0", 8, "Write only the number, without quotes."),
        (8.0, 8, "Write a whole number, without a decimal point."),
        (11.6, 12, "Write a whole number, without a decimal point."),
        ("eight", 4, "Write a whole number."),
        ("-8", 4, "Write a whole number."),
        ("99999999", 4, "Write a whole number."),
        (True, 4, "Write a whole number."),
        (False, 4, "Write a whole number."),
        ([8], 4, "Write a whole number."),
        (float("nan"), 4, "Write a whole number."),
        (float("inf"), 4, "Write a whole number."),
        (1e300, 4, "Write a whole number."),
    ],
)
def test_a_length_that_is_no_integer_is_read_as_it_was_meant(value: JsonValue, seconds: int, instead: str) -> None:
    """The type is told here, the value is judged later, and the corrected body has a documented length."""
    reading = read({"model": "sora-2-official", "input": {"prompt": PROMPT, "duration": value}})
    assert ("input.duration", instead) in reading.errors
    assert reading.corrected["input"]["duration"] == seconds  # type: ignore[call-overload,index]


@cases(
    ("name", "value", "instead", "corrected"),
    [
        ("aspect_ratio", True, "Write a string.", "16:9"),
        ("aspect_ratio", ["9:16"], "Write a string.", "16:9"),
        ("aspect_ratio", 9.16, "Put it in quotes.", "9:16"),
        ("resolution", 1080, "Put it in quotes.", "1080p"),
        ("resolution", 10**5000, "Write a string.", "1024p"),
        ("resolution", float("nan"), "Write a string.", "1024p"),
        ("prompt", 5, "Put it in quotes.", "5"),
        ("prompt", True, "Write a string.", ""),
        ("prompt", [PROMPT], "Write a string.", ""),
    ],
    ids=lambda value: "…" if isinstance(value, int) else None,
)
def test_a_text_of_another_type_is_reported(name: str, value: JsonValue, instead: str, corrected: str) -> None:
    """Numbers need quotes, nothing else can be guessed; of a prompt no value is shown."""
    reading = read({"model": "sora-2-pro-official", "input": {"prompt": PROMPT, name: value}})
    assert (f"input.{name}", instead) in reading.errors
    assert reading.corrected["input"][name] == corrected  # type: ignore[call-overload,index]
    assert SECRET not in str(reading.findings)


@cases(
    ("value", "errors", "corrected"),
    [
        ([IMAGE], set(), [IMAGE]),
        ([], set(), None),
        (None, set(), None),
        (IMAGE, {("input.image_urls", 'Write ["https://…"].')}, [IMAGE]),
        ([IMAGE, "https://cdn.acme.com/b.png"], {("input.image_urls", "Keep one.")}, [IMAGE]),
        ([{"url": IMAGE}], {("input.image_urls", 'Write ["https://…"].')}, [IMAGE]),
        ({"url": IMAGE}, {("input.image_urls", 'Write ["https://…"].')}, [IMAGE]),
        ([None, IMAGE], {("input.image_urls", 'Write ["https://…"].')}, [IMAGE]),
        (7, {("input.image_urls", 'Write ["https://…"].')}, None),
    ],
)
def test_one_image_in_a_list_is_what_every_gateway_wants(
    value: JsonValue, errors: set[tuple[str, str]], corrected: list[str] | None
) -> None:
    """Two images, a lone URL and anything else are told; the first URL is kept."""
    reading = read({"model": "sora-2-official", "input": {"prompt": PROMPT, "image_urls": value}})
    assert reading.errors == errors
    assert reading.corrected["input"].get("image_urls") == corrected  # type: ignore[union-attr]
    assert SECRET not in str([str(finding) for finding in reading.findings])


def test_an_image_field_that_is_a_string_wants_no_list() -> None:
    """For a card whose image field is a string the advice is the other way round."""
    field = Field(path=("image",), role="input", inputs=("first_frame",), kind="string", source="page")
    assert read_inputs(field, IMAGE) == ((IMAGE,), [])
    urls, (finding,) = read_inputs(field, [IMAGE])
    assert (urls, finding.instead) == ((IMAGE,), 'Write "https://…".')


@cases(
    ("card_id", "where", "size", "write", "corrected"),
    [
        ("poyo/sora-2-official", "input", "720x1280", "input.aspect_ratio 9:16", {"aspect_ratio": "9:16"}),
        (
            "poyo/sora-2-pro-official",
            "input",
            "1080 x 1920",
            "input.aspect_ratio 9:16 and input.resolution 1080p",
            {"aspect_ratio": "9:16", "resolution": "1080p"},
        ),
        ("apixo/sora-2", "input", "720*1280", "input.aspect_ratio portrait", {"aspect_ratio": "portrait"}),
    ],
)
def test_a_size_in_pixels_becomes_a_ratio_and_a_resolution(
    card_id: str, where: str, size: str, write: str, corrected: dict[str, str]
) -> None:
    """OpenAI's way to say both at once is translated into the gateway's own words."""
    gateway, model = card_id.split("/")
    reading = read({where: {"prompt": PROMPT, "size": size, "duration": 4}}, gateway=gateway, model=model)
    assert (f"{where}.size", f"Write {write}.") in reading.errors
    assert corrected.items() <= reading.corrected[where].items()  # type: ignore[union-attr]


def test_pixels_in_evolinks_flat_fields_are_translated_too() -> None:
    """Two sources take pixel ratios, all take 16:9, so that is what is written."""
    reading = read({"model": "sora-2-preview", "prompt": PROMPT, "aspect_ratio": "720x1280", "duration": 4})
    no_resolution = ("resolution", f"Leave it out. {ANOTHER_MODEL}")
    assert reading.errors == {("aspect_ratio", "Write aspect_ratio 9:16."), no_resolution}
    assert reading.corrected["aspect_ratio"] == "9:16"
    reading = read({"model": "sora-2-pro-preview", "prompt": PROMPT, "size": "1920x1080"})
    assert reading.errors == {("size", "Write aspect_ratio 16:9 and quality 1080p.")}


def test_a_ratio_that_is_said_outright_wins_over_pixels() -> None:
    """Where both are given the gateway's own field counts."""
    inner = {"prompt": PROMPT, "size": "1280x720", "aspect_ratio": "9:16"}
    assert read({"model": "sora-2-official", "input": inner}).corrected["input"]["aspect_ratio"] == "9:16"  # type: ignore[call-overload,index]


def test_pixels_where_nothing_takes_them_are_to_be_left_out() -> None:
    """A model without ratio and resolution has no use for a size."""
    reading = read({"input": {"size": "1280x720"}}, gateway="poyo", model="sora-2-characters")
    assert ("input.size", "Leave it out.") in reading.errors


@cases(
    ("size", "instead", "corrected"),
    [
        ("1280*720", None, "1280*720"),
        ("1024x1792", "Write 1024*1792.", "1024*1792"),
        ("1920x1080", "Choose one of these.", "1792*1024"),
        ("720p", "Choose one of these.", "1280*720"),
        ("1024p", "Choose one of these.", "1792*1024"),
        (["1280*720"], "Choose one of these.", "1280*720"),
        (True, "Choose one of these.", "1280*720"),
    ],
)
def test_apixos_size_has_an_asterisk(size: JsonValue, instead: str | None, corrected: str) -> None:
    """Another cross, another size or another type is told with the four that exist."""
    inner = {"mode": "text-to-video", "prompt": PROMPT, "duration": 8, "size": size}
    body = {"request_type": "async", "provider": "official", "input": inner}
    reading = read(body, gateway="apixo", model="sora-2-pro")
    advice = {told for field, told in reading.errors if field == "input.size"}
    assert advice == (set() if instead is None else {instead})
    assert reading.corrected["input"]["size"] == corrected  # type: ignore[call-overload,index]


def test_pixels_under_another_name_are_apixos_size() -> None:
    """From text the pro model takes them in one field, in its own spelling."""
    body = {"input": {"mode": "text-to-video", "prompt": PROMPT, "resolution": "1792x1024"}}
    reading = read(body, gateway="apixo", model="sora-2-pro")
    assert ("input.resolution", "Write input.size 1792*1024.") in reading.errors
    assert reading.corrected["input"]["size"] == "1792*1024"  # type: ignore[call-overload,index]


def test_a_field_of_the_other_kind_is_told_with_the_one_of_this() -> None:
    """APIXO's sora-2-pro has a size from text and a resolution with an image."""
    image = {"mode": "image-to-video", "prompt": PROMPT, "size": "1280*720", "image_urls": [IMAGE]}
    reading = read({"request_type": "async", "provider": "official", "input": image}, gateway="apixo")
    assert reading.errors == {("input.size", "Write input.resolution.")}
    assert reading.corrected["input"]["resolution"] == "720p"  # type: ignore[call-overload,index]
    text = {"mode": "text-to-video", "prompt": PROMPT, "resolution": "720p"}
    reading = read(
        {"request_type": "async", "provider": "official", "input": text}, gateway="apixo", model="sora-2-pro"
    )
    assert reading.errors == {("input.resolution", "Write input.size.")}
    assert reading.corrected["input"]["size"] == "1280*720"  # type: ignore[call-overload,index]


def test_with_both_the_field_of_this_mode_counts() -> None:
    """A resolution beside a size does not change what the size says."""
    inner = {"mode": "text-to-video", "prompt": PROMPT, "resolution": "720p", "size": "1792*1024"}
    body = {"request_type": "async", "provider": "official", "input": inner}
    reading = read(body, gateway="apixo", model="sora-2-pro")
    assert reading.errors == {("input.resolution", "Write input.size.")}
    assert reading.corrected["input"]["size"] == "1792*1024"  # type: ignore[call-overload,index]


def test_a_field_of_the_other_kind_without_a_counterpart_is_to_be_left_out() -> None:
    """A card of this test whose ratio exists only with an image."""
    card = CATALOGUE.card("poyo", "sora-2-official")
    assert card is not None
    fields = tuple(
        replace(field, only=("image-to-video",)) if field.role == "aspect_ratio" else field for field in card.fields
    )
    small = Catalogue((replace(CATALOGUE.gateways[0], models=(replace(card, fields=fields),)),))
    found = recognise({"model": card.model, "input": {"prompt": PROMPT, "aspect_ratio": "9:16"}}, small)
    (wrong,) = (finding for finding in found.findings if finding.severity == "error")
    assert (wrong.field, wrong.instead) == ("input.aspect_ratio", "Leave it out.")
    assert "only for image-to-video" in wrong.rule
    assert found.shot.get("aspect_ratio") is None


@cases(
    ("named", "nearest"),
    [
        ("sora2-oficial", "sora-2-official"),
        ("SORA-2-OFFICIAL", "sora-2-official"),
        ("sora-2-pro-offical", "sora-2-pro-official"),
        ("poyo/sora-2-pro-official", "sora-2-pro-official"),
        ("sora_2_beta", "sora-2-beta"),
    ],
)
def test_a_mistyped_model_is_told_with_the_nearest(named: str, nearest: str) -> None:
    """An id that is nearly right decides, and the right one is written."""
    reading = read({"model": named, "input": {"prompt": PROMPT}})
    assert reading.errors == {("model", f"Nearest: {nearest}.")}
    assert (reading.card_id, reading.corrected["model"]) == (f"poyo/{nearest}", nearest)


@cases(
    ("named", "shown"),
    [(7, "7"), (None, "missing"), ([PROMPT], "(a list of 1)"), (IMAGE, "(a URL)"), (PROMPT * 5, "(100 characters)")],
)
def test_a_model_that_is_no_id_is_shown_without_its_text(named: JsonValue, shown: str) -> None:
    """What stands there is named, bounded and without anything private."""
    found = recognise(
        {"model": named, "input": {"prompt": "A cat"}}, CATALOGUE, gateway="poyo", model="sora-2-official"
    )
    (wrong,) = (finding for finding in found.findings if finding.severity == "error")
    assert (wrong.field, wrong.value) == ("model", shown)


def test_apixo_takes_the_model_in_the_path() -> None:
    """In the body it is an error, whatever it says; in any deeper place it is no field at all."""
    inner = {"mode": "text-to-video", "prompt": PROMPT, "model": "sora-2"}
    body = {"model": "sora-2", "request_type": "async", "provider": "official", "input": inner}
    reading = read(body, gateway="apixo")
    assert reading.errors == {("model", "Leave it out of the body."), ("input.model", "Leave it out.")}
    assert "model" not in set(paths(reading.corrected))


def test_apixos_fixed_fields_are_put_right() -> None:
    """Wrong ones are errors, missing required ones too; a missing optional one is only noted."""
    inner = {"mode": "image-to-video", "prompt": PROMPT, "aspect_ratio": "16:9", "duration": 10}
    reading = read({"callback_url": CALLBACK, "request_type": "async", "input": inner}, gateway="apixo")
    assert reading.errors == {
        ("request_type", "Write callback."),
        ("input.mode", "Write text-to-video."),
        ("input.aspect_ratio", "Write landscape."),
        ("image_url", "Give the image as image_url."),
        ("duration_seconds", "Nearest: 8."),
    }
    assert [(note.field, note.instead) for note in reading.findings if note.severity == "note"] == [
        ("provider", "Write official.")
    ]
    assert reading.corrected == {
        "request_type": "callback",
        "callback_url": CALLBACK,
        "provider": "official",
        "input": {"mode": "text-to-video", "prompt": PROMPT, "duration": 8, "aspect_ratio": "landscape"},
    }
    missing = read({"input": {"prompt": PROMPT}}, gateway="apixo", model="sora-2")
    assert missing.errors == {("request_type", "Write async."), ("input.mode", "Write text-to-video.")}


def test_a_fixed_field_that_holds_in_no_situation_is_to_be_left_out() -> None:
    """A value that only an image calls for is wrong without one, and so is a look-alike of another type."""
    fields = (
        Field(path=("p",), role="prompt", kind="string", source="page"),
        Field(path=("guide",), role="fixed", kind="boolean", source="page", fixed=(("image-to-video", True),)),
        Field(path=("sound",), role="fixed", kind="boolean", source="page", fixed=(("always", True),)),
    )
    facts = CATALOGUE.gateways[0]
    small = Catalogue((replace(facts, models=(replace(facts.models[0], fields=fields),)),))
    found = recognise({"p": "A cat", "guide": True, "sound": 1}, small)
    told = [(finding.field, finding.instead) for finding in found.findings]
    assert told == [("guide", "Leave it out."), ("sound", "Write True.")]


def test_what_is_written_out_is_noted() -> None:
    """A payload that leaves length or ratio to the gateway gets a note for each, and no error."""
    reading = read({"model": "sora-2-pro-official", "input": {"prompt": PROMPT, "image_urls": [IMAGE]}})
    assert reading.errors == set()
    assert [(note.field, note.instead) for note in reading.findings if note.severity == "note"] == [
        ("input.duration", "Added: 4."),
        ("input.aspect_ratio", "Added: auto."),
        ("input.resolution", "Added: 1024p."),
    ]


def test_an_open_size_and_an_open_extra_are_noted() -> None:
    """The same holds for a field that carries two things and for one that only this model has."""
    body = {"request_type": "async", "provider": "official", "input": {"mode": "text-to-video", "prompt": PROMPT}}
    reading = read(body, gateway="apixo", model="sora-2-pro")
    assert ("input.size", "Added: 1280*720.") in {(note.field, note.instead) for note in reading.findings}
    card = CATALOGUE.card("poyo", "sora-2-beta")
    assert card is not None
    style = Field(path=("input", "style"), role="option", kind="string", source="page", fill="anime")
    small = Catalogue((replace(CATALOGUE.gateways[0], models=(replace(card, fields=(*card.fields, style)),)),))
    for said, noted in ({}, True), ({"style": "news"}, False):
        found = recognise({"model": card.model, "input": {"prompt": PROMPT, **said}}, small)
        assert ("input.style" in {note.field for note in found.findings}) == noted


# ------------------------------------------------------------------------------------------ what was written for nobody


def test_openais_own_shape_is_named_and_its_shot_is_kept() -> None:
    """The API is gone, so the answer is a shot for which a gateway can be chosen."""
    found = recognise({"model": "sora-2-pro", "prompt": PROMPT, "seconds": "8", "size": "1024x1792"}, CATALOGUE)
    assert found.card is None
    assert "2026-09-24" in found.what
    assert found.shot == Shot.of(PROMPT, duration_seconds=8, aspect_ratio="9:16", resolution="1024p")
    assert [finding.severity for finding in found.findings] == ["warning"]
    assert "Videos API" in found.findings[0].rule


@cases(
    ("payload", "shot", "lost"),
    [
        ({"prompt": "x", "seconds": 12}, Shot.of("x", duration_seconds=12), set()),
        ({"prompt": "x", "size": "1280x720"}, Shot.of("x", aspect_ratio="16:9", resolution="720p"), set()),
        ({"input_reference": {"first_frame": IMAGE}, "prompt": "x"}, Shot.of("x", first_frame=IMAGE), set()),
        ({"input_reference": IMAGE, "prompt": "x"}, Shot.of("x", first_frame=IMAGE), set()),
        ({"input_reference": {"file_id": "file_1"}, "prompt": "x"}, Shot.of("x"), {"input_reference.file_id"}),
        ({"prompt": None, "seconds": None}, Shot(), set()),
        ({"prompt": ["x"], "seconds": True, "size": "1x1"}, Shot(), {"prompt", "seconds", "size"}),
        (
            {"prompt": "x", "seconds": "4", "characters": [{"id": "char_1"}]},
            Shot.of("x", duration_seconds=4),
            {"characters"},
        ),
        ({"model": "sora-2", "seconds": [4], "size": {}}, Shot(), {"seconds"}),
    ],
)
def test_what_openais_shape_says_beyond_a_shot_is_told(payload: dict[str, Any], shot: Shot, lost: set[str]) -> None:
    """What has no counterpart is a warning of its own, never dropped in silence."""
    found = recognise(payload, CATALOGUE)
    assert (found.card, found.shot) == (None, shot)
    assert {finding.field for finding in found.findings[1:]} == lost


def test_a_model_that_is_not_known_here_gets_nothing_in_its_place() -> None:
    """It is named, and the person decides."""
    found = recognise({"model": "kling-4.0", "prompt": PROMPT, "duration": 5}, CATALOGUE)
    assert (found.card, found.foreign, found.also) == (None, True, ())
    assert found.what == "a payload for a model that is not known here: kling-4.0"
    (named,) = (finding for finding in found.findings if finding.severity == "error")
    assert (named.field, named.value) == ("model", "kling-4.0")
    assert "A person decides" in named.instead


@cases("written", [json.dumps({"prompt": PROMPT}), [{"prompt": PROMPT}]])
def test_a_container_of_the_wrong_type_is_named_and_read(written: JsonValue) -> None:
    """An object in JSON text or in a list is the object that it holds."""
    reading = read({"model": "sora-2-official", "input": written})
    assert ("input", "Write {…}. It was read as one.") in reading.errors
    assert reading.corrected["input"]["prompt"] == PROMPT  # type: ignore[call-overload,index]


@cases(
    "payload",
    [
        {"model": "sora-2-image-to-video", "prompt": "x"},
        {"model": "sora-2-official", "input": {"prompt": "x", "mode": "image-to-video", "picture_of_a_kind": "y"}},
        {"model": "sora-2-pro-i2v", "prompt": "x", "mystery": "https://cdn.acme.com/a.png"},
        {"request_type": "async", "provider": "official", "input": {"mode": "image-to-video", "prompt": "x"}},
    ],
)
def test_image_to_video_without_an_image_is_never_text_to_video_in_silence(payload: dict[str, Any]) -> None:
    """What asks for an image in which none was found says so, with a card and without."""
    assert "image_url" in {finding.field for finding in recognise(payload, CATALOGUE).findings}


def test_pixels_are_judged_for_a_named_model_as_they_are_in_the_list() -> None:
    """A model without a resolution cannot take 1920x1080, by whichever way it is asked."""
    reading = read({"model": "sora-2-preview", "prompt": PROMPT, "size": "1920x1080"})
    assert reading.found.shot.get("resolution") == "1080p"
    assert ("resolution", f"Leave it out. {ANOTHER_MODEL}") in reading.errors


def test_the_one_who_names_gateway_and_model_decides_over_an_address() -> None:
    """An address in the payload only counts where nothing else is given."""
    payload = {"url": "https://api.apidot.ai/x", "json": {"model": "sora-2-official", "input": {"prompt": PROMPT}}}
    assert read(payload).card_id == "apidot/sora-2-official"
    assert read(payload, gateway="poyo").card_id == "poyo/sora-2-official"
    assert "does not know" not in str(read(payload).errors)


@cases("text", ["", "curl https://api.poyo.ai", "{", "{}", "POST x {not json}", "{" * 5_000, "x" * 300_000])
def test_text_without_an_object_is_no_request(text: str) -> None:
    """Then there is nothing to read."""
    assert parse_request(text) is None


def test_openais_words_in_a_gateways_payload_are_a_mistake_in_it() -> None:
    """A payload that names a model only a gateway has is for that gateway, seconds or not."""
    reading = read({"model": "sora-2-pro-preview", "prompt": PROMPT, "seconds": "8", "size": "1280x720"})
    assert reading.card_id == "evolink/sora-2-pro-preview"
    assert reading.errors == {
        ("seconds", "Write duration."),
        ("duration", "Write it without quotes."),
        ("size", "Write aspect_ratio 16:9 and quality 720p."),
    }
    assert reading.corrected["duration"] == 8


def test_openais_shape_for_a_named_gateway_is_translated() -> None:
    """With a gateway given it is that gateway's payload, wrong in many ways that are all told."""
    payload = {"model": "sora-2", "prompt": PROMPT, "seconds": "8", "size": "720x1280", "input_reference": IMAGE}
    reading = read(payload, gateway="apixo", model="sora-2")
    assert reading.errors == {
        ("model", "Leave it out of the body."),
        ("prompt", "Write input.prompt."),
        ("seconds", "Write input.duration."),
        ("input.duration", "Write it without quotes."),
        ("size", "Write input.aspect_ratio portrait."),
        ("input_reference", "Write input.image_urls."),
        ("input.image_urls", 'Write ["https://…"].'),
        ("request_type", "Write async."),
        ("input.mode", "Write image-to-video."),
        ("resolution", f"Leave it out. {ANOTHER_MODEL}"),
    }
    assert reading.corrected == {
        "request_type": "async",
        "provider": "official",
        "input": {
            "mode": "image-to-video",
            "prompt": PROMPT,
            "duration": 8,
            "aspect_ratio": "portrait",
            "image_urls": [IMAGE],
        },
    }


@cases(
    ("payload", "narrow"),
    [
        ({}, {}),
        ({}, {"gateway": "apixo"}),
        ({"foo": 1}, {}),
        ({"foo": 1}, {"gateway": "apixo"}),
        ({"input": {}}, {}),
        ({"input": "A cat"}, {}),
        ({"a": {"prompt": "A cat"}}, {}),
        ({"model": "sora-2-official"}, {"gateway": "nobody"}),
        ({"model": "x", "input": {"prompt": "A cat"}}, {"model": "no-such-model"}),
    ],
)
def test_what_names_too_little_is_for_nobody(payload: dict[str, Any], narrow: dict[str, str]) -> None:
    """No card is guessed; a prompt that is there is kept."""
    found = recognise(payload, CATALOGUE, **narrow)
    assert found.card is None
    assert found.what == "not recognised as a payload of any known gateway"
    assert found.shot == Shot.of("A cat" if any(name.endswith("prompt") for name in paths(payload)) else "")


def test_for_a_named_card_even_an_empty_object_is_read() -> None:
    """Whoever names gateway and model wants to know what that card misses."""
    reading = read({}, gateway="poyo", model="sora-2-official")
    assert reading.errors == {("model", "Nearest: sora-2-official."), ("prompt", "Describe the shot.")}
    reading = read({"text": PROMPT}, gateway="poyo", model="sora-2-official")
    assert reading.errors == {("model", "Nearest: sora-2-official."), ("text", "Write input.prompt.")}


def test_a_list_of_aliases_is_told_one_by_one() -> None:
    """Every violation comes at once, in the caller's own words."""
    aliases = {"text": PROMPT, "n_seconds": "12", "orientation": "portrait", "imageUrl": IMAGE, "webhook": CALLBACK}
    reading = read({"model": "sora-2-official", "input": aliases})
    assert reading.errors == {
        ("input.text", "Write input.prompt."),
        ("input.n_seconds", "Write input.duration."),
        ("input.duration", "Write it without quotes."),
        ("input.orientation", "Write input.aspect_ratio."),
        ("aspect_ratio", "Nearest: 9:16."),
        ("input.imageUrl", "Write input.image_urls."),
        ("input.image_urls", 'Write ["https://…"].'),
        ("input.webhook", "Write callback_url."),
    }
    assert reading.corrected == {
        "model": "sora-2-official",
        "callback_url": CALLBACK,
        "input": {"prompt": PROMPT, "duration": 12, "aspect_ratio": "9:16", "image_urls": [IMAGE]},
    }


def test_extras_are_judged_by_their_card() -> None:
    """A legacy model's own fields are passed through unchanged."""
    inner = {"prompt": PROMPT, "duration": 10, "style": "Anime", "storyboard": "yes"}
    reading = read({"model": "sora-2", "input": inner}, gateway="poyo", model="sora-2")
    assert reading.found.shot.options == {"style": "Anime", "storyboard": "yes"}
    assert {("input.style", "Nearest: anime."), ("input.storyboard", "Correct it, or leave it out.")} <= reading.errors


# ----------------------------------------------------------------------------------------------- the value of one field


@cases(
    ("value", "found"),
    [
        ("1280x720", ("16:9", "720p")),
        ("720 * 1280", ("9:16", "720p")),
        ("1792X1024", ("16:9", "1024p")),
        ("1080\u00d71920", ("9:16", "1080p")),
        ("1000x1000", None),
        ("16:9", None),
        (1280, None),
        ("x" * 21, None),
    ],
)
def test_pixels_are_read_with_any_cross(value: JsonValue, found: tuple[str, str] | None) -> None:
    """Only the sizes that Sora generates mean a ratio and a resolution."""
    assert read_pixels(value) == found


def test_a_right_value_has_no_finding() -> None:
    """An integer is an integer, a text a text."""
    seconds = Field(path=("d",), role="duration_seconds", kind="integer", source="page")
    ratio = Field(path=("r",), role="aspect_ratio", kind="string", source="page")
    assert read_value(seconds, 8) == (8, [])
    assert read_value(ratio, "16:9") == ("16:9", [])
    assert read_number(10**5000) == (10**5000, "")


# ---------------------------------------------------------------------------------------------------- whatever may come

names = st.one_of(
    st.sampled_from(
        [
            *("model", "input", "prompt", "duration", "seconds", "size", "aspect_ratio", "resolution", "quality"),
            *("image_urls", "input_reference", "callback_url", "mode", "provider", "request_type", "style", "text"),
            *("Model", "", "\n", "\x1b[2J", "\u202e", "\ud800", f"https://x.com/?{SECRET}", "x" * 300),
        ]
    ),
    st.text(max_size=6),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(
            [
                *("sora-2-official", "sora-2", "sora-2-pro", "sora-2-preview", "16:9", "landscape", "1280x720", "8"),
                *(IMAGE, CALLBACK, PROMPT, f"cdn.acme.com/{SECRET}?{SECRET}", "\ud800", "\0", "1280*720", "720p"),
                *(10**4000, -(10**30), "9" * 5000, [IMAGE], "official", "image-to-video", "text-to-video"),
            ]
        ),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    max_leaves=12,
)


@given(
    st.dictionaries(names, values, max_size=10),
    st.sampled_from([None, "poyo", "apixo", "evolink"]),
    st.sampled_from([None, "sora-2-official", "sora-2", "sora-2-pro"]),
)
@examples(200)
def test_any_payload_is_read_judged_and_mended(payload: dict[str, Any], gateway: str | None, model: str | None) -> None:
    """Nothing raises, findings are short harmless lines without a secret, and the corrected body is documented."""
    found = recognise(payload, CATALOGUE, gateway=gateway, model=model)
    findings = list(found.findings)
    for card in (found.card,) if found.card else CATALOGUE.cards[:3]:
        verdict = check_shot(card, found.shot, HOSTS)
        findings.extend(verdict.findings)
        body = build_body(card, verdict.corrected)
        assert json.loads(freeze_body(body)) == body
        assert set(paths(body)) <= {field.name for field in card.fields}
    for finding in findings:
        text = str(finding)
        assert finding.rule
        assert finding.instead or finding.severity == "warning"
        assert len(text) < 700
        assert SECRET not in text
        assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text)


def flood(count: int) -> dict[str, Any]:
    return {f"key{number}": "x" * 100 for number in range(count)}


def test_of_too_many_fields_the_first_are_read_and_the_rest_is_an_error() -> None:
    """A payload that could not be read whole never passes as right."""
    body = {"model": "sora-2-official", "input": {"prompt": PROMPT, "duration": 8}}
    reading = read({**body, **flood(10_000)})
    assert reading.card_id == "poyo/sora-2-official"
    assert ("payload", "Leave out what the gateway does not know.") in reading.errors
    assert len(reading.findings) < MAX_LEAVES + 10
    assert reading.corrected["input"] == {"prompt": PROMPT, "duration": 8, "aspect_ratio": "16:9"}
    unread = recognise(flood(10_000), CATALOGUE)
    assert [finding.field for finding in unread.findings] == ["payload"]
    exact = {**body, **flood(MAX_LEAVES - 3)}
    assert "payload" not in {finding.field for finding in recognise(exact, CATALOGUE).findings}


def nested(depth: int) -> Any:
    value: Any = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"input": value}
    return value


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(flood(10_000), id="ten-thousand-keys"),
        pytest.param({"model": "sora-2-official", "input": flood(10_000)}, id="ten-thousand-inner-keys"),
        pytest.param({str(n): {} for n in range(100_000)}, id="empty-objects"),
        pytest.param({"model": "x" * 5_000_000, "input": {"prompt": "y" * 5_000_000}}, id="huge-texts"),
        pytest.param({"model": "sora-2-official", "input": {"aspect_ratio": "1:" * 2_500_000}}, id="huge-ratio"),
        pytest.param({"model": "sora-2-official", "k" * 5_000_000: 1, "p" * 5_000_000: {"q": 1}}, id="huge-names"),
        pytest.param({"model": "sora-2-official", "input": {"image_urls": ["x"] * 1_000_000}}, id="million-images"),
        pytest.param({"model": "sora-2-official", "input": {"duration": 10**100_000}}, id="huge-number"),
        pytest.param({"model": [[]] * 100_000, "size": {"a": [1] * 100_000}, "seconds": {}}, id="lists"),
        pytest.param({"model": "sora-2-official", "input": nested(5_000)}, id="deep"),
        pytest.param({"model": "sora-2-official", "input": {"prompt": nested(5_000)}}, id="deep-prompt"),
        pytest.param({"seconds": nested(5_000), "size": nested(5_000), "prompt": nested(5_000)}, id="deep-openai"),
        pytest.param({"model": nested(5_001)}, id="deep-model"),
    ],
)
def test_no_payload_takes_long(payload: dict[str, Any]) -> None:
    """The cost grows with the size, not with its square (that would be minutes), and nothing overflows."""
    began = process_time()
    reading = read(payload)
    assert sum(len(str(finding)) for finding in reading.findings) < 40_000
    assert process_time() - began < 15


def test_every_cards_own_body_is_read_back_as_that_cards() -> None:
    """With gateway and model always; with only the gateway for every model that is still served."""
    for card in (card for card in CATALOGUE.cards if card.kinds):
        body = build_body(card, Shot.of(PROMPT))
        assert recognise(body, CATALOGUE, gateway=card.gateway, model=card.model).card == card
        if card.lifecycle.availability is not Availability.DROPPED:
            found = recognise(body, CATALOGUE, gateway=card.gateway)
            assert found.card is not None
            # Where the model is in the address, a body alone may be one of several.
            assert card.id in ((found.card.id,) if card.field_for("model") else (found.card.id, *found.also))
