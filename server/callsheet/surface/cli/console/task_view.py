"""One task on the terminal: its state, whether money was spent, the files, the next step."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from callsheet.core.tasks import Clip, Task
from callsheet.errors import Fate
from callsheet.service import TaskReport
from callsheet.service.results import fate_sentence, iso
from callsheet.surface.text import format_size, one_line

from .output import indent, label_table
from .progress import format_state
from .session import Session

PROMPT_SHOWN = 300


def write_report(session: Session, report: TaskReport) -> None:
    """One task, in full."""
    task, output = report.task, session.output
    output.write(Text(report.notice, style="bold" if task.mode.value == "live" else "dim"), "")
    rows: list[tuple[str, RenderableType]] = [
        ("Task", Text.assemble((task.id, "bold cyan"), f"  {task.card_id}")),
        ("State", Text.assemble(format_state(task), f" · {one_line(report.status_text)}")),
        ("Money", Text(fate_sentence(task), style="bold yellow" if report.fate == Fate.UNKNOWN.value else "")),
    ]
    if task.gateway_task_id:
        rows.append(("Gateway id", Text(one_line(task.gateway_task_id))))
    rows.append(("Times", Text(_format_times(task))))
    if report.prompt:
        rows.append(("Prompt", Text(one_line(report.prompt, PROMPT_SHOWN))))
    output.write(label_table(rows))
    if task.clip is not None:
        write_clip(session, task.clip)
        write_differences(session, report)
    else:
        output.write_next_step(report.next_step)


def write_clip(session: Session, clip: Clip, *, title: str = "Clip") -> None:
    """The files of a saved clip, by absolute path, to be copied."""
    output = session.output
    measured = f"{clip.duration_seconds:g} s · {clip.width}x{clip.height} · {format_size(clip.size)}"
    output.write_heading(f"{title}  {measured}")
    for path in (clip.path, clip.contact_sheet, clip.poster):
        output.write_path(path)
    if clip.note:
        output.write_note(clip.note)


def write_differences(session: Session, report: TaskReport) -> None:
    """What of the clip is not as ordered, a line for each."""
    for finding in report.findings:
        session.output.write(indent(Text(f"Not as ordered: {finding.rule}", style="yellow")))


def _format_times(task: Task) -> str:
    parts = [f"created {iso(task.created_at)}"]
    if task.finished_at is not None:
        parts.append(f"ended {iso(task.finished_at)}")
    elif task.accepted_at is not None:
        parts.append(f"accepted {iso(task.accepted_at)}")
    return " · ".join(parts)
