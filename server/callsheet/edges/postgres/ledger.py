"""The team's ledger: each person sees their own part of it, and what is spent fits the budgets.

Members see what they asked for; approvers and admins see everything of the tenant, and so does the program itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from callsheet.core.consent import Means, Mode
from callsheet.core.people import Budget, Payer, Period, Viewer, require_within_budget
from callsheet.core.spending import SpendTerms
from callsheet.core.tasks import Sheet, SheetEvent, Task
from callsheet.edges.ledger.consent import Consent
from callsheet.edges.ledger.database import Connection
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.ledger.rows import COUNTS_SINCE

from .database import PostgresConnection, PostgresDatabase
from .people import read_budgets

WARNED = "budget_warning"

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

    def move_sheet(
        self, sheet_id: str, event: SheetEvent, *, now: float, by: Means | None = None, evidence: Mapping[str, str] = {}
    ) -> Sheet:
        """As in local mode; the audit trail also says who did it."""
        return super().move_sheet(sheet_id, event, now=now, by=by, evidence={**name_actor(self._viewer()), **evidence})

    def owner(self, sheet_id: str) -> str:
        """The id of the person who asked for a sheet; empty for one that nobody of the team did."""
        with self._database.reading() as db:
            row = db.execute("SELECT person FROM owner WHERE sheet_id = ?", (sheet_id,)).fetchone()
        return str(row["person"]) if row else ""

    def history(self, subject: str) -> list[dict[str, Any]]:
        """Only of what the viewer sees."""
        sees = self._viewer().sees_all or self.sheet(subject) is not None or self.task(subject) is not None
        return super().history(subject) if sees else []

    def spent(self, budget: Budget, windows: Mapping[Period, float]) -> int:
        """What counts against a budget in its present period, in micros."""
        with self._database.reading() as db:
            return _spent(cast("PostgresConnection", db), budget, windows)

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

    def _added(self, db: Connection, sheet: Sheet) -> None:
        viewer = self._viewer()
        if viewer.person is not None:
            db.execute(
                "INSERT INTO owner (sheet_id, person, team, agent) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (sheet.id, viewer.person.id, viewer.person.team, viewer.agent),
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


def _spent(db: PostgresConnection, budget: Budget, windows: Mapping[Period, float]) -> int:
    found = db.execute(
        "SELECT CAST(coalesce(sum(reserve_micros), 0) AS BIGINT) FROM task"
        " LEFT JOIN owner ON owner.sheet_id = task.sheet_id"
        f" WHERE mode = ? AND {_PAYS[budget.payer]} AND {COUNTS_SINCE}",
        (Mode.LIVE.value, budget.name, windows[budget.period]),
    ).fetchone()
    return int(found[0])
