"""What the suite's scenarios about tasks expect to find: tools whose work goes on after the call.

Each of their calls becomes a real one: a fresh shot is explained and `submit_video` is called with its sheet, so that
the suite sees the program's own tasks. A long one waits for the gateway, because only what was not sent can be
cancelled; a failing one is refused by the gateway's filter.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer

from callsheet.core.shot import Shot
from callsheet.service import Draft, Service
from callsheet.surface.mcp.lifespan import ServerState

LONG_SECONDS = 60
FAILS, WAITS = "[[sandbox:content-violation]]", "[[sandbox:rate-limited=99]]"


def add_rehearsals(server: MCPServer[ServerState], service: Service) -> None:
    """Add the tools to that server, which has that service."""

    @server.tool()
    def greet(name: str) -> str:
        """Answers immediately."""
        return f"Hello, {name}!"

    @server.tool()
    def slow_compute(seconds: float, label: str = "") -> str:
        """Becomes a rehearsed clip."""
        return f"{seconds} {label}"

    @server.tool()
    def failing_job() -> str:
        """Becomes a rehearsed clip that fails."""
        return ""

    numbers = count()

    async def submit_instead(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        params = dict(ctx.params or {})
        if ctx.method != "tools/call" or params.get("name") not in ("slow_compute", "failing_job"):
            return await call_next(ctx)
        asked = params.get("arguments", {})
        is_long = asked.get("seconds", 0) >= LONG_SECONDS
        tag = FAILS if params["name"] == "failing_job" else WAITS if is_long else ""
        shot = Shot.of(f"Rehearsal {next(numbers)}. {asked.get('label', '')} {tag}", duration_seconds=4)
        sheet = service.explain(Draft(shot, gateway="poyo", model="sora-2-official")).sheet
        assert sheet is not None
        quote = service.quote([sheet.id])
        arguments = {"sheet_ids": [sheet.id], "price": quote.price, "what": quote.what}
        return await call_next(replace(ctx, params={**params, "name": "submit_video", "arguments": arguments}))

    server.middleware.append(submit_instead)
