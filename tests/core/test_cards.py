"""What a card can say of its fields and inputs: ranges, limits under a condition, counts, and what goes together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue.cards import Availability, ModelCard
from callsheet.core.catalogue.fields import Field, InputRule, Limit, neutral_value, wire_value
from callsheet.core.payload.body import build_body, nearest_value, settle_shot
from callsheet.core.payload.validation import Hosts, Verdict, check_shot, nearest_shot
from callsheet.core.payload.values import neutral_choices
from callsheet.core.shot import KINDS, JsonValue, Kind, Scalar, Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.errors import ANOTHER_MODEL
from callsheet.sandbox.checks import check_body
from examples import examples
from shots import said

CATALOGUE = load_catalogue()
URL = "https://cdn.acme.com/a.png"
PROMPT = Field(("prompt",), "prompt", "string", "page", required=True)
SECONDS = Field(("duration",), "duration_seconds", "integer", "page", minimum=4, maximum=15, fill=5)
FRAMES = Field(("images",), "input", "array", "page", inputs=("first_frame", "last_frame"), max_items=2)
PICTURES = Field(
    ("refs",), "input", "array", "page", inputs=("reference_image",), only=("reference-to-video",), max_items=4
)
VIDEOS = Field(("videos",), "input", "array", "page", inputs=("reference_video",), only=("reference-to-video",))


def card_of(*fields: Field, kinds: tuple[Kind, ...] = KINDS, **changes: Any) -> ModelCard:
    """A live card with a prompt, these fields and nothing else."""
    card = CATALOGUE.cards[0]
    life = replace(card.lifecycle, availability=Availability.LIVE)
    return replace(card, fields=(PROMPT, *fields), kinds=kinds, lifecycle=life, inputs=(), **changes)


def judge(card: ModelCard, **asked: Any) -> Verdict:
    return check_shot(card, Shot.of("A red kite", **asked), Hosts())


def wrong(verdict: Verdict) -> list[tuple[str, str, str]]:
    """The errors as (field, value, what to write)."""
    return [(item.field, item.value, item.instead) for item in verdict.findings if item.severity == "error"]


# --------------------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("field", "value", "nearest"),
    [
        (SECONDS, 3, 4),
        (SECONDS, 16, 15),
        (SECONDS, -(10**20), 4),
        (SECONDS, 10**20, 15),
        (SECONDS, True, 4),
        (SECONDS, "9", 9),
        (SECONDS, 8.5, 9),
        (SECONDS, "long", 4),
        (replace(SECONDS, minimum=None), 99, 15),
        (replace(SECONDS, minimum=None), "long", 15),
        (replace(SECONDS, maximum=None), 1, 4),
        (replace(SECONDS, minimum=None, maximum=None), "long", 0),
    ],
)
def test_outside_a_range_the_nearer_end_is_offered(field: Field, value: Any, nearest: int) -> None:
    """A value of another type is outside too."""
    verdict = judge(card_of(replace(field, fill=None)), duration_seconds=value)
    ((name, _, instead),) = wrong(verdict)
    assert (name, instead) == ("duration_seconds", f"Nearest: {nearest}.")
    assert verdict.corrected.seconds == nearest
    assert not judge(card_of(field), duration_seconds=nearest).blocked


@pytest.mark.parametrize("value", [4, 5, 15])
def test_a_range_takes_both_its_ends(value: int) -> None:
    """And what lies between."""
    assert judge(card_of(SECONDS), duration_seconds=value).findings == ()
    assert build_body(card_of(SECONDS), Shot.of("A", duration_seconds=value))["duration"] == value


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "4 to 15"),
        ({"minimum": None}, "at most 15"),
        ({"maximum": None}, "at least 4"),
        ({"values": (4, 8)}, "4, 8"),
        ({"minimum": None, "maximum": None}, "any value"),
        ({"kind": "boolean"}, "true, false"),
    ],
)
def test_what_a_field_takes_is_told(changes: dict[str, Any], text: str) -> None:
    """Its values, or its range."""
    verdict = judge(card_of(replace(SECONDS, **changes)), duration_seconds="long")
    assert f"offers {text}." in verdict.findings[0].rule


def test_the_choices_of_a_short_range_are_its_numbers() -> None:
    """A range over a minute, or without an end, has no list."""
    assert neutral_choices(SECONDS) == tuple(range(4, 16))
    assert neutral_choices(replace(SECONDS, maximum=61)) == ()
    assert neutral_choices(replace(SECONDS, minimum=None)) == ()
    assert neutral_choices(replace(SECONDS, values=(8, 4))) == (8, 4)


@given(st.integers(), st.integers(0, 100), st.integers(0, 100))
@examples(100)
def test_the_nearest_of_a_range_is_in_it_and_no_value_is_nearer(value: int, low: int, size: int) -> None:
    """For every range and every number."""
    field = replace(SECONDS, minimum=low, maximum=low + size)
    nearest = nearest_value(field, value)
    assert isinstance(nearest, int)
    assert field.takes(nearest)
    assert abs(nearest - value) == min(abs(low - value), abs(low + size - value)) or nearest == value


# --------------------------------------------------------------------------------------------- limits under a condition

FROM_FRAMES: tuple[Kind, ...] = ("image-to-video", "first-last-frame")
BY_KIND = Limit((("kind", FROM_FRAMES),), ("adaptive",), fill="adaptive", note="from the image")
RATIO = Field(("ratio",), "aspect_ratio", "string", "page", values=("16:9", "9:16"), fill="16:9", limits=(BY_KIND,))
BY_RESOLUTION = Limit((("resolution", ("1080p",)),), (6,), fill=6, note="1080p is 6 s")
LENGTH = Field(("n",), "duration_seconds", "integer", "page", values=(6, 10), fill=10, limits=(BY_RESOLUTION,))
RESOLUTION = Field(("res",), "resolution", "string", "page", values=("720p", "1080p"), fill="720p")


@pytest.mark.parametrize(
    ("inputs", "ratio", "wire"),
    [
        ({}, None, "16:9"),
        ({}, "9:16", "9:16"),
        ({"first_frame": URL}, None, "adaptive"),
        ({"first_frame": URL, "last_frame": URL}, "adaptive", "adaptive"),
        ({"reference_image": URL}, None, "16:9"),
    ],
)
def test_a_kind_of_clip_may_have_its_own_values(inputs: dict[str, Any], ratio: str | None, wire: str) -> None:
    """Values and filling; in the other kinds the field's own hold."""
    card = card_of(RATIO, FRAMES, PICTURES)
    assert judge(card, aspect_ratio=ratio, **inputs).findings == ()
    body = build_body(card, Shot.of("A", aspect_ratio=ratio, **inputs))
    assert body["ratio"] == wire
    assert check_body(card, body) == ()


