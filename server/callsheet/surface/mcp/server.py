"""Builds the MCP server: the SDK's `MCPServer` with the tools, resources and prompts, behind the egress middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.mcpserver import MCPServer

from callsheet import __version__

from . import completions, prompts, resources, subscriptions
from .egress import EgressMiddleware
from .instructions import INSTRUCTIONS
from .lifespan import ServerState
from .tools import build_tools


def build_mcp_server(state: ServerState) -> MCPServer[ServerState]:
    """The server for both protocol eras. Creates no service and reads no file."""
    subscribers = subscriptions.Subscriptions(state)

    @asynccontextmanager
    async def lifespan(_: MCPServer[ServerState]) -> AsyncIterator[ServerState]:
        async with state.open(), subscribers.watching():
            yield state

    mcp: MCPServer[ServerState] = MCPServer(
        "callsheet",
        title="Callsheet",
        instructions=INSTRUCTIONS,
        version=__version__,
        tools=build_tools(),
        log_level="WARNING",
        lifespan=lifespan,
        subscriptions=subscribers.bus,
    )
    resources.register(mcp, state)
    prompts.register(mcp)
    completions.register(mcp, state)
    subscriptions.register(mcp, subscribers)
    state.close_streams = subscribers.close
    # Outermost, so that it also sees the errors of the SDK's own middleware.
    mcp.middleware.insert(0, EgressMiddleware(mcp, state))
    return mcp
