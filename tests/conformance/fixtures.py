"""What the conformance suite expects of any server: tools, prompts and resources with agreed names.

Here are those that do what the program's own do as well; `unlike` has the others.
"""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel, Field

from callsheet.surface.mcp.lifespan import ServerState
from conformance.unsupported import DOT, add_unsupported

QUESTIONS = {"user_name": "name", "confirm": "ok", "step1": "name", "step2": "color", "user_context": "context"}


class Choices(BaseModel):
    """Every kind of choice that a form may hold, in the older and the newer spelling."""

    untitledSingle: str = Field(json_schema_extra={"enum": ["one", "two", "three"]})  # noqa: N815
    titledSingle: str = Field(  # noqa: N815
        json_schema_extra={"oneOf": [{"const": "a", "title": "First"}, {"const": "b", "title": "Second"}]}
    )
    untitledMulti: list[str] = Field(  # noqa: N815
        json_schema_extra={"items": {"type": "string", "enum": ["one", "two", "three"]}}
    )
    titledMulti: list[str] = Field(  # noqa: N815
        json_schema_extra={"items": {"anyOf": [{"const": "a", "title": "First"}, {"const": "b", "title": "Second"}]}}
    )
    legacyEnum: str = Field(  # noqa: N815
        json_schema_extra={"enum": ["a", "b"], "enumNames": ["First", "Second"]}
    )


class Defaults(BaseModel):
    """A default for each primitive type."""

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = True


class Person(BaseModel):
    """The plain form."""

    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


def add_fixtures(server: MCPServer[ServerState]) -> None:
    """Add everything to that server."""
    add_plain_tools(server)
    add_forms(server)
    add_questions(server)
    add_prompts_and_resources(server)
    add_unsupported(server)


def add_plain_tools(server: MCPServer[ServerState]) -> None:
    """Text, failure, progress."""

    @server.tool()
    def test_simple_text() -> str:
        """A text."""
        return "This is a simple text response for testing."

    @server.tool()
    def test_error_handling() -> str:
        """A failure that the caller is told of."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool()
    async def test_tool_with_progress(context: Context[Any, Any]) -> str:
        """Three steps."""
        for step in (0, 50, 100):
            await context.report_progress(step, 100, f"Completed step {step} of 100")
            await anyio.sleep(0.02)
        return "done"


def add_forms(server: MCPServer[ServerState]) -> None:
    """Questions in the manner of the older protocol, while the call waits."""

    @server.tool()
    async def test_elicitation(message: str, context: Context[Any, Any]) -> str:
        """Asks for a name and an address."""
        return f"User response: {await context.elicit(message, Person)!r}"

    @server.tool()
    async def test_elicitation_sep1034_defaults(context: Context[Any, Any]) -> str:
        """Asks with defaults."""
        return f"Elicitation completed: {await context.elicit('Please review', Defaults)!r}"

    @server.tool()
    async def test_elicitation_sep1330_enums(context: Context[Any, Any]) -> str:
        """Asks with choices."""
        return f"Elicitation completed: {await context.elicit('Please choose', Choices)!r}"


def ask_person(key: str) -> ElicitRequest:
    """A form with one field."""
    kind = "boolean" if key == "confirm" else "string"
    name = QUESTIONS[key]
    schema: dict[str, Any] = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=f"Please give: {name}", requested_schema=schema))


def ask_model() -> CreateMessageRequest:
    """A question to the client's model, which the program itself never asks."""
    message = SamplingMessage(role="user", content=TextContent(text="What is the capital of France?"))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def add_questions(server: MCPServer[ServerState]) -> None:
    """Questions in the manner of the newer protocol: the call ends, and is made again with the answers."""

    def ask(name: str, requests: dict[str, Any], state: str | None = None) -> None:
        async def tool(context: Context[Any, Any]) -> InputRequiredResult | str:
            if not set(requests) <= set(context.input_responses or {}):
                return InputRequiredResult(input_requests=requests, request_state=state)
            return f"state-ok: {sorted(requests)}"

        server.tool(name=f"test_input_required_result_{name}", description="Asks, then ends.")(tool)

    ask("elicitation", {"user_name": ask_person("user_name")})
    ask("sampling", {"capital_question": ask_model()})
    ask("list_roots", {"client_roots": ListRootsRequest()})
    ask("request_state", {"confirm": ask_person("confirm")}, "one")
    ask("tampered_state", {"confirm": ask_person("confirm")}, "one")
    every = {"user_name": ask_person("user_name"), "greeting": ask_model(), "client_roots": ListRootsRequest()}
    ask("multiple_inputs", every, "one")

    @server.tool()
    async def test_input_required_result_multi_round(context: Context[Any, Any]) -> InputRequiredResult | str:
        """Asks twice."""
        if context.input_responses is None:
            return InputRequiredResult(input_requests={"step1": ask_person("step1")}, request_state="one")
        if context.request_state == "one":
            return InputRequiredResult(input_requests={"step2": ask_person("step2")}, request_state="two")
        return "Both steps are answered."

    @server.tool()
    async def test_input_required_result_capabilities(context: Context[Any, Any]) -> InputRequiredResult | str:
        """Asks only what the client said that it can answer."""
        able = context.client_capabilities
        requests: dict[str, Any] = {}
        if able is not None and able.elicitation is not None:
            requests["user_name"] = ask_person("user_name")
        if able is not None and able.sampling is not None:
            requests["capital_question"] = ask_model()
        return InputRequiredResult(input_requests=requests) if requests else "Nothing can be asked."


def add_prompts_and_resources(server: MCPServer[ServerState]) -> None:
    """One of each kind."""

    @server.prompt()
    def test_simple_prompt() -> list[UserMessage]:
        """A text."""
        return [UserMessage(TextContent(text="This is a simple prompt for testing."))]

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
        """A text with two arguments."""
        return [UserMessage(TextContent(text=f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803
        """A resource in a message."""
        resource = TextResourceContents(uri=resourceUri, mime_type="text/plain", text="Embedded for testing.")
        return [UserMessage(EmbeddedResource(resource=resource)), UserMessage(TextContent(text="See above."))]

    @server.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """An image in a message."""
        return [UserMessage(ImageContent(data=DOT, mime_type="image/png")), UserMessage(TextContent(text="See above."))]

    @server.prompt()
    async def test_input_required_result_prompt(context: Context[Any, Any]) -> InputRequiredResult | list[UserMessage]:
        """Asks, then ends."""
        if context.input_responses is None:
            return InputRequiredResult(input_requests={"user_context": ask_person("user_context")})
        return [UserMessage(TextContent(text="With that context."))]

    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002
        """A text with the id in it."""
        return f'{{"id": "{id}", "templateTest": true}}'
