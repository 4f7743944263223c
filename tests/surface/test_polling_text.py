"""What is said of the polling has the numbers by which the program polls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.poll_schedule import poll_schedule
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.service import Draft
from callsheet.surface.next_steps import for_agent
from callsheet.surface.views.builders import explain_details
from callsheet.surface.views.cards import polling_text
from workspace import SHOT, Workspace

CARDS = load_catalogue().cards
GATEWAYS = (Path(__file__).parents[2] / "references" / "gateways.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_the_references_have_the_numbers_of_the_schedule(card: ModelCard) -> None:
    """For each length whose usual time is documented, in the text of `gateways.md`."""
    for length in [seconds for seconds, _ in card.poll.usual_by_length] or [None]:
        plan, text = poll_schedule(card.poll, clip_seconds=length), polling_text(card.poll, length)
        numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
        spans = [plan.loose, plan.dense] if plan.loose != plan.dense else [plan.loose]
        assert numbers[: 5 + len(spans)] == [*plan.first, plan.second, *spans, plan.latest, plan.slowest]
        assert text in GATEWAYS


def test_an_explanation_says_when_its_own_clip_is_asked_after(workspace: Workspace) -> None:
    """The schedule depends on the length where the gateway documents that."""
    service = workspace.service()
    explanation = service.explain(Draft(shot=SHOT, gateway="apixo", model="sora-2"))
    card = service.card("apixo", "sora-2")
    answer = explain_details(explanation, service, for_agent)

    assert answer.polling == polling_text(card.poll, 4) != polling_text(card.poll, 12)
