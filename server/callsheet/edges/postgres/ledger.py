"""The team's ledger: each person sees their own part of it, and what is spent fits the budgets.

Members see what they asked for; approvers and admins see everything of the tenant, and so does the program itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from callsheet.core.consent import Means, Mode
from callsheet.core.people import Budget, Payer, Period, Viewer, require_within_budget
from callsheet.core.sent import MarkedTask, SentRequest
from callsheet.core.spending import SpendTerms
from callsheet.core.tasks import OPEN_STATES, ClaimedTask, Sheet, SheetEvent, Task, TaskEvent, TaskState
from callsheet.edges.ledger.consent import Consent
from callsheet.edges.ledger.database import Connection
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.ledger.rows import COUNTS_SINCE, state_marks
from callsheet.edges.traces import note
from callsheet.errors import Action, LedgerProblem, NextStep, NotApproved

from .database import PostgresConnection, PostgresDatabase
from .people import read_budgets
from .schema import MIGRATIONS, read_version, require_known

WARNED = "budget_warning"
ACCOUNT_SECONDS = 180.0
"""For how long a worker's word counts that it has a key."""
LEAST_RING_SECONDS = 1.0
"""A task that is looked at so soon needs no ring."""

_BELL = re.compile(r"/callbacks/([a-z0-9-]+/[A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{27}$")
_PAYS = {
    Payer.GATEWAY: "task.gateway = ?",
    Payer.PERSON: "owner.person = ?",
    Payer.TEAM: "owner.team = ?",
}


def name_actor(viewer: Viewer) -> dict[str, str]:
    """What the audit trail keeps of who acts: nothing for the program itself."""
    return {"who": viewer.who, "person": viewer.person.id} if viewer.person else {}


class TeamConsent(Consent):
    """The audit trail of a tenant, which says who did what."""

    def __init__(self, database: PostgresDatabase, viewer: Callable[[], Viewer]) -> None:
        super().__init__(database)
        self._viewer = viewer

    def record(
        self, action: str, subject: str, *, actor: str, now: float, detail: Mapping[str, str] | None = None
    ) -> None:
        """As in local mode, with who acts."""
        known = {**name_actor(self._viewer()), **(detail or {})}
        super().record(action, subject, actor=actor, now=now, detail=known)


