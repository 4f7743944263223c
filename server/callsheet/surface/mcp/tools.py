"""The five tools. Each turns its arguments into one use case and the answer into a result; nothing is decided here.

Their JSON schemas are as small as possible: every client puts them into its model's context at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from mcp.server.mcpserver import Context, ElicitationResult, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ContentBlock, InputRequiredResult, ResourceLink, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from callsheet.errors import CallsheetError
from callsheet.surface.next_steps import for_agent
from callsheet.surface.views.answers import ExplainAnswer, ModelsAnswer, SubmitAnswer, TaskAnswer, TasksAnswer

from .arguments import check_arguments, refuse
from .elicitation import (
    ANSWER_SECONDS,
    DESK,
    DeskRequest,
    TypedAmount,
    answer_deadline,
    ask,
    open_desk_page,
    state_of,
    take_answer,
)
from .failures import render_tool_failure

if TYPE_CHECKING:
    from callsheet.service import TaskReport


LONGEST_WAIT = 45
PROGRESS_SECONDS = 2.0
LONGEST_WAIT_TEXT = f"{LONGEST_WAIT} s is the longest wait."

Id = Annotated[str, Field(max_length=80)]
Word = Annotated[str, Field(max_length=80)]
Url = Annotated[str, Field(max_length=2048)]


async def explain_payload(  # noqa: PLR0913 - the arguments of the tool
    context: Context,
    *,
    prompt: Annotated[str, Field(max_length=40_000)] = "",
    duration_seconds: int | None = None,
    aspect_ratio: Annotated[Word, Field(description="16:9, 9:16, 1:1, …")] = "",
    resolution: Annotated[Word, Field(description="720p, 1080p, 4k, …")] = "",
    audio: bool | None = None,
    seed: int | None = None,
    negative_prompt: Annotated[str, Field(max_length=5_000)] = "",
    image_url: Annotated[
        Url, Field(description="First frame: https URL, path the policy allows, or task:ID:last")
    ] = "",
    last_frame: Url = "",
    reference_image: Annotated[list[Url] | None, Field(description="Pictures of people, things or style")] = None,
    reference_video: list[Url] | None = None,
    reference_audio: list[Url] | None = None,
    gateway: Annotated[Word, Field(description="poyo, apidot, apixo or evolink")] = "",
    model: Word = "",
    callback_url: Annotated[Url, Field(description="Rarely needed")] = "",
    payload: Annotated[dict[str, Any] | None, Field(description="Raw gateway JSON to check instead of a shot")] = None,
) -> Annotated[CallToolResult, ExplainAnswer]:
    """Draft and check a video request (Sora 2, Seedance, Kling, Wan, Veo, …): exact JSON, price, availability,
    findings, sheet_id. Sends nothing, free.
    Without gateway and model it ranks the models that can take the shot."""
    from callsheet.core.shot import Shot
    from callsheet.service import Draft
    from callsheet.surface.views.builders import explain_answer

    from .rendering import render_explanation

    shot = Shot.of(
        prompt,
        duration_seconds=duration_seconds,
        aspect_ratio=aspect_ratio or None,
        resolution=resolution or None,
        audio=audio,
        seed=seed,
        negative_prompt=negative_prompt or None,
        first_frame=image_url or None,
        last_frame=last_frame or None,
        reference_image=reference_image,
        reference_video=reference_video,
        reference_audio=reference_audio,
        callback_url=callback_url or None,
    )
    _require_one(payload is not None, shot != Shot())
    service = state_of(context).service
    asked = None if payload is not None else shot
    draft = await service.keep_pictures(
        Draft(shot=asked, payload=payload, gateway=gateway or None, model=model or None)
    )
    answer = explain_answer(service.explain(draft), service.catalogue, for_agent)
    return _result(answer, render_explanation(answer))


def _require_one(has_payload: bool, has_shot: bool) -> None:
    if has_payload and has_shot:
        refuse("Give either payload or the shot's own arguments, not both.")
    if not has_payload and not has_shot:
        refuse("Argument 'prompt' is missing. Describe the shot, or give a raw payload.")


async def submit_video(
    context: Context,
    sheet_id: Annotated[Id, Field(description="From explain_payload")],
    answer: Annotated[ElicitationResult[TypedAmount], Resolve(ask)],
) -> Annotated[CallToolResult, SubmitAnswer]:
    """Submit a sheet, once: MAY SPEND MONEY. Only when the user asks. The server asks them to approve, or
    answers approval_needed with the command for their terminal. A spent sheet returns its task."""
    from callsheet.surface.views.builders import refused_submission, submit_answer

    from .rendering import render_submission

    state = state_of(context)
    service = state.service
    take_answer(service, sheet_id, answer)
    # First the runner, then the sheet: a spent sheet that no runner sends would only wait.
    await state.need_running()
    try:
        submission = await service.submit(sheet_id)
        if submission.report is None:
            await open_desk_page(context, sheet_id)
            submission = await service.submit(sheet_id, wait_seconds=ANSWER_SECONDS)
    except CallsheetError as error:
        if (refused := refused_submission(error, for_agent)) is None:
            raise
        failed = _result(refused, render_submission(refused))
        failed.is_error = True
        return failed
    result = submit_answer(submission, for_agent)
    return _result(result, render_submission(result))


async def get_task(
    context: Context,
    task_id: Id,
    wait_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False, json_schema_extra={"maximum": LONGEST_WAIT})] = 0,
) -> Annotated[CallToolResult, TaskAnswer]:
    """Where a task is; waits up to wait_seconds for its end. The clip is saved to clip_path."""
    from callsheet.core.tasks import OPEN_STATES
    from callsheet.surface.views.builders import task_answer

    from .rendering import render_task

    state = state_of(context)
    service = state.service
    wait = min(wait_seconds, LONGEST_WAIT)
    # Also without a wait: the answer says whether the task is followed.
    if service.task(task_id).task.state in OPEN_STATES:
        try:
            await state.need_running()
        except CallsheetError:
            # Another process may follow the task; its state in the ledger is useful either way.
            wait = 0.0
    progress = _Progress(context, wait)
    report = await service.wait_for(task_id, wait_seconds=wait, on_report=progress.report)
    answer = task_answer(report, for_agent)
    if wait_seconds > LONGEST_WAIT:
        answer.next_step = f"{LONGEST_WAIT_TEXT} {answer.next_step}"
    return _result(answer, render_task(answer), _links(answer))


async def list_tasks(
    context: Context, only_open: bool = False, limit: Annotated[int, Field(ge=1, le=50)] = 20
) -> Annotated[CallToolResult, TasksAnswer]:
    """Tasks, those of unknown outcome first, then the newest."""
    from callsheet.surface.views.builders import tasks_answer

    from .rendering import render_tasks

    service = state_of(context).service
    answer = tasks_answer(service, service.tasks(only_open=only_open, limit=limit), for_agent)
    return _result(answer, render_tasks(answer))


async def list_models(  # noqa: PLR0913 - the arguments of the tool
    context: Context,
    *,
    gateway: Word = "",
    family: Annotated[Word, Field(description="For example kling-3")] = "",
    duration_seconds: int | None = None,
    aspect_ratio: Word = "",
    resolution: Word = "",
    audio: bool | None = None,
    with_image: bool = False,
) -> Annotated[CallToolResult, ModelsAnswer]:
    """Which models there are and what each costs at the terms named, cheapest first. Needs no prompt."""
    from callsheet.core.shot import Shot
    from callsheet.service.catalogue.ranking import Query
    from callsheet.surface.views.builders import models_answer

    from .rendering import render_models

    shot = Shot.of(
        duration_seconds=duration_seconds,
        aspect_ratio=aspect_ratio or None,
        resolution=resolution or None,
        audio=audio,
        first_frame="" if with_image else None,
    )
    query = Query(gateway or None, family or None, shot)
    answer = models_answer(state_of(context).service, query, for_agent)
    return _result(answer, render_models(answer))


READS_OWN = ToolAnnotations(read_only_hint=True, open_world_hint=False)
READS = ToolAnnotations(read_only_hint=True)
# Destructive because it can spend money; idempotent because a sheet is spent once.
SPENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)

TOOLS: tuple[tuple[Callable[..., Any], ToolAnnotations], ...] = (
    (explain_payload, READS_OWN),
    (submit_video, SPENDS),
    (get_task, READS),
    (list_tasks, READS_OWN),
    (list_models, READS_OWN),
)


class CheckedTool(Tool):
    """A tool whose arguments are checked in plain words, and whose failures say what became of the money."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """Run the tool; every failure is a `ToolError`."""
        try:
            checked = check_arguments(self, arguments)
            with self._question_deadline(checked, context):
                return await super().run(checked, context, convert_result)
        except Exception as error:
            if isinstance(error.__cause__, DeskRequest):
                return InputRequiredResult(input_requests={DESK: error.__cause__.request})
            raise ToolError(render_tool_failure(self.name, arguments, error)) from None

    def _question_deadline(self, arguments: dict[str, Any], context: Context[Any, Any]) -> AbstractContextManager[None]:
        """How long the one tool that asks the user waits for the answer; a client may never give one."""
        if self.name != "submit_video":
            return nullcontext()
        return answer_deadline(str(arguments["sheet_id"]), state_of(context).longest_question_seconds)


@cache
def build_tools() -> tuple[Tool, ...]:
    """The tools, with compact schemas that allow no other argument. They hold no state, so servers share them."""
    return tuple(_build_tool(function, annotations) for function, annotations in TOOLS)


def _build_tool(function: Callable[..., Any], annotations: ToolAnnotations) -> Tool:
    tool = CheckedTool.from_function(
        function, description=" ".join((function.__doc__ or "").split()), annotations=annotations
    )
    tool.parameters = {**compact_schema(tool.parameters), "additionalProperties": False}
    tool.fn_metadata.output_schema = compact_schema(tool.fn_metadata.output_schema or {})
    return tool


def _result(answer: BaseModel, text: str, links: Sequence[ContentBlock] = ()) -> CallToolResult:
    structured = answer.model_dump(mode="json", exclude_none=True)
    return CallToolResult(content=[TextContent(text=text), *links], structured_content=structured)


def _links(answer: TaskAnswer) -> list[ContentBlock]:
    """Links to the files, for clients that can show them. The video itself never goes through the protocol."""
    if answer.clip_path is None or answer.poster_path is None or answer.contact_sheet_path is None:
        return []
    return [
        _link(answer.clip_path, "video/mp4", answer.size_bytes),
        _link(answer.poster_path, "image/jpeg"),
        _link(answer.contact_sheet_path, "image/jpeg"),
    ]


def _link(path: str, mime_type: str, size: int | None = None) -> ResourceLink:
    file = Path(path)
    return ResourceLink(uri=file.as_uri(), name=file.name, mime_type=mime_type, size=size)


class _Progress:
    """Progress notifications during a wait: the gateway's percent if there is one, else the share of the wait."""

    def __init__(self, context: Context, wait_seconds: float) -> None:
        self._context = context
        self._wait = wait_seconds
        self._began = anyio.current_time()
        self._sent_at = float("-inf")
        self._sent = -1.0
        self._text = ""

    async def report(self, report: TaskReport) -> None:
        """Send it unless the same was sent a moment ago. Progress only ever increases, as the protocol demands."""
        now = anyio.current_time()
        if self._wait <= 0 or (report.status_text == self._text and now - self._sent_at < PROGRESS_SECONDS):
            return
        share = report.task.percent if report.task.percent is not None else 100 * (now - self._began) / self._wait
        progress = min(max(share, self._sent + 0.01), 100.0)
        if progress <= self._sent:
            return
        self._sent, self._sent_at, self._text = progress, now, report.status_text
        await self._context.report_progress(round(progress, 2), 100, report.status_text)


