"""What the caller learns of a failure: the program's own errors in full, of any other only an id.

The log on stderr gets the same id with the type and the place; the exception's text may hold anything, so neither
gets it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp.shared.exceptions import MCPError

from callsheet.errors import CallsheetError, UnknownThing
from callsheet.surface.next_steps import error_for_agent, for_agent

from .arguments import NOTHING_SENT, Refusal
from .elicitation import not_approved

SPENT_ONCE = (
    "Check list_tasks to see whether a task was created. Calling submit_video again with the same sheet_id is safe:"
    " a sheet is spent once."
)

Parameters = ParamSpec("Parameters")
Content = TypeVar("Content")

log = logging.getLogger(__name__)


def render_tool_failure(tool: str, arguments: dict[str, Any], error: Exception) -> str:
    """What happened, whether anything was sent, and what to do now."""
    cause = error if isinstance(error, Refusal) else error.__cause__ or error
    if isinstance(cause, CallsheetError):
        return error_for_agent(cause)
    if isinstance(cause, Refusal):
        return str(cause)
    if tool == "submit_video" and isinstance(cause, (ToolError, MCPError)):
        # The SDK could not use the client's answer to the question.
        kind = "could_not_ask" if isinstance(cause, MCPError) else "unusable_form"
        return str(not_approved(str(arguments.get("sheet_id", "")), kind))
    advice = SPENT_ONCE if tool == "submit_video" else NOTHING_SENT
    return f"Something went wrong inside Callsheet (error {_record(cause, tool)}). {advice}"


def as_resource(read: Callable[Parameters, Awaitable[Content]]) -> Callable[Parameters, Awaitable[Content]]:
    """Wrap a function that reads a resource, so that its failures are errors that the SDK passes on."""

    @wraps(read)
    async def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Content:
        try:
            return await read(*args, **kwargs)
        except UnknownThing as error:
            raise ResourceNotFoundError(f"{error.message} {for_agent(error.next_step)}".rstrip()) from None
        except CallsheetError as error:
            raise ResourceError(error_for_agent(error)) from None
        except Exception as error:
            raise ResourceError(f"The resource could not be read (error {_record(error, 'a resource')}).") from None

    return wrapped


def _record(error: BaseException, where: str) -> str:
    """Log the type and place of a failure under a new id, and return the id."""
    mark = secrets.token_hex(4)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "unknown"
    log.error("error %s in %s: %s at %s", mark, where, type(error).__name__, place)
    return mark