class TeamLedger(SqlLedger):
    """The ledger of one tenant as the present viewer sees it."""

    def __init__(self, database: PostgresDatabase, viewer: Callable[[], Viewer]) -> None:
        self._viewer = viewer
        super().__init__(database, self._narrow)
        self.consent = TeamConsent(database, viewer)

    def latest_sheet(self, shot_digest: str) -> Sheet | None:
        """Of their own: who drafts a shot neither gets nor ends what somebody else drafted, who would pay for it."""
        person = self._viewer().person
        if person is None:
            return super().latest_sheet(shot_digest)
        own = "sheet.id IN (SELECT sheet_id FROM owner WHERE person = ?)"
        return self._one_sheet(f"{own} AND sheet.shot_digest = ? ORDER BY take DESC LIMIT 1", person.id, shot_digest)

    def move_sheet(
        self, sheet_id: str, event: SheetEvent, *, now: float, by: Means | None = None, evidence: Mapping[str, str] = {}
    ) -> Sheet:
        """As in local mode; the audit trail also says who did it. Only its owner puts a sheet forward or takes it back.

        An approver says yes or no to it; to ask for it as well would be both of the four eyes.
        """
        if event in (SheetEvent.ASKED, SheetEvent.TURNED_DOWN, SheetEvent.WITHDRAWN):
            self._require_own(sheet_id)
        return super().move_sheet(sheet_id, event, now=now, by=by, evidence={**name_actor(self._viewer()), **evidence})

    def advance(self, task_id: str, event: TaskEvent, **options: Any) -> Task:
        """As in local mode. Of people, only its owner takes back a task."""
        if event is TaskEvent.WITHDRAWN:
            self._require_own(self._need_task(task_id).sheet_id)
        return super().advance(task_id, event, **options)

    def _require_own(self, sheet_id: str) -> None:
        person = self._viewer().person
        if person is not None and self._need_sheet(sheet_id) and self.owner(sheet_id) != person.id:
            raise NotApproved(
                "Only the person who drafted this clip asks for it or takes it back.",
                next_step="An approver approves or declines it on the desk.",
            )

    def owner(self, sheet_id: str) -> str:
        """The id of the person who asked for a sheet; empty for one that nobody of the team did."""
        with self._database.reading() as db:
            row = db.execute("SELECT person FROM owner WHERE sheet_id = ?", (sheet_id,)).fetchone()
        return str(row["person"]) if row else ""

    def require_version(self) -> None:
        """Raise `LedgerProblem` unless the database has exactly this version's tables."""
        with self._database.reading() as db:
            version = read_version(cast("PostgresConnection", db))
        require_known(version)
        if version < len(MIGRATIONS):
            raise LedgerProblem("The database has an older version.", next_step=NextStep(Action.MIGRATE))

    def is_paused(self) -> bool:
        """Whether somebody paused all submissions of the tenant."""
        with self._database.reading() as db:
            return bool(db.execute("SELECT paused FROM tenant").fetchone()[0])

    def set_paused(self, paused: bool) -> None:
        """Pause, or go on."""
        with self._database.transaction() as db:
            db.execute("UPDATE tenant SET paused = ?", (paused,))

    def account(self, gateway: str) -> str:
        """The fingerprint of the key that the workers have or last had for that gateway; empty without one."""
        with self._database.reading() as db:
            row = db.execute("SELECT fingerprint FROM account WHERE gateway = ?", (gateway,)).fetchone()
        return str(row["fingerprint"]) if row else ""

    def senders(self, *, now: float) -> list[str]:
        """The gateways for which a worker has the key now."""
        with self._database.reading() as db:
            found = db.execute("SELECT gateway FROM account WHERE seen_at > ? ORDER BY 1", (now - ACCOUNT_SECONDS,))
            return [str(row["gateway"]) for row in found]

    def set_account(self, gateway: str, fingerprint: str, *, now: float) -> None:
        """Store that a worker has this key."""
        with self._database.transaction(lasting=False, alone=False) as db:
            db.execute(
                "INSERT INTO account (gateway, fingerprint, seen_at) VALUES (?, ?, ?) ON CONFLICT (gateway)"
                " DO UPDATE SET fingerprint = excluded.fingerprint, seen_at = excluded.seen_at",
                (gateway, fingerprint, now),
            )

    def task_of_bell(self, bell: str) -> Task | None:
        """The latest task whose gateway was given that bell."""
        order = "ORDER BY created_at DESC LIMIT 1"
        found = self._tasks(f"sheet_id IN (SELECT sheet_id FROM owner WHERE bell = ?) {order}", bell)
        return found[0] if found else None

    def callback_of(self, bell: str) -> str:
        """The address that a gateway was last given with that bell; empty if none was."""
        with self._database.reading() as db:
            found = db.execute(
                "SELECT json_extract(sheet.shot, '$.callback_url') AS url FROM owner JOIN sheet ON sheet.id = sheet_id"
                " WHERE bell = ? ORDER BY made_at DESC LIMIT 1",
                (bell,),
            ).fetchone()
            return str(found["url"]) if found else ""

    def is_called_back(self, task: Task, *, since: float) -> bool:
        """Whether the gateway was given a bell for that task, and rang any bell after that time."""
        with self._database.reading() as db:
            found = db.execute(
                "SELECT 1 FROM owner JOIN bell ON bell.gateway = ? AND bell.rung_at > ?"
                " WHERE owner.sheet_id = ? AND owner.bell IS NOT NULL",
                (task.gateway, since, task.sheet_id),
            )
            return found.fetchone() is not None

    def ring(self, bell: str, *, now: float) -> bool:
        """Make what the gateway was given that bell for due for a status read; whether that changed anything."""
        marks, states = state_marks(OPEN_STATES - {TaskState.WAITING, TaskState.SUBMITTING})
        with self._database.transaction(lasting=False, alone=False) as db:
            db.execute(
                "INSERT INTO bell (gateway, rung_at) SELECT ?, ? WHERE EXISTS (SELECT 1 FROM owner WHERE bell = ?)"
                " ON CONFLICT (gateway) DO UPDATE SET rung_at = excluded.rung_at",
                (bell.partition("/")[0], now, bell),
            )
            rung = db.execute(
                "UPDATE task SET next_at = ? WHERE sheet_id IN (SELECT sheet_id FROM owner WHERE bell = ?)"
                f" AND state IN ({marks}) AND next_at > ?",
                (now, bell, *states, now + LEAST_RING_SECONDS),
            )
            return rung.rowcount > 0

    def history(self, subject: str) -> list[dict[str, Any]]:
        """Only of what the viewer sees."""
        sees = self._viewer().sees_all or self.sheet(subject) is not None or self.task(subject) is not None
        return super().history(subject) if sees else []

    def spent(self, budget: Budget, windows: Mapping[Period, float]) -> int:
        """What counts against a budget in its present period, in micros."""
        with self._database.reading() as db:
            return _spent(cast("PostgresConnection", db), budget, windows)

    def count_tasks(self) -> list[tuple[str, str, int]]:
        """How many tasks there are of each mode and state."""
        with self._database.reading() as db:
            rows = db.execute("SELECT mode, state, count(*) AS tasks FROM task GROUP BY mode, state")
            return [(row["mode"], row["state"], row["tasks"]) for row in rows]

    def warnings(self, *, limit: int = 50) -> list[dict[str, Any]]:
        """The latest warnings of budgets, the newest first."""
        with self._database.reading() as db:
            rows = db.execute("SELECT at, subject, detail FROM event WHERE kind = ? ORDER BY seq DESC LIMIT ?",
                (WARNED, limit))  # fmt: skip
            return [dict(row) for row in rows]

    def _narrow(self, sheet_id: str) -> tuple[str, tuple[str, ...]]:
        viewer = self._viewer()
        if viewer.person is None or viewer.sees_all:
            return "TRUE", ()
        return f"{sheet_id} IN (SELECT sheet_id FROM owner WHERE person = ?)", (viewer.person.id,)

    def _record(self, db: Connection, now: float, subject: str, kind: str, detail: Mapping[str, Any]) -> None:
        super()._record(db, now, subject, kind, detail)
        note(subject, kind)

    def _added(self, db: Connection, sheet: Sheet) -> None:
        viewer = self._viewer()
        if viewer.person is not None:
            db.execute(
                "INSERT INTO owner (sheet_id, person, team, agent, bell) VALUES (?, ?, ?, ?, ?)",
                (sheet.id, viewer.person.id, viewer.person.team, viewer.agent, find_bell(sheet.shot.callback_url)),
            )

    def _require_budgets(self, db: Connection, sheet: Sheet, task: Task, terms: SpendTerms) -> None:
        """In the transaction that spends, which holds the tenant's row: two spends cannot both take the last money."""
        if task.mode is not Mode.LIVE:
            return
        own = cast("PostgresConnection", db)
        row = own.execute("SELECT person, team FROM owner WHERE sheet_id = ?", (sheet.id,)).fetchone()
        names = {Payer.GATEWAY: task.gateway, Payer.PERSON: "", Payer.TEAM: ""}
        if row:
            names |= {Payer.PERSON: row["person"], Payer.TEAM: row["team"]}
        windows = dict(zip(Period, terms.windows, strict=True))
        for budget in read_budgets(own):
            if names[budget.payer] != budget.name:
                continue
            spent = _spent(own, budget, windows)
            for share in require_within_budget(budget, spent=spent, price=task.reserve_micros):
                subject = f"budget {budget.payer} {budget.name} {budget.period}"
                self._record(db, task.created_at, subject, WARNED, {"percent": share, "micros": budget.micros})


