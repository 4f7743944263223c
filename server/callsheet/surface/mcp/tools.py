"""The seven tools. Each turns its arguments into one use case and the answer into a result; nothing is decided here."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
from mcp.server.mcpserver import Context, ElicitationResult, Resolve
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import Field

from callsheet.errors import CallsheetError
from callsheet.surface.next_steps import for_agent
from callsheet.surface.views.answers import (
    CancelAnswer,
    ExplainAnswer,
    ModelsAnswer,
    StatusAnswer,
    SubmitAnswer,
    TasksAnswer,
)

from .arguments import refuse
from .elicitation import (
    DESK_SECONDS,
    TypedAmount,
    ask,
    can_open_desk,
    open_desk_page,
    require_copies,
    state_of,
    take_answer,
)
from .extensions.view import META as VIEW
from .rendering import render_result
from .resources import JPEG, link_contact_sheet, read_small_picture_of
from .tool_schemas import Listing, build_tool

if TYPE_CHECKING:
    from callsheet.service import Submission, TaskReport


LONGEST_WAIT = 45
PROGRESS_SECONDS = 2.0
LONGEST_WAIT_TEXT = f"{LONGEST_WAIT} s is the longest wait."
MOST_TASKS = 50
MOST_SHEETS = 6
"""`core.tasks.MOST_TOGETHER`, whose module loads the catalogue: too heavy before the first answer."""

Id = Annotated[str, Field(max_length=80)]
Word = Annotated[str, Field(max_length=80)]
Url = Annotated[str, Field(max_length=2048)]
WaitSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False, json_schema_extra={"maximum": LONGEST_WAIT})]
Ratio = Annotated[
    Word, Field(json_schema_extra={"enum": ["16:9", "9:16", "1:1", "4:3", "3:4", "21:9"]}, description="9:16: vertical")
]
Resolution = Annotated[Word, Field(json_schema_extra={"enum": ["480p", "720p", "1080p", "4k"]}, description="Detail")]
Gateway = Annotated[Word, Field(description="poyo, apidot, apixo, evolink")]
Links = Annotated[list[Url] | None, Field()]


async def explain_payload(  # noqa: PLR0913 - the arguments of the tool
    context: Context,
    *,
    prompt: Annotated[str, Field(max_length=40_000, description="What it shows")] = "",
    duration_seconds: Annotated[int | None, Field(description="Length")] = None,
    aspect_ratio: Ratio = "",
    resolution: Resolution = "",
    audio: Annotated[bool | None, Field(description="Sound")] = None,
    seed: Annotated[int | None, Field(description="Fixes chance")] = None,
    negative_prompt: Annotated[str, Field(max_length=5_000, description="To avoid")] = "",
    image_url: Annotated[Url, Field(description="First frame: https URL, allowed path, or task:ID:last")] = "",
    last_frame: Annotated[Url, Field(description="Last frame, the same way")] = "",
    reference_image: Annotated[Links, Field(description="People, things, style")] = None,
    reference_video: Annotated[Links, Field(description="Motion")] = None,
    reference_audio: Annotated[Links, Field(description="Voice, music")] = None,
    gateway: Gateway = "",
    model: Annotated[Word, Field(description="Without: ranks all")] = "",
    callback_url: Annotated[Url, Field(description="Rarely needed")] = "",
    payload: Annotated[dict[str, Any] | None, Field(description="Raw request to check instead")] = None,
    details: Annotated[bool, Field(description="Also exact request, sources, prompt notes")] = False,
) -> Annotated[CallToolResult, ExplainAnswer]:
    """Make or generate an AI video from a text prompt or image: begin here. Checks the request and answers how much the
    video costs (price), if the model is served, a sheet_id. Free."""
    from callsheet.core.shot import Shot
    from callsheet.service import Draft
    from callsheet.surface.views.builders import explain_answer, explain_details

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
    draft = Draft(shot=asked, payload=payload, gateway=gateway or None, model=model or None)
    build = explain_details if details else explain_answer
    kept = await service.keep_pictures(draft)
    with service.together():
        return render_result(build(service.explain(kept), service, for_agent))


def _require_one(has_payload: bool, has_shot: bool) -> None:
    if has_payload and has_shot:
        refuse("Give either payload or the shot's own arguments, not both.")
    if not has_payload and not has_shot:
        refuse("Argument 'prompt' is missing. Describe the shot, or give a raw payload.")


async def submit_video(  # noqa: PLR0913 - the arguments of the tool
    context: Context,
    answer: Annotated[ElicitationResult[TypedAmount], Resolve(ask)],
    *,
    sheet_ids: Annotated[list[Id] | None, Field(max_length=MOST_SHEETS, description="1 to 6")] = None,
    price: Annotated[str, Field(max_length=80, description="Copied; of several the sum")] = "",
    what: Annotated[str, Field(max_length=2_000, description='Copied; of several joined by "; "')] = "",
    wait_seconds: Annotated[WaitSeconds | None, Field(description="For their approval")] = None,
    ask_again: Annotated[bool, Field(description="They want the form again")] = False,
    sheet_id: Id = "",
) -> Annotated[CallToolResult, SubmitAnswer]:
    """Submit explained sheets, each once. MAY COST MONEY: only if the user asks for it. They are asked to approve;
    price and what approve nothing."""
    from callsheet.surface.views.tasks import submit_answer

    state, ids = state_of(context), list(dict.fromkeys(sheet_ids or [sheet_id]))
    service, mode = state.service, state.service.sheet(ids[0]).mode
    # The older form with one sheet_id needs no copies, and never waited.
    if sheet_ids or price or what:
        require_copies(service, ids, price, what)
    take_answer(service, ids, answer, ask_again=ask_again)
    # First the runner, then the sheet: a spent sheet that no runner sends would only wait.
    await state.need_running()
    wait = min(LONGEST_WAIT if wait_seconds is None and sheet_ids else wait_seconds or 0.0, LONGEST_WAIT)
    if can_open_desk(context):
        found = await service.submit_together(ids, wait_seconds=0)
        if not any(item.needs_person for item in found):
            return render_result(submit_answer(found, mode, for_agent))
        wait = DESK_SECONDS if await open_desk_page(context, ids) else wait
    progress = _Progress(context, wait)
    found = await service.submit_together(ids, wait_seconds=wait, on_wait=progress.report_waiting, opens_desk=wait > 0)
    return render_result(submit_answer(found, mode, for_agent))


async def get_task(
    context: Context,
    *,
    task_ids: Annotated[list[Id] | None, Field(max_length=MOST_TASKS, description="Without: all open ones")] = None,
    wait_seconds: WaitSeconds = 0,
    wait_for: Literal["all", "any"] = "all",
    details: bool = False,
    task_id: Id = "",
) -> Annotated[CallToolResult, StatusAnswer]:
    """Check video status or progress, wait until it is done. The download is automatic: answers the saved file."""
    from callsheet.core.tasks import OPEN_STATES
    from callsheet.surface.views.tasks import task_answer, task_details, tasks_answer

    state = state_of(context)
    service = state.service
    ids = list(dict.fromkeys(task_ids or ([task_id] if task_id else [])))
    if not ids:
        reports = service.tasks(only_open=True, limit=MOST_TASKS) or service.tasks(limit=1)
        ids = [report.task.id for report in reports]
    is_open = {found: service.task(found).task.state in OPEN_STATES for found in ids}
    wait = min(wait_seconds, LONGEST_WAIT)
    # Also without a wait: the answer says whether the task is followed.
    if any(is_open.values()):
        try:
            await state.need_running()
        except CallsheetError:
            # Another process may follow the task; its state in the ledger is useful either way.
            wait = 0.0
    awaited = [found for found in ids if is_open[found]]

    def is_over(_: object) -> bool:
        ended = (service.task(found).task.state not in OPEN_STATES for found in awaited)
        return any(ended) if wait_for == "any" and awaited else all(ended)

    if awaited:
        await service.wait_for(awaited[0], wait_seconds=wait, until=is_over, on_report=_Progress(context, wait).report)
    reports = [service.task(found) for found in ids]
    if len(reports) != 1:
        return render_result(tasks_answer(service, reports, for_agent, paths=True, details=details))
    answer = (task_details if details else task_answer)(reports[0], for_agent)
    if wait_seconds > LONGEST_WAIT:
        answer.next_step = f"{LONGEST_WAIT_TEXT} {answer.next_step}"
    return render_result(answer, [link_contact_sheet(answer.task_id)] if answer.clip_path else [])


async def view_clip(
    context: Context, task_id: Id, picture: Literal["contact_sheet", "still"] = "contact_sheet"
) -> CallToolResult:
    """Show me the video: look at a picture of a saved clip, stills of its whole length or one."""
    state = state_of(context)
    report = state.service.task(task_id)
    content = await read_small_picture_of(state, report, still=picture == "still")
    clip = report.task.clip
    length = f"{clip.duration_seconds:g} s, {clip.width}x{clip.height}" if clip else ""
    text = f"{picture} of {task_id} ({length}). Compare it with the prompt: {report.prompt[:600]}"
    image = ImageContent(data=base64.b64encode(content).decode("ascii"), mime_type=JPEG)
    return CallToolResult(content=[image, TextContent(text=text)])


async def cancel(
    context: Context,
    id: Annotated[Id, Field(description="Of a sheet or task")],  # noqa: A002 - as callers name it
) -> Annotated[CallToolResult, CancelAnswer]:
    """Cancel or stop it: withdraws a sheet or task that was not sent; else says what can be had."""
    from callsheet.errors import InvalidRequest
    from callsheet.surface.views.tasks import cancel_answer, not_withdrawn_answer

    service = state_of(context).service
    try:
        service.cancel(id)
        return render_result(cancel_answer(service.find_task(id) or service.sheet(id), for_agent))
    except InvalidRequest:
        task_id = id if service.find_task(id) else service.sheet(id).task_id
        if task_id is None:
            raise
        return render_result(not_withdrawn_answer(service, service.task(task_id), for_agent))


async def list_tasks(
    context: Context,
    only_open: bool = False,
    limit: Annotated[int, Field(ge=1, le=MOST_TASKS)] = 20,
    details: bool = False,
) -> Annotated[CallToolResult, TasksAnswer]:
    """List earlier tasks, unknown outcomes first."""
    from callsheet.surface.views.tasks import tasks_answer

    service = state_of(context).service
    reports = service.tasks(only_open=only_open, limit=limit)
    return render_result(tasks_answer(service, reports, for_agent, details=details))


async def list_models(  # noqa: PLR0913 - the arguments of the tool
    context: Context,
    *,
    gateway: Word = "",
    family: Annotated[Word, Field(description="As kling-3")] = "",
    duration_seconds: int | None = None,
    aspect_ratio: Word = "",
    resolution: Word = "",
    audio: bool | None = None,
    with_image: bool = False,
) -> Annotated[CallToolResult, ModelsAnswer]:
    """Which video models are there (Sora 2, Veo, Kling, Seedance, Wan, …), by price."""
    from callsheet.core.shot import Shot
    from callsheet.service.catalogue.ranking import Query
    from callsheet.surface.views.builders import models_answer

    shot = Shot.of(
        duration_seconds=duration_seconds,
        aspect_ratio=aspect_ratio or None,
        resolution=resolution or None,
        audio=audio,
        first_frame="" if with_image else None,
    )
    query = Query(gateway or None, family or None, shot)
    return render_result(models_answer(state_of(context).service, query, for_agent))


READS_OWN = ToolAnnotations(read_only_hint=True, open_world_hint=False)
READS = ToolAnnotations(read_only_hint=True)
# Destructive because it can spend money; idempotent because a sheet is spent once.
SPENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)
# It only ever prevents a payment.
WITHDRAWS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


TOOLS = (
    Listing(
        explain_payload,
        "Draft and price a video (free)",
        READS_OWN,
        meta=VIEW,
        hint="generate video how much cost",
    ),
    Listing(
        submit_video,
        "Submit a video (may cost money)",
        SPENDS,
        required=("sheet_ids", "price", "what"),
        hidden=("sheet_id",),
        defaults=(("wait_seconds", LONGEST_WAIT),),
        meta=VIEW,
    ),
    Listing(
        get_task,
        "Check or wait for a video",
        READS,
        hidden=("task_id",),
        meta=VIEW,
        hint="video status download",
    ),
    Listing(view_clip, "See a finished video", READS_OWN, structured=False, hint="show me video"),
    Listing(cancel, "Cancel a video that was not sent", WITHDRAWS),
    Listing(list_tasks, "List videos", READS_OWN),
    Listing(list_models, "List video models and prices", READS_OWN),
)


@cache
def build_tools() -> tuple[Tool, ...]:
    """The tools, with compact schemas that allow no other argument. They hold no state, so servers share them."""
    return tuple(build_tool(listing) for listing in TOOLS)


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
        """Send where a task is."""
        await self._send(report.status_text, report.task.percent)

    async def report_waiting(self, waiting: Sequence[Submission]) -> None:
        """Send where a person approves what waits."""
        await self._send(for_agent(waiting[0].next_step), None)

    async def _send(self, text: str, percent: float | None) -> None:
        """Send it unless the same was sent a moment ago. Progress only ever increases, as the protocol demands."""
        now = anyio.current_time()
        if self._wait <= 0 or (text == self._text and now - self._sent_at < PROGRESS_SECONDS):
            return
        share = percent if percent is not None else 100 * (now - self._began) / self._wait
        progress = min(max(share, self._sent + 0.01), 100.0)
        if progress <= self._sent:
            return
        self._sent, self._sent_at, self._text = progress, now, text
        await self._context.report_progress(round(progress, 2), 100, text)
