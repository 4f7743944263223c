"""What a model may write as arguments, and what it learns when it may not."""

from __future__ import annotations

import pytest
from connection import ERAS, SHOT, connect, explained, refused

from workspace import Workspace

CONSENT = (
    "confirm",
    "confirmed",
    "confirmation",
    "approve",
    "approved",
    "approval",
    "approval_token",
    "consent",
    "accept",
    "agree",
    "user_approved",
    "yes",
    "force",
    "live",
    "paid",
    "dry_run",
    "skip_approval",
    "auto_approve",
    "amount_usd",
    "answer",
    "context",
    "passphrase",
    "idempotency_key",
)


@pytest.mark.parametrize("era", ERAS)
async def test_no_argument_can_approve_a_submission(workspace: Workspace, era: str, subtests: pytest.Subtests) -> None:
    """Under any name, it is refused before the sheet is read."""
    workspace.go_live()
    async with connect(workspace, era) as client:
        sheet_id = await explained(client)
        for name in CONSENT:
            with subtests.test(name):
                text = await refused(client, "submit_video", {"sheet_id": sheet_id, name: True})
                assert text.startswith(f"Unknown argument '{name}'. Nothing was sent.")
                assert "No argument can approve a submission" in text
                assert workspace.gateway.requests == []


async def test_an_unknown_argument_is_refused_with_the_one_that_was_meant(workspace: Workspace) -> None:
    """Ignoring it would generate something other than the request."""
    async with connect(workspace, "legacy") as client:
        text = await refused(client, "explain_payload", {**SHOT, "aspect_ration": "9:16"})

    assert "Did you mean 'aspect_ratio'?" in text
    assert "explain_payload takes prompt," in text


async def test_a_key_is_no_argument_and_its_value_is_not_repeated(workspace: Workspace) -> None:
    """The answer names where a person types it instead."""
    async with connect(workspace, "legacy") as client:
        text = await refused(client, "explain_payload", {**SHOT, "api_key": "do-not-repeat-me"})

    assert "callsheet setup" in text
    assert "do-not-repeat-me" not in text


MISTAKES = [
    ({"prompt": 7}, "Argument 'prompt' must be text."),
    ({"prompt": ["secret-value"]}, "Argument 'prompt' must be text."),
    ({"prompt": "x" * 40_001}, "Argument 'prompt' has at most 40000 characters."),
    ({"duration_seconds": "secret-value"}, "Argument 'duration_seconds' must be a whole number."),
    ({"duration_seconds": 8.5}, "Argument 'duration_seconds' must be a whole number."),
    ({"duration_seconds": True}, "Argument 'duration_seconds' must be a number, not true or false."),
    ({"payload": "secret-value"}, "Argument 'payload' must be a JSON object, or a JSON string of one."),
    ({"payload": "[1]"}, "Argument 'payload' must be a JSON object, or a JSON string of one."),
    ({"payload": '{"a": NaN}'}, "Argument 'payload' must be a JSON object, or a JSON string of one."),
    ({"payload": {"prompt": "y" * 200_001}}, "Argument 'payload' has at most 200,000 characters."),
    ({"image_url": {"url": "secret-value"}}, "Argument 'image_url' must be text."),
    ({"model": "m" * 81}, "Argument 'model' has at most 80 characters."),
    ({"prompt": "a\0b"}, "Argument 'prompt' holds characters that JSON text cannot carry"),
    ({"payload": {"prompt": "a\0b"}}, "Argument 'payload' holds characters that JSON text cannot carry"),
]


async def test_a_mistake_is_named_by_field_and_rule_and_never_by_its_value(
    workspace: Workspace, subtests: pytest.Subtests
) -> None:
    """A value may be a key, so no answer repeats one."""
    async with connect(workspace, "legacy") as client:
        for arguments, told in MISTAKES:
            with subtests.test(told, arguments=f"{arguments}"[:60]):
                text = await refused(client, "explain_payload", arguments)
                assert text.startswith(told)
                assert "Nothing was sent; no money was spent." in text
                pieces = ("secret-value", "xxx", "yyy", "mmm", "pydantic", "input_value")
                assert not any(piece in text for piece in pieces)


async def test_half_of_a_surrogate_pair_is_refused(workspace: Workspace) -> None:
    """In-process clients can hand over what no JSON text could."""
    async with connect(workspace, "2026-07-28") as client:
        text = await refused(client, "explain_payload", {"prompt": "a \ud83d kite"})

    assert text.startswith("Argument 'prompt' holds characters that JSON text cannot carry")


async def test_all_mistakes_are_named_together(workspace: Workspace) -> None:
    """The model can correct all of them in one call."""
    async with connect(workspace, "legacy") as client:
        text = await refused(client, "explain_payload", {"prompt": 1, "duration_seconds": "x", "gateway": [1]})

    assert all(f"'{name}'" in text for name in ("prompt", "duration_seconds", "gateway"))


