"""What the tests of the MCP surface share: a client in each era, its person, and the texts of a result."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp import Client
from mcp.client.extension import ClientExtension
from mcp.client.session import IncomingMessage, MessageHandlerFnT
from mcp.server.mcpserver import MCPServer
from mcp.types import (
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    EmptyResult,
    ErrorData,
    ResourceUpdatedNotification,
    SubscribeRequest,
    SubscribeRequestParams,
    TextContent,
)

from callsheet.service import Service
from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.stdio import build_server
from workspace import Workspace

ERAS = ("legacy", "2026-07-28")

SHOT = {
    "prompt": "A red kite over dunes at dusk, slow pan, warm light.",
    "duration_seconds": 4,
    "gateway": "poyo",
    "model": "sora-2-official",
}


@dataclass
class Person:
    """A person at the client: gives every question the same answer and records what was asked."""

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
    workspace: Workspace,
    era: str,
    person: Person | None = None,
    *,
    service: Service | None = None,
    server: MCPServer[ServerState] | None = None,
    on_message: MessageHandlerFnT | None = None,
    extensions: Sequence[ClientExtension] = (),
) -> AsyncIterator[Client]:
    """A client of a fresh server on that install, or of that one. Without a person it declares no elicitation."""
    callback: Callable[..., Awaitable[Any]] | None = person
    server = server or build_server(service or workspace.service())
    handlers = {"elicitation_callback": callback, "message_handler": on_message}
    async with Client(server, mode=era, extensions=list(extensions), **handlers) as client:
        yield client


def let_time_pass(workspace: Workspace, service: Service, seconds: float) -> None:
    """Move the clock, and wake who waits for it."""
    workspace.clock.time += seconds
    service.deps.changes.notify()


def text_of(result: CallToolResult) -> str:
    """The text that the model reads."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def whole(result: CallToolResult) -> str:
    """Everything that was sent with a result, as JSON."""
    return json.dumps(result.model_dump(mode="json", by_alias=True), ensure_ascii=False)


async def refused(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """What a call that must be refused says: where a submission is, the summary, the money, the next step."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, whole(result)
    answer = result.structured_content
    assert answer["code"]
    assert text_of(result).startswith(answer["summary"])
    state = f"{answer['status']}: " if "status" in answer else ""
    return f"{state}{answer['summary']} {answer['money']} {answer['next_step']}"


async def explained(client: Client, *, status: str = "ready", **changes: Any) -> str:
    """Explain the usual shot and return its sheet id."""
    result = await client.call_tool("explain_payload", {**SHOT, **changes})
    assert not result.is_error, text_of(result)
    assert result.structured_content["status"] == status, result.structured_content
    return str(result.structured_content["sheet_id"])


@dataclass
class UpdateLog:
    """The updates that one client received, in order."""

    received: list[str] = field(default_factory=list)
    _news: anyio.Event = field(default_factory=anyio.Event)

    def record(self, uri: str) -> None:
        """Note one change."""
        self.received.append(uri)
        self._news.set()

    async def on_message(self, message: IncomingMessage) -> None:
        """Note the change that a message of the older protocol tells; those of a stream come from the stream."""
        if isinstance(message, ResourceUpdatedNotification) and not (message.params.meta or {}):
            self.record(message.params.uri)

    async def until(self, uri: str) -> None:
        """Return when that was received."""
        with anyio.fail_after(20):
            while uri not in self.received:
                self._news = anyio.Event()
                await self._news.wait()


async def subscribe(client: Client, uri: str) -> None:
    """As a client of the older protocol does."""
    await client.session.send_request(SubscribeRequest(params=SubscribeRequestParams(uri=uri)), EmptyResult)


@asynccontextmanager
async def listening(client: Client, updates: UpdateLog, *uris: str) -> AsyncIterator[None]:
    """Subscribe to these while the block runs, as the client's protocol does."""
    if client.protocol_version != ERAS[1]:
        for uri in uris:
            await subscribe(client, uri)
        yield
        return
    async with client.listen(resource_subscriptions=uris) as stream, anyio.create_task_group() as group:

        async def pass_on() -> None:
            async for event in stream:
                updates.record(event.uri)

        group.start_soon(pass_on)
        yield
        group.cancel_scope.cancel()


async def receive_until_saved(client: Client, updates: UpdateLog, uri: str) -> None:
    """Read that task again after each update, until its clip is saved."""
    async with listening(client, updates, uri):
        while True:
            updates.received.clear()
            told = await client.read_resource(uri)
            if '"status": "saved"' in told.contents[0].text:
                return
            await updates.until(uri)
