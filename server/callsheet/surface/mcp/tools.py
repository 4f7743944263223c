"""The five tools. Each turns arguments into one use case and its answer into a result; nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from mcp.server.mcpserver import Context, ElicitationResult, Resolve
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from callsheet.errors import CallsheetError
from callsheet.surface.views.answers import ExplainAnswer, ModelsAnswer, SubmitAnswer, TaskAnswer, TasksAnswer

from .arguments import refuse
from .elicitation import ANSWER_SECONDS, TypedAmount, ask, backstage_of, lead_to_desk, take_answer
from .schemas import compact_schema

if TYPE_CHECKING:
    from callsheet.service import TaskReport

LONGEST_WAIT = 45
PROGRESS_SECONDS = 2.0
HAS_WAITED = "45 s is the longest wait."

Id = Annotated[str, Field(max_length=80)]
Word = Annotated[str, Field(max_length=80)]
Url = Annotated[str, Field(max_length=2048)]


async def explain_payload(  # noqa: PLR0913 - the arguments of the tool
    context: Context,
    *,
    prompt: Annotated[str, Field(max_length=40_000)] = "",
    duration_seconds: int | None = None,
    aspect_ratio: Annotated[Word, Field(description="16:9 or 9:16")] = "",
    resolution: Annotated[Word, Field(description="720p, 1024p or 1080p")] = "",
    image_url: Annotated[Url, Field(description="One public https image to animate")] = "",
    gateway: Annotated[Word, Field(description="poyo, apidot, apixo or evolink")] = "",
    model: Word = "",
    callback_url: Annotated[Url, Field(description="Rarely needed")] = "",
    payload: Annotated[dict[str, Any] | None, Field(description="Raw gateway JSON to check instead of a shot")] = None,
) -> Annotated[CallToolResult, ExplainAnswer]:
    """Draft and check a Sora 2 request: exact JSON, price, availability, findings, sheet_id. Sends nothing, free.
    Without gateway and model it ranks the models that can take the shot."""
    from callsheet.core.shot import Shot
    from callsheet.service import Draft

    from .rendering import explanation_text, tell_explanation

    shot = Shot(
        prompt=prompt,
        duration_seconds=duration_seconds,
        aspect_ratio=aspect_ratio or None,
        resolution=resolution or None,
        image_url=image_url or None,
        callback_url=callback_url or None,
    )
    if payload is not None and shot != Shot():
        refuse("Give either payload or the shot's own arguments, not both.")
    if payload is None and shot == Shot():
        refuse("Argument 'prompt' is missing. Describe the shot, or give a raw payload.")
    service = backstage_of(context).service
    draft = Draft(
        shot=None if payload is not None else shot, payload=payload, gateway=gateway or None, model=model or None
    )
    answer = tell_explanation(service, service.explain(draft))
    return _result(answer, explanation_text(answer))


async def submit_video(
    context: Context,
    sheet_id: Annotated[Id, Field(description="From explain_payload")],
    answer: Annotated[ElicitationResult[TypedAmount], Resolve(ask)],
) -> Annotated[CallToolResult, SubmitAnswer]:
    """Submit a sheet, once: MAY SPEND MONEY. Only when the person asks for it. The server asks them to approve, or
    answers approval_needed with the command for their terminal. A spent sheet returns its task."""
    from .rendering import submission_text, tell_submission

    backstage = backstage_of(context)
    service = backstage.service
    take_answer(service, sheet_id, answer)
    # First the watcher, then the sheet: a spent sheet without anybody to send it would only wait.
    await backstage.need_running()
    submission = await service.submit(sheet_id)
    if submission.report is None:
        await lead_to_desk(context, sheet_id)
        submission = await service.submit(sheet_id, wait_seconds=ANSWER_SECONDS)
    told = tell_submission(submission)
    return _result(told, submission_text(told))


async def get_task(
    context: Context,
    task_id: Id,
    wait_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False, json_schema_extra={"maximum": LONGEST_WAIT})] = 0,
) -> Annotated[CallToolResult, TaskAnswer]:
    """Where a task is; waits up to wait_seconds for its end, with progress. The clip is saved by itself: clip_path."""
    from .rendering import task_text, tell_task

    backstage = backstage_of(context)
    service = backstage.service
    wait = min(wait_seconds, LONGEST_WAIT)
    if wait > 0 and service.task(task_id) is not None:
        try:
            await backstage.need_running()
        except CallsheetError:
            # Another process may be following the task; its state in the ledger is worth telling either way.
            wait = 0.0
    progress = _Progress(context, wait)
    report = await service.wait_for(task_id, wait_seconds=wait, on_report=progress.tell)
    answer = tell_task(report)
    if wait_seconds > LONGEST_WAIT:
        answer.next_step = f"{HAS_WAITED} {answer.next_step}"
    return _result(answer, task_text(answer), _links(answer))


async def list_tasks(
    context: Context, only_open: bool = False, limit: Annotated[int, Field(ge=1, le=50)] = 20
) -> Annotated[CallToolResult, TasksAnswer]:
    """Tasks, those of unknown outcome first, then the newest."""
    from .rendering import tasks_text, tell_tasks

    service = backstage_of(context).service
    answer = tell_tasks(service, service.tasks(only_open=only_open, limit=limit))
    return _result(answer, tasks_text(answer))


async def list_models(context: Context, gateway: Word = "") -> Annotated[CallToolResult, ModelsAnswer]:
    """What is known of each model: limits, price, availability, each with its date."""
    from .rendering import models_text, tell_models

    answer = tell_models(backstage_of(context).service, gateway or None)
    return _result(answer, models_text(answer))


READS_OWN = ToolAnnotations(read_only_hint=True, open_world_hint=False)
READS = ToolAnnotations(read_only_hint=True)
# Destructive: it can spend money. Idempotent: a sheet is spent once.
SPENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)

TOOLS: tuple[tuple[Callable[..., Any], ToolAnnotations], ...] = (
    (explain_payload, READS_OWN),
    (submit_video, SPENDS),
    (get_task, READS),
    (list_tasks, READS_OWN),
    (list_models, READS_OWN),
)


def build_tools() -> list[Tool]:
    """The tools with compact schemas that allow no argument beyond those named."""
    return [_build_tool(function, annotations) for function, annotations in TOOLS]


def _build_tool(function: Callable[..., Any], annotations: ToolAnnotations) -> Tool:
    tool = Tool.from_function(function, description=" ".join((function.__doc__ or "").split()), annotations=annotations)
    tool.parameters = {**compact_schema(tool.parameters), "additionalProperties": False}
    tool.fn_metadata.output_schema = compact_schema(tool.fn_metadata.output_schema or {})
    return tool


def _result(answer: BaseModel, text: str, links: Sequence[ContentBlock] = ()) -> CallToolResult:
    structured = answer.model_dump(mode="json", exclude_none=True)
    return CallToolResult(content=[TextContent(text=text), *links], structured_content=structured)


def _links(answer: TaskAnswer) -> list[ContentBlock]:
    """Where the files lie, for clients that can show them. The video itself never goes through the protocol."""
    if answer.clip_path is None or answer.poster_path is None or answer.contact_sheet_path is None:
        return []
    return [
        _link(answer.clip_path, "video/mp4", answer.size_bytes),
        _link(answer.poster_path, "image/jpeg"),
        _link(answer.contact_sheet_path, "image/jpeg"),
    ]


def _link(path: str, mime_type: str, size: int | None = None) -> ResourceLink:
    place = Path(path)
    return ResourceLink(uri=place.as_uri(), name=place.name, mime_type=mime_type, size=size)


class _Progress:
    """Tells the client while it waits: the gateway's percent where it has one, else the share of the wait."""

    def __init__(self, context: Context, wait_seconds: float) -> None:
        self._context = context
        self._wait = wait_seconds
        self._began = anyio.current_time()
        self._told_at = float("-inf")
        self._told = -1.0
        self._text = ""

    async def tell(self, report: TaskReport) -> None:
        """Report unless the same was said a moment ago. What is told only ever rises, as the protocol demands."""
        now = anyio.current_time()
        if self._wait <= 0 or (report.status_text == self._text and now - self._told_at < PROGRESS_SECONDS):
            return
        share = report.task.percent if report.task.percent is not None else 100 * (now - self._began) / self._wait
        progress = min(max(share, self._told + 0.01), 100.0)
        if progress <= self._told:
            return
        self._told, self._told_at, self._text = progress, now, report.status_text
        await self._context.report_progress(round(progress, 2), 100, report.status_text)
