"""The tasks as a person looks for them: by state, model and words of the prompt, and without what they dismissed.

A dismissal is an entry in the task's history. It counts while it is the latest one, so a task that changes
afterwards is shown again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from callsheet.core.tasks import Task, TaskFilter, TaskState

from .database import Database
from .rows import bound, read_task, state_marks

_DISMISSED = "dismissed"
_LATEST = "(SELECT kind FROM event WHERE subject = task.id ORDER BY seq DESC LIMIT 1)"
_PROMPT = "(SELECT json_extract(shot, '$.prompt') FROM sheet WHERE sheet.id = task.sheet_id)"


Narrow = Callable[[str], tuple[str, tuple[str, ...]]]


def see_all(_sheet_id: str) -> tuple[str, tuple[str, ...]]:
    """No narrowing: one person uses the ledger."""
    return "TRUE", ()


class TaskList:
    """Part of one open ledger."""

    def __init__(self, database: Database, narrow: Narrow = see_all) -> None:
        self._database = database
        self._narrow = narrow

    def find(self, wanted: TaskFilter, *, limit: int, offset: int = 0) -> list[Task]:
        """Those tasks, the newest first; a negative limit is none."""
        marks, values = state_marks(wanted.states or tuple(TaskState))
        seen, who = self._narrow("task.sheet_id")
        conditions, values = [seen, f"state IN ({marks})"], [*who, *values]
        for word in wanted.words.split():
            conditions.append(f"lower({_PROMPT}) LIKE lower(?) ESCAPE '!'")
            values.append("%" + "".join(f"!{mark}" if mark in "!%_" else mark for mark in word) + "%")
        if wanted.card:
            conditions.append("? IN (gateway, gateway || '/' || model)")
            values.append(wanted.card)
        if wanted.undismissed:
            conditions.append(f"coalesce({_LATEST}, '') != '{_DISMISSED}'")
        query = f"SELECT * FROM task WHERE {' AND '.join(conditions)} ORDER BY created_at DESC, id LIMIT ? OFFSET ?"
        with self._database.reading() as db:
            return [read_task(row) for row in db.execute(query, (*values, bound(limit), offset))]

    def cards(self) -> list[str]:
        """The models that there are tasks of, each as `gateway/model`, sorted."""
        seen, who = self._narrow("task.sheet_id")
        query = f"SELECT DISTINCT gateway || '/' || model FROM task WHERE {seen} ORDER BY 1"
        with self._database.reading() as db:
            return [row[0] for row in db.execute(query, who)]

    def dismiss(self, task_ids: Iterable[str], *, now: float) -> None:
        """Leave these tasks out of what needs a person's attention, until they change. Unknown ids change nothing."""
        seen, who = self._narrow("task.sheet_id")
        found = f"SELECT CAST(? AS DOUBLE PRECISION), id, CAST(? AS TEXT), '{{}}' FROM task WHERE id = ? AND {seen}"
        with self._database.transaction() as db:
            for task_id in task_ids:
                db.execute(f"INSERT INTO event (at, subject, kind, detail) {found}", (now, _DISMISSED, task_id, *who))
