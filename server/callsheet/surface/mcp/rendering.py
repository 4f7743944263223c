"""Renders each answer and each failure as a result: as JSON, and as text that says the same.

Some clients give their model only the JSON, others only the text, so both have everything. Of a failure the caller
learns the program's own errors in full, of any other only an id. The log on stderr gets the same id with the type and
the place; the exception's text may hold anything, so neither gets it.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ContentBlock, TextContent
from pydantic import BaseModel

from callsheet.errors import FATE_SENTENCES, CallsheetError, Fate, UnknownThing
from callsheet.surface.next_steps import error_for_agent, for_agent
from callsheet.surface.views.answers import ErrorAnswer

from .arguments import Refusal
from .elicitation import sheet_ids_of
from .lifespan import ServerState

QUOTED = "untrusted_"
"""Begins the name of a field whose text comes from outside: its line breaks are shown, so that it stays one line."""


CORRECT_IT = "Correct the call and make it again."
REPORT = "Try once more, then tell the user; the log has this error."
SPENT_ONCE = (
    "Check list_tasks to see whether a task was created. Calling submit_video again with the same sheet_id is safe:"
    " a sheet is spent once."
)

Parameters = ParamSpec("Parameters")
Content = TypeVar("Content")

log = logging.getLogger(__name__)


def render_result(answer: BaseModel, more: Sequence[ContentBlock] = (), *, is_error: bool = False) -> CallToolResult:
    """The answer in both forms, and perhaps more blocks. A field without a value is left out."""
    fields = answer.model_dump(mode="json", exclude_none=True)
    text = TextContent(text=render_text(fields))
    return CallToolResult(content=[text, *more], structured_content=fields, is_error=is_error)


def render_text(fields: Mapping[str, Any]) -> str:
    """The summary, then one line for each other field, and of a list one for each entry."""
    return "\n".join(line for name, value in fields.items() for line in _lines(name, value))


def _lines(name: str, value: object) -> Iterator[str]:
    if name == "summary":
        yield str(value)
    elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
        yield f"{name}:"
        yield from (f"- {_row(item)}" for item in value)
    elif isinstance(value, list):
        yield f"{name}: {', '.join(map(str, value))}"
    elif isinstance(value, str) and not name.startswith(QUOTED):
        yield f"{name}: {value}"
    else:
        yield f"{name}: {_json(value)}"


def _row(item: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} {value if isinstance(value, str) else _json(value)}" for name, value in item.items())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def render_tool_failure(tool: str, arguments: dict[str, Any], error: Exception, state: ServerState) -> CallToolResult:
    """What happened, whether anything was sent, and what to do now."""
    from callsheet.service import Answer

    cause = error if isinstance(error, Refusal) else error.__cause__ or error
    if tool == "submit_video" and isinstance(cause, (ToolError, MCPError)) and not isinstance(cause, Refusal):
        # The SDK could not use the client's answer to the question.
        kind = Answer.COULD_NOT_ASK if isinstance(cause, MCPError) else Answer.UNUSABLE
        cause = state.service.keep_answer(*sheet_ids_of(arguments), answer=kind)
    if isinstance(cause, CallsheetError):
        return render_result(_build_failure(tool, arguments, cause, state), is_error=True)
    if isinstance(cause, Refusal):
        return render_refusal(str(cause), cause.code)
    mark = _record(cause, tool)
    if tool != "submit_video":
        return render_refusal(f"Something went wrong inside Callsheet (error {mark}).", "internal_error", step=REPORT)
    text = f"Something went wrong inside Callsheet (error {mark}). {SPENT_ONCE}"
    return render_refusal(text, "internal_error", step=SPENT_ONCE, fate=Fate.UNKNOWN)


def _build_failure(tool: str, arguments: dict[str, Any], error: CallsheetError, state: ServerState) -> BaseModel:
    from callsheet.service import Submission
    from callsheet.surface.views.builders import error_answer
    from callsheet.surface.views.tasks import refused_status, submit_answer

    try:
        mode = state.service.policy.mode
    except CallsheetError:
        return error_answer(error, None, for_agent)
    if tool != "submit_video" or refused_status(error) is None:
        return error_answer(error, mode, for_agent)
    ids = sheet_ids_of(arguments)
    failed = Submission("", "", error.next_step, sheet_id=ids[0] if len(ids) == 1 else "", error=error)
    return submit_answer([failed], mode, for_agent)


def render_error(error: CallsheetError) -> CallToolResult:
    """An error as a result, where the mode is not known."""
    from callsheet.surface.views.builders import error_answer

    return render_result(error_answer(error, None, for_agent), is_error=True)


def render_refusal(
    summary: str, code: str, *, step: str = CORRECT_IT, fate: Fate = Fate.NOTHING_SENT
) -> CallToolResult:
    """A call that was refused before anything was decided."""
    money = FATE_SENTENCES[fate]
    answer = ErrorAnswer(summary=summary, code=code, fate=fate, retry="after_fix", money=money, next_step=step)
    return render_result(answer, is_error=True)


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
