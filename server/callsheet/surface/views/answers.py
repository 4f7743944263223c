"""What the tools answer, as typed models: they are the output schemas, and what leaves is checked against them.

A field that has nothing to say is left out, never null. Times are ISO 8601 (UTC), money is text, so that
no float ever stands for a sum.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class FindingAnswer(BaseModel):
    """One thing that is wrong, doubtful or added, with what to write instead."""

    severity: Literal["error", "warning", "note"]
    field: str
    text: str


class OptionAnswer(BaseModel):
    """One model that was considered. `why_not` is missing when it can take the shot."""

    gateway: str
    model: str
    price: str
    availability: str
    why_not: str | None = None


class ExplainAnswer(BaseModel):
    """Of `explain_payload`. `body` is the exact request, or for `invalid` its mended form."""

    status: Literal["ready", "invalid", "choose"]
    notice: str
    sheet_id: str | None = None
    what: str
    gateway: str | None = None
    model: str | None = None
    kind: str | None = None
    duration_seconds: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    image_host: str | None = None
    availability: str | None = None
    price: str | None = None
    price_as_of: str | None = None
    price_source: str | None = None
    retention: str | None = None
    polling: str | None = None
    method: str | None = None
    url: str | None = None
    body: dict[str, Any] | None = None
    curl: str | None = None
    findings: list[FindingAnswer] | None = None
    prompt_notes: list[str] | None = None
    options: list[OptionAnswer] | None = None
    next_step: str


class TaskAnswer(BaseModel):
    """Of `get_task`: where the task is, whether money was spent, where the clip lies."""

    task_id: str
    status: str
    status_text: str
    money: str
    notice: str
    sheet_id: str
    model: str
    gateway_task_id: str | None = None
    percent: int | None = None
    polls: int
    created_at: str
    clip_path: str | None = None
    poster_path: str | None = None
    contact_sheet_path: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    untrusted_gateway_message: str | None = None
    next_step: str


class SubmitAnswer(BaseModel):
    """Of `submit_video`: the task, or what a person must do first."""

    status: Literal["submitted", "already_submitted", "approval_needed"]
    notice: str
    task_id: str | None = None
    task_status: str | None = None
    status_text: str | None = None
    money: str
    gateway_task_id: str | None = None
    untrusted_gateway_message: str | None = None
    approval_text: str | None = None
    approval_command: str | None = None
    next_step: str


class TaskLine(BaseModel):
    """One task in a list."""

    task_id: str
    status: str
    money: str
    model: str
    prompt: str
    created_at: str
    clip_path: str | None = None


class TasksAnswer(BaseModel):
    """Of `list_tasks`: those of unknown outcome first, then the newest."""

    notice: str
    tasks: list[TaskLine]
    next_step: str


class ModelLine(BaseModel):
    """What one card says in a line; a model that was dropped has no more than its name and why."""

    gateway: str
    model: str
    availability: str
    modes: list[str] | None = None
    durations_seconds: list[int] | None = None
    aspect_ratios: list[str] | None = None
    resolutions: list[str] | None = None
    price: str | None = None
    price_as_of: str | None = None


class ModelsAnswer(BaseModel):
    """Of `list_models`: gateway by gateway, those that may be expected to answer first."""

    notice: str
    models: list[ModelLine]
    next_step: str
