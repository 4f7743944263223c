"""The live paid requests in the ledger: what the mark outside it has to name, and what is missing of what it names.

`SentLog` is a part of an open `SqliteLedger` and uses its transactions. Before a live request goes out, `empty_log`
puts the whole write-ahead log into the main file and empties it: a damaged or missing log then takes nothing back that
was stored before the request.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from callsheet.core.catalogue.prices import Price
from callsheet.core.consent import Binding, Means, Mode
from callsheet.core.sent import MOST_REQUESTS, Sent, SentRequest
from callsheet.core.shot import Shot
from callsheet.core.tasks import Problem, Sheet, SheetState, Task, TaskState
from callsheet.errors import Fate, LedgerProblem

from .consent import READMITTED, append_audit, revoke_all
from .database import Connection, Database
from .retention import last_take
from .rows import Row, build_insert, of_rows, sheet_row, task_changes, task_row

_CLAIMED = "EXISTS (SELECT 1 FROM event WHERE subject = {0} AND json_extract(detail, '$.attempt') = {1})"


class SentLog:
    """What one ledger sent live. Each call is its own transaction. Raises `LedgerProblem`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, newest: str = "") -> Sent:
        """What was sent, the task `newest` first whatever the clock says."""
        with self._database.reading() as db:
            first = db.execute("SELECT hash FROM audit ORDER BY seq LIMIT 1").fetchone()
            last = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
            rows = db.execute(
                "SELECT task.*, sheet.binding FROM task JOIN sheet ON sheet.id = task.sheet_id"
                f" WHERE task.mode = ? AND {_CLAIMED.format('task.id', 'task.attempt')}"
                " ORDER BY task.id = ? DESC, task.deadline DESC LIMIT ?",
                (Mode.LIVE.value, newest, MOST_REQUESTS),
            )
            path, origin = os.path.realpath(self._database.path), first["hash"] if first else ""
            entry, seal = (last["seq"], last["hash"]) if last else (0, "")
            return Sent(path, origin, entry, seal, tuple(_read_request(row) for row in rows))

    def missing(self, mark: Sent) -> tuple[SentRequest, ...] | None:
        """What the mark names and this ledger does not know; None where it is not behind the mark at all."""
        with self._database.reading() as db:
            found = db.execute("SELECT hash FROM audit WHERE seq = ?", (mark.entry,)).fetchone()
            is_behind = mark.entry > 0 and (found is None or found["hash"] != mark.seal)
            missing = tuple(request for request in mark.requests if not _knows(db, request))
        return missing if missing or is_behind else None

    def empty_log(self) -> None:
        """Move everything that is stored into the main file, and empty the write-ahead log."""
        if not self._database.settle():
            raise LedgerProblem(
                f"The ledger {self._database.path} is being read by another process, so it could not be stored whole.",
                next_step="Try again in a moment.",
            )

    def readmit(self, requests: Iterable[SentRequest], *, now: float) -> None:
        """A person goes on with an older ledger: what it forgot, and what waits in it, is of unknown outcome.

        It may also have forgotten a no, so its approvals and allowances end.
        """
        with self._database.transaction() as db:
            for request in requests:
                _readmit(db, request, now)
            waiting = db.execute("SELECT id FROM task WHERE mode = ? AND state = 'waiting'", (Mode.LIVE.value,))
            for row in waiting.fetchall():
                _doubt(db, row["id"], now, {})
            db.execute(
                "UPDATE sheet SET state = ? WHERE state = ? AND json_extract(binding, '$.mode') = ?",
                (SheetState.EXPIRED.value, SheetState.APPROVED.value, Mode.LIVE.value),
            )
            revoke_all(db, now, by=Means.TERMINAL)
            append_audit(db, now, Means.TERMINAL.value, "older_ledger_accepted", self._database.path.name, {})


@of_rows
def _read_request(row: Row) -> SentRequest:
    names = ("sheet_id", "reserve_micros", "created_at", "deadline", "attempt", "attempts")
    binding = Binding(**json.loads(row["binding"]))
    return SentRequest(task_id=row["id"], binding=binding, **{name: row[name] for name in names})


def _knows(db: Connection, request: SentRequest) -> bool:
    """Whether the ledger has that attempt, or had it before its task was pruned."""
    task = db.execute("SELECT attempts FROM task WHERE id = ?", (request.task_id,)).fetchone()
    if task is None:
        query = f"SELECT 1 FROM audit WHERE subject = ? AND action IN ('spent', '{READMITTED}')"
        return db.execute(query, (request.task_id,)).fetchone() is not None
    claimed = db.execute(f"SELECT {_CLAIMED.format('?', '?')}", (request.task_id, request.attempt)).fetchone()[0]
    return bool(claimed) and task["attempts"] >= request.attempts


def _readmit(db: Connection, request: SentRequest, now: float) -> None:
    """Put a request that the ledger has forgotten back in: its sheet, if need be, and its task."""
    changes = {name: getattr(request, name) for name in ("attempt", "attempts", "deadline")}
    taken = db.execute("SELECT id FROM task WHERE id = ?", (request.task_id,)).fetchone()
    if taken is None:
        _readmit_sheet(db, request)
        task = Task(
            id=request.task_id,
            sheet_id=request.sheet_id,
            mode=Mode.LIVE,
            gateway=request.binding.gateway,
            model=request.binding.model,
            state=TaskState.OUTCOME_UNKNOWN,
            reserve_micros=request.reserve_micros,
            created_at=request.created_at,
            updated_at=now,
            next_at=now,
        )
        row = task_row(task)
        db.execute(build_insert("task", row, "ON CONFLICT DO NOTHING"), row)
    _doubt(db, request.task_id, now, changes)
    detail = {"sheet": request.sheet_id, "price": request.binding.price}
    append_audit(db, now, Means.TERMINAL.value, READMITTED, request.task_id, detail)


def _readmit_sheet(db: Connection, request: SentRequest) -> None:
    """The sheet is spent. One that the ledger does not have comes back without its prompt and its bytes."""
    take, digest = int(request.binding.take), request.binding.shot_digest
    if db.execute("SELECT 1 FROM sheet WHERE shot_digest = ? AND take = ?", (digest, take)).fetchone():
        # Drafted again meanwhile, as another sheet.
        take = last_take(db, digest) + 1
    sheet = Sheet(
        id=request.sheet_id,
        take=take,
        state=SheetState.SPENT,
        binding=request.binding,
        shot=Shot(""),
        price=Price(None, "", None, "", ""),
        body=b"",
        reserve_micros=request.reserve_micros,
        shown="",
        made_at=request.created_at,
        expires_at=request.created_at,
    )
    row = sheet_row(sheet)
    db.execute(build_insert("sheet", row, "ON CONFLICT (id) DO UPDATE SET state = excluded.state"), row)


def _doubt(db: Connection, task_id: str, now: float, changes: dict[str, Any]) -> None:
    """Make a task's outcome unknown."""
    problem = Problem("older_ledger", "the ledger was older than what was sent", Fate.UNKNOWN.value)
    columns = task_changes({**changes, "state": TaskState.OUTCOME_UNKNOWN, "problem": problem, "updated_at": now})
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    db.execute(f"UPDATE task SET {assignments} WHERE id = :id", {**columns, "id": task_id})
    detail = {"state": TaskState.OUTCOME_UNKNOWN.value, "attempt": changes.get("attempt", "")}
    row = (now, task_id, READMITTED, json.dumps(detail))
    db.execute("INSERT INTO event (at, subject, kind, detail) VALUES (?, ?, ?, ?)", row)
