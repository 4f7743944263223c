"""The suite's fixtures fit the server as it is now; the suite itself is run by `make check-skills`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from mcp import Client
from mcp.types import TextContent

from callsheet.surface.mcp.serving import build_server
from conformance.fixtures import add_fixtures
from studio import Studio

HERE = Path(__file__).parent


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_the_fixtures_stand_beside_the_servers_own_tools(
    studio: Studio, mode: Literal["2026-07-28", "legacy"]
) -> None:
    """In both eras; a fixture passes the same gates as a tool."""
    server = build_server(studio.service())
    own = {tool.name for tool in await server.list_tools()}
    add_fixtures(server)
    async with Client(server, mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("test_simple_text", {})

    assert own < names
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text == "This is a simple text response for testing."


@pytest.mark.parametrize("path", sorted(HERE.glob("*.yml")), ids=lambda path: path.stem)
def test_every_expected_failure_has_a_reason(path: Path) -> None:
    """A comment above it, or above the group that it stands in."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines.index("server:") + 1

    assert lines[first].startswith("  # ")
    assert all(re.fullmatch(r"  (# \S.*|- [a-z0-9-]+)", line) for line in lines[first:])
