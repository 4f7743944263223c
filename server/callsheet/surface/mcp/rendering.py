"""Renders each answer as a few lines of text, for clients that give the model only the text.

Other clients give it only the structured part, so both have everything that is needed to go on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from callsheet.surface.views.answers import (
    ExplainAnswer,
    ModelsAnswer,
    OptionAnswer,
    SubmitAnswer,
    TaskAnswer,
    TasksAnswer,
)


def render_explanation(answer: ExplainAnswer) -> str:
    """The explanation in a few lines; a possible duplicate charge is the first."""
    lines = [answer.notice, f"{answer.status}: {_subject(answer)}"]
    lines += [
        f"blocked ({item['code']}): {item['text']} It can be lifted by {item['lifted_by']}."
        for item in answer.blocked or ()
    ]
    if answer.price is not None:
        lines.append(f"Availability: {answer.availability}")
        lines.append(f"Price: {answer.price} (as of {answer.price_as_of})")
    # With a card, the line on its availability says what a finding on the model says.
    told = [item for item in answer.findings or () if item.field != "model" or answer.model is None]
    lines += [f"{item.severity}: {item.field} {item.text}" for item in told]
    lines += [f"note on the prompt: {note}" for note in answer.prompt_notes or ()]
    for option in answer.options or ():
        lines.append(_option(option))
    lines += [answer.rest] if answer.rest else []
    if answer.body is not None:
        lines.append(f"{answer.method} {answer.url} {json.dumps(answer.body, ensure_ascii=False)}")
    lines.append(answer.next_step)
    return _joined(lines)


def render_task(answer: TaskAnswer) -> str:
    """The task in a few lines."""
    clip = answer.clip_path and (
        f"{answer.clip_path} ({answer.duration_seconds} s, {answer.width}x{answer.height}, {answer.size_bytes} bytes),"
        f" contact sheet {answer.contact_sheet_path}"
    )
    name = f"{answer.task_id} ({answer.gateway}/{answer.model}): {answer.status}. {answer.status_text}"
    said = _quoted(answer.untrusted_gateway_message)
    return _joined([answer.notice, name, said, clip, answer.money, answer.next_step])


def render_submission(answer: SubmitAnswer) -> str:
    """The submission in a few lines; its first word is its state."""
    if answer.task_id is None:
        money = None if answer.approval_text else answer.money
        return _joined([f"{answer.status}: {answer.notice}", answer.approval_text, money, answer.next_step])
    name = f"{answer.status}: {answer.task_id}, {answer.task_status}. {answer.status_text}"
    said = _quoted(answer.untrusted_gateway_message)
    return _joined([name, answer.notice, said, answer.money, answer.next_step])


def render_tasks(answer: TasksAnswer) -> str:
    """The list of tasks, one line each."""
    lines = [
        f"{line.task_id} ({line.gateway}/{line.model}) {line.created_at}: {line.status}. {line.clip_path or line.money}"
        for line in answer.tasks
    ]
    return _joined([answer.notice, *(lines or ["No tasks."]), answer.next_step])


def render_models(answer: ModelsAnswer) -> str:
    """The list of models, one line each."""
    return _joined([answer.notice, *map(_option, answer.models), answer.rest, answer.next_step])


def _option(option: OptionAnswer) -> str:
    terms = f" for {option.terms}" if option.terms else ""
    return f"{option.gateway}/{option.model}: {option.price}{terms}, {option.availability}"


def _quoted(said: str | None) -> str | None:
    return f"untrusted_gateway_message: {json.dumps(said, ensure_ascii=False)}" if said else None


def _subject(answer: ExplainAnswer) -> str:
    if answer.model is None:
        return f"{answer.what}; choose a model"
    parts = [
        f"{answer.gateway}/{answer.model}",
        answer.kind,
        f"{answer.duration_seconds} s" if answer.duration_seconds else "length not documented",
        answer.aspect_ratio,
        answer.resolution,
        None if answer.audio is None else "audio" if answer.audio else "no audio",
        *(f"{item.role.replace('_', ' ')} from {item.host}" for item in answer.inputs or ()),
        answer.sheet_id,
    ]
    return ", ".join(str(part) for part in parts if part)


def _joined(lines: Sequence[str | None]) -> str:
    return "\n".join(line for line in lines if line)