def test_a_value_of_another_kind_is_told_with_that_kind() -> None:
    """And a value that no kind takes with the note of the limit that holds."""
    card = card_of(RATIO, FRAMES)
    assert "; adaptive only with a reference image" in judge(card, aspect_ratio="adaptive").findings[0].rule
    without = replace(card, kinds=("text-to-video", "first-last-frame"))
    assert "; adaptive only for first-last-frame" in judge(without, aspect_ratio="adaptive").findings[0].rule
    assert "; from the image." in judge(card, aspect_ratio="4:3", first_frame=URL).findings[0].rule


@pytest.mark.parametrize(
    ("resolution", "seconds", "errors", "written"),
    [
        ("720p", 10, [], 10),
        ("1080p", 6, [], 6),
        ("1080p", 10, [("duration_seconds", "10", "Nearest: 6.")], 6),
        ("1080p", None, [], 6),
        (None, 10, [], 10),
        (None, None, [], 10),
    ],
)
@pytest.mark.parametrize("fields", [(RESOLUTION, LENGTH), (LENGTH, RESOLUTION)], ids=["in order", "reversed"])
def test_a_value_may_limit_another(
    fields: tuple[Field, ...], resolution: str | None, seconds: int | None, errors: list[Any], written: int
) -> None:
    """In whatever order the fields stand, and whether the other value was said or filled in."""
    card = card_of(*fields)
    verdict = judge(card, resolution=resolution, duration_seconds=seconds)
    assert wrong(verdict) == errors
    body = build_body(card, verdict.corrected)
    assert body["n"] == written
    assert check_body(card, body) == ()


def test_a_limit_may_depend_on_what_is_filled_in() -> None:
    """What a card fills in counts like what was said, in whatever order the fields stand."""
    dear = replace(RESOLUTION, fill="1080p")
    for fields in ((dear, LENGTH), (LENGTH, dear)):
        card = card_of(*fields)
        body = build_body(card, Shot.of("A"))
        assert (body["res"], body["n"]) == ("1080p", 6)
        assert wrong(judge(card, duration_seconds=10)) == [("duration_seconds", "10", "Nearest: 6.")]


