"""explain_payload, list_models and list_tasks as a client sees them."""

from __future__ import annotations

import json

import pytest
from connection import ERAS, SHOT, connect, explained, refused, text_of

from workspace import Workspace

PAYLOAD = {"model": "sora-2-official", "input": {"prompt": "A red kite over dunes.", "duration": 4}}


@pytest.mark.parametrize("era", ERAS)
async def test_an_explanation_has_the_exact_payload_the_price_and_the_sheet_in_both_forms(
    workspace: Workspace, era: str
) -> None:
    """A client may hand on the structured part or the text alone, so each is enough."""
    async with connect(workspace, era) as client:
        result = await client.call_tool("explain_payload", SHOT)

    answer, text = result.structured_content, text_of(result)
    assert answer["status"] == "ready"
    assert answer["body"] == {
        "model": "sora-2-official",
        "input": {"prompt": SHOT["prompt"], "duration": 4, "aspect_ratio": "16:9"},
    }
    assert answer["price"] == "0.24 USD (48 credits)"
    assert answer["price_as_of"] == "2026-08-07"
    assert "https://" in answer["price_source"]
    assert answer["availability"].startswith("unverified: ")
    assert "$POYO_API_KEY" in answer["curl"]
    assert answer["kind"] == "text-to-video"
    for told in (answer["sheet_id"], answer["price"], answer["notice"], json.dumps(answer["body"]), answer["url"]):
        assert told in text
    assert text.startswith("Sandbox rehearsal: nothing reaches a real gateway and nothing is charged.")
    assert workspace.gateway.requests == []


async def test_the_same_shot_keeps_its_sheet(workspace: Workspace) -> None:
    """Explaining twice creates one sheet."""
    async with connect(workspace, "legacy") as client:
        assert await explained(client) == await explained(client)


async def test_without_a_model_the_options_come_cheapest_first_each_with_price_and_availability(
    workspace: Workspace,
) -> None:
    """At most eight of them, each at named terms, and a line on the others."""
    async with connect(workspace, "legacy") as client:
        result = await client.call_tool("explain_payload", {"prompt": SHOT["prompt"], "duration_seconds": 16})

    answer = result.structured_content
    assert answer["status"] == "choose"
    assert 0 < len(answer["options"]) <= 8
    assert all(option["price"] and option["availability"] for option in answer["options"])
    assert all(option["terms"].startswith("16 s") for option in answer["options"])
    assert "cannot" in answer["rest"]
    assert "sheet_id" not in answer


@pytest.mark.parametrize("written", [PAYLOAD, json.dumps(PAYLOAD)])
async def test_a_raw_payload_may_be_an_object_or_a_json_string_of_one(workspace: Workspace, written: object) -> None:
    """Some clients turn objects into strings."""
    async with connect(workspace, "legacy") as client:
        result = await client.call_tool("explain_payload", {"payload": written})

    assert result.structured_content["status"] == "ready"
    assert result.structured_content["what"].startswith("a payload for poyo/sora-2-official")


async def test_a_wrong_payload_is_returned_corrected_with_every_mistake_named(workspace: Workspace) -> None:
    """It gets no sheet."""
    wrong = {"model": "sora-2-official", "input": {"prompt": "A kite.", "duration": "10", "colour": "red"}}
    async with connect(workspace, "legacy") as client:
        result = await client.call_tool("explain_payload", {"payload": wrong})

    answer = result.structured_content
    assert answer["status"] == "invalid"
    assert "sheet_id" not in answer
    errors = {item["field"] for item in answer["findings"] if item["severity"] == "error"}
    assert {"input.colour", "input.duration"} <= errors
    assert isinstance(answer["body"]["input"]["duration"], int)


async def test_empty_text_and_null_count_as_not_given(workspace: Workspace) -> None:
    """Models fill in every field they see."""
    empty = {
        **dict.fromkeys(("image_url", "callback_url", "resolution", "aspect_ratio"), ""),
        "payload": None,
    }
    async with connect(workspace, "legacy") as client:
        assert await explained(client, **empty) == await explained(client)
        chosen = await client.call_tool(
            "explain_payload", {"prompt": SHOT["prompt"], "gateway": "", "model": "", "duration_seconds": None}
        )

    assert chosen.structured_content["status"] == "choose"


async def test_a_prompt_that_is_json_is_still_a_prompt(workspace: Workspace) -> None:
    """Text that looks like an object is used unchanged."""
    prompt = '["a kite", "a dune"]'
    async with connect(workspace, "legacy") as client:
        result = await client.call_tool("explain_payload", {**SHOT, "prompt": prompt})

    assert result.structured_content["body"]["input"]["prompt"] == prompt


async def test_a_shot_and_a_payload_together_or_neither_is_refused(workspace: Workspace) -> None:
    """Which of them is meant cannot be guessed."""
    async with connect(workspace, "legacy") as client:
        both = await refused(client, "explain_payload", {"prompt": "A kite.", "payload": PAYLOAD})
        neither = await refused(client, "explain_payload", {"gateway": "poyo"})

    assert "not both" in both
    assert "'prompt' is missing" in neither
    assert both.endswith("Nothing was sent.")


async def test_models_are_listed_with_the_price_of_what_was_asked(workspace: Workspace) -> None:
    """At most 6 KB, cheapest first at equal terms, and a line on those that are not listed."""
    async with connect(workspace, "legacy") as client:
        everything = await client.call_tool("list_models", {})
        sora = await client.call_tool("list_models", {"family": "sora-2", "duration_seconds": 8})
        one = await client.call_tool("list_models", {"gateway": "apidot", "resolution": "1080p", "audio": True})
        framed = await client.call_tool("list_models", {"family": "kling", "with_image": True, "aspect_ratio": "9:16"})

    assert len(json.dumps(everything.structured_content, ensure_ascii=False)) <= 6 * 1024
    assert "more can take it" in everything.structured_content["rest"]
    rows = {(row["gateway"], row["model"]): row for row in sora.structured_content["models"]}
    official = rows["poyo", "sora-2-official"]
    assert (official["price"], official["terms"]) == ("0.48 USD (96 credits)", "8 s")
    assert "retired" in sora.structured_content["rest"]
    assert {row["gateway"] for row in one.structured_content["models"]} == {"apidot"}
    assert all("1080p" in row["terms"] and "no audio" not in row["terms"] for row in one.structured_content["models"])
    assert all("kling" in row["model"] for row in framed.structured_content["models"])
    assert "poyo/sora-2-official: 0.48 USD (96 credits) for 8 s, unverified" in text_of(sora)


async def test_an_unknown_gateway_is_refused_with_those_that_exist(workspace: Workspace) -> None:
    """The error says what happened, what became of the money, and what to do."""
    async with connect(workspace, "legacy") as client:
        text = await refused(client, "list_models", {"gateway": "fal"})

    assert "poyo, apidot, apixo, evolink" in text
    assert "Nothing was sent; no money was spent." in text


async def test_without_tasks_the_list_says_how_to_begin(workspace: Workspace) -> None:
    """An empty list is an answer."""
    async with connect(workspace, "legacy") as client:
        result = await client.call_tool("list_tasks", {"only_open": True})

    assert result.structured_content["tasks"] == []
    assert "Sandbox rehearsal" in result.structured_content["notice"]
    assert "explain_payload" in text_of(result)
