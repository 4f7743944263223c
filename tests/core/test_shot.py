"""A shot says what is wanted in words that belong to no gateway."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from callsheet.core.shot import PARAMETERS, Input, Scalar, Shot
from cases import cases

URL = "https://example.com/a.png"


def test_a_shot_says_nothing_until_it_is_told() -> None:
    """An empty shot has an empty prompt and leaves everything else open."""
    shot = Shot()
    assert (shot.prompt, shot.inputs, shot.callback_url, shot.seconds) == ("", (), None, None)
    assert all(shot.get(name) is None for name in PARAMETERS)
    assert dict(shot.options) == {}


@cases(
    ("inputs", "kind"),
    [
        ({}, "text-to-video"),
        ({"first_frame": None}, "text-to-video"),
        ({"first_frame": URL}, "image-to-video"),
        ({"first_frame": URL, "last_frame": URL}, "first-last-frame"),
        ({"last_frame": URL}, "first-last-frame"),
        ({"reference_image": [URL, URL]}, "reference-to-video"),
        ({"reference_video": URL}, "reference-to-video"),
        ({"reference_audio": URL}, "reference-to-video"),
        ({"first_frame": URL, "reference_image": URL}, "reference-to-video"),
        ({"reference_image": []}, "text-to-video"),
        ({"first_frame": True}, "text-to-video"),
    ],
)
def test_the_kind_follows_the_inputs(inputs: dict[str, Any], kind: str) -> None:
    """Frames make a clip from an image, or from the first and last; anything else is a reference."""
    assert Shot.of(**inputs).kind == kind


def test_inputs_stand_in_the_order_of_their_roles() -> None:
    """However they are named, and each role's addresses in the order in which they were given."""
    shot = Shot.of(reference_image=["b", "a"], last_frame="z", first_frame="y")
    assert shot.inputs == (
        Input("first_frame", "y"),
        Input("last_frame", "z"),
        Input("reference_image", "b"),
        Input("reference_image", "a"),
    )
    assert shot.urls("reference_image") == ("b", "a")
    assert shot.urls("last_frame", "first_frame") == ("z", "y")
    assert shot.without("reference_image", "last_frame").inputs == (Input("first_frame", "y"),)
    assert shot.without() == shot


def test_parameters_are_changed_by_name_and_keep_the_order_of_the_table() -> None:
    """None leaves one open; a name that no parameter has is a mistake of the program."""
    shot = Shot.of("A cat", seed=7, duration_seconds=8).having(audio=False)
    assert list(shot.parameters.items()) == [("duration_seconds", 8), ("audio", False), ("seed", 7)]
    assert shot.having(seed=None, audio=None).parameters == {"duration_seconds": 8}
    assert (shot.seconds, shot.get("audio"), shot.get("resolution")) == (8, False, None)
    assert Shot.of(duration_seconds="8").seconds is None
    with pytest.raises(TypeError, match="no such parameter: image_url"):
        Shot.of(image_url=URL)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("duration_seconds", 8, "8 s"),
        ("aspect_ratio", "16:9", "16:9"),
        ("resolution", "720p", "720p"),
        ("audio", True, "audio"),
        ("audio", False, "no audio"),
        ("seed", 7, "seed 7"),
        ("negative_prompt", "rain", "negative prompt rain"),
    ],
)
def test_a_parameter_is_shown_with_its_word_or_unit(name: str, value: Scalar, text: str) -> None:
    """Length, ratio and resolution speak for themselves."""
    assert PARAMETERS[name].shown(value) == text


def test_a_shot_cannot_be_changed_in_place() -> None:
    """Neither an attribute nor the shared empty options can be written to."""
    shot = Shot()
    with pytest.raises(FrozenInstanceError):
        shot.prompt = "A cat"  # type: ignore[misc]
    with pytest.raises(TypeError):
        shot.options["style"] = "anime"  # type: ignore[index]


def test_shots_are_compared_by_what_they_say() -> None:
    """Two shots that say the same are equal, however their options are held."""
    assert Shot.of(prompt="A cat", options={}) == replace(Shot(), prompt="A cat")
    assert Shot.of(prompt="A cat") != Shot.of(prompt="A dog")
