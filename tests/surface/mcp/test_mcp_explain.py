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
        result = await client.call_tool("explain_payload", {**SHOT, "details": True})

    answer, text = result.structured_content, text_of(result)
    assert answer["status"] == "ready"
    assert answer["body"] == {
        "model": "sora-2-official",
        "input": {"prompt": SHOT["prompt"], "duration": 4, "aspect_ratio": "16:9"},
    }
    assert (answer["price"], answer["price_text"]) == ("0.24 USD", "0.24 USD (48 credits)")
    assert answer["price_as_of"] == "2026-08-07"
    assert "https://" in answer["price_source"]
    assert answer["availability"].startswith("unverified: ")
    assert "$POYO_API_KEY" in answer["curl"]
    assert answer["kind"] == "text-to-video"
    for told in (answer["sheet_id"], answer["price"], answer["notice"], json.dumps(answer["body"]), answer["url"]):
        assert told in text
    assert answer["prompt_notes"]
    assert (answer["mode"], answer["rehearsal"]) == ("sandbox", True)
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
    assert "more can take it" in answer["rest"]
    assert "sheet_id" not in answer


@pytest.mark.parametrize("written", [PAYLOAD, json.dumps(PAYLOAD)])
async def test_a_raw_payload_may_be_an_object_or_a_json_string_of_one(workspace: Workspace, written: object) -> None:
    """Some clients turn objects into strings."""
    async with connect(workspace, "legacy") as client:
        result = await client.call_tool("explain_payload", {"payload": written})

    assert result.structured_content["status"] == "ready"
    assert "a payload for poyo/sora-2-official" in result.structured_content["summary"]


async def test_a_wrong_payload_is_returned_corrected_with_every_mistake_named(workspace: Workspace) -> None:
    """It gets no sheet."""
    wrong = {"model": "sora-2-official", "input": {"prompt": "A kite.", "duration": "10", "colour": "red"}}
    async with connect(workspace, "legacy") as client:
        result = await client.call_tool("explain_payload", {"payload": wrong, "details": True})

    answer = result.structured_content
    assert answer["status"] == "invalid"
    assert "sheet_id" not in answer
    errors = {item["field"] for item in answer["findings"] if item["severity"] == "error"}
    assert {"input.colour", "input.duration"} <= errors
    assert isinstance(answer["body"]["input"]["duration"], int)


WRITTEN = {"model": "sora-2-official", "input": {"prompt": "A kite.", "duration": 8, "aspect_ratio": "16:9"}}
INPUT = WRITTEN["input"]
MENDED: dict[str, tuple[dict[str, object], list[tuple[str, str]]]] = {
    "a number as text": ({**WRITTEN, "input": {**INPUT, "duration": "8"}}, [("input.duration", "8")]),
    "another length": ({**WRITTEN, "input": {**INPUT, "duration": 9}}, [("duration_seconds", "8")]),
    "another place": (
        {"model": "sora-2-official", **INPUT},
        [("prompt", "input.prompt"), ("duration", "input.duration")],
    ),
    "a word for a ratio": ({**WRITTEN, "input": {**INPUT, "aspect_ratio": "portrait"}}, [("aspect_ratio", "9:16")]),
}
OPEN = {
    "a field that is not known": {**WRITTEN, "input": {**INPUT, "colour": "red"}},
    "no prompt": {**WRITTEN, "input": {"duration": 8}},
    "an address that is not public": {**WRITTEN, "input": {**INPUT, "image_urls": ["http://10.0.0.1/a.png"]}},
    "a second picture": {**WRITTEN, "input": {**INPUT, "image_urls": ["https://a.test/1.png", "https://a.test/2.png"]}},
    "another model": {**WRITTEN, "model": "kling-3.0/pro"},
}


@pytest.mark.parametrize("kind", MENDED)
async def test_a_complete_correction_is_ready_with_what_was_changed(workspace: Workspace, kind: str) -> None:
    """Field, what it was, what it is now and why; the sheet is that of the corrected request."""
    payload, expected = MENDED[kind]
    async with connect(workspace, "legacy") as client:
        arguments = {"payload": payload, "gateway": "poyo", "model": "sora-2-official", "details": True}
        answer = (await client.call_tool("explain_payload", arguments)).structured_content

    assert answer["status"] == "ready", answer
    changed = {change["field"]: change for change in answer["changed"]}
    for field, now in expected:
        [found] = [change for name, change in changed.items() if name.endswith(field)]
        assert found["now"] == now
        assert found["why"]
    assert answer["sheet_id"]
    assert answer["body"]["input"]["duration"] == 8


@pytest.mark.parametrize("kind", OPEN)
async def test_what_a_person_must_decide_makes_no_sheet(workspace: Workspace, kind: str) -> None:
    """Nothing that was asked for is left out, and no other model is put in its place."""
    async with connect(workspace, "legacy") as client:
        arguments = {"payload": OPEN[kind], "gateway": "poyo", "model": "sora-2-official"}
        answer = (await client.call_tool("explain_payload", arguments)).structured_content

    assert answer["status"] == "invalid", answer
    assert "sheet_id" not in answer
    assert "changed" not in answer


async def test_where_no_model_can_the_nearest_is_named_with_its_price(workspace: Workspace) -> None:
    """And what was left open is named as chosen where one model was asked for."""
    async with connect(workspace, "legacy") as client:
        far = await client.call_tool("explain_payload", {"prompt": "A kite.", "duration_seconds": 75})
        near = await client.call_tool("explain_payload", {**SHOT, "duration_seconds": None})

    assert far.structured_content["nearest"]["terms"].startswith("30 s")
    assert far.structured_content["nearest"]["price"]
    assert {"duration_seconds 4 s", "aspect_ratio 16:9"} & set(near.structured_content["chosen"])


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
        result = await client.call_tool("explain_payload", {**SHOT, "prompt": prompt, "details": True})

    assert result.structured_content["body"]["input"]["prompt"] == prompt


async def test_a_shot_and_a_payload_together_or_neither_is_refused(workspace: Workspace) -> None:
    """Which of them is meant cannot be guessed."""
    async with connect(workspace, "legacy") as client:
        both = await refused(client, "explain_payload", {"prompt": "A kite.", "payload": PAYLOAD})
        neither = await refused(client, "explain_payload", {"gateway": "poyo"})

    assert "not both" in both
    assert "'prompt' is missing" in neither
    assert "Nothing was sent." in both


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
    assert (official["price"], official["terms"]) == ("0.48 USD", "8 s")
    assert "retired" in sora.structured_content["rest"]
    assert {row["gateway"] for row in one.structured_content["models"]} == {"apidot"}
    assert all("1080p" in row["terms"] and "no audio" not in row["terms"] for row in one.structured_content["models"])
    assert all("kling" in row["model"] for row in framed.structured_content["models"])
    assert "gateway poyo; model sora-2-official; price 0.48 USD; terms 8 s" in text_of(sora)


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
    assert result.structured_content["rehearsal"] is True
    assert "explain_payload" in text_of(result)
