"""The tasks as a person looks for them: by state, model and words of the prompt, and without what they dismissed.

A dismissal is an entry in the task's history. It counts while it is the latest one, so a task that changes
afterwards is shown again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from callsheet.core.tasks import Task, TaskFilter, TaskState

from .rows import read_task, state_marks

Opened = Callable[[], AbstractContextManager[sqlite3.Connection]]

_DISMISSED = "dismissed"
_LATEST = "(SELECT kind FROM event WHERE subject = task.id ORDER BY seq DESC LIMIT 1)"
_PROMPT = "(SELECT json_extract(shot, '$.prompt') FROM sheet WHERE sheet.id = task.sheet_id)"


class TaskList:
    """Part of one open ledger file."""

    def __init__(self, transaction: Opened, reading: Opened) -> None:
        self._transaction = transaction
        self._reading = reading

    def find(self, wanted: TaskFilter, *, limit: int, offset: int = 0) -> list[Task]:
        """Those tasks, the newest first; a negative limit is none."""
        marks, values = state_marks(wanted.states or tuple(TaskState))
        conditions = [f"state IN ({marks})"]
        for word in wanted.words.split():
            conditions.append(f"{_PROMPT} LIKE ? ESCAPE '!'")
            values.append("%" + "".join(f"!{mark}" if mark in "!%_" else mark for mark in word) + "%")
        if wanted.card:
            conditions.append("? IN (gateway, gateway || '/' || model)")
            values.append(wanted.card)
        if wanted.undismissed:
            conditions.append(f"{_LATEST} IS NOT '{_DISMISSED}'")
        query = f"SELECT * FROM task WHERE {' AND '.join(conditions)} ORDER BY created_at DESC, id LIMIT ? OFFSET ?"
        with self._reading() as db:
            return [read_task(row) for row in db.execute(query, (*values, limit, offset))]

    def cards(self) -> list[str]:
        """The models that there are tasks of, each as `gateway/model`, sorted."""
        with self._reading() as db:
            return [row[0] for row in db.execute("SELECT DISTINCT gateway || '/' || model FROM task ORDER BY 1")]

    def dismiss(self, task_ids: Iterable[str], *, now: float) -> None:
        """Leave these tasks out of what needs a person's attention, until they change. Unknown ids change nothing."""
        with self._transaction() as db:
            for task_id in task_ids:
                found = "SELECT ?, id, ?, '{}' FROM task WHERE id = ?"
                db.execute(f"INSERT INTO event (at, subject, kind, detail) {found}", (now, _DISMISSED, task_id))
