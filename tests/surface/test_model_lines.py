"""A model in a line and in full, as every surface answers it: valid for each card of the catalogue."""

from __future__ import annotations

import json

import pytest

from callsheet.core.catalogue.cards import ModelCard
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.surface.views.answers import ModelDetails
from callsheet.surface.views.cards import choices_of, model_details

CATALOGUE = load_catalogue()


@pytest.mark.parametrize("card", CATALOGUE.cards, ids=lambda card: card.id)
def test_what_is_answered_is_what_the_answers_shape_says(card: ModelCard) -> None:
    """Lengths are whole seconds, those of a range one by one."""
    details = model_details(CATALOGUE, card)

    assert ModelDetails.model_validate_json(details.model_dump_json(), strict=True) == details
    assert json.loads(details.model_dump_json())["durations_seconds"] == details.durations_seconds


@pytest.mark.parametrize(
    ("gateway", "model", "seconds"),
    [
        ("poyo", "sora-2-official", [4, 8, 12, 16, 20]),
        ("poyo", "seedance-2", [*range(4, 16)]),
        ("poyo", "seedance-2.5", [*range(4, 31)]),
        ("poyo", "veo3.1-fast", [8]),
        ("poyo", "hailuo-2.3", [6, 10]),
        ("apidot", "wan2.7-reference-to-video", [*range(2, 11)]),
    ],
)
def test_the_lengths_of_a_card(gateway: str, model: str, seconds: list[int]) -> None:
    """As a list, a range, or both ends of it."""
    card = CATALOGUE.card(gateway, model)
    assert card is not None
    assert [*choices_of(card).durations] == seconds
