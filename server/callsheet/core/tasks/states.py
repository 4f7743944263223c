"""The life of a sheet and of a task, as two literal tables.

Everything that changes a state looks it up here. An event that has no entry is an `IllegalEvent`
and changes nothing. The diagram in `references/states.md` is drawn from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NewType, TypeVar

SheetId = NewType("SheetId", str)
TaskId = NewType("TaskId", str)

_State = TypeVar("_State", bound=StrEnum)
_Event = TypeVar("_Event", bound=StrEnum)


class SheetState(StrEnum):
    """Where a call sheet is on its way to being spent."""

    DRAFTED = "drafted"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    SPENT = "spent"
    DECLINED = "declined"
    EXPIRED = "expired"


class SheetEvent(StrEnum):
    """What can happen to a call sheet."""

    ASKED = "asked"
    APPROVED = "approved"
    SPENT = "spent"
    DECLINED = "declined"
    EXPIRED = "expired"


class TaskState(StrEnum):
    """Where a submission is.

    `WAITING`: approved, nothing sent yet. `SUBMITTING`: on disk before the first byte goes out.
    `QUEUED`, `RUNNING`: accepted by the gateway. `SUCCEEDED`: filmed, not yet on disk here. `SAVED`: the
    clip is on disk. `REJECTED`: refused, nothing accepted. `FAILED`: accepted, then failed at the
    gateway. `EXPIRED`: filmed, but its link died before it was saved. `OUTCOME_UNKNOWN`: it may have
    been accepted. `ABANDONED`: a person gave an unknown one up.
    """

    WAITING = "waiting"
    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    SAVED = "saved"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ABANDONED = "abandoned"


class TaskEvent(StrEnum):
    """What can happen to a task."""

    CLAIMED = "claimed"
    NOT_SENT = "not_sent"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    ANSWER_LOST = "answer_lost"
    SEEN_QUEUED = "seen_queued"
    SEEN_RUNNING = "seen_running"
    SEEN_FINISHED = "seen_finished"
    SEEN_FAILED = "seen_failed"
    CLIP_SAVED = "clip_saved"
    LINK_GONE = "link_gone"
    RESOLVED_ACCEPTED = "resolved_accepted"
    RESOLVED_LOST = "resolved_lost"


class IllegalEvent(Exception):
    """That event cannot happen in that state; the state is unchanged."""

    def __init__(self, state: StrEnum, event: StrEnum) -> None:
        super().__init__(f"{event.value!r} cannot happen to something that is {state.value!r}")
        self.state = state
        self.event = event


_S, _E = SheetState, SheetEvent
SHEET_TABLE: Mapping[tuple[SheetState, SheetEvent], SheetState] = MappingProxyType(
    {
        (_S.DRAFTED, _E.ASKED): _S.AWAITING_APPROVAL,
        (_S.DRAFTED, _E.APPROVED): _S.APPROVED,
        (_S.DRAFTED, _E.DECLINED): _S.DECLINED,
        (_S.DRAFTED, _E.EXPIRED): _S.EXPIRED,
        (_S.AWAITING_APPROVAL, _E.ASKED): _S.AWAITING_APPROVAL,
        (_S.AWAITING_APPROVAL, _E.APPROVED): _S.APPROVED,
        (_S.AWAITING_APPROVAL, _E.DECLINED): _S.DECLINED,
        (_S.AWAITING_APPROVAL, _E.EXPIRED): _S.EXPIRED,
        (_S.APPROVED, _E.SPENT): _S.SPENT,
        (_S.APPROVED, _E.DECLINED): _S.DECLINED,
        (_S.APPROVED, _E.EXPIRED): _S.EXPIRED,
    }
)

_T, _V = TaskState, TaskEvent
TASK_TABLE: Mapping[tuple[TaskState, TaskEvent], TaskState] = MappingProxyType(
    {
        (_T.WAITING, _V.CLAIMED): _T.SUBMITTING,
        # A person may withdraw what has not been sent.
        (_T.WAITING, _V.RESOLVED_LOST): _T.ABANDONED,
        (_T.SUBMITTING, _V.NOT_SENT): _T.WAITING,
        (_T.SUBMITTING, _V.REFUSED): _T.REJECTED,
        (_T.SUBMITTING, _V.ACCEPTED): _T.QUEUED,
        (_T.SUBMITTING, _V.ANSWER_LOST): _T.OUTCOME_UNKNOWN,
        (_T.QUEUED, _V.SEEN_QUEUED): _T.QUEUED,
        (_T.QUEUED, _V.SEEN_RUNNING): _T.RUNNING,
        (_T.QUEUED, _V.SEEN_FINISHED): _T.SUCCEEDED,
        (_T.QUEUED, _V.SEEN_FAILED): _T.FAILED,
        # A gateway may fall back to its queue; what we show then is still "running".
        (_T.RUNNING, _V.SEEN_QUEUED): _T.RUNNING,
        (_T.RUNNING, _V.SEEN_RUNNING): _T.RUNNING,
        (_T.RUNNING, _V.SEEN_FINISHED): _T.SUCCEEDED,
        (_T.RUNNING, _V.SEEN_FAILED): _T.FAILED,
        (_T.SUCCEEDED, _V.SEEN_FINISHED): _T.SUCCEEDED,
        (_T.SUCCEEDED, _V.CLIP_SAVED): _T.SAVED,
        (_T.SUCCEEDED, _V.LINK_GONE): _T.EXPIRED,
        # A late answer of the same attempt still wins.
        (_T.OUTCOME_UNKNOWN, _V.ACCEPTED): _T.QUEUED,
        (_T.OUTCOME_UNKNOWN, _V.REFUSED): _T.REJECTED,
        (_T.OUTCOME_UNKNOWN, _V.NOT_SENT): _T.WAITING,
        (_T.OUTCOME_UNKNOWN, _V.RESOLVED_ACCEPTED): _T.QUEUED,
        (_T.OUTCOME_UNKNOWN, _V.RESOLVED_LOST): _T.ABANDONED,
        # Also after a person gave it up: the job is paid for, so it is followed.
        (_T.ABANDONED, _V.ACCEPTED): _T.QUEUED,
        # A person may mend an id that was attached wrongly, and give up what the gateway never ends.
        (_T.QUEUED, _V.RESOLVED_ACCEPTED): _T.QUEUED,
        (_T.RUNNING, _V.RESOLVED_ACCEPTED): _T.QUEUED,
        (_T.QUEUED, _V.RESOLVED_LOST): _T.ABANDONED,
        (_T.RUNNING, _V.RESOLVED_LOST): _T.ABANDONED,
        (_T.SUCCEEDED, _V.RESOLVED_LOST): _T.ABANDONED,
    }
)

OPEN_STATES: frozenset[TaskState] = frozenset({_T.WAITING, _T.SUBMITTING, _T.QUEUED, _T.RUNNING, _T.SUCCEEDED})
"""States in which the watcher still has something to do."""

RESERVING_STATES: frozenset[TaskState] = frozenset(set(TaskState) - {_T.REJECTED, _T.ABANDONED})
"""States whose price counts against the caps. A failed clip counts too: not every gateway refunds."""

SLOT_STATES: frozenset[TaskState] = frozenset({_T.SUBMITTING, _T.QUEUED, _T.RUNNING, _T.OUTCOME_UNKNOWN})
"""States that take up one of the concurrent tasks."""


def advance_sheet(state: SheetState, event: SheetEvent) -> SheetState:
    """The sheet's next state; raises `IllegalEvent`."""
    try:
        return SHEET_TABLE[state, event]
    except KeyError:
        raise IllegalEvent(state, event) from None


def advance_task(state: TaskState, event: TaskEvent) -> TaskState:
    """The task's next state; raises `IllegalEvent`."""
    try:
        return TASK_TABLE[state, event]
    except KeyError:
        raise IllegalEvent(state, event) from None


def render_diagram(table: Mapping[tuple[_State, _Event], _State]) -> str:
    """The table as Mermaid `stateDiagram-v2` source, one edge a line, without self loops."""
    edges = [
        f"    {state.value} --> {after.value}: {event.value}"
        for (state, event), after in table.items()
        if state is not after
    ]
    return "\n".join(["stateDiagram-v2", *edges])
