"""A catalogue of 500 models: lists stay short, and choosing among them stays cheap."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType

import pytest

from callsheet.core.shot import Shot
from callsheet.sandbox.published import load_data, poyo_page
from callsheet.service import Draft, Service
from callsheet.service.catalogue.ranking import Query
from callsheet.surface.next_steps import for_agent
from callsheet.surface.views.builders import models_answer
from workspace import SHOT, Workspace

MODELS = 500
MOST_BYTES = 6 * 1024
MOST_CALLS = 400
"""Of Python functions, for each model. Unlike a time, it is the same on a busy machine."""


@pytest.fixture
def service(workspace: Workspace) -> Service:
    """A process that finds so many models."""
    service = workspace.service()
    items = load_data("poyo_catalogue.json")["items"]
    own = {card.id for card in service.cards()} | {f"poyo/{item['model_id']}" for item in items}
    more = [{**items[n % len(items)], "model_id": f"another-model-{n}"} for n in range(MODELS - len(own))]
    data = {**poyo_page("", ""), "items": [*items, *more], "next_cursor": None, "has_more": False}
    page = json.dumps({"code": 200, "data": data}).encode()
    service.deps.published.keep("poyo", url="https://api.poyo.ai", date="2026-09-21", pages=[page])
    assert len(service.cards()) == MODELS
    return service


def count_calls(work: Callable[[], object]) -> int:
    """How many Python functions are called."""
    seen: Counter[str] = Counter()

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        seen[event] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return seen["call"]


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(gateway="poyo"),
        Query(family="seedance"),
        Query(shot=Shot.of(duration_seconds=5, resolution="720p", audio=True)),
        Query(shot=Shot.of(aspect_ratio="9:16", first_frame="https://images.example.com/kite.png")),
    ],
)
def test_a_list_of_models_stays_short(service: Service, query: Query) -> None:
    """As an agent reads it."""
    answer = models_answer(service, query, for_agent).model_dump(mode="json", exclude_none=True)
    assert len(json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()) <= MOST_BYTES


def test_choosing_a_model_stays_cheap(service: Service) -> None:
    """Each model is judged with few calls, so that three times as many are as fast as before."""
    draft = Draft(shot=SHOT)
    assert len(service.explain(draft).options) == 8
    assert count_calls(lambda: service.explain(draft)) <= MOST_CALLS * MODELS
