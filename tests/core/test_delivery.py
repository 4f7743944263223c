"""Delivered against ordered: what is a difference, what is rounding, and what is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.delivery import compare_delivered, name_differences
from callsheet.core.shot import Shot
from callsheet.core.tasks import Clip

ORDERED = Shot.of("A kite.", duration_seconds=5, aspect_ratio="16:9", resolution="720p", audio=True)
CLIP = Clip("/a", 1, "0" * 64, 5.04, 1280, 720, "/b", "/c", shape=1.7778, audio=True, brightest=240, motion=90)

# As the gateways' catalogues have them, with the resolution and ratio that each stands for.
DOCUMENTED_SIZES = """
480p 16:9 864x496 · 480p 9:16 496x864 · 480p 1:1 640x640 · 480p 4:3 752x560 · 480p 3:4 560x752 · 480p 21:9 992x432
480p 16:9 832x480 · 480p 16:9 854x480 · 720p 16:9 1280x720 · 720p 9:16 720x1280 · 720p 1:1 960x960
720p 4:3 1112x834 · 720p 3:4 834x1112 · 720p 21:9 1470x630 · 720p 4:3 1104x832 · 720p 3:4 832x1088
1080p 16:9 1920x1080 · 1080p 1:1 1440x1440 · 1080p 4:3 1664x1248 · 1080p 3:4 1248x1632 · 1080p 21:9 2206x946
1024p 16:9 1792x1024 · 1024p 9:16 1024x1792 · 4k 16:9 3840x2160 · 4k 4:3 3326x2494 · 4k 1:1 2880x2880
2k 16:9 2560x1440 · 2k auto 2048x1080 · 720p 1:1 720x720 · 720p 21:9 1280x548
"""


def fields(shot: Shot, clip: Clip) -> list[str]:
    """The fields that differ."""
    return [finding.field for finding in compare_delivered(shot, clip)]


@pytest.mark.parametrize(
    ("seconds", "differs"),
    [(5.04, False), (5.0625, False), (4.6, False), (5.49, False), (5.5, True), (4.5, True), (2.5, True), (10.04, True)],
)
def test_a_length_differs_when_it_is_nearer_to_another_whole_second(seconds: float, differs: bool) -> None:
    """A few frames more or less are how models work."""
    assert fields(ORDERED, replace(CLIP, duration_seconds=seconds)) == ["duration_seconds"] * differs


@pytest.mark.parametrize("case", DOCUMENTED_SIZES.strip().replace("\n", " · ").split(" · "))
def test_a_documented_size_is_no_difference(case: str) -> None:
    """Whatever a gateway makes of a resolution in another ratio."""
    resolution, ratio, size = case.split()
    width, height = map(int, size.split("x"))
    clip = replace(CLIP, width=width, height=height, shape=None)
    assert fields(ORDERED.having(resolution=resolution, aspect_ratio=ratio), clip) == []


@pytest.mark.parametrize(
    ("ordered", "size", "differs"),
    [
        (("720p", "16:9"), (854, 480), ["resolution"]),
        (("720p", "16:9"), (1920, 1080), ["resolution"]),
        (("1080p", "16:9"), (1792, 1024), ["resolution"]),
        (("1024p", "16:9"), (1920, 1080), ["resolution"]),
        (("768p", "16:9"), (1280, 720), ["resolution"]),
        (("4k", "16:9"), (1920, 1080), ["resolution"]),
        (("720p", "9:16"), (1280, 720), ["aspect_ratio"]),
        (("720p", "1:1"), (1280, 720), ["aspect_ratio"]),
        (("720p", "4:3"), (900, 720), ["aspect_ratio"]),
        (("1080p", "9:16"), (854, 480), ["aspect_ratio", "resolution"]),
    ],
)
def test_another_size_is_a_difference(ordered: tuple[str, str], size: tuple[int, int], differs: list[str]) -> None:
    """The nearest neighbours that models offer are told apart."""
    clip = replace(CLIP, width=size[0], height=size[1], shape=None)
    assert fields(ORDERED.having(resolution=ordered[0], aspect_ratio=ordered[1]), clip) == differs


@pytest.mark.parametrize(
    ("ordered", "delivered", "differs"),
    [
        (True, True, False),
        (True, False, True),
        (False, True, True),
        (False, False, False),
        (None, False, False),
        (True, None, False),
    ],
)
def test_an_audio_track_is_there_as_ordered(ordered: bool | None, delivered: bool | None, differs: bool) -> None:
    """Not said or not measured is no difference."""
    shot, clip = Shot.of("A kite.", audio=ordered), replace(CLIP, audio=delivered)
    assert fields(shot, clip) == ["audio"] * differs


@pytest.mark.parametrize(
    ("brightest", "motion", "count"),
    [(255, 90, 0), (25, 2, 1), (25, 90, 1), (26, 4, 0), (200, 3, 1), (200, 0, 1), (None, None, 0), (200, None, 0)],
)
def test_a_black_or_frozen_picture_is_one_difference(brightest: int | None, motion: int | None, count: int) -> None:
    """Black says it all; a single still says nothing of motion."""
    assert fields(ORDERED, replace(CLIP, brightest=brightest, motion=motion)) == ["picture"] * count


@pytest.mark.parametrize(
    "shot",
    [
        Shot.of("A kite."),
        Shot.of("A kite.", aspect_ratio="auto", resolution="pro"),
        Shot.of("A kite.", aspect_ratio="adaptive", duration_seconds=-1),
        Shot.of("A kite.", aspect_ratio="1:1", first_frame="https://example.com/wide.png"),
    ],
)
def test_what_was_left_open_is_never_a_difference(shot: Shot) -> None:
    """Nor a ratio that the first frame may decide."""
    assert fields(shot, replace(CLIP, duration_seconds=61.0, width=640, height=360, audio=False)) == []


def test_the_shape_as_shown_counts() -> None:
    """A clip whose pixels are not square, or that players turn, is compared as people see it."""
    assert fields(ORDERED.having(resolution="1080p"), replace(CLIP, width=1440, height=1080)) == []
    upright = ORDERED.having(aspect_ratio="9:16")
    assert fields(upright, replace(CLIP, shape=0.5625)) == []
    assert fields(upright, CLIP) == ["aspect_ratio"]


def test_a_clip_of_an_older_version_is_compared_by_what_it_has() -> None:
    """Length and size were always measured."""
    old = Clip("/a", 1, "0" * 64, 2.5, 1280, 720, "/b", "/c")
    found = compare_delivered(ORDERED, old)
    assert [finding.field for finding in found] == ["duration_seconds"]
    assert (found[0].severity, "5 s" in found[0].rule, "2.5 s" in found[0].rule) == ("warning", True, True)
    assert name_differences(found) == "length"


ANY = st.none() | st.booleans() | st.integers() | st.text(max_size=12)


@given(
    said=st.fixed_dictionaries(dict.fromkeys(("duration_seconds", "aspect_ratio", "resolution", "audio"), ANY)),
    size=st.tuples(st.integers(0, 8192), st.integers(0, 8192)),
    seconds=st.floats(0, 3600),
    shape=st.none() | st.floats(0, 100),
)
def test_no_values_raise(said: dict[str, object], size: tuple[int, int], seconds: float, shape: float | None) -> None:
    """An answer about a task never fails because of what its shot or clip holds."""
    clip = replace(CLIP, width=size[0], height=size[1], duration_seconds=seconds, shape=shape)
    for finding in compare_delivered(Shot.of("A kite.", **said), clip):  # type: ignore[arg-type]
        assert finding.rule.endswith("delivered.")
