"""The suite's fixtures fit the server as it is now; the suite itself is run by `make check-skills`."""

from __future__ import annotations

from typing import Literal

import pytest
from mcp import Client
from mcp.types import TextContent

from callsheet.surface.mcp.stdio import build_server
from conformance.fixtures import add_fixtures
from workspace import Workspace


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_the_fixtures_stand_beside_the_servers_own_tools(
    workspace: Workspace, mode: Literal["2026-07-28", "legacy"]
) -> None:
    """In both eras; a fixture passes the same gates as a tool."""
    server = build_server(workspace.service())
    own = {tool.name for tool in await server.list_tools()}
    add_fixtures(server)
    async with Client(server, mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("test_simple_text", {})
        mixed = await client.call_tool("test_multiple_content_types", {})

    assert own < names
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text == "This is a simple text response for testing."
    assert [block.type for block in mixed.content] == ["text", "image", "resource"]


async def test_the_program_itself_writes_no_log_over_the_protocol_and_asks_no_model(workspace: Workspace) -> None:
    """What the suite needs beyond the program's own is added by the fixtures, to one server object alone."""
    async with Client(build_server(workspace.service()), mode="legacy") as client:
        plain = client.server_capabilities
    server = build_server(workspace.service())
    add_fixtures(server)
    async with Client(server, mode="legacy") as client:
        added = client.server_capabilities

    assert plain.logging is None
    assert added.logging is not None
