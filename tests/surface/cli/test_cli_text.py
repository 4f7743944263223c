"""Words for the terminal: commands for tools, and text that cannot harm."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.surface.cli.console.wording import age, in_commands, format_json, length, one_line, size, span
from callsheet.surface.views.cards import choices_of, price_range


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('only when they ask for it, call submit_video with sheet_id="sheet_a1".', "run `callsheet submit sheet_a1`."),
        ("Call get_task with wait_seconds=20; the clip is saved", "Run `callsheet watch`; the clip is saved"),
        ("Call get_task with task_0a1b.", "Run `callsheet get task_0a1b`."),
        ("Call explain_payload again for a new sheet.", "Run `callsheet explain` again for a new sheet."),
        ('for example with gateway="poyo", model="sora-2".', "for example with --gateway poyo --model sora-2."),
        ("Choose another model (list_models).", "Choose another model (`callsheet models`)."),
        ("A person runs `callsheet setup`.", "A person runs `callsheet setup`."),
    ],
)
def test_what_is_said_to_agents_is_shown_as_commands(said: str, shown: str) -> None:
    """People type commands, they call no tools."""
    assert in_commands(said).endswith(shown)


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_the_same_value_and_harmless_on_a_terminal(value: object) -> None:
    """Whatever is invisible or moves a cursor is escaped; reading it gives the value again."""
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


def test_times_and_sizes_are_said_as_people_say_them() -> None:
    """In the largest unit that fits."""
    assert [age(seconds) for seconds in (-5, 59, 60, 7200, 86400, 200_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "1 day",
        "2 days",
    ]
    assert span(90, 300) == "90-300 s"
    assert span(120, 360) == "2-6 min"
    assert [size(octets) for octets in (10, 254_393, 3_100_000, 2_000_000_000)] == [
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


def test_a_length_rounds_nothing_off() -> None:
    """It is what a person agrees to."""
    shown = {60: "1 min", 1800: "30 min", 5400: "1 h 30 min", 86_400: "1 day", 604_800: "7 days", 129_600: "1 day 12 h"}
    assert {seconds: length(seconds) for seconds in shown} == shown
