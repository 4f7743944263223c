"""What a client reads before anything happens: tools, schemas, instructions."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from connection import ERAS, connect

from callsheet.core.tasks import MOST_TOGETHER
from callsheet.surface.mcp.arguments import NO_ARGUMENT_APPROVES
from callsheet.surface.mcp.tools import MOST_SHEETS
from workspace import Workspace

SNAPSHOTS = Path(__file__).parent / "snapshots"
TOOLS = ["explain_payload", "submit_video", "get_task", "view_clip", "cancel", "list_tasks", "list_models"]
SEND_NOTHING = [name for name in TOOLS if name not in ("submit_video", "cancel")]
MOST_BYTES = 8_192
MOST_INPUT_BYTES = 4_096


def compact(value: object) -> str:
    """JSON without a needless byte."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("era", ERAS)
async def test_the_tools_and_their_schemas_take_at_most_eight_kilobytes(workspace: Workspace, era: str) -> None:
    """Every client carries names, descriptions and inputs in its model's context from the start: half of it at most."""
    async with connect(workspace, era) as client:
        listed = await client.list_tools()

    assert [tool.name for tool in listed.tools] == TOOLS
    whole = listed.model_dump(mode="json", by_alias=True, exclude_none=True)
    carried = [{name: tool[name] for name in ("name", "description", "inputSchema")} for tool in whole["tools"]]
    assert all(tool["title"] for tool in whole["tools"])
    assert len(compact(whole).encode()) <= MOST_BYTES
    assert len(compact(carried).encode()) <= MOST_INPUT_BYTES
    assert workspace.home.exists() is False


async def test_the_instructions_are_short_and_hold_the_rules_about_money(workspace: Workspace) -> None:
    """Clients cut long ones; the workflow and the rules must survive."""
    async with connect(workspace, "legacy") as client:
        instructions = client.instructions or ""

    assert len(instructions) <= 1200
    for needed in ("explain_payload", "submit_video", "get_task", "passphrase", "spent once", "outcome_unknown"):
        assert needed in instructions


async def test_what_a_client_lists_names_no_command(workspace: Workspace) -> None:
    """A command has a path that depends on the install; an answer names it where only a person can go on."""
    async with connect(workspace, "legacy") as client:
        listed = [
            client.instructions or "",
            (await client.list_tools()).model_dump_json(),
            (await client.list_prompts()).model_dump_json(),
            (await client.list_resources()).model_dump_json(),
            (await client.list_resource_templates()).model_dump_json(),
            NO_ARGUMENT_APPROVES,
        ]

    assert [found[0] for text in listed for found in re.finditer(r"callsheet [a-z]+", text)] == []


@pytest.mark.parametrize("name", TOOLS)
async def test_a_tool_is_listed_as_its_snapshot_has_it(workspace: Workspace, name: str) -> None:
    """A changed schema is a changed contract: run with UPDATE_SNAPSHOTS=1 to accept it."""
    async with connect(workspace, "legacy") as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    found = listed[name].model_dump(mode="json", by_alias=True, exclude_none=True)
    path = SNAPSHOTS / f"{name}.json"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    assert found == json.loads(path.read_text(encoding="utf-8"))


def test_there_is_a_snapshot_for_each_tool_and_no_other() -> None:
    """A removed tool has no snapshot."""
    assert sorted(path.stem for path in SNAPSHOTS.glob("*.json")) == sorted(TOOLS)


async def test_only_tools_that_send_nothing_are_annotated_read_only(workspace: Workspace) -> None:
    """Some clients run read-only tools without asking, so only what sends nothing may call itself that."""
    async with connect(workspace, "legacy") as client:
        hints = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}

    assert hints["submit_video"].model_dump(exclude_none=True) == {
        "read_only_hint": False,
        "destructive_hint": True,
        "idempotent_hint": True,
        "open_world_hint": True,
    }
    assert [name for name in TOOLS if hints[name].read_only_hint] == SEND_NOTHING
    assert hints["cancel"].destructive_hint is False
    assert [name for name in TOOLS if hints[name].open_world_hint is not False] == ["submit_video", "get_task"]


async def test_no_schema_says_anything_that_a_client_may_not_understand(workspace: Workspace) -> None:
    """Some clients know neither unions nor references nor lists of types."""
    async with connect(workspace, "legacy") as client:
        tools = (await client.list_tools()).tools

    for tool in tools:
        text = compact([tool.input_schema, tool.output_schema or {}])
        assert not any(word in text for word in ('"anyOf"', '"$ref"', '"$defs"', '"title"', '"null"', '"type":['))
        assert tool.input_schema["additionalProperties"] is False
        # Clients drop a picture beside structured content.
        assert (tool.output_schema or {"type": None})["type"] == (None if tool.name == "view_clip" else "object")
        assert tool.description


def test_the_listed_limit_of_sheets_is_that_of_the_rule() -> None:
    """It is written twice, because the rule's module is not loaded before the first answer."""
    assert MOST_SHEETS == MOST_TOGETHER
