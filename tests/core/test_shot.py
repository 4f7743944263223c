"""A shot says what is wanted in words that belong to no gateway."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from callsheet.core.shot import IMAGE_TO_VIDEO, ROLE_ATTRIBUTES, TEXT_TO_VIDEO, Shot
from cases import cases


def test_a_shot_says_nothing_until_it_is_told() -> None:
    """An empty shot has an empty prompt and leaves everything else open."""
    shot = Shot()
    assert shot.prompt == ""
    assert all(getattr(shot, name) is None for name in ROLE_ATTRIBUTES.values() if name != "prompt")
    assert dict(shot.extras) == {}


@cases(
    ("image_url", "kind"),
    [(None, TEXT_TO_VIDEO), ("", TEXT_TO_VIDEO), ("https://example.com/a.png", IMAGE_TO_VIDEO)],
)
def test_the_kind_follows_the_reference_image(image_url: str | None, kind: str) -> None:
    """A shot is image-guided exactly when it has a reference image."""
    assert Shot(image_url=image_url).kind == kind


def test_every_role_is_carried_by_an_attribute_of_its_own() -> None:
    """The roles name attributes that exist, each once."""
    names = {field.name for field in fields(Shot)}
    assert set(ROLE_ATTRIBUTES.values()) <= names
    assert len(set(ROLE_ATTRIBUTES.values())) == len(ROLE_ATTRIBUTES)


def test_a_shot_cannot_be_changed_in_place() -> None:
    """Neither an attribute nor the shared empty extras can be written to."""
    shot = Shot()
    with pytest.raises(FrozenInstanceError):
        shot.prompt = "A cat"  # type: ignore[misc]
    with pytest.raises(TypeError):
        shot.extras["style"] = "anime"  # type: ignore[index]


def test_shots_are_compared_by_what_they_say() -> None:
    """Two shots that say the same are equal, however their extras are held."""
    assert Shot(prompt="A cat", extras={}) == replace(Shot(), prompt="A cat")
    assert Shot(prompt="A cat") != Shot(prompt="A dog")
