"""What a passkey signs, and what the audit trail keeps of it, so that the consent can be checked without Callsheet.

A passkey signs the SHA-256 of a statement: `16:callsheet desk 1;`, the subject and a nonce, each with its length. The
subject names a sheet with the digest of all it is bound to, the terms of an allowance, the end of a pause, what
became of a task, or what widens a team's spending or access. The entry of that act keeps what `EVIDENCE` names;
`docs/audit-trail.md` is the format. Whether a signature is right is for `edges.keys`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from callsheet.errors import NotApproved

from .audit import AuditEntry
from .consent import Means
from .spending import ALLOWANCE_MADE, read_detail
from .tasks import TaskEvent

EVIDENCE = ("statement", "public_key", "authenticator_data", "client_data", "signature", "binding")
"""The names of an entry's details that prove it; all but `statement` and `binding` are base64url."""
RESUME = "resume submissions"
TEAM_ACTS = ("budget_set", "let_in", "agent_token_made")
TERMS = {"models", "use", "mode", "policy", "seconds"}

_STATEMENT = re.compile(r"16:callsheet desk 1;(\d{1,6}):(.*);43:[A-Za-z0-9_-]{43};", re.DOTALL)


def build_statement(subject: str, nonce: str) -> str:
    """The subject and the nonce, each with its length, so that the two cannot be confused."""
    return "".join(f"{len(part)}:{part};" for part in ("callsheet desk 1", subject, nonce))


def challenge_of(statement: str) -> bytes:
    """What the browser has the passkey sign."""
    return hashlib.sha256(statement.encode("utf-8", "surrogatepass")).digest()


def unknown_challenge() -> NotApproved:
    """The error for a nonce that is not this request's, too old, or used."""
    return NotApproved(
        "The passkey signature does not match this request, has expired, or was already used.",
        next_step="Check what the page shows now, then use the passkey again.",
    )


def sheet_subject(sheet_id: str, digest: str) -> str:
    """This sheet with everything it is bound to."""
    return f"sheet {sheet_id} {digest}"


def resolution_subject(task_id: str, accepted_as: str | None) -> str:
    """What became of this task: accepted under that id, or lost."""
    return f"resolve {task_id} {'not there' if accepted_as is None else 'there'} {accepted_as or ''}"


def act_subject(action: str, subject: str, terms: str) -> str:
    """One of `TEAM_ACTS`, on that budget, person or token, with its terms."""
    return json.dumps([action, subject, terms])


def read_evidence(entry: AuditEntry) -> Mapping[str, str] | None:
    """What proves an entry by passkey: nothing where that is about something else; None where nothing was kept.

    An older version kept no signatures.
    """
    detail = {name: str(value) for name, value in read_detail(entry).items()}
    if "signature" not in detail:
        return {} if "statement" in detail else None
    try:
        return detail if entry.actor == Means.PASSKEY and _is_about(entry, detail) else {}
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}


def _is_about(entry: AuditEntry, detail: Mapping[str, str]) -> bool:
    """Whether the statement is about this very entry: its sheet as it was bound, its terms, its pause or its task."""
    match = _STATEMENT.fullmatch(detail["statement"])
    if match is None or int(match[1]) != len(match[2]):
        return False
    if entry.action == "approved":
        is_bound = hashlib.sha256(detail["binding"].encode()).hexdigest() == detail["digest"]
        return is_bound and match[2] == sheet_subject(entry.subject, detail["digest"])
    if entry.action == "resumed":
        return match[2] == RESUME
    if entry.action in TEAM_ACTS:
        return match[2] == act_subject(entry.action, entry.subject, detail["terms"])
    if entry.action in (TaskEvent.RESOLVED_ACCEPTED, TaskEvent.RESOLVED_LOST):
        accepted_as = detail["as"] if entry.action == TaskEvent.RESOLVED_ACCEPTED else None
        return match[2] == resolution_subject(entry.subject, accepted_as)
    terms = json.loads(match[2].removeprefix("allowance "))
    said = {**detail, "seconds": terms["seconds"]}
    return (
        entry.action == ALLOWANCE_MADE
        and set(terms) == TERMS
        and detail["expires"] == f"{entry.at + terms['seconds']:.0f}"
        and all(said[name] == value for name, value in terms.items())
    )
