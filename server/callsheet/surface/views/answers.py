"""The shape of each answer: MCP publishes these models as output schemas, and the command line prints the same fields.

`summary` comes first: the answer as a sentence that can be said to a person. Then what the reader needs to go on; a
`...Details` model has all the rest: the command line's `--json` always shows it, MCP on request. In MCP a field without
a value is left out. Times are ISO 8601 (UTC). Sums are text, so that no float ever stands for money. `money` is a
sentence; `money_code` is its word for programs: an error's `fate`, or `rehearsed` for everything in the sandbox.
`rehearsal` is true in the sandbox, where all of it is free. Nothing heavy is imported here: MCP loads it before its
first answer.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class FindingAnswer(BaseModel):
    """One thing that is wrong, doubtful or added. `text` says what, the rule, and what to write instead."""

    severity: Literal["error", "warning", "note"]
    field: str
    text: str


class ChangeAnswer(BaseModel):
    """One value of the request that was replaced: where, by what, and why."""

    field: str
    was: str
    now: str
    why: str


class InputAnswer(BaseModel):
    """A picture, video or sound that the shot uses: its role, and the host or the file that it comes from."""

    role: str
    host: str
    file: str | None = None


class OptionAnswer(BaseModel):
    """One model that can take the shot, with the price of exactly that: `terms` names length, resolution and audio."""

    gateway: str
    model: str
    price: str
    terms: str
    availability: str


class OptionDetails(OptionAnswer):
    """With the price as a number."""

    price_usd: str | None = None


class ExplainAnswer(BaseModel):
    """Of `explain_payload`. `price` and `what` are the texts to copy to `submit_video`.

    `changed` is what was replaced to make it valid, `chosen` what was left open and how the model fills it. Each of
    `blocked` is a reason for which a live submission would be refused now: `code`, `text` and `lifted_by`.
    """

    summary: str
    status: Literal["ready", "blocked", "held", "invalid", "choose"]
    sheet_id: str | None = None
    price: str | None = None
    what: str | None = None
    gateway: str | None = None
    model: str | None = None
    changed: list[ChangeAnswer] | None = None
    chosen: list[str] | None = None
    inputs: list[InputAnswer] | None = None
    availability: str | None = None
    findings: list[FindingAnswer] | None = None
    blocked: list[dict[str, Any]] | None = None
    options: list[OptionAnswer] | None = None
    nearest: OptionAnswer | None = None
    rest: str | None = None
    mode: str
    rehearsal: bool | None = None
    money: str
    next_step: str


class SheetAnswer(BaseModel):
    """A call sheet. `approval_text` is what a person agrees to."""

    sheet_id: str
    status: str
    mode: str
    take: int
    gateway: str
    model: str
    price: str
    body_sha256: str
    approval_text: str
    created_at: str | None
    expires_at: str | None
    approved_by: str | None
    approved_at: str | None
    task_id: str | None


class ExplainDetails(ExplainAnswer):
    """With the request, the whole shot, the prices as numbers, the evidence and the sheet.

    `body` is the exact request, or for `invalid` its corrected form.
    """

    notice: str
    read_as: str
    kind: str | None = None
    duration_seconds: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    audio: bool | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    price_text: str | None = None
    price_usd: str | None = None
    price_as_of: str | None = None
    price_source: str | None = None
    retention: str | None = None
    polling: str | None = None
    method: str | None = None
    url: str | None = None
    body: dict[str, Any] | None = None
    curl: str | None = None
    prompt_notes: list[str] | None = None
    options: list[OptionDetails] | None = None  # type: ignore[assignment]  # each is an `OptionAnswer` with more
    shot: dict[str, Any] | None = None
    evidence: list[dict[str, Any]] | None = None
    sheet: SheetAnswer | None = None


class TaskLine(BaseModel):
    """One task in a list; its prompt is cut, its model follows its gateway. `differs` names what is not as ordered."""

    task_id: str
    status: str
    prompt: str
    model: str
    rehearsal: bool | None = None
    clip_path: str | None = None
    differs: str | None = None


class TaskAnswer(BaseModel):
    """Of `get_task`: where the task is, what became of the money, the path of the clip; or a list of tasks."""

    summary: str
    task_id: str
    status: str
    prompt: str
    gateway: str
    model: str
    percent: int | None = None
    clip_path: str | None = None
    duration_seconds: float | None = None
    gateway_task_id: str | None = None
    untrusted_gateway_message: str | None = None
    findings: list[FindingAnswer] | None = None
    mode: str
    rehearsal: bool | None = None
    money: str
    next_step: str


class TaskDetails(TaskAnswer):
    """With the whole prompt, the times, the files, the problem and the gateway's own words."""

    notice: str
    status_text: str
    money_code: str
    sheet_id: str
    charge: str | None = None
    polls: int
    gateway_status: str | None = None
    problem: dict[str, Any] | None = None
    created_at: str
    accepted_at: str | None = None
    updated_at: str | None = None
    finished_at: str | None = None
    next_poll_at: str | None = None
    width: int | None = None
    height: int | None = None
    poster_path: str | None = None
    contact_sheet_path: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None


