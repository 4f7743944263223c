"""The ledger in SQLite: the only record of sheets, tasks, spending and rate limits.

When a call returns, its row survives a crash of the process or the machine (write-ahead log, `synchronous=FULL`). Only
a draft, which costs nothing, may be lost in a power failure. Each state change is a compare-and-set in one immediate
transaction, by the tables of `core.tasks`, so concurrent processes and repeated calls are safe. Every database
error becomes a `LedgerProblem`, and nothing is submitted without a ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from callsheet.core.consent import Means, Mode, Spending
from callsheet.core.spending import Slots, SpendTerms, require_fresh_approval, require_within_caps
from callsheet.core.tasks import (
    OPEN_STATES,
    ClaimedTask,
    IllegalEvent,
    Pruned,
    PruneLimits,
    Sheet,
    SheetEvent,
    SheetState,
    Task,
    TaskEvent,
    TaskId,
    TaskState,
    advance_sheet,
    advance_task,
)
from callsheet.errors import Action, LedgerProblem, NextStep, UnknownThing

from .connection import SqliteConnection, open_database
from .consent import (
    Consent,
    append_act,
    append_spent,
    consent_to,
    require_fresh_consent,
    require_spent,
    use_allowance,
)
from .database import Connection, Database
from .retention import last_take, prune_rows
from .rows import (
    advance_pace,
    bound,
    build_insert,
    build_move,
    count_missing,
    count_spending,
    count_taken,
    read_event,
    read_sheet,
    read_task,
    require_own_id,
    sheet_row,
    state_marks,
    task_changes,
    task_row,
)
from .sent import SentLog
from .sqlite import SqliteDatabase
from .task_list import Narrow, TaskList, see_all

WRONG_CLOCK_SECONDS = 3600.0


class SqlLedger:
    """The ledger over an open database. Each call is its own transaction.

    `narrow` gives the condition, and its values, for the sheets and tasks that may be seen, by a column with the id of
    a sheet.
    """

    def __init__(self, database: Database, narrow: Narrow = see_all) -> None:
        self._database = database
        self._narrowed = narrow
        self.consent = Consent(database)
        self.sent = SentLog(database)
        self.task_list = TaskList(database, narrow)

    @property
    def path(self) -> Path:
        """The file, or what stands for it."""
        return self._database.path

    def close(self) -> None:
        """Close the database. The ledger cannot be used afterwards."""
        self._database.close()

    def add_sheet(self, sheet: Sheet, *, now: float) -> Sheet:
        """Store a new sheet and return it, or the same take if another process stored that first."""
        row = sheet_row(sheet)
        with self._database.transaction(lasting=False, alone=False) as db:
            if db.execute(build_insert("sheet", row, "ON CONFLICT DO NOTHING"), row).rowcount:
                self._added(db, sheet)
                self._record(db, now, sheet.id, "drafted", {"card": sheet.card_id, "take": sheet.take})
        found = self.latest_sheet(sheet.binding.shot_digest)
        if found is None:
            raise LedgerProblem("Somebody drafted the same shot in this moment.", next_step="Draft it again.")
        return found

    def sheet(self, sheet_id: str) -> Sheet | None:
        """The sheet with that id, with the id of the task that spent it."""
        return self._one_sheet("sheet.id = ?", sheet_id)

    def latest_sheet(self, shot_digest: str) -> Sheet | None:
        """The newest take of a shot."""
        return self._one_sheet("sheet.shot_digest = ? ORDER BY take DESC LIMIT 1", shot_digest)

    def next_take(self, shot_digest: str) -> int:
        """The number for the next take of a shot. No number is used twice, not even that of a pruned take."""
        with self._database.reading() as db:
            return last_take(db, shot_digest) + 1

    def sheets(
        self, states: Sequence[SheetState], *, limit: int = 50, forward: bool = False, shot_digest: str = ""
    ) -> list[Sheet]:
        """The newest sheets in these states, or of them those that were put `forward`, or those of one shot."""
        marks, wanted = state_marks(states)
        which = "sheet.forward_at IS NOT NULL AND " if forward else ""
        if shot_digest:
            which, wanted = f"{which}sheet.shot_digest = ? AND ", [shot_digest, *wanted]
        return self._sheets(f"{which}sheet.state IN ({marks}) ORDER BY made_at DESC LIMIT ?", *wanted, bound(limit))

    def sheets_of(self, tasks: Iterable[Task]) -> dict[str, Sheet]:
        """The sheets of these tasks, by id."""
        ids = [task.sheet_id for task in tasks]
        marks = ", ".join("?" * len(ids))
        return {sheet.id: sheet for sheet in self._sheets(f"sheet.id IN ({marks})", *ids)} if ids else {}

    def takes(self, shot_digest: str) -> list[Task]:
        """The tasks of all takes of a shot, newest first."""
        query = "sheet_id IN (SELECT id FROM sheet WHERE shot_digest = ?) ORDER BY created_at DESC"
        return self._tasks(query, shot_digest)

    def move_sheet(
        self, sheet_id: str, event: SheetEvent, *, now: float, by: Means | None = None, evidence: Mapping[str, str] = {}
    ) -> Sheet:
        """Apply an event to a sheet; raises `IllegalEvent`, and changes nothing, if its state does not allow it.

        A person's act, `by` some means, also goes into the audit trail; `evidence` is what is known of it.
        """
        # What expires waits for nobody: no draft waits for a process that holds the row of all writers.
        with self._database.transaction(alone=event is not SheetEvent.EXPIRED) as db:
            sheet = self._need_sheet(sheet_id)
            state = advance_sheet(sheet.state, event)
            if event is SheetEvent.UNPROVEN and consent_to(db, sheet) is not None:
                return sheet
            if not db.execute(*build_move(sheet, state, event, now=now, by=by)).rowcount:
                raise IllegalEvent(sheet.state, event)
            append_act(db, sheet, event, by=by, evidence=evidence, now=now)
            self._record(db, now, sheet_id, event.value, {"by": by.value if by else ""})
        return self._need_sheet(sheet_id)

    def spend(self, sheet_id: str, *, task: Task, terms: SpendTerms, now: float) -> Task:
        """Spend an approved sheet on a task, once, and reserve its price against the caps in the same transaction.

        A spent sheet returns its task. Raises `NotApproved` and `PolicyRefusal`, and changes nothing then.
        """
        with self._database.transaction() as db:
            sheet = self._need_sheet(sheet_id)
            if sheet.task_id is not None:
                return self._need_task(sheet.task_id)
            if terms.allowed_under is not None and sheet.state is not SheetState.APPROVED:
                advance_sheet(sheet.state, SheetEvent.APPROVED)
                use_allowance(db, sheet, now=now, policy=terms.allowed_under)
                sheet = self._need_sheet(sheet_id)
            require_fresh_approval(sheet, terms.digest, now)
            actor = sheet.approved_by.value if sheet.approved_by else ""
            if task.mode is Mode.LIVE:
                actor, counted_at = require_fresh_consent(db, sheet, terms.digest, now)
                task = replace(task, created_at=counted_at)
                spent = count_spending(db, task.mode, terms.windows, task.gateway)
                require_within_caps(terms.caps, task.reserve_micros, spent)
            self._require_budgets(db, sheet, task, terms)
            move = "UPDATE sheet SET state = ? WHERE id = ? AND state = ?"
            if not db.execute(move, (SheetState.SPENT.value, sheet_id, sheet.state.value)).rowcount:
                raise IllegalEvent(sheet.state, SheetEvent.EXPIRED)
            row = task_row(task)
            db.execute(build_insert("task", row), row)
            self._record(db, now, task.id, "created", {"sheet": sheet_id, "reserve_micros": task.reserve_micros})
            if actor != Means.REHEARSAL.value:
                append_spent(db, sheet, task, actor=actor, now=now)
        return task

    def task(self, task_id: str) -> Task | None:
        """The task with that id."""
        return next(iter(self._tasks("id = ?", task_id)), None)

    def tasks(self, *, states: Sequence[TaskState] | None = None, limit: int = 20, offset: int = 0) -> list[Task]:
        """Tasks in these states: those with an unknown outcome first, then the newest first."""
        marks, wanted = state_marks(states or tuple(TaskState))
        order = "ORDER BY state = 'outcome_unknown' DESC, created_at DESC, id LIMIT ? OFFSET ?"
        return self._tasks(f"state IN ({marks}) {order}", *wanted, bound(limit), offset)

    def claim(self, task_id: str, *, attempt: str, deadline: float, now: float, slots: Slots) -> ClaimedTask | None:
        """Record that a waiting task is being submitted; None when all concurrent slots are taken.

        Raises `NotApproved`, and changes nothing, unless the sheet was spent on this task with consent.
        """
        with self._database.transaction() as db:
            task = self._need_task(task_id)
            sheet = self._need_sheet(task.sheet_id)
            require_spent(db, sheet, task)
            since = now - slots.unknown_holds_seconds
            in_all, at_gateway = (count_taken(db, task.mode, gateway, since) for gateway in ("%", task.gateway))
            if in_all >= slots.concurrent or at_gateway >= slots.at_gateway:
                return None
            # A process that finds it after the deadline knows that this attempt is over.
            changes = {"attempt": attempt, "attempts": task.attempts + 1, "deadline": deadline, "next_at": deadline + 1}
            claimed = self._advance(db, task, TaskEvent.CLAIMED, now, changes)
        return ClaimedTask(claimed, sheet, attempt, deadline)

    def missing_slots(self, task: Task, *, now: float, slots: Slots) -> int:
        """How many slots a waiting task still lacks if its owner's older waiting tasks go first.

        Only tasks that wait for a slot and nothing else count. At zero or less it may try to `claim` one.
        """
        with self._database.reading() as db:
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
        """Apply an event to a task; with `attempt`, only while that attempt is the task's latest.

        Without `lasting`, a power failure may undo it: only for what the next status read returns again. Raises
        `IllegalEvent`, or `InvalidRequest` for another task's `gateway_task_id`, and changes nothing then.
        """
        with self._database.transaction(lasting=lasting) as db:
            task = self._need_task(task_id)
            if attempt is not None and task.attempt != attempt:
                raise IllegalEvent(task.state, event)
            if found := changes.get("gateway_task_id"):
                require_own_id(db, task, found, by_person=event is TaskEvent.RESOLVED_ACCEPTED)
            return self._advance(db, task, event, now, changes)

    def touch(self, task_id: str, *, now: float, changes: Mapping[str, Any], lasting: bool = True) -> Task:
        """Store new facts about a task without changing its state; `lasting` as for `advance`."""
        with self._database.transaction(lasting=lasting, alone=False) as db:
            self._update(db, task_id, {**changes, "updated_at": now})
        return self._need_task(task_id)

    def due(self, owner: str, *, now: float, limit: int, states: Collection[TaskState] = OPEN_STATES) -> list[TaskId]:
        """This owner's open tasks that are due: submissions first, then downloads, then status reads."""
        marks, wanted = state_marks(states)
        query = (
            f"SELECT id FROM task WHERE owner = ? AND next_at <= ? AND state IN ({marks})"
            " ORDER BY state = 'waiting' DESC, state = 'succeeded' DESC, next_at LIMIT ?"
        )
        with self._database.reading() as db:
            return [TaskId(row["id"]) for row in db.execute(query, (owner, now, *wanted, limit))]

    def next_due(self, owner: str, *, after: float = 0.0) -> float | None:
        """When this owner's next task after `after` is due."""
        marks, states = state_marks(OPEN_STATES)
        query = f"SELECT min(next_at) FROM task WHERE owner = ? AND next_at > ? AND state IN ({marks})"
        with self._database.reading() as db:
            found: float | None = db.execute(query, (owner, after, *states)).fetchone()[0]
        return found

    def owners(self) -> list[str | None]:
        """The owners of open tasks."""
        marks, states = state_marks(OPEN_STATES)
        with self._database.reading() as db:
            rows = db.execute(f"SELECT DISTINCT owner FROM task WHERE state IN ({marks})", states)
            return [row["owner"] for row in rows]

    def adopt(self, old_owner: str | None, new_owner: str, *, most: int = -1) -> int:
        """Take over open tasks of an owner that no longer runs, those due first; returns how many."""
        marks, states = state_marks(OPEN_STATES)
        with self._database.transaction() as db:
            query = (
                "UPDATE task SET owner = ? WHERE id IN (SELECT id FROM task WHERE coalesce(owner, '') ="
                f" coalesce(CAST(? AS TEXT), '') AND state IN ({marks}) ORDER BY next_at LIMIT ?)"
            )
            return db.execute(query, (new_owner, old_owner, *states, bound(most))).rowcount

    def spending(self, mode: Mode, windows: tuple[float, float], gateway: str = "") -> Spending:
        """What was reserved or spent since the starts of the day and the month, and how many tasks are open."""
        with self._database.reading() as db:
            return count_spending(db, mode, windows, gateway)

    def reserve_pace(self, account: str, *, interval: float, burst: int, now: float) -> float:
        """Reserve the next request of an account at one per `interval` seconds; returns the seconds to wait for it.

        Every reservation advances the account's row, so that many processes together keep the rate exactly. After a
        pause, `burst` requests need not wait.
        """
        with self._database.transaction(lasting=False, alone=False) as db:
            next_free = advance_pace(db, account, interval, now)
        return max(0.0, next_free - now - interval * burst)

    def reset_future_times(self, *, now: float) -> None:
        """After the clock was set back: make due in a minute what would otherwise wait for the wrong clock's time."""
        times = {"now": now, "late": now + WRONG_CLOCK_SECONDS}
        with self._database.transaction(lasting=False) as db:
            db.execute("UPDATE task SET next_at = :now + 60 WHERE next_at > :late", times)
            db.execute("UPDATE pace SET next_free = :now + 60 WHERE next_free > :late", times)

    def history(self, subject: str) -> list[dict[str, Any]]:
        """The events of a sheet or task, oldest first."""
        with self._database.reading() as db:
            rows = db.execute("SELECT at, kind, detail FROM event WHERE subject = ? ORDER BY seq", (subject,))
            return [read_event(row) for row in rows]

    def together(self) -> AbstractContextManager[None]:
        """For a block of many reads that waits for nothing else: a server far away is asked once for each."""
        return self._database.together()

    def snapshot(self) -> AbstractContextManager[None]:
        """Reads in the block see one moment, whatever others write meanwhile. The block must not write."""
        return self._database.snapshot()

    def prune(self, limits: PruneLimits, *, dry_run: bool = False) -> Pruned:
        """Remove old rows in one transaction, by the rules of `retention`; `dry_run` only counts them."""
        with self._database.transaction() as db:
            pruned = prune_rows(db, limits, dry_run=dry_run)
        if not dry_run:
            self._database.shrink()
        return pruned

    def check(self) -> str:
        """Check the whole store, indexes included: `ok`, or the first problem found."""
        return self._database.check()

    def _advance(self, db: Connection, task: Task, event: TaskEvent, now: float, changes: Mapping[str, Any]) -> Task:
        state = advance_task(task.state, event)
        self._update(db, task.id, {**changes, "state": state, "updated_at": now})
        if state is not task.state:
            attempt = {"attempt": changes["attempt"]} if event is TaskEvent.CLAIMED else {}
            self._record(db, now, task.id, event.value, {"state": state.value, **attempt})
        return self._need_task(task.id)

    def _update(self, db: Connection, task_id: str, changes: Mapping[str, Any]) -> None:
        columns = task_changes(changes)
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        db.execute(f"UPDATE task SET {assignments} WHERE id = :id", {**columns, "id": task_id})

    def _record(self, db: Connection, now: float, subject: str, kind: str, detail: Mapping[str, Any]) -> None:
        row = (now, subject, kind, json.dumps(detail))
        db.execute("INSERT INTO event (at, subject, kind, detail) VALUES (?, ?, ?, ?)", row)

    def _added(self, db: Connection, sheet: Sheet) -> None:
        """What else is stored with a new sheet."""

    def _require_budgets(self, db: Connection, sheet: Sheet, task: Task, terms: SpendTerms) -> None:
        """Raise `PolicyRefusal` where a spend exceeds more than the policy's caps."""

    def _one_sheet(self, condition: str, *values: Any) -> Sheet | None:
        return next(iter(self._sheets(condition, *values)), None)

    def _sheets(self, condition: str, *values: Any) -> list[Sheet]:
        seen, who = self._narrowed("sheet.id")
        joined = f"sheet LEFT JOIN task ON task.sheet_id = sheet.id WHERE {seen} AND"
        with self._database.reading() as db:
            rows = db.execute(f"SELECT sheet.*, task.id AS task_id FROM {joined} {condition}", (*who, *values))
            return [read_sheet(row) for row in rows]

    def _tasks(self, condition: str, *values: Any) -> list[Task]:
        seen, who = self._narrowed("task.sheet_id")
        with self._database.reading() as db:
            rows = db.execute(f"SELECT * FROM task WHERE {seen} AND {condition}", (*who, *values))
            return [read_task(row) for row in rows]

    def _need_sheet(self, sheet_id: str) -> Sheet:
        sheet = self.sheet(sheet_id)
        if sheet is None:
            raise UnknownThing("There is no such sheet.", next_step=NextStep(Action.EXPLAIN, "Create a sheet first."))
        return sheet

    def _need_task(self, task_id: str) -> Task:
        task = self.task(task_id)
        if task is None:
            raise UnknownThing(
                "There is no such task.", next_step=NextStep(Action.LIST, "Look up its id in the list of tasks.")
            )
        return task


class SqliteLedger(SqlLedger):
    """One open ledger file."""

    def __init__(self, path: Path, *, connect: Callable[[Path], SqliteConnection] = open_database) -> None:
        """Open the file, and create or migrate it first if necessary; raises `LedgerProblem`."""
        super().__init__(SqliteDatabase(path, connect))
