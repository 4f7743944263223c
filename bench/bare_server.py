"""The smallest server that the SDK can make: one tool, one line. What ours is measured against."""

from __future__ import annotations

from mcp.server import MCPServer

server = MCPServer("bare")


@server.tool()
async def ping() -> str:
    """Answer."""
    return "pong"


if __name__ == "__main__":
    server.run()
