"""A view (`io.modelcontextprotocol/ui`, MCP Apps): one HTML file that a host shows beside an answer.

It shows the answer's own fields, follows its tasks with `get_task`, and reads the pictures of a saved clip. It holds
no data and no key and loads nothing. It approves nothing: its only button opens the desk. The answer is complete
without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcp.server.extension import Extension
from mcp.server.mcpserver import MCPServer

from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.rendering import as_resource

EXTENSION = "io.modelcontextprotocol/ui"
VIEW = "ui://callsheet/view.html"
HTML = "text/html;profile=mcp-app"
META: dict[str, Any] = {"ui": {"resourceUri": VIEW}}
"""What a tool says of the view that shows its answers."""


class Views(Extension):
    """Says that there is a view. The tools name it, and `register` adds it."""

    identifier = EXTENSION


def register(mcp: MCPServer[ServerState]) -> None:
    """Add the view as a resource. The file is read when a host asks for it."""

    @mcp.resource(
        VIEW,
        name="view",
        title="Call sheet and video",
        description="A view of a call sheet, its price, its task and its pictures, for hosts that show MCP Apps.",
        mime_type=HTML,
        meta={"ui": {"prefersBorder": True}},
    )
    @as_resource
    async def view() -> str:
        return Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
