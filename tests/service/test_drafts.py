"""Explaining: what would be sent, what it costs, and the sheet that stands for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from callsheet.core.consent import Means, body_digest
from callsheet.core.payload.validation import Hosts
from callsheet.core.shot import INPUT_ROLES, Shot
from callsheet.core.tasks import SheetState
from callsheet.errors import InvalidRequest, UnknownThing
from callsheet.service import Draft
from callsheet.service.catalogue.ranking import MOST_OPTIONS, rank
from callsheet.service.submission import submit
from workspace import KEY, SHOT, Workspace, draft

IMAGE = "https://images.example.org/first.png"


def test_the_same_shot_gives_the_same_sheet_until_it_is_spent(workspace: Workspace) -> None:
    """Then it is a new take that names the earlier task."""
    service = workspace.service()
    first = draft(service)
    assert draft(service) == first
    assert draft(workspace.service()) == first

    task_id = submit(service.deps, first).report.task.id
    again = service.explain(Draft(shot=SHOT, gateway="poyo", model="sora-2-official"))

    assert again.sheet.id != first
    assert again.sheet.take == 2
    assert task_id in again.earlier


def test_without_a_model_the_cards_come_cheapest_first_with_reasons_for_the_rest(workspace: Workspace) -> None:
    """Known prices ascend, unknown ones follow, and each misfit says why."""
    explanation = workspace.service().explain(Draft(shot=Shot.of("A kite.", duration_seconds=16)))

    options = explanation.options
    equal = [option.price.usd for option in options if option.at_equal_terms and option.price.usd is not None]
    assert (explanation.status, explanation.sheet) == ("choose", None)
    assert equal == sorted(equal)
    assert 0 < len(options) <= MOST_OPTIONS
    assert all(option.fits and option.terms.startswith("16 s") for option in options)
    assert "duration_seconds" in explanation.rest
    service = workspace.service()
    ranking = rank(service.deps, Shot.of("A kite.", duration_seconds=16), hosts=Hosts())
    reasons = {option.card.id: option.why_not for option in ranking.options}
    assert {option.card.id for option in ranking.fitting} >= {"poyo/sora-2-official", "apidot/sora-2-official"}
    assert "4, 8, 12" in reasons["evolink/sora-2-preview"]


def test_a_valid_raw_payload_becomes_a_sheet_with_its_own_bytes(workspace: Workspace) -> None:
    """What was written is what is frozen."""
    payload = {"model": "sora-2-official", "input": {"prompt": "A kite.", "duration": 8, "aspect_ratio": "9:16"}}

    explanation = workspace.service().explain(Draft(payload=payload, gateway="poyo"))

    assert explanation.status == "ready"
    assert json.loads(explanation.sheet.body) == payload


def test_an_invalid_shot_makes_no_sheet_and_shows_the_mended_body(workspace: Workspace) -> None:
    """Every violation at once."""
    shot = Shot.of("A kite.", duration_seconds=7, aspect_ratio="2:1", callback_url="http://10.0.0.1/x")

    explanation = workspace.service().explain(Draft(shot=shot, gateway="poyo", model="sora-2-official"))

    errors = {finding.field for finding in explanation.findings if finding.severity == "error"}
    assert explanation.status == "invalid"
    assert explanation.sheet is None
    assert errors == {"duration_seconds", "aspect_ratio", "callback_url"}
    assert explanation.body["input"]["duration"] == 8


def test_the_curl_line_has_the_variable_and_never_a_key(workspace: Workspace) -> None:
    """Even when a key is set."""
    workspace.environ["POYO_API_KEY"] = KEY

    explanation = workspace.service().explain(Draft(shot=SHOT, gateway="poyo", model="sora-2-official"))

    assert "$POYO_API_KEY" in explanation.curl
    assert KEY not in repr(explanation)


def test_in_the_sandbox_the_first_answer_says_so_and_how_to_go_live(workspace: Workspace) -> None:
    """And that a key which is set is not used."""
    assert "Sandbox rehearsal" in workspace.service().explain(Draft(shot=SHOT)).notice
    workspace.environ["POYO_API_KEY"] = KEY

    notice = workspace.service().explain(Draft(shot=SHOT)).notice

    assert "POYO_API_KEY" in notice
    assert "never armed" in notice
    assert "Only a person can switch to live mode" in notice


@pytest.mark.parametrize("place", ["prompt", "first_frame", "reference_audio", "negative_prompt"])
def test_a_payload_that_carries_a_configured_key_is_refused(workspace: Workspace, place: str) -> None:
    """It would be stored, or sent to a stranger."""
    workspace.environ["POYO_API_KEY"] = KEY
    address = place in INPUT_ROLES
    value = f"https://x.example.com/a.png?k={KEY}" if address else f"draw {KEY}"

    with pytest.raises(InvalidRequest) as caught:
        workspace.service().explain(Draft(shot=Shot.of(**{"prompt": "x", place: value}), gateway="poyo"))
    assert KEY not in str(caught.value)


def test_an_address_that_the_person_set_is_shown_and_bound(workspace: Workspace) -> None:
    """A proxy in the policy appears in URL, approval text and binding."""
    workspace.go_live('[gateways.poyo]\nbase_url = "https://proxy.example.org/poyo"\n')

    explanation = workspace.service().explain(Draft(shot=SHOT, gateway="poyo", model="sora-2-official"))

    assert explanation.url == "https://proxy.example.org/poyo/api/generate/submit"
    assert "proxy.example.org" in explanation.sheet.shown
    assert explanation.sheet.binding.base_url == "https://proxy.example.org/poyo"


def test_unknown_names_are_refused_with_what_there_is(workspace: Workspace) -> None:
    """Gateways and models alike: all where they are few, else the nearest and no other."""
    service = workspace.service()
    with pytest.raises(UnknownThing, match="poyo, apidot, apixo, evolink"):
        service.explain(Draft(shot=SHOT, gateway="kie"))
    for gateway, kind in (("poyo", UnknownThing), (None, InvalidRequest)):
        with pytest.raises(kind, match=r"nearest: seedance-2\b") as found:
            service.explain(Draft(shot=SHOT, gateway=gateway, model="seedanse-2"))
        assert "seedance-2" in found.value.next_step.text
        assert len(found.value.message) < 200


def test_a_model_may_be_named_as_it_is_listed(workspace: Workspace) -> None:
    """Everything names it gateway/model, so a caller that repeats it means both."""
    service = workspace.service()
    apart = service.explain(Draft(shot=SHOT, gateway="poyo", model="sora-2-official"))

    for gateway in (None, "poyo"):
        together = service.explain(Draft(shot=SHOT, gateway=gateway, model="poyo/sora-2-official"))
        assert together.sheet == apart.sheet
    for gateway, model in (("apidot", "poyo/sora-2-official"), (None, "nobody/sora-2-official"), (None, "poyo/")):
        with pytest.raises((InvalidRequest, UnknownThing), match=r"no model|No gateway has a model"):
            service.explain(Draft(shot=SHOT, gateway=gateway, model=model))


def test_a_model_that_one_gateway_alone_has_needs_no_gateway(workspace: Workspace) -> None:
    """The id says enough."""
    explanation = workspace.service().explain(Draft(shot=SHOT, model="sora-2-preview"))

    assert explanation.card.id == "evolink/sora-2-preview"


def test_a_dropped_model_is_refused_before_any_money(workspace: Workspace) -> None:
    """With the dates, and no sheet."""
    explanation = workspace.service().explain(
        Draft(shot=Shot.of("x", duration_seconds=10), gateway="poyo", model="sora-2-svip")
    )

    assert (explanation.sheet, explanation.body, explanation.price) == (None, None, None)
    assert any("2026-09-24" in finding.rule for finding in explanation.findings)


def test_a_payload_for_a_dropped_model_leads_to_the_models_that_can_take_its_shot(workspace: Workspace) -> None:
    """No body names the dropped one."""
    payload = {"model": "sora-2", "input": {"prompt": "A kite.", "duration": 8, "image_urls": [IMAGE]}}
    explanation = workspace.service().explain(Draft(payload=payload))

    assert (explanation.status, explanation.card, explanation.body) == ("choose", None, None)
    assert (explanation.shot.seconds, explanation.shot.urls("first_frame")) == (8, (IMAGE,))
    assert all(option.card.lifecycle.availability.value != "dropped" for option in explanation.options if option.fits)


def test_a_payload_for_another_model_has_no_body_and_no_price(workspace: Workspace) -> None:
    """The person decides whether another may take its place."""
    explanation = workspace.service().explain(Draft(payload={"model": "kling-4.0", "prompt": "A kite.", "duration": 8}))

    assert (explanation.status, explanation.card, explanation.body) == ("invalid", None, None)
    assert (explanation.price, explanation.options) == (None, ())
    assert "The user decides" in explanation.next_step.text


@pytest.mark.parametrize(
    ("draft", "nearest"),
    [
        (Draft(shot=Shot.of("A kite.", duration_seconds=75)), "Nearest: 30."),
        (Draft(payload={"model": "sora-2", "prompt": "A kite.", "duration": 75}), "Nearest: 30."),
        (Draft(shot=Shot.of("A kite.", resolution="8k")), "Nearest: 4k."),
    ],
)
def test_what_no_model_can_do_is_invalid_with_the_nearest(workspace: Workspace, draft: Draft, nearest: str) -> None:
    """One finding and one next step; no list of models that cannot."""
    explanation = workspace.service().explain(draft)

    wrong = [finding for finding in explanation.findings if finding.severity == "error"]
    assert (explanation.status, explanation.options, explanation.body) == ("invalid", (), None)
    assert [finding.instead for finding in wrong] == [nearest]


def test_each_price_has_the_terms_it_is_for_and_what_cannot_has_none(workspace: Workspace) -> None:
    """The price of another length or resolution is not an answer."""
    ranking = rank(workspace.service().deps, Shot.of("A kite.", duration_seconds=16), hosts=Hosts())
    options = ranking.options
    terms = {option.card.id: option.terms for option in options if option.fits}

    assert terms["poyo/sora-2-pro-official"] == "16 s, 720p"
    assert terms["apidot/sora-2-official"] == "16 s, 720p"
    assert all(option.price.usd is None and not option.terms for option in options if not option.fits)


def test_the_approval_text_is_rendered_from_the_bytes_that_are_sent(workspace: Workspace) -> None:
    """Price first, and every line a person needs."""
    service = workspace.service()
    sheet = service.deps.ledger().sheet(draft(service))
    text = sheet.shown.splitlines()

    assert text[0].startswith("Price: 0.24 USD (48 credits)")
    assert text[1] == "Goes to: PoYo, https://api.poyo.ai"
    assert text[2] == "Model: poyo/sora-2-official · text-to-video · 4 s · 16:9 · resolution not documented"
    assert text[-2] == f"Request: {len(sheet.body)} bytes, SHA-256 {body_digest(sheet.body)[:16]}"
    assert text[-1].endswith(SHOT.prompt)


def test_the_approval_text_names_who_else_gets_the_result_and_which_key_pays(workspace: Workspace) -> None:
    """Both are in what is sent: a person who reads "nobody" would agree to something else."""
    workspace.go_live('[hosts]\ncallback = ["hooks.example.org"]\n')
    service = workspace.service()
    shot = replace(SHOT, callback_url="https://hooks.example.org/done?token=t0psecret")
    sheet = service.deps.ledger().sheet(draft(service, shot))
    card = service.deps.catalogue().card("poyo", "sora-2-official")
    text = sheet.shown.splitlines()

    assert sheet.binding.account
    assert text[1] == f"Goes to: PoYo, https://api.poyo.ai, paid with the key {sheet.binding.account}"
    assert text[4] == "Result also sent to: hooks.example.org"
    assert text[5] == f"Availability: {card.lifecycle.summary}"


def test_a_sheet_whose_approval_grew_old_is_replaced(workspace: Workspace) -> None:
    """Else the same useless sheet would come back for the rest of the day."""
    workspace.go_live()
    service = workspace.service()
    first = draft(service)
    service.approve(first, by=Means.TERMINAL)
    workspace.clock.time += 3601

    second = draft(service)

    assert second != first
    assert service.deps.ledger().sheet(first).state is SheetState.EXPIRED