def test_a_limit_may_depend_on_an_option_and_narrow_a_range() -> None:
    """Every part of its condition must hold, and the first that applies counts."""
    fast = Limit((("fast", (True,)), ("kind", ("text-to-video",))), maximum=8)
    field = replace(SECONDS, limits=(fast, Limit((("fast", (True,)),), maximum=10)))
    option = Field(("fast",), "option", "boolean", "page")
    card = card_of(field, option, FRAMES)
    plain, text = Shot.of("A"), Shot.of("A", options={"fast": True})
    picture = Shot.of("A", first_frame=URL, options={"fast": True})
    assert [field.under(shot).maximum for shot in (plain, text, picture)] == [15, 8, 10]
    assert [field.under(shot).minimum for shot in (plain, text, picture)] == [4, None, None]
    assert wrong(judge(card, duration_seconds=9, options={"fast": True})) == [("duration_seconds", "9", "Nearest: 8.")]
    assert not judge(card, duration_seconds=9).blocked


def test_what_no_card_offers_is_measured_by_the_limits_that_hold() -> None:
    """`adaptive` is offered with an image, so it is not replaced there."""
    cards = (card_of(RATIO, FRAMES),)
    found = nearest_shot(cards, Shot.of("A", aspect_ratio="adaptive", first_frame=URL, resolution="4k"), Hosts())
    assert found is not None
    assert "aspect_ratio" not in {finding.field for finding in found[1].findings}


# -------------------------------------------------------------------------------------------------------------- implied


def test_an_implied_value_may_be_asked_for_and_is_never_sent() -> None:
    """Every clip of the model has it; another is an error that says so."""
    card = card_of(implied={"duration_seconds": 8, "audio": True})
    assert judge(card, duration_seconds=8, audio=True).findings == ()
    assert settle_shot(card, Shot()).parameters == {"duration_seconds": 8, "audio": True}
    assert build_body(card, Shot.of("A", duration_seconds=8)) == {"prompt": "A"}
    verdict = judge(card, duration_seconds=4, audio=False)
    assert wrong(verdict) == [("duration_seconds", "4", "Nearest: 8."), ("audio", "false", "Nearest: true.")]
    assert verdict.corrected.parameters == {"duration_seconds": 8, "audio": True}


def test_a_field_of_its_kind_counts_before_what_is_implied() -> None:
    """What a kind has no field for is implied there alone."""
    only = replace(SECONDS, only=("text-to-video",))
    card = card_of(only, FRAMES, implied={"duration_seconds": 8})
    assert settle_shot(card, Shot()).seconds == 5
    assert settle_shot(card, Shot.of(first_frame=URL)).seconds == 8


# ------------------------------------------------------------------------------------------------------------- spelling

AUDIO_WORDS = (("on", (("audio", True),)), ("off", (("audio", False),)))
SOUND = Field(("sound",), "audio", "string", "page", values=("on", "off"), fill="off", spelling=AUDIO_WORDS)
SHARP = Field(
    ("quality",), "resolution", "string", "page", values=("720p", "2K"), spelling=(("2K", (("resolution", "2k"),)),)
)


@pytest.mark.parametrize(
    ("field", "neutral", "wire"),
    [
        (SOUND, True, "on"),
        (SOUND, False, "off"),
        (SHARP, "2k", "2K"),
        (SHARP, "720p", "720p"),
        (SECONDS, 5, 5),
    ],
)
def test_spelling_leads_both_ways(field: Field, neutral: Scalar, wire: Scalar) -> None:
    """Words for yes and no, other letters, and what stays as it is."""
    assert wire_value(field, neutral) == wire
    assert neutral_value(field, wire) == neutral
    assert type(neutral_value(field, wire)) is type(neutral)


@pytest.mark.parametrize(("audio", "written"), [(None, "off"), (True, "on"), (False, "off")])
def test_yes_and_no_are_written_in_the_gateways_words(audio: bool | None, written: str) -> None:
    """A shot's audio is yes or no, whatever the gateway calls it."""
    assert judge(card_of(SOUND), audio=audio).findings == ()
    assert build_body(card_of(SOUND), Shot.of("A", audio=audio))["sound"] == written


