"""Allowances and the append-only audit trail of a ledger, and what the trail proves about sheets and tasks.

A row alone proves nothing: every program of the user can write one. So what is spent live needs an act of consent
in the trail, and an allowance counts only as it was recorded there. `Consent` is a part of an open `SqliteLedger` and
uses its transactions. The functions run inside a transaction that the caller has opened. Only this package calls them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from callsheet.core.audit import AuditEntry, AuditVerdict, build_entry, verify_chain
from callsheet.core.consent import Means, Mode, Policy, binding_text, is_older_than_trail
from callsheet.core.signatures import EVIDENCE
from callsheet.core.spending import (
    AGREED,
    ALLOWANCE_MADE,
    CLOCK_SLACK_SECONDS,
    REFUSED,
    SPENT,
    WITHDRAWN,
    Allowance,
    covers,
    find_consent,
    read_detail,
    require_fresh_approval,
    was_consented,
)
from callsheet.core.tasks import Sheet, SheetEvent, SheetState, Task
from callsheet.errors import Action, NextStep, NotApproved, UnknownThing

from .rows import Row, bound, build_insert, of_rows, read_sheet

if TYPE_CHECKING:
    from .database import Connection, Database

ALLOWANCE_REVOKED = "allowance_revoked"
READMITTED = "readmitted"
"""Of a task that an older ledger had forgotten, and its consent with it. A person accepted that."""


class Consent:
    """Allowances and the audit trail of one ledger. Each call is its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, action: str, subject: str, *, actor: str, now: float, detail: Mapping[str, str] | None = None
    ) -> None:
        """Add an entry to the audit trail."""
        with self._database.transaction() as db:
            here = {"ledger": db.name} if action in AGREED else {}
            append_audit(db, now, actor, action, subject, {**(detail or {}), **here})

    def entries(self, *, limit: int = 100) -> list[AuditEntry]:
        """The latest entries of the audit trail, newest first."""
        with self._database.reading() as db:
            found = db.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT ?", (bound(limit),))
            return [_read_entry(row) for row in found]

    def verify(self) -> AuditVerdict:
        """Verify the hash chain of the whole trail, and that it has a consent for each live use of a sheet.

        In one snapshot: others may add to it meanwhile.
        """
        with self._database.snapshot(), self._database.reading() as db:
            written = db.count_audited()
            rows = db.execute("SELECT * FROM audit ORDER BY seq")
            verdict = verify_chain((_read_entry(row) for row in rows), written=written)
            unapproved, older = _find_unapproved(db)
            return replace(verdict, unapproved=unapproved, older=older)

    def consent_to(self, sheet: Sheet) -> AuditEntry | None:
        """The act in the trail by which that sheet may be spent, or was."""
        with self._database.reading() as db:
            return consent_to(db, sheet)

    def collect(self, sheet_id: str) -> bool:
        """Whether this is the first call to learn that a sheet was spent which had been put forward."""
        with self._database.transaction() as db:
            news = "UPDATE sheet SET forward_at = NULL WHERE id = ? AND state = 'spent' AND forward_at IS NOT NULL"
            return db.execute(news, (sheet_id,)).rowcount == 1

    def turned_down(self, shot_digest: str) -> bool:
        """Whether the form for a shot was declined, on any sheet of it, since the shot was last submitted."""
        sheets = "(SELECT id FROM sheet WHERE shot_digest = ?)"
        query = (
            f"SELECT 1 FROM event WHERE kind = 'turned_down' AND subject IN {sheets}"
            f" AND at > coalesce((SELECT max(created_at) FROM task WHERE sheet_id IN {sheets}), 0)"
        )
        with self._database.reading() as db:
            return db.execute(query, (shot_digest, shot_digest)).fetchone() is not None

    def add_allowance(self, allowance: Allowance, evidence: Mapping[str, str] = {}) -> Allowance:
        """Store a new allowance; `evidence` is what proves a person's consent to it."""
        row = {
            "id": allowance.id,
            "mode": allowance.mode.value,
            "models": json.dumps(allowance.models),
            "clips": allowance.clips,
            "up_to_micros": allowance.up_to_micros,
            "made_at": allowance.made_at,
            "expires_at": allowance.expires_at,
            "policy": allowance.policy,
            "made_by": allowance.made_by.value,
        }
        with self._database.transaction() as db:
            db.execute(build_insert("allowance", row), row)
            terms = {**evidence, **_terms(allowance), "ledger": db.name}
            append_audit(db, allowance.made_at, allowance.made_by.value, ALLOWANCE_MADE, allowance.id, terms)
            # What is recorded after this row shows how late it was, even if the clock is then set back.
            db.execute(
                "INSERT INTO event (at, subject, kind, detail) VALUES (?, ?, ?, '{}')",
                (allowance.made_at, allowance.id, ALLOWANCE_MADE),
            )
        return allowance

    def revoke(self, allowance_id: str, *, now: float, by: Means) -> Allowance:
        """End an allowance now and permanently; raises `UnknownThing`."""
        with self._database.transaction() as db:
            _revoke(db, _need_allowance(db, allowance_id), now, by)
            return _need_allowance(db, allowance_id)

    def allowance(self, allowance_id: str) -> Allowance:
        """That allowance; raises `UnknownThing`."""
        with self._database.reading() as db:
            return _need_allowance(db, allowance_id)

    def allowances(self) -> list[Allowance]:
        """All allowances, newest first."""
        with self._database.reading() as db:
            return list(_allowances(db))

    def covering(self, sheet: Sheet, *, now: float, policy: Policy) -> Allowance | None:
        """The allowance that covers that sheet, if there is one."""
        with self._database.reading() as db:
            return _covering(db, sheet, now, policy)