@dataclass(frozen=True, slots=True)
class DatabaseMark:
    """The mark of what was sent, where the ledger is the only state: a commit there is the mark."""

    ledger: Callable[[], TeamLedger]

    def record(self, claimed: ClaimedTask) -> MarkedTask:
        """The claim is committed."""
        return MarkedTask(claimed)

    def require_current(self) -> None:
        """After a restore a person says so: `callsheet team restored`."""

    def forgotten(self) -> tuple[SentRequest, ...]:
        """Nothing outside the database knows."""
        return ()

    def accept_ledger(self, *, now: float) -> tuple[SentRequest, ...]:
        """After a restore: what waits is of unknown outcome, and approvals end."""
        self.ledger().sent.readmit((), now=now)
        return ()


def find_bell(callback_url: str | None) -> str | None:
    """What of a callback's address names its shot: `gateway/id`; None where the address is not this server's kind."""
    found = _BELL.search(callback_url or "")
    return found[1] if found else None


def _spent(db: PostgresConnection, budget: Budget, windows: Mapping[Period, float]) -> int:
    found = db.execute(
        "SELECT CAST(coalesce(sum(reserve_micros), 0) AS BIGINT) FROM task"
        " LEFT JOIN owner ON owner.sheet_id = task.sheet_id"
        f" WHERE mode = ? AND {_PAYS[budget.payer]} AND {COUNTS_SINCE}",
        (Mode.LIVE.value, budget.name, windows[budget.period]),
    ).fetchone()
    return int(found[0])