Schema = dict[str, Any]

NEEDLESS = ("title", "default")
"""Titles repeat the names; descriptions give the defaults that matter."""

SHORT = 80
"""A length limit up to this is enforced but not published: no caller reaches it by accident."""


def compact_schema(schema: Mapping[str, Any]) -> Schema:
    """The same schema without titles, defaults and "or null", with definitions inlined.

    Null can go on both sides: an answer never contains null, and an argument of null counts as not given. The
    docstring of a model class goes because it is for readers of the code, and `required` of list items because an
    answer always fulfils it.
    """
    return _compact(schema, schema.get("$defs", {}))


def _compact(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    if "$ref" in schema:
        return _compact(definitions[str(schema["$ref"]).rsplit("/", 1)[-1]], definitions)
    kept = {key: value for key, value in schema.items() if key not in (*NEEDLESS, "$defs", "anyOf")}
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        kept = {**_compact(options[0], definitions), **kept}
    elif options:
        kept["anyOf"] = [_compact(option, definitions) for option in options]
    if "properties" in kept:
        kept.pop("description", None)
        kept["properties"] = {name: _compact(value, definitions) for name, value in kept["properties"].items()}
    if isinstance(kept.get("items"), Mapping):
        kept["items"] = _compact(kept["items"], definitions)
        kept["items"].pop("required", None)
    if kept.get("maxLength", SHORT + 1) <= SHORT:
        del kept["maxLength"]
    if kept.get("additionalProperties") is True:
        del kept["additionalProperties"]
    return kept
