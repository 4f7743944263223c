"""Tasks (`io.modelcontextprotocol/tasks`, revision 2026-07-28): the client itself polls what `submit_video` began.

A task of the protocol is a task of the ledger under the same id, or up to six of them with their ids joined: nothing
else is stored, so that it outlives the process. Only a client that declared the extension on that very call is given
one, and only for work under way. What still needs a person stays the tool's own answer: it says where to approve, and
no input that a client sends later approves anything.

A clip that failed, or whose outcome is unknown, is `completed` with an error in the result, as the specification
demands: `failed` is for errors of the protocol. `cancelled` is what was withdrawn before it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp.types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    RequestParams,
)
from pydantic import Field

from callsheet.errors import CallsheetError, Fate, InvalidRequest
from callsheet.surface.mcp.elicitation import NEWER_ERA
from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.rendering import render_result
from callsheet.surface.mcp.resources import link_contact_sheet
from callsheet.surface.next_steps import error_for_agent, for_agent

if TYPE_CHECKING:
    from callsheet.service import TaskReport

EXTENSION = "io.modelcontextprotocol/tasks"
METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
TOOL = "submit_video"
JOIN = "."
MOST_JOINED = 6
POLL_MS = 2_000
"""A poll reads the ledger. It asks no gateway and costs nothing."""


class TaskParams(RequestParams):
    """Names a task."""

    task_id: str = Field(max_length=200)


class UpdateParams(TaskParams):
    """With answers to questions. No task asks any, and answers to what was not asked are ignored."""

    input_responses: dict[str, Any]


class Tasks(Extension):
    """Gives `submit_video` a task in the place of its result, and answers for it."""

    identifier = EXTENSION

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def methods(self) -> Sequence[MethodBinding]:
        """What a client may ask of a task."""
        newer = frozenset({NEWER_ERA})
        return [
            MethodBinding("tasks/get", TaskParams, self._get, newer),
            MethodBinding("tasks/update", UpdateParams, self._update, newer),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, newer),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Run the call; give a task in the place of its result where there is work under way for all of it."""
        result = await call_next(ctx)
        if params.name != TOOL or not isinstance(result, CallToolResult) or not is_declared(ctx):
            return result
        answer = result.structured_content or {}
        ids = [row.get("task_id") for row in answer.get("tasks") or [answer]]
        # If the ledger cannot be read now, the answer that there is must not be lost.
        with suppress(CallsheetError):
            reports = [self._state.service.task(task_id) for task_id in ids if task_id]
            if len(reports) == len(ids) and _is_under_way(reports):
                return {**_describe(reports), "resultType": "task", "status": "working"}
        return result

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        reports = self._find(ctx, params)
        with suppress(CallsheetError):
            # Another process may follow it; what the ledger says is useful either way.
            await self._state.need_running()
        return {**_describe(reports), **_outcome(reports), "resultType": "complete"}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: UpdateParams) -> HandlerResult:
        self._find(ctx, params)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        """Withdraw what was not sent; the rest goes on, and the next `tasks/get` says so."""
        for report in self._find(ctx, params):
            with _as_protocol_error(), suppress(InvalidRequest):
                self._state.service.cancel(report.task.id)
        return {"resultType": "complete"}

    def _find(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> list[TaskReport]:
        """The tasks of that id; raises the errors that the specification names."""
        require_client_extension(ctx, EXTENSION)
        headers = getattr(ctx.request, "headers", None)
        if headers is not None and decode_header_value(headers.get(MCP_NAME_HEADER)) != params.task_id:
            raise MCPError(code=HEADER_MISMATCH, message=f"The header {MCP_NAME_HEADER} does not name the task.")
        ids = params.task_id.split(JOIN)
        with _as_protocol_error():
            service = self._state.service
            if len(ids) <= MOST_JOINED and all(service.find_task(task_id) for task_id in ids):
                return [service.task(task_id) for task_id in ids]
        raise MCPError(code=INVALID_PARAMS, message="There is no such task.")


def is_declared(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client declared the extension on this request; in the older era, tasks were another thing."""
    able = ctx.session.client_capabilities
    return ctx.protocol_version == NEWER_ERA and able is not None and EXTENSION in (able.extensions or {})


@contextmanager
def _as_protocol_error() -> Iterator[None]:
    """What prevents an answer, as the error that the specification names for it."""
    try:
        yield
    except CallsheetError as error:
        raise MCPError(code=INTERNAL_ERROR, message=error_for_agent(error)) from None


def _is_open(report: TaskReport) -> bool:
    from callsheet.core.tasks import OPEN_STATES

    return report.task.state in OPEN_STATES


def _is_under_way(reports: Sequence[TaskReport]) -> bool:
    """Whether there is work to wait for, and none of it waits for a person."""
    from callsheet.service.results import waits_for_key

    return any(map(_is_open, reports)) and not any(waits_for_key(report.task) for report in reports)


def _describe(reports: Sequence[TaskReport]) -> dict[str, Any]:
    """What is said of a task in every state. It is kept until a person removes it, so it has no end."""
    from callsheet.service.results import iso
    from callsheet.surface.views.tasks import submitted_answer

    answer = submitted_answer(reports, for_agent)
    return {
        "taskId": JOIN.join(report.task.id for report in reports),
        "statusMessage": f"{answer.summary} {answer.money}",
        "createdAt": iso(min(report.task.created_at for report in reports)),
        "lastUpdatedAt": iso(max(report.task.updated_at for report in reports)),
        "ttlMs": None,
        "pollIntervalMs": POLL_MS,
    }


def _outcome(reports: Sequence[TaskReport]) -> dict[str, Any]:
    """The state in the words of the protocol, and once all of it has ended, the result of the call."""
    from callsheet.core.tasks import TaskState
    from callsheet.service.results import fate_of
    from callsheet.surface.views.tasks import submitted_answer

    tasks = [report.task for report in reports]
    if any(map(_is_open, reports)):
        return {"status": "working"}
    if all(task.state is TaskState.ABANDONED and fate_of(task) is Fate.NOTHING_SENT for task in tasks):
        return {"status": "cancelled"}
    links = [link_contact_sheet(task.id) for task in tasks if task.clip is not None]
    result = render_result(submitted_answer(reports, for_agent), links, is_error=len(links) < len(tasks))
    return {"status": "completed", "result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}
