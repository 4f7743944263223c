"""How much an agent reads: each answer on the demo's shot, the same in both forms, and the picture of a clip."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from connection import connect, refused, text_of, types_in
from mcp.types import CallToolResult
from PIL import Image

from answers import DEMO, Agent, compact, measure, sandbox_client, show_me
from workspace import Workspace, accepted, make_workspace

MOST = {"ready": 1_000, "choose": 1_600, "submit": 500, "get_task": 600, "20 tasks": 4_096}
MOST_READ, MOST_CALLS = 3_072, 4
MOST_PICTURE = 102_400


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A directory whose name is as short as a person's: the path of the clip is a part of the answer."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def leaves(value: object) -> list[str]:
    """Every value of an answer, as its text shows it."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]


def check(result: CallToolResult, most: int) -> dict[str, Any]:
    """The answer, whose JSON has at most so many bytes and whose text says the same, with the summary first."""
    answer = result.structured_content
    assert not result.is_error
    assert len(compact(answer).encode()) <= most, answer
    assert len(text_of(result).encode()) <= most
    assert next(iter(answer)) == "summary"
    assert {"mode", "money", "next_step"} <= answer.keys()
    assert all(leaf in text_of(result) for leaf in leaves(answer))
    return answer


@pytest.mark.network
async def test_each_answer_on_the_demos_shot_is_short_and_the_same_in_both_forms(short_home: Path) -> None:
    """And the picture of the clip is one block beside one line, without an output schema or structured content."""
    async with sandbox_client(make_workspace(short_home)) as client:
        check(await client.call_tool("explain_payload", {"prompt": DEMO["prompt"]}), MOST["choose"])
        ready = check(await client.call_tool("explain_payload", DEMO), MOST["ready"])
        arguments = {"sheet_ids": [ready["sheet_id"]], "price": ready["price"], "what": ready["what"]}
        task_id = check(await client.call_tool("submit_video", arguments), MOST["submit"])["task_id"]
        asked = {"task_ids": [task_id], "wait_seconds": 45}
        saved = check(await client.call_tool("get_task", asked), MOST["get_task"])
        seen = [
            await client.call_tool("view_clip", {"task_id": task_id, "picture": picture})
            for picture in ("contact_sheet", "still")
        ]
        linked = [block for block in (await client.call_tool("get_task", asked)).content if block.type != "text"]
        for link in linked:
            assert (await client.read_resource(link.uri)).contents[0].blob

    assert saved["status"] == "saved"
    assert "drawn placeholder" in saved["summary"]
    assert "view_clip" in saved["next_step"]
    assert [block.type for block in linked] == ["resource_link"]
    for result in seen:
        assert result.structured_content is None
        assert [block.type for block in result.content] == ["image", "text"]
        picture, text = result.content
        assert len(picture.data) <= MOST_PICTURE
        assert Image.open(BytesIO(base64.b64decode(picture.data))).width > 200
        assert "\n" not in text.text
        assert DEMO["prompt"] in text.text


@pytest.mark.network
async def test_twenty_tasks_take_four_kilobytes(workspace: Workspace) -> None:
    """Each row names prompt and model, and says that it is a rehearsal."""
    workspace.gateway.replies = [accepted(f"task-{number}") for number in range(20)]
    async with connect(workspace, "legacy") as client:
        agent = Agent(client)
        for number in range(20):
            answer = await agent.call("explain_payload", **{**DEMO, "prompt": f"{DEMO['prompt']} {number}"})
            service = workspace.service()
            await service.submit(answer["sheet_id"], wait_seconds=0)
        listed = check(await client.call_tool("list_tasks", {}), MOST["20 tasks"])

    assert len(listed["tasks"]) == 20
    assert all(row["prompt"] and row["model"] and row["rehearsal"] for row in listed["tasks"])
    assert max(len(row["prompt"]) for row in listed["tasks"]) <= 60


async def test_a_clip_that_is_not_saved_cannot_be_seen(workspace: Workspace) -> None:
    """The answer says what to do instead."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    async with connect(workspace, "legacy", types_in("0.24")) as client:
        agent = Agent(client)
        task_id = (await agent.submit(await agent.call("explain_payload", **DEMO)))["task_id"]
        text = await refused(client, "view_clip", {"task_id": task_id})

    assert "no saved clip" in text
    assert f'get_task with task_ids=["{task_id}"]' in text


@pytest.mark.network
async def test_a_rehearsed_clip_takes_three_kilobytes_and_four_calls(short_home: Path) -> None:
    """From the wish to the saved clip: to choose, to explain, to submit, to wait."""
    found = await measure(short_home)

    first = found["cheap_and_vertical"]
    assert (first.read <= MOST_READ, first.calls <= MOST_CALLS) == (True, True), first
    assert found[show_me.__name__].pictures <= MOST_PICTURE