@pytest.mark.parametrize(
    ("field", "asked", "nearest"),
    [
        (SOUND, {"audio": "on"}, True),
        (SOUND, {"audio": 1}, True),
        (SHARP, {"resolution": "2K"}, "2k"),
        (SHARP, {"resolution": "4k"}, "2k"),
        (Field(("audio",), "audio", "boolean", "page"), {"audio": "true"}, None),
        (Field(("audio",), "audio", "boolean", "page"), {"audio": 1}, None),
    ],
)
def test_a_gateways_spelling_is_no_value_of_a_shot(field: Field, asked: dict[str, Any], nearest: Scalar | None) -> None:
    """Only the neutral word is; a number is no yes."""
    verdict = judge(card_of(field), **asked)
    (name,) = asked
    assert [item[0] for item in wrong(verdict)] == [name]
    assert nearest in (None, said(verdict.corrected, name))
    assert not judge(card_of(field), **{name: said(verdict.corrected, name)}).blocked


# --------------------------------------------------------------------------------------------------------------- inputs

RULES: dict[str, tuple[InputRule, dict[str, Any], list[tuple[str, str, str]]]] = {
    "as many as are taken": (InputRule(("reference_image",), "page", most=2), {"reference_image": [URL] * 2}, []),
    "one too many": (
        InputRule(("reference_image",), "page", most=2),
        {"reference_image": [URL] * 3},
        [("reference_image", "(3)", "Leave some out.")],
    ),
    "roles that are counted together": (
        InputRule(("reference_image", "reference_video"), "page", most=2),
        {"reference_image": [URL] * 2, "reference_video": URL},
        [("reference_image", "(3)", "Leave some out.")],
    ),
    "too few": (
        InputRule(("reference_image",), "page", least=2),
        {"reference_image": URL},
        [("reference_image", "(1)", "Give more, or none.")],
    ),
    "more than a field holds": (
        InputRule(("reference_image",), "page"),
        {"reference_image": [URL] * 5},
        [("reference_image", "(5)", "Leave some out.")],
    ),
    "more frames than a field holds": (
        InputRule(("first_frame",), "page"),
        {"first_frame": [URL] * 2, "last_frame": URL},
        [("image_url", "(3)", "Leave some out.")],
    ),
    "none, though at least two": (InputRule(("reference_image",), "page", least=2), {"reference_video": URL}, []),
    "a last frame alone": (
        InputRule(("last_frame",), "page", needs=("first_frame",)),
        {"last_frame": URL},
        [("last_frame", "", "Give a first frame (reference image).")],
    ),
    "a last frame with a first": (
        InputRule(("last_frame",), "page", needs=("first_frame",)),
        {"first_frame": URL, "last_frame": URL},
        [],
    ),
    "one of two needed": (
        InputRule(("reference_image",), "page", needs=("reference_video", "first_frame")),
        {"reference_image": URL, "reference_video": URL},
        [],
    ),
    "what excludes each other": (
        InputRule(("reference_image",), "page", excludes=("first_frame", "last_frame")),
        {"first_frame": URL, "reference_image": URL},
        [("reference_image", "", "Keep one of them.")],
    ),
    "a rule for the first frame": (
        InputRule(("first_frame",), "page", excludes=("last_frame",)),
        {"first_frame": URL, "last_frame": URL},
        [("image_url", "", "Keep one of them.")],
    ),
}


@pytest.mark.parametrize(("rule", "inputs", "errors"), RULES.values(), ids=RULES)
def test_inputs_are_counted_and_compared(rule: InputRule, inputs: dict[str, Any], errors: list[Any]) -> None:
    """How many, which only together, which never; the strict sandbox refuses the same."""
    frames = replace(FRAMES, only=())
    card = replace(card_of(frames, PICTURES, VIDEOS), inputs=(rule,))
    verdict = judge(card, **inputs)
    assert wrong(verdict) == errors
    body = build_body(card, Shot.of("A", **inputs))
    if "last_frame" not in inputs or "first_frame" in inputs:  # Alone in a list, an address is read as the first frame.
        assert bool(check_body(card, body)) == bool(errors)