def revoke_all(db: Connection, now: float, *, by: Means) -> None:
    """End every allowance. The caller holds a transaction."""
    for allowance in list(_allowances(db)):
        _revoke(db, allowance, now, by)


def _revoke(db: Connection, allowance: Allowance, now: float, by: Means) -> None:
    if allowance.revoked_at is None:
        db.execute("UPDATE allowance SET revoked_at = ? WHERE id = ?", (now, allowance.id))
        append_audit(db, now, by.value, ALLOWANCE_REVOKED, allowance.id, {"use": allowance.use})


def append_audit(db: Connection, now: float, actor: str, action: str, subject: str, detail: Mapping[str, str]) -> None:
    """Add an entry, chained to the one before it. The caller holds a transaction."""
    last = db.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    before = _read_entry(last) if last else None
    entry = build_entry(before, at=now, actor=actor, action=action, subject=subject, detail=detail)
    row = {name: getattr(entry, name) for name in AuditEntry.__slots__}
    db.execute(build_insert("audit", row), row)


def append_act(
    db: Connection,
    sheet: Sheet,
    event: SheetEvent,
    *,
    by: Means | None,
    evidence: Mapping[str, str],
    now: float,
) -> None:
    """Add a person's yes or no to a sheet, or the withdrawal of an approved one: without it, its row could be set back.

    Other events are no acts and leave no entry.
    """
    if event is SheetEvent.WITHDRAWN and sheet.state is SheetState.APPROVED:
        append_audit(db, now, "", WITHDRAWN, sheet.id, {"digest": sheet.binding.digest})
    if by is None or by is Means.REHEARSAL:
        return
    detail = {"digest": sheet.binding.digest, "price": sheet.binding.price, "model": sheet.card_id, "who": ""}
    detail |= {**evidence, "ledger": db.name}
    if "signature" in evidence:
        detail["binding"] = binding_text(sheet.binding.as_written())
    append_audit(db, now, by.value, event.value, sheet.id, detail)


def append_spent(db: Connection, sheet: Sheet, task: Task, *, actor: str, now: float) -> None:
    """Add that a sheet was spent on a task; `actor` is the means of the consent."""
    detail = {"sheet": sheet.id, "price": sheet.binding.price, "digest": sheet.binding.digest}
    append_audit(db, now, actor, SPENT, task.id, detail)


def consent_to(db: Connection, sheet: Sheet) -> AuditEntry | None:
    """The act in the trail by which that sheet may be spent, or was spent on its task."""
    mention = json.dumps({"sheet": sheet.id})[1:-1]
    acts = _read_acts(db, "AND (subject = ? OR instr(detail, ?) > 0)", sheet.id, mention).get(sheet.id, [])
    task_id = sheet.task_id or ""
    return find_consent(acts, digest=sheet.binding.digest, task_id=task_id, ledger=db.name)


