"""A model id may hold a slash, `kling-3.0/standard`: everything that takes an id takes such a one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from connection import connect
from sandbox_client import Clock, sandbox_in_thread

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.consent import Policy
from callsheet.core.payload.body import format_value
from callsheet.core.payload.recognition import recognise
from callsheet.core.shot import Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.config.policy_file import parse_policy
from callsheet.edges.config.policy_form import render_policy
from callsheet.gateways import poyo
from callsheet.service import Draft
from render.skills import wrapper_name
from workspace import Workspace

CATALOGUE = load_catalogue()
SLASHED = [card for card in CATALOGUE.cards if "/" in card.model]
CARD = "poyo/kling-3.0/standard"


@pytest.mark.parametrize("card", SLASHED, ids=lambda card: card.id)
def test_a_payload_names_it_alone_or_after_its_gateway(card: ModelCard) -> None:
    """And never another of the same last part: several end in `/standard`."""
    alone = recognise({"model": card.model, "input": {"prompt": "A cat."}}, CATALOGUE, gateway=card.gateway)
    after = recognise({"model": card.id, "input": {"prompt": "A cat."}}, CATALOGUE)

    assert alone.card is card
    assert "model" not in {finding.field for finding in alone.findings}
    assert after.card is card
    assert [finding.value for finding in after.findings if finding.field == "model"] == [card.id]


@pytest.mark.parametrize(
    ("named", "means"),
    [
        ("kling-3.0/standart", "poyo/kling-3.0/standard"),
        ("Kling_3.0/Standard", "poyo/kling-3.0/standard"),
        ("kling-o3/4k", "poyo/kling-o3/4K"),
        ("standard", None),
        ("kling-3.0", None),
        ("openai/kling-3.0/standard", None),
        ("openai/sora-2-official", None),
        ("apixo/kling-3.0/standard", None),
        ("kling-4.0/standard", None),
    ],
)
def test_a_slip_is_mended_and_another_vendors_id_is_not(named: str, means: str | None) -> None:
    """A part of an id is no id."""
    found = recognise({"model": named, "input": {"prompt": "A cat.", "multi_shots": False}}, CATALOGUE)

    assert (found.card.id if found.card else None) == means


@pytest.mark.parametrize(
    ("gateway", "model"), [("poyo", "kling-3.0/standard"), (None, CARD), (None, "POYO/Kling-3.0/Standard")]
)
def test_a_shot_is_drafted_for_it(workspace: Workspace, gateway: str | None, model: str) -> None:
    """With the gateway apart or before the model, in any case."""
    explanation = workspace.service().explain(Draft(shot=Shot.of("A cat."), gateway=gateway, model=model))

    assert explanation.sheet.card_id == CARD
    assert json.loads(explanation.sheet.body)["model"] == "kling-3.0/standard"


def test_a_policy_has_rules_for_it() -> None:
    """The gateway's own rule holds too, and the rule of another tier does not."""
    text = b'[gateways.poyo]\nper_clip = "5"\n[models."poyo/kling-3.0/standard"]\nallowed = false\n'
    policy = parse_policy(text, where="policy.toml")

    assert [rule.allowed for rule in policy.rules_for(CARD)] == [True, False]
    assert [rule.allowed for rule in policy.rules_for("poyo/kling-3.0/pro")] == [True]
    assert parse_policy(render_policy(Policy(rules=policy.rules)).encode(), where="x").rules == policy.rules


async def test_its_card_is_read_under_its_address(workspace: Workspace) -> None:
    """With the slash as it is, and escaped, as a client writes it that expands the template."""
    async with connect(workspace, "legacy") as client:
        for model in ("kling-3.0/standard", "kling-3.0%2Fstandard"):
            [content] = (await client.read_resource(f"callsheet://models/poyo/{model}")).contents
            assert json.loads(content.text)["id"] == CARD


def test_the_sandbox_lists_it_at_the_path_that_is_asked(tmp_path: Path) -> None:
    """The program escapes the slash."""
    path = poyo.build_listing("kling-3.0/standard").path
    with sandbox_in_thread(tmp_path / "store", Clock()) as sandbox:
        assert sandbox.get(f"/poyo{path}", key=None).json["data"]["model_id"] == "kling-3.0/standard"
        assert sandbox.get("/poyo/v1/catalog/models/kling-3.0/none", key=None).status == 404


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("kling-3.0/standard", "kling-3.0/standard"),
        ("kling-3.0-turbo/pro", "kling-3.0-turbo/pro"),
        ("cdn.example.com/secret", "(a URL)"),
        ("cdn.example.com:8080/secret", "(a URL)"),
        ("127.0.0.1/secret", "(a URL)"),
        ("127.1/secret", "(a URL)"),
        ("a.1/b.com/secret", "(a URL)"),
        ("kling-3.0?key=secret", "(a URL)"),
    ],
)
def test_a_finding_shows_it_and_still_no_address(text: str, shown: str) -> None:
    """An address may be private."""
    assert format_value(text) == shown


def test_a_script_is_named_after_it_in_one_folder() -> None:
    """A slash would be another folder."""
    assert wrapper_name("kling-3.0/standard") == "submit_kling_3.0_standard.sh"