@pytest.mark.parametrize(
    ("kinds", "inputs", "errors"),
    [
        (KINDS, {"reference_audio": URL}, [("reference_audio", "", "Leave it out.")]),
        (("text-to-video",), {"first_frame": URL}, [("image_url", "", "Leave it out.")]),
        (
            ("text-to-video", "image-to-video"),
            {"first_frame": URL, "last_frame": URL},
            [("last_frame", "", "Leave it out.")],
        ),
        (
            ("text-to-video", "first-last-frame"),
            {"reference_image": [URL, URL], "reference_video": URL},
            [("reference_image", "", "Leave it out."), ("reference_video", "", "Leave it out.")],
        ),
        (("image-to-video",), {}, [("image_url", "missing", "Give one.")]),
        (("reference-to-video",), {}, [("image_url", "missing", "Give one.")]),
        (
            ("text-to-video", "first-last-frame"),
            {"first_frame": URL},
            [("model", "poyo/sora-2-official", f"Leave the input out. {ANOTHER_MODEL}")],
        ),
    ],
)
def test_a_card_takes_the_inputs_of_its_kinds_alone(
    kinds: tuple[Kind, ...], inputs: dict[str, Any], errors: list[Any]
) -> None:
    """What no kind of the card holds is named and left out of the corrected shot."""
    card = card_of(FRAMES, PICTURES, VIDEOS, kinds=kinds)
    verdict = judge(card, **inputs)
    assert wrong(verdict) == errors
    left = {item.role for item in verdict.corrected.inputs}
    assert not left & {field for field, _, instead in errors if instead == "Leave it out."}


def test_what_no_field_of_the_kind_holds_is_never_dropped_in_silence() -> None:
    """A first frame beside references, where only the other kinds have a field for it; two for a field of one."""
    frames = replace(FRAMES, only=("image-to-video", "first-last-frame"))
    verdict = judge(card_of(frames, PICTURES), first_frame=URL, reference_image=URL)
    assert wrong(verdict) == [("image_url", "", "Leave it out.")]
    assert verdict.corrected.urls("first_frame") == ()
    single = replace(FRAMES, kind="string", max_items=None)
    assert wrong(judge(card_of(single), first_frame=URL, last_frame=URL)) == [("image_url", "(2)", "Leave some out.")]


def test_each_address_is_judged_under_the_name_of_its_role() -> None:
    """The first frame is `image_url`, as those who ask call it."""
    card = card_of(FRAMES, PICTURES, VIDEOS)
    verdict = judge(card, first_frame="http://a", last_frame="", reference_video="file:///x", reference_image=URL)
    assert [item[0] for item in wrong(verdict)] == ["image_url", "last_frame", "reference_video"]
    with_formats = replace(card, inputs=(InputRule(("reference_video",), "page", formats=(".mp4", ".mov")),))
    (warning,) = judge(with_formats, reference_video=URL).findings
    assert (warning.severity, warning.field) == ("warning", "reference_video")
    assert judge(with_formats, reference_video="https://cdn.acme.com/a.MOV?x").findings == ()
    assert judge(with_formats, reference_image=URL).findings == ()


@pytest.mark.parametrize(
    ("field", "inputs", "value"),
    [
        (FRAMES, {"last_frame": "https://a/b", "first_frame": "https://a/a"}, ["https://a/a", "https://a/b"]),
        (replace(FRAMES, kind="string", inputs=("last_frame",)), {"first_frame": URL, "last_frame": "u"}, "u"),
        (replace(PICTURES, only=()), {"first_frame": URL}, None),
    ],
)
def test_a_field_holds_its_inputs_in_its_order(field: Field, inputs: dict[str, Any], value: JsonValue) -> None:
    """A list all of them, a string the first, and nothing where there is none."""
    assert build_body(card_of(field), Shot.of("A", **inputs)).get(field.name) == value


# ------------------------------------------------------------------------------------------------------------- required


def test_what_is_required_and_not_filled_in_is_missing() -> None:
    """What is filled in is not missing, and what is only of another kind neither."""
    field = replace(SECONDS, required=True, fill=None)
    assert wrong(judge(card_of(field))) == [("duration_seconds", "missing", "4 to 15")]
    assert judge(card_of(replace(field, fill=4))).findings == ()
    assert judge(card_of(replace(field, only=("image-to-video",)))).findings == ()
    limited = replace(field, limits=(Limit((("kind", ("text-to-video",)),), fill=4),))
    assert judge(card_of(limited)).findings == ()


def test_a_negative_prompt_is_judged_by_its_length_and_never_shown() -> None:
    """It is as private as the prompt."""
    field = Field(("no",), "negative_prompt", "string", "page", max_length=5, min_length=2)
    for text, rule in (("t0psecret", "At most 5"), ("t", "At least 2"), ("ab\0", "cannot hold")):
        (finding,) = judge(card_of(field), negative_prompt=text).findings
        assert (finding.field, finding.value) == ("negative_prompt", f"({len(text)} characters)")
        assert rule in finding.rule
    assert judge(card_of(field), negative_prompt="rain").findings == ()
    (finding,) = judge(card_of(), negative_prompt="t0psecret").findings
    assert "t0psecret" not in str(finding)