class SubmitAnswer(BaseModel):
    """Of `submit_video`: the task, or what a person must do first; of several sheets, a line for each in `tasks`.

    `status` is `accepted`, `already_accepted` (before this call), `waiting` (not answered yet, or it is sent later),
    `refused` (by the gateway), `outcome_unknown`, `approval_needed`, `declined` (by a person or in the form), what else
    came of a form, or `blocked` (see `code` in `blocked` of `explain_payload`). It is no enum, because each word costs
    every client context.
    """

    summary: str
    status: str
    code: str | None = None
    sheet_id: str | None = None
    task_id: str | None = None
    task_status: str | None = None
    tasks: list[dict[str, Any]] | None = None
    clip_path: str | None = None
    gateway_task_id: str | None = None
    untrusted_gateway_message: str | None = None
    why: str | None = None
    approval_url: str | None = None
    approval_command: str | None = None
    mode: str | None = None
    rehearsal: bool | None = None
    money: str
    next_step: str


class SubmitDetails(SubmitAnswer):
    """With the whole task, or the text that a person agrees to."""

    notice: str
    approval_text: str | None = None
    task: TaskDetails | None = None


class TasksAnswer(BaseModel):
    """Of `list_tasks`, and of `get_task` for several: those of unknown outcome first, then the newest."""

    summary: str
    tasks: list[TaskLine]
    mode: str
    rehearsal: bool | None = None
    money: str
    next_step: str


class StatusAnswer(BaseModel):
    """What `get_task` publishes of its two answers, about one task or several."""

    summary: str
    task_id: str | None = None
    status: str | None = None
    clip_path: str | None = None
    tasks: list[TaskLine] | None = None
    mode: str
    rehearsal: bool | None = None
    money: str
    next_step: str


class TasksDetails(TasksAnswer):
    """With all of each task."""

    tasks: list[TaskDetails]  # type: ignore[assignment]  # each has all of a `TaskLine`


class CancelAnswer(BaseModel):
    """Of `cancel`: whether it was withdrawn, and if not, what can be had and what it costs."""

    summary: str
    status: Literal["withdrawn", "not_withdrawn"]
    sheet_id: str | None = None
    task_id: str | None = None
    mode: str
    rehearsal: bool | None = None
    money: str
    next_step: str


class ModelLine(BaseModel):
    """One card in a line; a dropped model has only its name and the reason."""

    gateway: str
    model: str
    availability: str
    kinds: list[str] | None = None
    durations_seconds: list[int] | None = None
    aspect_ratios: list[str] | None = None
    resolutions: list[str] | None = None
    price: str | None = None
    price_as_of: str | None = None


class ModelDetails(ModelLine):
    """With every fact of the card, as the catalogue has it."""

    title: str
    card: dict[str, Any]


class ModelsAnswer(BaseModel):
    """Of `list_models`: the models that offer what was asked, cheapest first at equal terms; `rest` on the others."""

    summary: str
    models: list[OptionAnswer]
    rest: str | None = None
    mode: str
    rehearsal: bool | None = None
    money: str
    next_step: str


class ErrorAnswer(BaseModel):
    """An error, in the fields of every other answer: what happened, what became of the money, what to do now."""

    summary: str
    code: str
    fate: str
    retry: str
    mode: str | None = None
    rehearsal: bool | None = None
    money: str
    next_step: str
