"""The audit trail: every act of consent, each entry sealing the one before it.

Each entry of the audit trail seals the one before it: its hash covers its content and the previous entry's hash, so a
changed byte and a missing or moved entry are detected. Someone who can write the ledger can also build a whole new
chain; a copy of the latest hash, kept elsewhere, detects that too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
    """The result of a check: the first entry that was changed (None: none was), and the latest hash.

    `unapproved` are live tasks, or spent sheets without one, whose use no act of consent in the trail precedes;
    `older` are tasks of the version that kept no trail, about which it can say nothing. `keys` are the fingerprints of
    the passkeys that signed, each with its number of entries. `unsigned` are the entries by passkey without a
    signature: an older version kept none.
    """

    entries: int
    latest: str
    broken: int | None = None
    problem: str = ""
    unapproved: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    keys: Mapping[str, int] = field(default_factory=dict)
    unsigned: tuple[int, ...] = ()


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
            return AuditVerdict(count, entry.hash, count, f"entry {count} is missing or out of place")
        if entry.previous != expected:
            return AuditVerdict(count, entry.hash, count, f"entry {count} does not follow the one before it")
        if entry.hash != content:
            return AuditVerdict(count, entry.hash, count, f"entry {count} was changed")
        before = entry
    latest = before.hash if before else FIRST_HASH
    if count != written:
        return AuditVerdict(count, latest, count + 1, f"{written} entries were written, {count} are present")
    return AuditVerdict(count, latest)


def _digest(*content: int | float | str) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()
