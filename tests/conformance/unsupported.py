"""What the conformance suite expects and the program itself never does.

It sends no picture, sound or document in a tool's result, writes no log over the protocol, asks no model, changes no
list while it runs, and refuses nothing by an error of the protocol that an agent could be told of in words. Here
these things are done all the same, on the same server, through the same gates.
"""

from __future__ import annotations

import base64
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    ContentBlock,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)

from callsheet.surface.mcp.lifespan import ServerState

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAAAA=="
ASKS_MODEL = "test_missing_capability"


def add_unsupported(server: MCPServer[ServerState]) -> None:
    """Add everything to that server."""
    add_contents(server)
    add_log(server)
    add_model(server)
    add_streams(server)


def add_contents(server: MCPServer[ServerState]) -> None:
    """Tools and a resource that send more than text and links."""

    def send(name: str, *parts: ContentBlock) -> None:
        def tool() -> CallToolResult:
            return CallToolResult(content=list(parts))

        server.tool(name=name, description="Sends what its name says.")(tool)

    picture = ImageContent(data=DOT, mime_type="image/png")
    send("test_image_content", picture)
    send("test_audio_content", AudioContent(data=SILENCE, mime_type="audio/wav"))
    send("test_embedded_resource", document("test://embedded-resource", "text/plain", "This is an embedded resource."))
    mixed = document("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}')
    send("test_multiple_content_types", TextContent(text="Multiple content types test:"), picture, mixed)

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """A picture."""
        return base64.b64decode(DOT)

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        """A text that somebody subscribes to."""
        return "This is watched."


def document(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    """A document inside a message."""
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def add_log(server: MCPServer[ServerState]) -> None:
    """A log over the protocol: to all in the older one, in the newer one to those who want it for a call."""

    async def serve_level(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "logging/setLevel":
            return EmptyResult()
        result = await call_next(ctx)
        if ctx.method == "initialize" and isinstance(result, dict):
            result["capabilities"]["logging"] = {}
        return result

    server.middleware.append(serve_level)

    async def write(context: Context[Any, Any]) -> str:
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await context.session.send_log_message("info", words, related_request_id=context.request_id)
            await anyio.sleep(0.05)
        return "Three lines were written."

    server.tool(name="test_tool_with_logging", description="Writes three lines.")(write)
    server.tool(name="test_logging_tool", description="Writes three lines.")(write)


def add_model(server: MCPServer[ServerState]) -> None:
    """Tools that need the client's model."""

    @server.tool()
    async def test_sampling(prompt: str, context: Context[Any, Any]) -> str:
        """Asks the model while the call waits."""
        question = SamplingMessage(role="user", content=TextContent(text=prompt))
        answer = await context.session.create_message([question], max_tokens=100, related_request_id=context.request_id)
        return f"LLM response: {answer.content.text if isinstance(answer.content, TextContent) else answer.content}"

    @server.tool(name=ASKS_MODEL)
    def asks_model() -> str:
        """Would ask the model."""
        return "The model could be asked."

    async def require_model(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        able = ctx.session.client_capabilities
        named = ctx.method == "tools/call" and (ctx.params or {}).get("name") == ASKS_MODEL
        if named and (able is None or able.sampling is None):
            raise MCPError(
                code=MISSING_REQUIRED_CLIENT_CAPABILITY,
                message="The client's model is needed.",
                data={"requiredCapabilities": {"sampling": {}}},
            )
        return await call_next(ctx)

    server.middleware.append(require_model)


def add_streams(server: MCPServer[ServerState]) -> None:
    """Tools that say what the streams of the newer protocol carry."""

    @server.tool()
    async def test_streaming_elicitation(context: Context[Any, Any]) -> InputRequiredResult | str:
        """Reports progress, then ends with a question."""
        await context.report_progress(1, 2, "About to ask")
        if context.input_responses is not None:
            return "Answered."
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        form = ElicitRequestFormParams(message="Please give: name", requested_schema=schema)
        return InputRequiredResult(input_requests={"user_name": ElicitRequest(params=form)})

    @server.tool()
    async def test_trigger_tool_change(context: Context[Any, Any]) -> str:
        """Says that the list of tools has changed."""
        await context.notify_tools_changed()
        return "Listeners were told."

    @server.tool()
    async def test_trigger_prompt_change(context: Context[Any, Any]) -> str:
        """Says that the list of prompts has changed."""
        await context.notify_prompts_changed()
        return "Listeners were told."
