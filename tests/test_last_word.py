"""The date beside a model is the gateway's own: news of others about its family are no listing."""

from __future__ import annotations

import re

import pytest

from callsheet.core.catalogue.cards import Availability
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.surface.cli.console.explanation_view import AVAILABILITY_STYLES
from render.families import render_families
from render.models import render_models

CATALOGUE = load_catalogue()


@pytest.mark.parametrize(
    ("card_id", "date"),
    [
        ("poyo/sora-2-official", "2026-08-07"),
        ("poyo/veo3.1-fast", "2026-08-07"),
        ("poyo/seedance-2", "2026-08-07"),
        ("apidot/veo3.1-fast", "2026-07-02"),
        ("apidot/seedance-2", "2026-07-02"),
    ],
)
def test_the_overview_dates_a_model_by_its_gateways_last_word(card_id: str, date: str) -> None:
    """Google's and OpenAI's shutdowns are later, and say the contrary."""
    pages = "\n".join(render_families(CATALOGUE, {}).values())
    [found] = re.findall(rf"^\| `{card_id}` \|.*\| \w+, (\S+) \|$", pages, re.MULTILINE)

    assert found == date


def test_every_veo_card_says_that_it_may_be_gone() -> None:
    """Whatever the gateway's catalogue said before."""
    veo = [card for card in CATALOGUE.cards if card.family == "veo-3.1" and card.gateway in ("poyo", "apidot")]

    assert {card.lifecycle.availability for card in veo} == {Availability.UNVERIFIED}
    assert {"veo-preview-retired", "veo-official-offline", "apidog-veo"} <= set.intersection(
        *({item.source for item in card.lifecycle.evidence} for card in veo)
    )


def test_every_state_is_explained() -> None:
    """A reader finds its meaning below the table."""
    text = render_models(CATALOGUE)

    assert all(f"- `{state.value}`: " in text for state in Availability)


def test_every_state_has_a_colour() -> None:
    """A new state must not break the list of models."""
    assert AVAILABILITY_STYLES.keys() == set(Availability)