def require_fresh_consent(db: Connection, sheet: Sheet, digest: str, now: float) -> tuple[str, float]:
    """The means by which a live sheet may be spent, and the time at which its price counts against the caps.

    The consent's own time counts, not the one in the row. A clock that was set back makes no consent young again and
    takes nothing out of a cap's window: what is on record was later. Raises `NotApproved`.
    """
    act = _require_consent(db, sheet)
    latest = _latest_since(db, sheet.id, AGREED)
    require_fresh_approval(replace(sheet, approved_at=act.at), digest, max(now, latest or now))
    counted_at: float = db.execute("SELECT max(at) FROM audit").fetchone()[0]
    return act.actor, max(now, counted_at)


def require_spent(db: Connection, sheet: Sheet, task: Task) -> None:
    """Raise `NotApproved` unless the sheet was spent on that task, and live, with a consent that the trail has."""
    if sheet.state is not SheetState.SPENT or sheet.task_id != task.id:
        raise NotApproved("The sheet was not spent on this task.", next_step=NextStep())
    if task.mode is Mode.LIVE:
        _require_consent(db, sheet)


def _require_consent(db: Connection, sheet: Sheet) -> AuditEntry:
    found = consent_to(db, sheet)
    if found is None:
        raise NotApproved(
            f"The audit trail has no approval of sheet {sheet.id}.",
            next_step=NextStep(Action.SUBMIT, "A person has to approve it first.", target=sheet.id),
        )
    return found


def _read_acts(db: Connection, which: str = "", *values: str) -> dict[str, list[AuditEntry]]:
    """The entries about sheets, by sheet, oldest first; without those of allowances that nobody made."""
    found: dict[str, list[AuditEntry]] = {}
    made = {row["subject"] for row in db.execute(f"SELECT subject FROM audit WHERE action = '{ALLOWANCE_MADE}'")}
    marks = ", ".join(f"'{action}'" for action in (*AGREED, REFUSED, WITHDRAWN, SPENT))
    for row in db.execute(f"SELECT * FROM audit WHERE action IN ({marks}) {which} ORDER BY seq", values):
        entry = _read_entry(row)
        detail = read_detail(entry)
        if entry.actor == Means.ALLOWANCE.value and entry.action in AGREED and detail.get("allowance") not in made:
            continue
        found.setdefault(str(detail.get("sheet") if entry.action == SPENT else entry.subject), []).append(entry)
    return found


