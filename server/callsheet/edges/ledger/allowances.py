"""The ledger's rows about consent: allowances, and the append-only audit trail.

`Consent` is a part of an open `SqliteLedger` and uses its transactions. The functions below run inside a transaction
that the caller has opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from callsheet.core.consent.approval import Means
from callsheet.core.consent.audit import AuditEntry, AuditVerdict, build_entry, verify_chain
from callsheet.core.consent.policy import Mode
from callsheet.core.spending.allowances import CLOCK_SLACK_SECONDS, Allowance, covers
from callsheet.core.tasks.models import Sheet
from callsheet.errors import Action, NextStep, NotApproved, UnknownThing

from .rows import build_insert

if TYPE_CHECKING:
    import sqlite3

Using = Callable[[], "AbstractContextManager[sqlite3.Connection]"]


class Consent:
    """Allowances and the audit trail of one ledger. Each call is its own transaction."""

    def __init__(
        self, transaction: Using, reading: Using, snapshot: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._transaction = transaction
        self._reading = reading
        self._snapshot = snapshot

    def record(
        self, action: str, subject: str, *, actor: str, now: float, detail: Mapping[str, str] | None = None
    ) -> None:
        """Add an entry to the audit trail."""
        with self._transaction() as db:
            append_audit(db, now, actor, action, subject, detail or {})

    def entries(self, *, limit: int = 100) -> list[AuditEntry]:
        """The latest entries of the audit trail, newest first."""
        with self._reading() as db:
            return [_read_entry(row) for row in db.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT ?", (limit,))]

    def verify(self) -> AuditVerdict:
        """Verify the hash chain of the whole trail, in one snapshot: others may add to it meanwhile."""
        with self._snapshot(), self._reading() as db:
            written = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
            rows = db.execute("SELECT * FROM audit ORDER BY seq")
            return verify_chain((_read_entry(row) for row in rows), written=written[0] if written else 0)

    def add_allowance(self, allowance: Allowance) -> Allowance:
        """Store a new allowance."""
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
        with self._transaction() as db:
            db.execute(build_insert("allowance", row), row)
            detail = {
                "models": ", ".join(allowance.models),
                "use": allowance.use,
                "expires": f"{allowance.expires_at:.0f}",
            }
            append_audit(db, allowance.made_at, allowance.made_by.value, "allowance_made", allowance.id, detail)
        return allowance

    def revoke(self, allowance_id: str, *, now: float, by: Means) -> Allowance:
        """End an allowance now and permanently; raises `UnknownThing`."""
        with self._transaction() as db:
            found = _need_allowance(db, allowance_id)
            if found.revoked_at is None:
                db.execute("UPDATE allowance SET revoked_at = ? WHERE id = ?", (now, allowance_id))
                append_audit(db, now, by.value, "allowance_revoked", allowance_id, {"use": found.use})
            return _need_allowance(db, allowance_id)

    def allowance(self, allowance_id: str) -> Allowance:
        """That allowance; raises `UnknownThing`."""
        with self._reading() as db:
            return _need_allowance(db, allowance_id)

    def allowances(self) -> list[Allowance]:
        """All allowances, newest first."""
        with self._reading() as db:
            return list(_allowances(db))

    def covering(self, sheet: Sheet, *, now: float, policy: str) -> Allowance | None:
        """The allowance that covers that sheet, if there is one."""
        with self._reading() as db:
            return _covering(db, sheet, now, policy)


def append_audit(
    db: sqlite3.Connection, now: float, actor: str, action: str, subject: str, detail: Mapping[str, str]
) -> None:
    """Add an entry, chained to the one before it. The caller holds a transaction."""
    last = db.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    before = _read_entry(last) if last else None
    entry = build_entry(before, at=now, actor=actor, action=action, subject=subject, detail=detail)
    row = {name: getattr(entry, name) for name in AuditEntry.__slots__}
    db.execute(build_insert("audit", row), row)


def use_allowance(db: sqlite3.Connection, sheet: Sheet, *, now: float, policy: str) -> Sheet:
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
    append_audit(db, now, Means.ALLOWANCE.value, "approved", sheet.id, detail)
    return replace(sheet, approved_by=Means.ALLOWANCE, approved_at=now, allowance=used.id)


def _covering(db: sqlite3.Connection, sheet: Sheet, now: float, policy: str) -> Allowance | None:
    """The covering allowance that ends first. An allowance does not cover while the clock is behind the audit trail."""
    found = [item for item in _allowances(db) if covers(item, sheet, now=now, policy=policy)]
    held = [item for item in found if now >= _recorded_since(db, item) - CLOCK_SLACK_SECONDS]
    return min(held, key=lambda item: item.expires_at, default=None)


def _recorded_since(db: sqlite3.Connection, allowance: Allowance) -> float:
    """The latest time in the trail since that allowance was stored; infinity if the trail does not mention it."""
    query = (
        "SELECT max(at) FROM audit WHERE seq >="
        " (SELECT max(seq) FROM audit WHERE subject = ? AND action = 'allowance_made')"
    )
    latest: float | None = db.execute(query, (allowance.id,)).fetchone()[0]
    return float("inf") if latest is None else latest


def _allowances(db: sqlite3.Connection) -> Iterator[Allowance]:
    for row in db.execute("SELECT * FROM allowance ORDER BY made_at DESC, id"):
        values = dict(row)
        values |= {
            "mode": Mode(row["mode"]),
            "models": tuple(json.loads(row["models"])),
            "made_by": Means(row["made_by"]),
        }
        yield Allowance(**values)


def _need_allowance(db: sqlite3.Connection, allowance_id: str) -> Allowance:
    found = next((item for item in _allowances(db) if item.id == allowance_id), None)
    if found is None:
        raise UnknownThing("There is no allowance with that id.", next_step=NextStep(Action.ALLOWANCES))
    return found


def _read_entry(row: sqlite3.Row) -> AuditEntry:
    return AuditEntry(**dict(row))
