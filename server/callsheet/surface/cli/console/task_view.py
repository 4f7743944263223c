"""How a task looks: where it is, whether money was spent, the files, the next step."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from callsheet.core.tasks.models import Clip, Task
from callsheet.errors import Fate
from callsheet.service import TaskReport
from callsheet.service.results import fate_sentence, iso
from callsheet.surface.next_steps import for_person

from .output import facts
from .progress import state_text
from .session import Session
from .wording import in_commands, one_line, size

PROMPT_SHOWN = 300


def show_report(session: Session, report: TaskReport) -> None:
    """One task, in full."""
    task, screen = report.task, session.screen
    screen.show(Text(report.notice, style="bold" if task.mode.value == "live" else "dim"), "")
    rows: list[tuple[str, RenderableType]] = [
        ("Task", Text.assemble((task.id, "bold cyan"), f"  {task.card_id}")),
        ("State", Text.assemble(state_text(task), f" · {one_line(report.status_text)}")),
        ("Money", Text(fate_sentence(task), style="bold yellow" if report.fate == Fate.UNKNOWN.value else "")),
    ]
    if task.gateway_task_id:
        rows.append(("There", Text(one_line(task.gateway_task_id))))
    rows.append(("Times", Text(_times(task))))
    if report.prompt:
        rows.append(("Prompt", Text(one_line(report.prompt, PROMPT_SHOWN))))
    screen.show(facts(rows))
    if task.clip is not None:
        show_clip(session, task.clip)
    else:
        screen.next_step(in_commands(for_person(report.next_step)))


def show_clip(session: Session, clip: Clip, *, title: str = "Clip") -> None:
    """The files of a saved clip, by absolute path, to be copied."""
    screen = session.screen
    measured = f"{clip.duration_seconds:g} s · {clip.width}x{clip.height} · {size(clip.size)}"
    screen.heading(f"{title}  {measured}")
    for path in (clip.path, clip.contact_sheet, clip.poster):
        screen.whole(path, style="cyan")


def _times(task: Task) -> str:
    parts = [f"made {iso(task.created_at)}"]
    if task.finished_at is not None:
        parts.append(f"ended {iso(task.finished_at)}")
    elif task.accepted_at is not None:
        parts.append(f"accepted {iso(task.accepted_at)}")
    return " · ".join(parts)


__all__ = ["show_clip", "show_report"]
