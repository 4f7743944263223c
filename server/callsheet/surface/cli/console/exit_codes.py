"""What an exit code means, and which one an error or a task ends with. Scripts rely on these numbers."""

from __future__ import annotations

from enum import IntEnum

from callsheet.core.tasks import TaskState
from callsheet.errors import (
    CallsheetError,
    DownloadProblem,
    ExternalError,
    InvalidRequest,
    KeyProblem,
    LedgerProblem,
    NotApproved,
    OutcomeUnknown,
    PolicyRefusal,
    SetupProblem,
    UnknownThing,
)
from callsheet.service import Explanation


class ExitCode(IntEnum):
    """The exit codes of every command; `MEANINGS` describes them."""

    OK = 0
    UNEXPECTED = 1
    INVALID = 2
    NOT_APPROVED = 3
    POLICY = 4
    KEY = 5
    GATEWAY = 6
    UNKNOWN = 7
    SETUP = 8
    NO_CLIP = 9
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "a mistake in the program",
    ExitCode.INVALID: "usage, or an invalid request",
    ExitCode.NOT_APPROVED: "a person's approval is needed or missing",
    ExitCode.POLICY: "the policy refuses it",
    ExitCode.KEY: "a gateway key is missing or malformed",
    ExitCode.GATEWAY: "the gateway refused or could not be reached",
    ExitCode.UNKNOWN: "whether the gateway accepted is unknown",
    ExitCode.SETUP: "the ledger or the set-up cannot be used",
    ExitCode.NO_CLIP: "the task ended without a clip",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C, or a signal to end)",
}

# The first class that matches decides.
_BY_ERROR: tuple[tuple[type[CallsheetError], ExitCode], ...] = (
    (InvalidRequest, ExitCode.INVALID),
    (UnknownThing, ExitCode.INVALID),
    (NotApproved, ExitCode.NOT_APPROVED),
    (PolicyRefusal, ExitCode.POLICY),
    (KeyProblem, ExitCode.KEY),
    (OutcomeUnknown, ExitCode.UNKNOWN),
    (LedgerProblem, ExitCode.SETUP),
    (SetupProblem, ExitCode.SETUP),
    (DownloadProblem, ExitCode.NO_CLIP),
    (ExternalError, ExitCode.GATEWAY),
    (CallsheetError, ExitCode.INVALID),
)

_BY_STATE: dict[TaskState, ExitCode] = {
    TaskState.REJECTED: ExitCode.GATEWAY,
    TaskState.OUTCOME_UNKNOWN: ExitCode.UNKNOWN,
    TaskState.FAILED: ExitCode.NO_CLIP,
    TaskState.EXPIRED: ExitCode.NO_CLIP,
    TaskState.ABANDONED: ExitCode.NO_CLIP,
}


def exit_for_error(error: CallsheetError) -> ExitCode:
    """The exit code of a command that ended with that error."""
    return next(code for kind, code in _BY_ERROR if isinstance(error, kind))


def exit_for_state(state: TaskState) -> ExitCode:
    """The exit code of a command that ended with a task in that state; an open task is no failure."""
    return _BY_STATE.get(state, ExitCode.OK)


def exit_for_explanation(explanation: Explanation, *, is_payload: bool) -> ExitCode:
    """The exit code of an explanation: ready or with a choice of models, held, or invalid.

    A payload that had to be changed is invalid, although the corrected one has a sheet.
    """
    if is_payload and any(item.now is not None and item.severity == "warning" for item in explanation.findings):
        return ExitCode.INVALID
    if explanation.status in {"ready", "blocked"} or explanation.options:
        return ExitCode.OK
    return ExitCode.UNKNOWN if explanation.status == "held" else ExitCode.INVALID
