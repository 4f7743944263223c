"""The server object: the SDK's, with one gate for what comes in and one for what goes out.

Incoming arguments are judged by `arguments`, in our words. Outgoing text and values, of results, resources,
prompts and errors, pass the redactor here. An error of ours is told as it is; of anything else the caller
learns an id, and the log on stderr the same id and the type.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar

from anyio import to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    ContentBlock,
    GetPromptResult,
    InputRequiredResult,
    RequestParams,
    TextContent,
)
from mcp.types import Resource as ListedResource
from pydantic import ValidationError
from pydantic.networks import AnyUrl

from callsheet import __version__
from callsheet.errors import CallsheetError, UnknownThing
from callsheet.surface.next_steps import error_for_agent, for_agent

from .arguments import NOTHING_SENT, Refusal, check_arguments
from .egress import fit_binary, fit_block, fit_result
from .elicitation import DESK, LONGEST_QUESTION_SECONDS, LeadToDesk, not_approved, patience
from .instructions import INSTRUCTIONS
from .lifespan import Backstage
from .stdio import open_stdin
from .subscriptions import Subscriptions
from .tools import build_tools

SPENT_ONCE = (
    "Look with list_tasks whether a task was made; calling submit_video again with the same sheet_id is safe,"
    " because a sheet is spent once."
)
STALE = (
    "Invalid or expired requestState. The answer does not belong to this question: it is too old, was given for another"
    " call, or the server was started again since."
)
UNUSABLE = "Invalid request parameters. Not even a form is what the client sent as the answer."
ASK_ANEW = "Not approved; this call sent nothing and spent no money. Call submit_video again: it asks anew."
CARRIES_TEXT = frozenset({"tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"})
"""The methods whose errors may repeat what was sent; the others must not make the use cases come to life."""

Params = TypeVar("Params", bound=RequestParams)

log = logging.getLogger(__name__)


class CallsheetServer(MCPServer[Backstage]):
    """The MCP server over one backstage. Resources, prompts and completions are added by their modules."""

    def __init__(self, backstage: Backstage) -> None:
        self.backstage = backstage
        self.subscriptions = Subscriptions(backstage)
        super().__init__(
            "callsheet",
            title="Callsheet",
            instructions=INSTRUCTIONS,
            version=__version__,
            tools=build_tools(),
            log_level="WARNING",
            lifespan=lambda _: self._open(),
            subscriptions=self.subscriptions.bus,
        )
        self.longest_question_seconds = LONGEST_QUESTION_SECONDS
        # Outermost, around the SDK's own check of what came back with a question.
        self._lowlevel_server.middleware.insert(0, self._mend_errors)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Backstage]:
        async with self.backstage.open() as backstage, self.subscriptions.watching():
            yield backstage

    def serve_method(
        self,
        method: str,
        params: type[Params],
        handler: Callable[[ServerRequestContext[Any, Any], Params], Awaitable[HandlerResult]],
    ) -> None:
        """Serve a method of the protocol beyond those that the SDK serves by itself."""
        self._lowlevel_server.add_request_handler(method, params, handler)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Backstage, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Judge the arguments, run the tool, hide keys; every failure is a `ToolError` that tells its fate."""
        try:
            tool = self._tool_manager.get_tool(name)
            checked = check_arguments(name, tool, arguments)
            with self._patience(name, checked):
                result = await super().call_tool(name, checked, context)
            return (
                fit_result(self.backstage.service.redactor(), result) if isinstance(result, CallToolResult) else result
            )
        except Exception as error:
            if isinstance(error.__cause__, LeadToDesk):
                return InputRequiredResult(input_requests={DESK: error.__cause__.request})
            raise ToolError(self.backstage.hide(_told(name, arguments, error))) from None

    async def _mend_errors(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """The SDK's own errors: where an answer cannot be used they say what to do, and they repeat no key."""
        try:
            return await call_next(ctx)
        except MCPError as error:
            if ctx.method not in CARRIES_TEXT:
                raise
            told, data = error.message, error.data
            if isinstance(data, dict) and data.get("reason") == "invalid_request_state":
                told = f"{STALE} {ASK_ANEW}"
            raise MCPError(code=error.code, message=told, data=self.backstage.hide_value(data)) from None
        except ValidationError:
            if not (ctx.params or {}).get("inputResponses"):
                raise
            raise MCPError(code=INVALID_PARAMS, message=f"{UNUSABLE} {ASK_ANEW}", data="") from None

    def _patience(self, name: str, arguments: dict[str, Any]) -> AbstractContextManager[None]:
        """How long the one tool that asks a person waits for the answer; a client may never give one."""
        if name != "submit_video":
            return nullcontext()
        return patience(str(arguments["sheet_id"]), self.longest_question_seconds)

    async def run_stdio_async(self) -> None:
        """Serve stdin and stdout as the SDK does, with the lines that its reader would swallow mended."""
        async with stdio_server(stdin=open_stdin()) as (read_stream, write_stream):
            server = self._lowlevel_server
            await server.run(read_stream, write_stream, server.create_initialization_options())

    async def list_resources(self) -> list[ListedResource]:
        """The concrete resources, with the reference documents, whose headings are read only now."""
        from .resources import list_references

        return [*await super().list_resources(), *list_references()]

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Backstage, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a resource with keys hidden; what does not exist is the SDK's not-found."""
        try:
            contents = await super().read_resource(uri, context)
        except ResourceError as error:
            raise self._resource_error(error) from None
        if isinstance(contents, InputRequiredResult):
            return contents
        return [await self._fit_contents(item) for item in contents]

    async def _fit_contents(self, item: ReadResourceContents) -> ReadResourceContents:
        if isinstance(item.content, bytes):
            redactor = self.backstage.service.redactor()
            try:
                content: str | bytes = await to_thread.run_sync(fit_binary, redactor, item.content, item.mime_type)
            except ValueError as error:
                raise ResourceError(f"That resource may not leave: {error}.") from None
        else:
            content = self.backstage.hide(item.content)
        return ReadResourceContents(
            content=content, mime_type=item.mime_type, meta=self.backstage.hide_value(item.meta) if item.meta else None
        )

    async def require_readable(self, uri: str) -> None:
        """Raise what reading that resource would raise, as an error of the protocol."""
        try:
            await self.read_resource(uri)
        except ResourceError as error:
            code = INVALID_PARAMS if isinstance(error, ResourceNotFoundError) else INTERNAL_ERROR
            raise MCPError(code=code, message=str(error), data={"uri": uri}) from None

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Backstage, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """Render a prompt with keys hidden; any mistake of the caller's is "invalid params"."""
        try:
            result = await super().get_prompt(name, arguments, context)
        except MCPError as error:
            raise MCPError(code=error.code, message=self.backstage.hide(error.message)) from None
        except ValueError:
            known = ", ".join(prompt.name for prompt in self._prompt_manager.list_prompts())
            message = f"There is no such prompt, or an argument it needs is missing or not its own (known: {known})."
            raise MCPError(code=INVALID_PARAMS, message=message) from None
        if isinstance(result, GetPromptResult):
            for part in result.messages:
                part.content = self._fit_part(part.content)
        return result

    def _fit_part(self, part: ContentBlock) -> ContentBlock:
        if isinstance(part, TextContent):
            # Also where the keys cannot be read, which it then says.
            return part.model_copy(update={"text": self.backstage.hide(part.text)})
        try:
            return fit_block(self.backstage.service.redactor(), part)
        except ValueError as error:
            raise MCPError(code=INTERNAL_ERROR, message=f"That prompt may not leave: {error}.") from None

    def _resource_error(self, error: ResourceError) -> ResourceError:
        cause = error if isinstance(error, ResourceNotFoundError) else error.__cause__ or error
        if isinstance(cause, UnknownThing):
            return ResourceNotFoundError(self.backstage.hide(f"{cause.message} {for_agent(cause.next_step)}"))
        if isinstance(cause, CallsheetError):
            return ResourceError(self.backstage.hide(error_for_agent(cause)))
        if isinstance(cause, ResourceError):
            return type(cause)(self.backstage.hide(str(cause)))
        return ResourceError(f"The resource could not be read (error {_note(cause, 'a resource')}).")


def _told(tool: str, arguments: dict[str, Any], error: Exception) -> str:
    """What the caller learns of a failure: what happened, whether anything was sent, what to do."""
    cause = error if isinstance(error, Refusal) else error.__cause__ or error
    if isinstance(cause, CallsheetError):
        return error_for_agent(cause)
    if isinstance(cause, Refusal):
        return str(cause)
    if tool == "submit_video" and isinstance(cause, (ToolError, MCPError)):
        # The SDK could not make use of the client's answer to the question.
        return str(not_approved(str(arguments.get("sheet_id", "")), "the client's answer could not be used"))
    advice = SPENT_ONCE if tool == "submit_video" else NOTHING_SENT
    return f"Something went wrong inside Callsheet (error {_note(cause, tool)}). {advice}"


def _note(error: BaseException, where: str) -> str:
    """Log the type and place of a failure under a new id, without its text, and return the id."""
    mark = secrets.token_hex(4)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "unknown"
    log.error("error %s in %s: %s at %s", mark, where, type(error).__name__, place)
    return mark
