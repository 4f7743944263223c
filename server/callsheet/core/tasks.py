"""Sheets and tasks: their states as two literal tables, and their records. Pure.

Every change of state is looked up in a table; an event without an entry is an `IllegalEvent` and changes nothing.
Times are seconds since the epoch (UTC). Money is in millionths of a dollar where it is summed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NewType

from .catalogue.prices import Price
from .consent import Binding, Means, Mode
from .shot import Shot

SheetId = NewType("SheetId", str)
TaskId = NewType("TaskId", str)


class SheetState(StrEnum):
    """The state of a call sheet."""

    DRAFTED = "drafted"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    SPENT = "spent"
    DECLINED = "declined"
    EXPIRED = "expired"


class SheetEvent(StrEnum):
    """What can happen to a call sheet.

    `ASKED` puts it forward: the approval then sends it. `TURNED_DOWN` is a no from a client's form, which may have come
    without a person. `WITHDRAWN` takes back what was put forward.
    """

    ASKED = "asked"
    TURNED_DOWN = "turned_down"
    WITHDRAWN = "withdrawn"
    APPROVED = "approved"
    UNPROVEN = "unproven"
    SPENT = "spent"
    DECLINED = "declined"
    EXPIRED = "expired"


class TaskState(StrEnum):
    """The state of a submission.

    `WAITING`: approved, nothing sent yet. `SUBMITTING`: on disk before the first byte goes out. `QUEUED`, `RUNNING`:
    accepted by the gateway. `SUCCEEDED`: generated, not yet on disk here. `SAVED`: the clip is on disk. `REJECTED`:
    refused, nothing accepted. `FAILED`: accepted, then failed at the gateway. `EXPIRED`: generated, but its link died
    before it was saved. `OUTCOME_UNKNOWN`: it may have been accepted. `ABANDONED`: a person gave up on it.
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
    WITHDRAWN = "withdrawn"


class IllegalEvent(Exception):
    """That event cannot happen in that state; the state is unchanged."""

    def __init__(self, state: StrEnum, event: StrEnum) -> None:
        super().__init__(f"{event.value!r} cannot happen in state {state.value!r}")
        self.state = state
        self.event = event


_S, _E = SheetState, SheetEvent
SHEET_TABLE: Mapping[tuple[SheetState, SheetEvent], SheetState] = MappingProxyType(
    {
        (_S.DRAFTED, _E.ASKED): _S.AWAITING_APPROVAL,
        (_S.DRAFTED, _E.APPROVED): _S.APPROVED,
        (_S.DRAFTED, _E.DECLINED): _S.DECLINED,
        (_S.DRAFTED, _E.EXPIRED): _S.EXPIRED,
        (_S.DRAFTED, _E.TURNED_DOWN): _S.DRAFTED,
        (_S.DRAFTED, _E.WITHDRAWN): _S.EXPIRED,
        (_S.AWAITING_APPROVAL, _E.ASKED): _S.AWAITING_APPROVAL,
        (_S.AWAITING_APPROVAL, _E.APPROVED): _S.APPROVED,
        (_S.AWAITING_APPROVAL, _E.DECLINED): _S.DECLINED,
        (_S.AWAITING_APPROVAL, _E.EXPIRED): _S.EXPIRED,
        (_S.AWAITING_APPROVAL, _E.TURNED_DOWN): _S.DRAFTED,
        (_S.AWAITING_APPROVAL, _E.WITHDRAWN): _S.EXPIRED,
        (_S.APPROVED, _E.UNPROVEN): _S.AWAITING_APPROVAL,
        (_S.APPROVED, _E.SPENT): _S.SPENT,
        (_S.APPROVED, _E.DECLINED): _S.DECLINED,
        (_S.APPROVED, _E.EXPIRED): _S.EXPIRED,
        (_S.APPROVED, _E.WITHDRAWN): _S.EXPIRED,
    }
)

