"""The server object: the SDK's, with one gate for what comes in and one for what goes out.

Incoming arguments are judged by `arguments`, in our words. Outgoing text and values, of results, resources,
prompts and errors, pass the redactor here. An error of ours is told as it is; of anything else the caller
learns an id, and the log on stderr the same id and the type.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from typing import Any

import anyio
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolResult, GetPromptResult, InputRequiredResult, TextContent
from mcp.types import Resource as ListedResource
from pydantic.networks import AnyUrl

from callsheet import __version__
from callsheet.errors import CallsheetError, UnknownThing

from .approval import DESK, LeadToDesk, not_approved
from .arguments import NOTHING_SENT, Refusal, check_arguments
from .backstage import Backstage
from .instructions import INSTRUCTIONS
from .lines import open_stdin
from .outgoing import fit_result
from .tools import build_tools

SPENT_ONCE = (
    "Look with list_tasks whether a task was made; calling submit_video again with the same sheet_id is safe,"
    " because a sheet is spent once."
)

LONGEST_CALL_SECONDS = 300.0
"""No call waits longer for a person; the other tools are done within a minute."""

log = logging.getLogger(__name__)


class CallsheetServer(MCPServer[Backstage]):
    """The MCP server over one backstage. Resources, prompts and completions are added by their modules."""

    def __init__(self, backstage: Backstage) -> None:
        super().__init__(
            "callsheet",
            title="Callsheet",
            instructions=INSTRUCTIONS,
            version=__version__,
            tools=build_tools(),
            log_level="WARNING",
            lifespan=lambda _: backstage.open(),
        )
        self.backstage = backstage

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Backstage, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Judge the arguments, run the tool, hide keys; every failure is a `ToolError` that tells its fate."""
        try:
            tool = self._tool_manager.get_tool(name)
            checked = check_arguments(name, tool, arguments)
            with anyio.move_on_after(LONGEST_CALL_SECONDS):
                result = await super().call_tool(name, checked, context)
                if isinstance(result, CallToolResult):
                    return fit_result(self.backstage.service.redactor(), result)
                return result
            raise not_approved(str(checked.get("sheet_id", "")), "nobody answered in time")  # noqa: TRY301
        except Exception as error:
            if isinstance(error.__cause__, LeadToDesk):
                return InputRequiredResult(input_requests={DESK: error.__cause__.request})
            raise ToolError(self.backstage.hide(_told(name, arguments, error))) from None

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
        return [
            ReadResourceContents(
                content=self.backstage.hide(str(item.content)), mime_type=item.mime_type, meta=item.meta
            )
            for item in contents
        ]

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
                if isinstance(part.content, TextContent):
                    part.content.text = self.backstage.hide(part.content.text)
        return result

    def _resource_error(self, error: ResourceError) -> ResourceError:
        cause = error if isinstance(error, ResourceNotFoundError) else error.__cause__ or error
        if isinstance(cause, UnknownThing):
            return ResourceNotFoundError(self.backstage.hide(f"{cause.message} {cause.next_step}"))
        if isinstance(cause, CallsheetError):
            return ResourceError(self.backstage.hide(str(cause)))
        if isinstance(cause, ResourceError):
            return type(cause)(self.backstage.hide(str(cause)))
        return ResourceError(f"The resource could not be read (error {_note(cause, 'a resource')}).")


def _told(tool: str, arguments: dict[str, Any], error: Exception) -> str:
    """What the caller learns of a failure: what happened, whether anything was sent, what to do."""
    cause = error if isinstance(error, Refusal) else error.__cause__ or error
    if isinstance(cause, (CallsheetError, Refusal)):
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
