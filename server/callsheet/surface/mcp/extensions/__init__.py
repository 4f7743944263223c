"""The extensions of MCP that the server offers: tasks, a view, skills."""

from __future__ import annotations

from mcp.server.extension import Extension

from callsheet.surface.mcp.lifespan import ServerState

from .skills import Skills
from .tasks import Tasks
from .view import Views


def build_extensions(state: ServerState) -> list[Extension]:
    """All of them, for one server."""
    return [Tasks(state), Views(), Skills()]