_T, _V = TaskState, TaskEvent
TASK_TABLE: Mapping[tuple[TaskState, TaskEvent], TaskState] = MappingProxyType(
    {
        (_T.WAITING, _V.CLAIMED): _T.SUBMITTING,
        # A person may give up what has not been sent; an agent may withdraw it, and nothing but this.
        (_T.WAITING, _V.RESOLVED_LOST): _T.ABANDONED,
        (_T.WAITING, _V.WITHDRAWN): _T.ABANDONED,
        (_T.SUBMITTING, _V.NOT_SENT): _T.WAITING,
        (_T.SUBMITTING, _V.REFUSED): _T.REJECTED,
        (_T.SUBMITTING, _V.ACCEPTED): _T.QUEUED,
        (_T.SUBMITTING, _V.ANSWER_LOST): _T.OUTCOME_UNKNOWN,
        (_T.QUEUED, _V.SEEN_QUEUED): _T.QUEUED,
        (_T.QUEUED, _V.SEEN_RUNNING): _T.RUNNING,
        (_T.QUEUED, _V.SEEN_FINISHED): _T.SUCCEEDED,
        (_T.QUEUED, _V.SEEN_FAILED): _T.FAILED,
        # A gateway may go back to its queue; the task is still shown as running.
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
        # Also after a person gave up on it: the job is paid for, so it is followed.
        (_T.ABANDONED, _V.ACCEPTED): _T.QUEUED,
        # A person may correct a wrong id, and give up on a task that the gateway never ends.
        (_T.QUEUED, _V.RESOLVED_ACCEPTED): _T.QUEUED,
        (_T.RUNNING, _V.RESOLVED_ACCEPTED): _T.QUEUED,
        (_T.QUEUED, _V.RESOLVED_LOST): _T.ABANDONED,
        (_T.RUNNING, _V.RESOLVED_LOST): _T.ABANDONED,
        (_T.SUCCEEDED, _V.RESOLVED_LOST): _T.ABANDONED,
    }
)

OPEN_STATES: frozenset[TaskState] = frozenset({_T.WAITING, _T.SUBMITTING, _T.QUEUED, _T.RUNNING, _T.SUCCEEDED})
"""States in which the runner still has work to do."""

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


SHEET_LIFETIME = 24 * 3600.0
"""How long a sheet may be approved and spent, in seconds."""

APPROVAL_LIFETIME = 3600.0
"""How long an approval is valid before the sheet must be approved again, in seconds."""

MOST_TOGETHER = 6
"""How many sheets may be submitted together, with one question for their sum."""

FORWARD_LIFETIME = 3600.0
"""How long a sheet that was put forward is sent by its approval, in seconds; after that it is approved for later."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A shot bound to one model card, with the exact bytes that would be sent.

    `shown` is the text that a person agrees to, fixed when the sheet is created. `reserve_micros` is the amount
    reserved against the caps when it is spent; None when the price is unknown and no ceiling is set.
    `allowance` names the allowance that approved it, if one did. `forward_at` is when it was last put forward.
    """

    id: SheetId
    take: int
    state: SheetState
    binding: Binding
    shot: Shot
    price: Price
    body: bytes
    reserve_micros: int | None
    shown: str
    made_at: float
    expires_at: float
    approved_by: Means | None = None
    approved_at: float | None = None
    allowance: str | None = None
    forward_at: float | None = None
    task_id: TaskId | None = None

    def is_forward(self, now: float) -> bool:
        """Whether it is put forward, so that an approval at that time sends it. It is no consent."""
        return self.forward_at is not None and self.forward_at - 60 <= now <= self.forward_at + FORWARD_LIFETIME

    @property
    def is_released(self) -> bool:
        """Whether it was approved while it was put forward, and is not spent yet."""
        return self.state is SheetState.APPROVED and self.approved_at is not None and self.is_forward(self.approved_at)

    @property
    def mode(self) -> Mode:
        """Sandbox or live; a sheet never changes its mode."""
        return Mode(self.binding.mode)

    @property
    def card_id(self) -> str:
        """`gateway/model`."""
        return f"{self.binding.gateway}/{self.binding.model}"


