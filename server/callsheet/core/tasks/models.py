"""The call sheet and the task as values: what the ledger stores and the use cases pass on.

Times are seconds since the epoch (UTC). Money is in millionths of a dollar where it is summed.
"""

from __future__ import annotations

from dataclasses import dataclass

from callsheet.core.catalogue.pricing import Price
from callsheet.core.consent.approval import Binding, Means
from callsheet.core.consent.policy import Mode
from callsheet.core.shot import Shot

from .states import SheetId, SheetState, TaskId, TaskState

SHEET_LIFETIME = 24 * 3600.0
"""How long a sheet may be approved and spent, in seconds."""

APPROVAL_LIFETIME = 3600.0
"""How long an approval is valid before the sheet must be approved again, in seconds."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A shot bound to one model card, with the exact bytes that would be sent.

    `shown` is the text that a person agrees to, fixed when the sheet is created. `reserve_micros` is the amount
    reserved against the caps when it is spent; None when the price is unknown and no ceiling is set.
    `allowance` names the allowance that approved it, if one did.
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
    task_id: TaskId | None = None

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
    """A saved video and what was measured of it. `path`, `poster` and `contact_sheet` are absolute."""

    path: str
    size: int
    sha256: str
    duration_seconds: float
    width: int
    height: int
    poster: str
    contact_sheet: str


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

    `attempt` identifies the current or latest attempt to send, `deadline` ends it. `next_at` is when the
    runner looks at the task again. `said` is the gateway's word for the state, `percent` its
    progress. `result_url` is the clip's address at the gateway. `balance_before` is the account's balance
    just before the paid request, `hints` what may help a person to resolve an unknown outcome.
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
    """How many rows were removed, or would be."""

    tasks: int
    sheets: int
    events: int


@dataclass(frozen=True, slots=True)
class PruneLimits:
    """What ended before `before` may go; `now` is the present, `month_start` where the caps begin to count."""

    before: float
    now: float
    month_start: float
