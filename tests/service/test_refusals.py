"""A refusal never leads the model round it: the person decides what changes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from callsheet.core.catalogue.cards import Availability
from callsheet.core.consent import Means
from callsheet.core.payload.validation import Hosts
from callsheet.core.shot import Shot
from callsheet.core.tasks import Problem
from callsheet.errors import (
    AFTER_A_NO,
    ANOTHER_MODEL,
    ANOTHER_SHOT,
    DECLINED,
    Action,
    CallsheetError,
    InvalidRequest,
    PolicyRefusal,
)
from callsheet.service import Draft, Explanation, Service
from callsheet.service.catalogue.ranking import price_terms, rank_cards
from callsheet.service.results import refusal_step
from callsheet.service.submission import submit
from workspace import SHOT, Workspace, draft

SHOTS = [
    Shot.of("A red kite over dunes.", duration_seconds=seconds, resolution=resolution, first_frame=image)
    for seconds in (None, 4, 5, 8, 12, 15)
    for resolution in (None, "720p", "1024p", "1080p", "4k")
    for image in (None, "https://images.example.com/first.png")
]


def explain(service: Service, *, shot: Shot = SHOT, model: str = "sora-2-official") -> Explanation:
    """The shot for one of PoYo's models."""
    return service.explain(Draft(shot=shot, gateway="poyo", model=model))


@pytest.mark.parametrize(
    ("policy", "advice"),
    [
        ("[gateways.poyo]\nallowed = false\n", ANOTHER_MODEL),
        ('[models."poyo/sora-2-official"]\nallowed = false\n', ANOTHER_MODEL),
        ('[gateways.poyo]\nper_clip = "0.10"\n', ANOTHER_SHOT),
        ('[caps]\nper_clip = "0.10"\n', ANOTHER_SHOT),
        ('[caps]\nper_day = "0.10"\n', ANOTHER_SHOT),
    ],
)
def test_what_the_policy_refuses_only_a_person_changes(workspace: Workspace, policy: str, advice: str) -> None:
    """Neither a cheaper shot nor another model is proposed in its place."""
    workspace.go_live(policy)
    answer = explain(workspace.service())

    [blocker] = [item for item in answer.blocked if item.refuses and isinstance(item.error, PolicyRefusal)]
    assert answer.next_step == blocker.error.next_step
    assert answer.next_step.text.endswith(advice)
    assert answer.next_step.text.startswith("Only a person can ")


def test_after_a_gateways_no_a_person_decides_what_changes() -> None:
    """The words of a gateway lead to no new take by themselves."""
    problem = Problem("moderation", "the gateway said: not allowed", "unknown", "not allowed", http_status=400)

    assert refusal_step(problem).text.startswith("A person decides what to change")


def test_a_sheet_that_was_declined_is_not_to_be_tried_again(workspace: Workspace) -> None:
    """On each way to it, also where another call declines it at the last moment."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.decline(sheet_id)

    with pytest.raises(InvalidRequest) as caught:
        submit(service.deps, sheet_id)
    assert (caught.value.error_code, caught.value.retry, caught.value.next_step) == (DECLINED, "never", AFTER_A_NO)


def test_the_same_shot_after_a_no_says_so(workspace: Workspace) -> None:
    """Each time, until it is submitted after all."""
    workspace.go_live()
    service = workspace.service()
    first = draft(service)
    service.decline(first)

    for _ in range(2):
        again = explain(service)
        assert again.sheet is not None
        assert again.sheet.id != first
        assert first in again.earlier
        assert again.next_step.action is Action.SUBMIT
        assert again.next_step.text.startswith(AFTER_A_NO.text)
    other = explain(service, shot=Shot.of("A white kite over a lake.", duration_seconds=4))
    assert other.earlier == ""

    workspace.clock.time += 1
    service.approve(again.sheet.id, by=Means.TERMINAL)
    submit(service.deps, again.sheet.id)
    assert first not in explain(service).earlier


def test_an_allowance_does_not_reach_what_a_person_declined(workspace: Workspace) -> None:
    """It was given before or after the no; the same shot is asked for again, another one is not."""
    workspace.go_live()
    service = workspace.service()
    service.decline(draft(service))
    service.allow(("poyo/sora-2-official",), clips=3, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)

    again = submit(service.deps, draft(service))
    other = submit(service.deps, draft(service, Shot.of("A white kite over a lake.", duration_seconds=4)))

    assert again.status == "approval_needed"
    assert other.report is not None


@pytest.mark.parametrize("model", ["sora-2", "sora-2-pro"])
def test_a_dropped_model_leads_to_no_body_and_to_the_person(workspace: Workspace, model: str) -> None:
    """Named with its gateway, or by a payload."""
    service = workspace.service()
    dropped = service.card("poyo", model)
    assert dropped.lifecycle.availability is Availability.DROPPED
    payload = {"model": model, "input": {"prompt": "A cat."}}
    for asked in (
        Draft(shot=SHOT, gateway="poyo", model=model),
        Draft(payload=payload, gateway="poyo"),
        Draft(payload=payload, gateway="poyo", model=model),
    ):
        answer = service.explain(asked)
        assert (answer.body, answer.sheet) == (None, None)
        assert answer.next_step.text.startswith(ANOTHER_MODEL)


@pytest.mark.parametrize("asked", [{"gateway": "kling"}, {"model": "luma-ray"}, {"gateway": "poyo", "model": "pika"}])
def test_another_vendors_model_is_not_covered(workspace: Workspace, asked: dict[str, str]) -> None:
    """The person decides; none of the known names is offered instead."""
    with pytest.raises(CallsheetError) as caught:
        workspace.service().explain(Draft(shot=SHOT, **asked))

    assert caught.value.next_step.text == "It is not covered: the user decides whether to use another model."


def test_a_card_can_take_a_shot_in_the_list_if_it_can_when_named(workspace: Workspace) -> None:
    """One judgement and one price for both ways; each price in the list has its terms."""
    service = workspace.service()
    cards = [card for card in service.catalogue.cards if card.family in ("sora-2", "seedance-2", "kling-3", "wan-2.7")]
    for shot in SHOTS[::7]:
        for option in rank_cards(cards, shot, Hosts()).options:
            asked = option.shot if option.fits else shot
            named = service.explain(Draft(shot=asked, gateway=option.card.gateway, model=option.card.model))
            as_asked = named.status == "ready" and not any(item.now for item in named.findings)
            assert option.fits == as_asked, (shot, option.card.id)
            if option.fits:
                assert option.price.usd == (named.price and named.price.usd)
                assert option.terms == price_terms(named.shot or shot)
            else:
                assert option.price.usd is None


def test_a_resolution_that_nobody_offers_becomes_the_highest(workspace: Workspace) -> None:
    """`4k` is 1080p wherever the model has it for this kind of shot."""
    service = workspace.service()
    for wanted in ("4k", "4K", "2160p", "1440p"):
        shot = Shot.of("A red kite.", resolution=wanted, first_frame="https://images.example.com/first.png")
        for model, most in (("poyo/sora-2-pro-official", "1080p"), ("apixo/sora-2-pro", "1080p")):
            answer = service.explain(Draft(shot=shot, model=model))
            assert answer.shot is not None
            assert answer.shot.get("resolution") == most
