"""Text for people: safe text, times and sizes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue.cards import Availability
from callsheet.core.catalogue.fields import Field, Limit
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.surface.cli.console.explanation_view import format_availability
from callsheet.surface.text import (
    format_age,
    format_duration,
    format_json,
    format_range,
    format_size,
    one_line,
)
from callsheet.surface.views.cards import choices_of, length_words, price_range


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_the_same_value_and_harmless_on_a_terminal(value: object) -> None:
    """Characters that are invisible or move a cursor are escaped; the parsed value is the same."""
    text = format_json(value)  # type: ignore[arg-type]

    assert json.loads(text) == value
    assert all(character == "\n" or character.isprintable() or character.isspace() for character in text)
    assert not set("\x1b\x9b\u202e\u2028\x7f") & set(text)


@given(st.text())
def test_a_line_stays_a_line(text: str) -> None:
    """No text from outside can begin a line of its own or colour anything."""
    shown = one_line(text)

    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


def test_times_and_sizes_are_written_in_the_largest_unit() -> None:
    """In the largest unit that fits."""
    assert [format_age(seconds) for seconds in (-5, 59, 60, 7200, 86400, 200_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "1 day",
        "2 days",
    ]
    assert format_range(90, 300) == "90-300 s"
    assert format_range(120, 360) == "2-6 min"
    assert [format_size(octets) for octets in (10, 254_393, 3_100_000, 2_000_000_000)] == [
        "1 kB",
        "254 kB",
        "3.1 MB",
        "2.0 GB",
    ]


def test_every_card_has_a_short_price_and_choices() -> None:
    """Whatever the price rule and the shape of the fields."""
    catalogue = load_catalogue()
    shown = {card.id: (price_range(card), choices_of(card)) for card in catalogue.cards}

    assert shown["poyo/sora-2-official"][0] == "0.24-1.20"
    assert shown["poyo/sora-2-beta"][0] == "0.20"
    assert shown["poyo/sora-2-pro-official"][0] == "0.24-0.56/s"
    assert shown["apixo/sora-2-pro"][0] == "unknown"
    assert shown["apixo/sora-2-pro"][1].ratios == ("16:9", "9:16")
    assert shown["apixo/sora-2-pro"][1].resolutions == ("720p", "1024p", "1080p")


@pytest.mark.parametrize("availability", Availability)
def test_every_availability_has_its_word(availability: Availability) -> None:
    """None is forgotten where a card is shown."""
    card = load_catalogue().cards[0]
    shown = replace(card, lifecycle=replace(card.lifecycle, availability=availability))
    assert format_availability(shown).plain.startswith(availability.value)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [((), []), ((4, 8, 12), ["4", "8", "12"]), ((4, 5), ["4", "5"]), ((3, 5, 6, 7, 10), ["3", "5-7", "10"])],
)
def test_a_run_of_lengths_is_one_word(lengths: tuple[int, ...], words: list[str]) -> None:
    """`4-15` is read faster than twelve numbers."""
    assert length_words(lengths) == words


def test_the_lengths_of_a_card_are_those_of_every_kind() -> None:
    """Ranges number by number, what a kind limits, and what is implied."""
    card = load_catalogue().cards[0]
    limit = Limit((("kind", ("image-to-video",)),), values=(2, 20))
    field = Field(("n",), "duration_seconds", "integer", "page", minimum=4, maximum=6, limits=(limit,))
    assert choices_of(replace(card, fields=(field,))).durations == (2, 4, 5, 6, 20)
    assert choices_of(replace(card, fields=(), implied={"duration_seconds": 8})).durations == (8,)
    assert choices_of(replace(card, fields=())).durations == ()


def test_a_duration_is_not_rounded() -> None:
    """It is what a person agrees to."""
    shown = {60: "1 min", 1800: "30 min", 5400: "1 h 30 min", 86_400: "1 day", 604_800: "7 days", 129_600: "1 day 12 h"}
    assert {seconds: format_duration(seconds) for seconds in shown} == shown
