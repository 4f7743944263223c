"""What the tests of the MCP surface share: a client in each era, its person, and the texts of a result."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mcp import Client
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult, ErrorData, TextContent

from callsheet.service import Service
from callsheet.surface.mcp import build_server
from studio import Studio

ERAS = ("legacy", "2026-07-28")

SHOT = {
    "prompt": "A red kite over dunes at dusk, slow pan, warm light.",
    "duration_seconds": 4,
    "gateway": "poyo",
    "model": "sora-2-official",
}


@dataclass
class Person:
    """Somebody at the client: answers every question alike and remembers what was asked."""

    answer: ElicitResult | ErrorData
    asked: list[ElicitRequestParams] = field(default_factory=list)
    before_answering: Callable[[], Any] | None = None

    async def __call__(self, _: object, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        self.asked.append(params)
        if self.before_answering is not None:
            self.before_answering()
        return self.answer


def types_in(amount: object) -> Person:
    """A person who fills the form in with this."""
    return Person(ElicitResult(action="accept", content={"amount_usd": amount}))


@asynccontextmanager
async def connect(
    studio: Studio, era: str, person: Person | None = None, *, service: Service | None = None
) -> AsyncIterator[Client]:
    """A client of a fresh server on that install. Without a person it declares no elicitation."""
    callback: Callable[..., Awaitable[Any]] | None = person
    server = build_server(service or studio.service())
    async with Client(server, mode=era, elicitation_callback=callback) as client:
        yield client


def let_time_pass(studio: Studio, service: Service, seconds: float) -> None:
    """Move the clock, and wake who waits for it."""
    studio.clock.time += seconds
    service.world.changes.notify()


def text_of(result: CallToolResult) -> str:
    """The text that the model reads."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def whole(result: CallToolResult) -> str:
    """Everything that left with a result, as JSON."""
    return json.dumps(result.model_dump(mode="json", by_alias=True), ensure_ascii=False)


async def refused(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """The text of a call that must be refused."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, whole(result)
    assert result.structured_content is None
    return text_of(result)


async def explained(client: Client, **changes: Any) -> str:
    """Explain the usual shot and return its sheet id."""
    result = await client.call_tool("explain_payload", {**SHOT, **changes})
    assert not result.is_error, text_of(result)
    assert result.structured_content["status"] == "ready", result.structured_content
    return str(result.structured_content["sheet_id"])
