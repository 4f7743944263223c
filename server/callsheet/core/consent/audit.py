"""The audit trail as values: who agreed to what, by which means, when. Each entry seals the one before it.

An entry's hash is taken over its content and the hash of the entry before, so one changed byte, a missing or a
moved entry shows. Who may write the ledger can also make a whole new chain; a copy of the latest hash, kept
elsewhere, shows that too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FIRST_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. `actor` is the means (`terminal`, `client`, `desk`, …), `subject` a sheet, task, allowance or gateway.

    `detail` is a JSON object as text, kept as it was hashed.
    """

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    detail: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What became of a check: the first entry that is not as it was written (None: all are), and the latest hash."""

    entries: int
    latest: str
    broken: int | None = None
    problem: str = ""


def build_entry(
    before: AuditEntry | None, *, at: float, actor: str, action: str, subject: str, detail: Mapping[str, str]
) -> AuditEntry:
    """The entry that follows `before`, sealed."""
    seq, previous = (before.seq + 1, before.hash) if before else (1, FIRST_HASH)
    text = json.dumps(dict(detail), sort_keys=True, ensure_ascii=True)
    digest = _digest(seq, at, actor, action, subject, text, previous)
    return AuditEntry(seq, at, actor, action, subject, text, previous, digest)


def verify_chain(entries: Iterable[AuditEntry], *, written: int) -> AuditVerdict:
    """Check every entry, oldest first; `written` is how many were ever written."""
    before: AuditEntry | None = None
    count = 0
    for entry in entries:
        count += 1
        expected = FIRST_HASH if before is None else before.hash
        content = _digest(entry.seq, entry.at, entry.actor, entry.action, entry.subject, entry.detail, entry.previous)
        if entry.seq != count:
            return AuditVerdict(count, entry.hash, count, f"entry {count} is missing or out of its place")
        if entry.previous != expected:
            return AuditVerdict(count, entry.hash, count, f"entry {count} does not follow the one before it")
        if entry.hash != content:
            return AuditVerdict(count, entry.hash, count, f"entry {count} is not as it was written")
        before = entry
    latest = before.hash if before else FIRST_HASH
    if count != written:
        return AuditVerdict(count, latest, count + 1, f"{written} entries were written and {count} are there")
    return AuditVerdict(count, latest)


def _digest(*content: int | float | str) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()