@dataclass(frozen=True, slots=True)
class Clip:
    """A saved video and what was measured of it. `path`, `poster` and `contact_sheet` are absolute.

    Where a team keeps its clips in object storage, they are names of objects, which begin with `object:`.

    What an older version did not measure is None. `shape` is width by height on the screen, `audio` whether there is
    an audio track. Of the stills, `brightest` is the highest level and `motion` the largest change, 0 to 255.
    `note` says why the file is exactly as delivered, without the prompt and price in it; empty where it has them.
    """

    path: str
    size: int
    sha256: str
    duration_seconds: float
    width: int
    height: int
    poster: str
    contact_sheet: str
    shape: float | None = None
    audio: bool | None = None
    brightest: int | None = None
    motion: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """The latest problem of a task. `said` is the gateway's own text, cleaned but untrusted.

    `lasting`: the gateway refused exactly these bytes, so they are not sent to it again. `http_status` is that of the
    gateway's reply, 0 without one. `untrusted_task_id` is an id that an unclear reply names; it proves nothing.
    """

    code: str
    message: str
    fate: str
    said: str = ""
    lasting: bool = False
    http_status: int = 0
    untrusted_task_id: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One submission of one sheet and what became of it.

    `attempt` identifies the current or latest attempt to send, `deadline` ends it. `next_at` is when the runner looks
    at the task again. `said` is the gateway's word for the state, `percent` its progress. `result_url` is the clip's
    address at the gateway. `balance_before` is the account's balance just before the paid request, `hints` what may
    help a person to resolve an unknown outcome.
    """

    id: TaskId
    sheet_id: SheetId
    mode: Mode
    gateway: str
    model: str
    state: TaskState
    reserve_micros: int
    created_at: float
    updated_at: float
    next_at: float
    owner: str | None = None
    attempt: str | None = None
    attempts: int = 0
    deadline: float | None = None
    gateway_task_id: str | None = None
    accepted_at: float | None = None
    said: str = ""
    percent: int | None = None
    polls: int = 0
    failures: int = 0
    finished_at: float | None = None
    result_url: str | None = None
    charge: str | None = None
    balance_before: str | None = None
    hints: str = ""
    problem: Problem | None = None
    clip: Clip | None = None

    @property
    def card_id(self) -> str:
        """`gateway/model`."""
        return f"{self.gateway}/{self.model}"


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list shows; what is empty leaves it open.

    The prompt has all of `words`; `card` is a gateway or `gateway/model`. `undismissed`: without those that a person
    dismissed and that have not changed since.
    """

    states: tuple[TaskState, ...] = ()
    words: str = ""
    card: str = ""
    undismissed: bool = False


def exceeds_declared(task: Task) -> bool:
    """Whether the gateway reports a cost in dollars above what was reserved for the task."""
    found = re.fullmatch(r"([0-9]{1,25}(?:\.[0-9]{1,25})?) USD", task.charge or "")
    return found is not None and Decimal(found[1]) * 1_000_000 > task.reserve_micros


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """The right to send one task's paid request once, until half of its deadline has passed.

    Only the ledger's `claim` creates one, after the attempt is on disk and the sheet is found spent on the task.
    The paid request takes nothing else, so a task that was not claimed cannot be sent.
    """

    task: Task
    sheet: Sheet
    attempt: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were removed, or would be, and how many kept pictures of the person's own."""

    tasks: int
    sheets: int
    events: int
    pictures: int = 0


@dataclass(frozen=True, slots=True)
class PruneLimits:
    """What ended before `before` may go; `now` is the present, `month_start` where the caps begin to count."""

    before: float
    now: float
    month_start: float
