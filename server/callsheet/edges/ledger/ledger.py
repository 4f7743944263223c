"""The ledger: the one truth about sheets, tasks, spending and pace, in SQLite.

Write-ahead log with `synchronous=FULL`: when a call returns, its row survives a crash (of the machine
too; a draft alone may be lost with the power, it costs nothing and is made again). Every state
change is a compare-and-set inside one immediate transaction that looks the event up in `core.task`,
so that several processes, or the same call twice, do no harm. Any database error becomes a
`LedgerProblem`, and nothing is submitted without a ledger. Only this module and `edges.ledger_file`,
which opens the file, know the database.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from callsheet.core.consent.approval import Means, Spending
from callsheet.core.consent.policy import Mode
from callsheet.core.spending.limits import Slots, SpendTerms, require_fresh_approval, require_within_caps
from callsheet.core.tasks.models import ClaimedTask, Pruned, PruneLimits, Sheet, Task
from callsheet.core.tasks.states import (
    OPEN_STATES,
    IllegalEvent,
    SheetEvent,
    SheetState,
    TaskEvent,
    TaskId,
    TaskState,
    advance_sheet,
    advance_task,
)
from callsheet.errors import NextStep, NotApproved, UnknownThing

from .allowances import Consent, append_audit, use_allowance
from .connection import ledger_problem, open_database
from .pruning import last_take, prune_rows
from .rows import build_insert, read_sheet, read_task, sheet_row, state_marks, task_changes, task_row
from .totals import count_missing, count_spending, count_taken

WRONG_CLOCK_SECONDS = 3600.0


class Ledger:
    """One open ledger file. Safe to call from several threads; each call is its own transaction."""

    def __init__(self, path: Path) -> None:
        """Open (and if need be create or migrate) the file; raises `LedgerProblem`."""
        self.path = path
        self._lock = threading.RLock()
        with self._guarded():
            self._db = open_database(path)
        self.consent = Consent(self._transaction, self._reading, self.snapshot)
        # Also a ledger that nobody closes gives its file back in good order, at the latest when the program ends.
        self._closing = weakref.finalize(self, self._db.close)

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._closing()

    def add_sheet(self, sheet: Sheet, *, now: float) -> Sheet:
        """Store a new sheet; if another process stored the same take first, that one is returned."""
        row = sheet_row(sheet)
        with self._transaction(lasting=False) as db:
            db.execute(build_insert("sheet", row, "ON CONFLICT DO NOTHING"), row)
            self._note(db, now, sheet.id, "drafted", {"card": sheet.card_id, "take": sheet.take})
        found = self.latest_sheet(sheet.binding.shot_digest)
        assert found is not None
        return found

    def sheet(self, sheet_id: str) -> Sheet | None:
        """That sheet, with the task that spent it."""
        return self._one_sheet("sheet.id = ?", sheet_id)

    def latest_sheet(self, shot_digest: str) -> Sheet | None:
        """The newest take of the same request to the same place."""
        return self._one_sheet("sheet.shot_digest = ? ORDER BY take DESC LIMIT 1", shot_digest)

    def next_take(self, shot_digest: str) -> int:
        """The number that the next take of a shot gets; none is ever used again, not even that of a pruned one."""
        with self._guarded(), self._lock:
            return last_take(self._db, shot_digest) + 1

    def sheets(self, states: Sequence[SheetState], *, limit: int = 50) -> list[Sheet]:
        """The newest sheets in these states."""
        marks, wanted = state_marks(states)
        return self._sheets(f"sheet.state IN ({marks}) ORDER BY made_at DESC LIMIT ?", *wanted, limit)

    def takes(self, shot_digest: str) -> list[Task]:
        """The tasks of all takes of a shot, newest first."""
        return self._tasks(
            "sheet_id IN (SELECT id FROM sheet WHERE shot_digest = ?) ORDER BY created_at DESC", shot_digest
        )

    def move_sheet(
        self, sheet_id: str, event: SheetEvent, *, now: float, by: Means | None = None, who: str = ""
    ) -> Sheet:
        """Let an event happen to a sheet; raises `IllegalEvent` and changes nothing if it cannot.

        A person's act, `by` some means, also goes into the audit trail; `who` is what is known of them.
        """
        with self._transaction() as db:
            sheet = self._need_sheet(sheet_id)
            state = advance_sheet(sheet.state, event)
            db.execute("UPDATE sheet SET state = ? WHERE id = ?", (state.value, sheet_id))
            if event is SheetEvent.APPROVED:
                means = by.value if by else None
                db.execute("UPDATE sheet SET approved_by = ?, approved_at = ? WHERE id = ?", (means, now, sheet_id))
            if by is not None and by is not Means.REHEARSAL:
                told = {
                    "digest": sheet.binding.digest,
                    "price": sheet.binding.price,
                    "model": sheet.card_id,
                    "who": who,
                }
                append_audit(db, now, by.value, event.value, sheet_id, told)
            self._note(db, now, sheet_id, event.value, {"by": by.value if by else ""})
        return self._need_sheet(sheet_id)

    def spend(self, sheet_id: str, *, task: Task, terms: SpendTerms, now: float) -> Task:
        """Spend an approved sheet on a task: single use, with the caps reserved in the same transaction.

        A sheet that is already spent returns its task. Raises `NotApproved` and `PolicyRefusal`; then nothing has
        changed.
        """
        with self._transaction() as db:
            sheet = self._need_sheet(sheet_id)
            if sheet.task_id is not None:
                return self._need_task(sheet.task_id)
            if terms.allowed_under is not None and sheet.state is not SheetState.APPROVED:
                advance_sheet(sheet.state, SheetEvent.APPROVED)
                use_allowance(db, sheet, now=now, policy=terms.allowed_under)
                sheet = self._need_sheet(sheet_id)
            require_fresh_approval(sheet, terms.digest, now)
            if task.mode is Mode.LIVE:
                require_within_caps(terms.caps, task.reserve_micros, count_spending(db, task.mode, terms.windows))
            db.execute("UPDATE sheet SET state = ? WHERE id = ?", (SheetState.SPENT.value, sheet_id))
            row = task_row(task)
            db.execute(build_insert("task", row), row)
            self._note(db, now, task.id, "created", {"sheet": sheet_id, "reserve_micros": task.reserve_micros})
            if sheet.approved_by is not Means.REHEARSAL:
                told = {"sheet": sheet_id, "price": sheet.binding.price, "digest": terms.digest}
                append_audit(db, now, sheet.approved_by.value if sheet.approved_by else "", "spent", task.id, told)
        return task

    def task(self, task_id: str) -> Task | None:
        """That task."""
        found = self._tasks("id = ?", task_id)
        return found[0] if found else None

    def tasks(self, *, states: Sequence[TaskState] | None = None, limit: int = 20, offset: int = 0) -> list[Task]:
        """Tasks, those whose outcome is unknown first, then the newest."""
        marks, wanted = state_marks(states or tuple(TaskState))
        order = "ORDER BY state = 'outcome_unknown' DESC, created_at DESC, id LIMIT ? OFFSET ?"
        return self._tasks(f"state IN ({marks}) {order}", *wanted, limit, offset)

    def task_named(self, gateway: str, gateway_task_id: str) -> Task | None:
        """The task that a gateway knows under this id."""
        found = self._tasks("gateway = ? AND gateway_task_id = ?", gateway, gateway_task_id)
        return found[0] if found else None

    def claim(self, task_id: str, *, attempt: str, deadline: float, now: float, slots: Slots) -> ClaimedTask | None:
        """Record that a waiting task is being submitted; None when all concurrent slots are taken.

        Raises `NotApproved`, and changes nothing, unless the sheet was spent on this task.
        """
        with self._transaction() as db:
            task = self._need_task(task_id)
            sheet = self._need_sheet(task.sheet_id)
            if sheet.state is not SheetState.SPENT or sheet.task_id != task.id:
                raise NotApproved("The sheet was not spent on this task.", next_step=NextStep())
            since = now - slots.unknown_holds_seconds
            in_all, at_gateway = (count_taken(db, task.mode, gateway, since) for gateway in ("%", task.gateway))
            if in_all >= slots.concurrent or at_gateway >= slots.at_gateway:
                return None
            # Whoever finds it after the deadline knows that this attempt is over.
            changes = {"attempt": attempt, "attempts": task.attempts + 1, "deadline": deadline, "next_at": deadline + 1}
            claimed = self._advance(db, task, TaskEvent.CLAIMED, now, changes)
        return ClaimedTask(claimed, sheet, attempt, deadline)

    def missing_slots(self, task: Task, *, now: float, slots: Slots) -> int:
        """How many slots too few there are for a waiting task, if its owner's longer waiting ones go first.

        Those count that wait for nothing but a slot. Zero or less: it may try to `claim` one.
        """
        with self._reading() as db:
            return count_missing(db, task, now=now, slots=slots)

    def advance(
        self,
        task_id: str,
        event: TaskEvent,
        *,
        now: float,
        changes: Mapping[str, Any],
        attempt: str | None = None,
        lasting: bool = True,
    ) -> Task:
        """Let an event happen to a task; with `attempt`, only while that sending is the task's latest.

        Not `lasting`: a loss of power may undo it, so only for what the next read tells again. Raises
        `IllegalEvent` (nothing changed) when the state has moved on.
        """
        with self._transaction(lasting=lasting) as db:
            task = self._need_task(task_id)
            if attempt is not None and task.attempt != attempt:
                raise IllegalEvent(task.state, event)
            return self._advance(db, task, event, now, changes)

    def touch(self, task_id: str, *, now: float, changes: Mapping[str, Any], lasting: bool = True) -> Task:
        """Store what is newly known of a task without changing its state; `lasting` as for `advance`."""
        with self._transaction(lasting=lasting) as db:
            self._update(db, task_id, {**changes, "updated_at": now})
        return self._need_task(task_id)

    def due(self, owner: str, *, now: float, limit: int, states: Collection[TaskState] = OPEN_STATES) -> list[TaskId]:
        """This owner's open tasks whose time has come: submissions, then downloads, then status reads."""
        marks, wanted = state_marks(states)
        query = (
            f"SELECT id FROM task WHERE owner = ? AND next_at <= ? AND state IN ({marks})"
            " ORDER BY state = 'waiting' DESC, state = 'succeeded' DESC, next_at LIMIT ?"
        )
        with self._guarded(), self._lock:
            return [TaskId(row["id"]) for row in self._db.execute(query, (owner, now, *wanted, limit))]

    def next_due(self, owner: str, *, after: float = 0.0) -> float | None:
        """When this owner's next task is due, of those that are due later than `after`."""
        marks, states = state_marks(OPEN_STATES)
        with self._guarded():
            query = f"SELECT min(next_at) FROM task WHERE owner = ? AND next_at > ? AND state IN ({marks})"
            found: float | None = self._scalar(query, owner, after, *states)
            return found

    def owners(self) -> list[str | None]:
        """Who owns open tasks."""
        marks, states = state_marks(OPEN_STATES)
        with self._guarded(), self._lock:
            rows = self._db.execute(f"SELECT DISTINCT owner FROM task WHERE state IN ({marks})", states)
            return [row["owner"] for row in rows]

    def adopt(self, old_owner: str | None, new_owner: str) -> int:
        """Take over the open tasks of an owner that is gone; how many."""
        marks, states = state_marks(OPEN_STATES)
        with self._transaction() as db:
            return db.execute(
                f"UPDATE task SET owner = ? WHERE owner IS ? AND state IN ({marks})",
                (new_owner, old_owner, *states),
            ).rowcount

    def spending(self, mode: Mode, windows: tuple[float, float]) -> Spending:
        """What is reserved or spent since the starts of the day and month, and the open tasks."""
        with self._guarded(), self._lock:
            return count_spending(self._db, mode, windows)

    def reserve_pace(self, account: str, *, interval: float, burst: int, now: float) -> float:
        """Reserve the next request of an account at one per `interval` seconds; how long to wait for it.

        A reservation always succeeds and always advances the account's row, so that many processes
        together keep the rate exactly; `burst` requests may go at once after a pause.
        """
        with self._transaction(lasting=False) as db:
            row = db.execute(
                "INSERT INTO pace (account, next_free) VALUES (:account, :now + :interval)"
                " ON CONFLICT (account) DO UPDATE SET next_free = max(next_free, :now) + :interval"
                " RETURNING next_free",
                {"account": account, "now": now, "interval": interval},
            ).fetchone()
        return max(0.0, float(row[0]) - now - interval * burst)

    def reset_future_times(self, *, now: float) -> None:
        """After the clock was set back: nothing may wait for a time that only the wrong clock meant."""
        times = {"now": now, "late": now + WRONG_CLOCK_SECONDS}
        with self._transaction(lasting=False) as db:
            db.execute("UPDATE task SET next_at = :now + 60 WHERE next_at > :late", times)
            db.execute("UPDATE pace SET next_free = :now + 60 WHERE next_free > :late", times)

    def history(self, subject: str) -> list[dict[str, Any]]:
        """What happened to a sheet or task, oldest first."""
        with self._guarded(), self._lock:
            rows = self._db.execute("SELECT at, kind, detail FROM event WHERE subject = ? ORDER BY seq", (subject,))
            return [{"at": row["at"], "kind": row["kind"], **json.loads(row["detail"])} for row in rows]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside the block is of one moment, whatever others write meanwhile. It must not write."""
        with self._guarded(), self._lock:
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    def prune(self, limits: PruneLimits, *, dry_run: bool = False) -> Pruned:
        """Remove, in one transaction, what `edges.ledger_pruning` lets go; or only count it."""
        with self._transaction() as db:
            pruned = prune_rows(db, limits, dry_run=dry_run)
        if not dry_run:
            with self._guarded(), self._lock:
                self._db.execute("PRAGMA wal_checkpoint")
        return pruned

    def check(self) -> str:
        """The database's own quick check of the file: `ok`, or its first complaint."""
        with self._guarded():
            return str(self._scalar("PRAGMA quick_check(1)"))

    def _advance(
        self, db: sqlite3.Connection, task: Task, event: TaskEvent, now: float, changes: Mapping[str, Any]
    ) -> Task:
        state = advance_task(task.state, event)
        self._update(db, task.id, {**changes, "state": state, "updated_at": now})
        if state is not task.state:
            self._note(db, now, task.id, event.value, {"state": state.value})
        return self._need_task(task.id)

    def _update(self, db: sqlite3.Connection, task_id: str, changes: Mapping[str, Any]) -> None:
        columns = task_changes(changes)
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        db.execute(f"UPDATE task SET {assignments} WHERE id = :id", {**columns, "id": task_id})

    def _note(self, db: sqlite3.Connection, now: float, subject: str, kind: str, detail: Mapping[str, Any]) -> None:
        row = (now, subject, kind, json.dumps(detail))
        db.execute("INSERT INTO event (at, subject, kind, detail) VALUES (?, ?, ?, ?)", row)

    def _one_sheet(self, condition: str, *values: Any) -> Sheet | None:
        found = self._sheets(condition, *values)
        return found[0] if found else None

    def _sheets(self, condition: str, *values: Any) -> list[Sheet]:
        joined = "sheet LEFT JOIN task ON task.sheet_id = sheet.id"
        with self._guarded(), self._lock:
            rows = self._db.execute(f"SELECT sheet.*, task.id AS task_id FROM {joined} WHERE {condition}", values)
            return [read_sheet(row) for row in rows]

    def _tasks(self, condition: str, *values: Any) -> list[Task]:
        with self._guarded(), self._lock:
            rows = self._db.execute(f"SELECT * FROM task WHERE {condition}", values)
            return [read_task(row) for row in rows]

    def _need_sheet(self, sheet_id: str) -> Sheet:
        sheet = self.sheet(sheet_id)
        if sheet is None:
            raise UnknownThing("There is no such sheet.", next_step="Call explain_payload to make one.")
        return sheet

    def _need_task(self, task_id: str) -> Task:
        task = self.task(task_id)
        if task is None:
            raise UnknownThing("There is no such task.", next_step="Call list_tasks to see all of them.")
        return task

    def _scalar(self, query: str, *values: Any) -> Any:
        with self._lock:
            return self._db.execute(query, values).fetchone()[0]

    @contextmanager
    def _transaction(self, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """One immediate transaction. If not `lasting`, its commit does not wait for the disk; the next one does."""
        with self._guarded(), self._lock:
            if not lasting:
                self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                if not lasting:
                    self._db.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._guarded(), self._lock:
            yield self._db

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ledger_problem(self.path, error) from error