def _find_unapproved(db: Connection) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Live tasks, and spent sheets without one, that no consent precedes; and tasks that are older than the trail."""
    unapproved: list[str] = []
    older: list[str] = []
    began = db.execute("SELECT min(at) FROM audit").fetchone()[0]
    acts = _read_acts(db)
    rows = db.execute(
        "SELECT sheet.*, task.id AS task_id, task.mode, coalesce(task.created_at, sheet.made_at) AS used_at"
        " FROM sheet LEFT JOIN task ON task.sheet_id = sheet.id WHERE (task.id IS NOT NULL OR sheet.state = 'spent')"
        # No EXISTS for each task: the trail has no index, and would be read once for each of them.
        f" AND coalesce(task.id, '') NOT IN (SELECT subject FROM audit WHERE action = '{READMITTED}')"
        " ORDER BY used_at, sheet.id"
    )
    for row in rows:
        sheet = read_sheet(row)
        about = acts.get(sheet.id, [])
        is_live = Mode.LIVE in (sheet.mode, row["mode"])
        if not is_live or was_consented(about, digest=sheet.binding.digest, task_id=sheet.task_id):
            continue
        is_older = not about and (began is None or row["used_at"] <= began)
        group = older if is_older and is_older_than_trail(sheet.id, sheet.binding) else unapproved
        group.append(sheet.task_id or sheet.id)
    return tuple(unapproved), tuple(older)


def use_allowance(db: Connection, sheet: Sheet, *, now: float, policy: Policy) -> Sheet:
    """Take one clip from an allowance that covers the sheet, and approve the sheet by it; raises `NotApproved`.

    The caller holds the transaction that spends the sheet. If that fails, nothing is taken.
    """
    allowance = _covering(db, sheet, now, policy)
    if allowance is None or sheet.reserve_micros is None:
        raise NotApproved(
            f"Sheet {sheet.id} is not approved, and no allowance covers it.",
            next_step=NextStep(Action.SUBMIT, "It needs an approval.", target=sheet.id),
        )
    used = replace(
        allowance, used_clips=allowance.used_clips + 1, used_micros=allowance.used_micros + sheet.reserve_micros
    )
    db.execute(
        "UPDATE allowance SET used_clips = ?, used_micros = ? WHERE id = ?",
        (used.used_clips, used.used_micros, used.id),
    )
    db.execute(
        "UPDATE sheet SET state = 'approved', approved_by = ?, approved_at = ?, allowance = ? WHERE id = ?",
        (Means.ALLOWANCE.value, now, used.id, sheet.id),
    )
    detail = {"allowance": used.id, "use": used.use, "digest": sheet.binding.digest, "price": sheet.binding.price}
    detail["ledger"] = db.name
    append_audit(db, now, Means.ALLOWANCE.value, "approved", sheet.id, detail)
    return replace(sheet, approved_by=Means.ALLOWANCE, approved_at=now, allowance=used.id)


def _covering(db: Connection, sheet: Sheet, now: float, policy: Policy) -> Allowance | None:
    """The covering allowance that ends first. An allowance does not cover while the clock is behind the ledger."""
    found = [item for item in _allowances(db) if covers(item, sheet, now=now, policy=policy)]
    held = [item for item in found if _is_as_recorded(db, item) and not _is_behind(db, item, now)]
    return min(held, key=lambda item: item.expires_at, default=None)


def _is_behind(db: Connection, allowance: Allowance, now: float) -> bool:
    """Whether something was recorded after now since that allowance was stored."""
    latest = _latest_since(db, allowance.id, (ALLOWANCE_MADE,))
    return latest is not None and now < latest - CLOCK_SLACK_SECONDS


def _terms(allowance: Allowance) -> dict[str, str]:
    """What the trail says of a new allowance."""
    return {
        "models": ", ".join(allowance.models),
        "use": replace(allowance, used_clips=0, used_micros=0).use,
        "expires": f"{allowance.expires_at:.0f}",
        "mode": allowance.mode.value,
        "policy": allowance.policy,
    }


def _is_as_recorded(db: Connection, allowance: Allowance) -> bool:
    """Whether the row says what the trail says: made here on these terms, not revoked, and used no less."""
    mention = json.dumps({"allowance": allowance.id})[1:-1]
    query = "SELECT * FROM audit WHERE subject = ? OR (action = 'approved' AND instr(detail, ?) > 0)"
    entries = [_read_entry(row) for row in db.execute(query, (allowance.id, mention))]
    acts = [entry.action for entry in entries]
    made = [read_detail(entry) for entry in entries if entry.action == ALLOWANCE_MADE]
    # An older version recorded fewer of the terms.
    here = {**_terms(allowance), "ledger": db.name}
    said = [(name, value) for terms in made for name, value in terms.items() if name not in ("who", *EVIDENCE)]
    is_same = all(here.get(name) == value for name, value in said)
    return bool(made) and is_same and ALLOWANCE_REVOKED not in acts and acts.count("approved") <= allowance.used_clips


def _latest_since(db: Connection, subject: str, acts: tuple[str, ...]) -> float | None:
    """The latest time on record since the last of these acts on that subject: acts of consent, and what was drafted."""
    marks, times = ", ".join("?" * len(acts)), []
    for table, column in (("audit", "action"), ("event", "kind")):
        since = f"SELECT max(seq) FROM {table} WHERE subject = ? AND {column} IN ({marks})"
        times += db.execute(f"SELECT max(at) FROM {table} WHERE seq >= ({since})", (subject, *acts)).fetchone()
    return max((at for at in times if at is not None), default=None)


def _allowances(db: Connection) -> Iterator[Allowance]:
    yield from map(_read_allowance, db.execute("SELECT * FROM allowance ORDER BY made_at DESC, id"))


@of_rows
def _read_allowance(row: Row) -> Allowance:
    values = dict(row)
    values |= {"mode": Mode(row["mode"]), "models": tuple(json.loads(row["models"])), "made_by": Means(row["made_by"])}
    return Allowance(**values)


def _need_allowance(db: Connection, allowance_id: str) -> Allowance:
    found = next((item for item in _allowances(db) if item.id == allowance_id), None)
    if found is None:
        raise UnknownThing("There is no allowance with that id.", next_step=NextStep(Action.ALLOWANCES))
    return found


@of_rows
def _read_entry(row: Row) -> AuditEntry:
    return AuditEntry(**dict(row))