OF_OTHER_TOOLS: list[tuple[str, dict[str, object], str]] = [
    ("submit_video", {}, "Argument 'sheet_ids' is missing."),
    ("submit_video", {"sheet_ids": ["a"], "what": "b"}, "Argument 'price' is missing."),
    ("submit_video", {"sheet_ids": list("abcdefg"), "price": "a", "what": "b"}, "Argument 'sheet_ids' has at most 6"),
    ("get_task", {"task_ids": 7}, "Argument 'task_ids' must be a list."),
    ("get_task", {"wait_for": "some"}, "Argument 'wait_for' must be 'all' or 'any'."),
    ("view_clip", {"picture": "still"}, "Argument 'task_id' is missing."),
    ("cancel", {}, "Argument 'id' is missing."),
    ("get_task", {"task_id": "task_1", "wait_seconds": -1}, "Argument 'wait_seconds' must be at least 0."),
    ("list_tasks", {"limit": 51}, "Argument 'limit' must be at most 50."),
    ("list_tasks", {"only_open": "perhaps"}, "Argument 'only_open' must be true or false."),
    ("make_video", {}, "There is no tool 'make_video'. Nothing was sent."),
]


async def test_the_other_tools_check_their_arguments_the_same_way(
    workspace: Workspace, subtests: pytest.Subtests
) -> None:
    """One place judges the arguments of every tool."""
    async with connect(workspace, "legacy") as client:
        for tool, arguments, told in OF_OTHER_TOOLS:
            with subtests.test(told):
                assert (await refused(client, tool, arguments)).startswith(told)


async def test_numbers_may_come_as_text(workspace: Workspace) -> None:
    """Some clients send every argument as text."""
    async with connect(workspace, "legacy") as client:
        assert await explained(client, duration_seconds="4") == await explained(client)


@pytest.mark.parametrize("empty", ["", "  ", {}, None])
async def test_an_empty_value_of_an_optional_argument_is_not_given(workspace: Workspace, empty: object) -> None:
    """Some clients fill every argument of the schema."""
    names = ("duration_seconds", "aspect_ratio", "resolution", "image_url", "callback_url", "payload")
    async with connect(workspace, "legacy") as client:
        assert await explained(client, **dict.fromkeys(names, empty)) == await explained(client)
        for tool, name in (("list_tasks", "limit"), ("list_tasks", "only_open"), ("list_models", "gateway")):
            assert not (await client.call_tool(tool, {name: empty})).is_error
        assert not (await client.call_tool("get_task", {"task_ids": empty})).is_error


MEANT = {
    "duration": "duration_seconds",
    "seconds": "duration_seconds",
    "n_seconds": "duration_seconds",
    "image_urls": "image_url",
    "first_frame_url": "image_url",
    "ratio": "aspect_ratio",
    "size": "resolution",
    "quality": "resolution",
    "webhook": "callback_url",
    "model_id": "model",
    "text": "prompt",
}


async def test_a_gateways_word_for_an_argument_is_answered_with_the_argument(
    workspace: Workspace, subtests: pytest.Subtests
) -> None:
    """Models write the names that payloads have."""
    async with connect(workspace, "legacy") as client:
        for name, meant in MEANT.items():
            with subtests.test(name):
                text = await refused(client, "explain_payload", {"prompt": "x", name: "y"})
                assert f"Did you mean '{meant}'?" in text


async def test_gateway_and_model_are_read_without_case_and_spaces(workspace: Workspace) -> None:
    """They name the same sheet."""
    async with connect(workspace, "legacy") as client:
        sheet = await explained(client)
        assert await explained(client, gateway=" PoYo ", model="Sora 2 Official") == sheet
        assert await explained(client, gateway="", model="PoYo/SORA_2_OFFICIAL") == sheet
        text = await refused(client, "explain_payload", {**SHOT, "gateway": "poyoo"})
        assert "Did you mean poyo?" in text
        text = await refused(client, "explain_payload", {**SHOT, "model": "sora-2-oficial"})
        assert "Did you mean sora-2-official?" in text
        text = await refused(client, "explain_payload", {**SHOT, "model": "kling"})
        assert "the user decides" in text


async def test_a_payload_may_be_a_whole_curl_command(workspace: Workspace) -> None:
    """The address names the gateway."""
    body = '{"model": "sora-2-official", "input": {"prompt": "A kite.", "duration": 8, "aspect_ratio": "16:9"}}'
    command = f"curl -X POST https://api.apidot.ai/api/generate/submit -H 'Authorization: Bearer $KEY' -d '{body}'"
    async with connect(workspace, "legacy") as client:
        answer = (await client.call_tool("explain_payload", {"payload": command, "details": True})).structured_content
    assert (answer["status"], answer["gateway"], answer["duration_seconds"]) == ("ready", "apidot", 8)
