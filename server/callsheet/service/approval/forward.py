"""Putting sheets forward, and what an approval then releases: approving and sending are one act.

Whoever submits sheets that need a person puts them forward; the ledger holds since when, so every process knows. The
approval of such a sheet sends it: the process that recorded it spends the sheet, and if that one ends first, another
does. Being put forward is no consent, and a sheet is spent once whoever does it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import anyio

from callsheet.core.catalogue.prices import to_micros
from callsheet.core.consent import Mode, amount_to_type
from callsheet.core.spending import is_fresh, require_within_caps
from callsheet.core.tasks import IllegalEvent, Sheet, SheetEvent, SheetState, Task, TaskState
from callsheet.errors import CallsheetError, Fate, InvalidRequest, LedgerProblem, NextStep
from callsheet.service.blockers import allowance_for, spending_now
from callsheet.service.consent import approvable, need_sheet, not_open
from callsheet.service.dependencies import Dependencies, keep_taken_back
from callsheet.service.results import Submission, fate_of
from callsheet.service.sealed_keys import is_locked
from callsheet.service.submission import submit, withdraw_task

MOST_TOGETHER = 6
LOOK_AGAIN_SECONDS = 1.0
"""Another process may have recorded the approval."""

OnWait = Callable[[Sequence[Submission]], Awaitable[None] | None]


def put_forward(deps: Dependencies, sheet_ids: Sequence[str]) -> list[Submission]:
    """Submit one to six sheets: spend what may be spent, put forward what needs a person.

    Raises, before anything happens, what prevents one of them or their sum. An error that comes between is in its
    `Submission`, and is raised if there is nothing else.
    """
    wanted = list(dict.fromkeys(sheet_ids))
    if not 1 <= len(wanted) <= MOST_TOGETHER:
        raise InvalidRequest(f"Submit 1 to {MOST_TOGETHER} sheets together.", next_step=NextStep(text="Name fewer."))
    if len(wanted) > 1:
        sheets = [need_sheet(deps, sheet_id) for sheet_id in wanted]
        _require_sum(deps, [approvable(deps, sheet.id) for sheet in sheets if sheet.task_id is None])
    return _submit_each(deps, wanted)


def _require_sum(deps: Dependencies, sheets: Sequence[Sheet]) -> None:
    """Nobody is asked for a sum that the caps would refuse."""
    policy = deps.policy()
    live = [amount_to_type(sheet.price, policy) for sheet in sheets if sheet.mode is Mode.LIVE]
    total = sum(to_micros(amount) for amount in live if amount is not None)
    require_within_caps(replace(policy.caps, per_clip=None), total, spending_now(deps, Mode.LIVE))


def _submit_each(deps: Dependencies, sheet_ids: Sequence[str], others: Sequence[Submission] = ()) -> list[Submission]:
    found: list[Submission] = []
    for sheet_id in sheet_ids:
        try:
            found.append(submit(deps, sheet_id))
        except CallsheetError as error:
            found.append(Submission("", error.message, error.next_step, sheet_id=sheet_id, error=error))
    errors = [item.error for item in (*others, *found) if item.error is not None]
    if errors and len(errors) == len(found) + len(others):
        raise errors[0]
    return found


async def submit_and_wait(
    deps: Dependencies,
    sheet_ids: Sequence[str],
    wait_seconds: float,
    *,
    open_desk: Callable[[], Awaitable[str | None]] | None = None,
    on_wait: OnWait | None = None,
) -> list[Submission]:
    """Put sheets forward; what became of them once all are decided, by whichever process, or after that time.

    `on_wait` is called with what still waits, for progress; `open_desk` once, if something does and no desk is open.
    Raises as `put_forward`.
    """
    found = put_forward(deps, sheet_ids)
    if open_desk is not None and any(item.needs_person for item in found) and deps.desk_url() is None:
        found = put_forward(deps, sheet_ids) if await open_desk() else found
    waiting = {item.sheet_id: item for item in found if item.needs_person}
    deadline = anyio.current_time() + wait_seconds
    while left := [item for item in waiting.values() if _is_waiting(deps, item.sheet_id)]:
        seconds = deadline - anyio.current_time()
        if seconds <= 0:
            break
        if on_wait is not None and (told := on_wait(left)) is not None:
            await told
        await deps.changes.wait(min(seconds, LOOK_AGAIN_SECONDS))
    decided = [sheet_id for sheet_id in waiting if waiting[sheet_id] not in left]
    others = [item for item in found if item.sheet_id not in decided]
    ended = _submit_each(deps, decided, others)
    by_id = {item.sheet_id: item for item in (*others, *(replace(item, again=False) for item in ended))}
    return [by_id[item.sheet_id] for item in found]


def _is_waiting(deps: Dependencies, sheet_id: str) -> bool:
    sheet = need_sheet(deps, sheet_id)
    if sheet.state is SheetState.AWAITING_APPROVAL:
        return sheet.is_forward(deps.clock.now()) and allowance_for(deps, sheet) is None
    # Where only another process can send it, an approval is not the end: it is spent a moment later.
    return sheet.state is SheetState.APPROVED and is_locked(deps, sheet)


def release(deps: Dependencies, sheet: Sheet) -> Sheet:
    """The sheet, spent if it was approved while it was put forward. What prevents that may pass: it is tried again."""
    if not sheet.is_released or is_locked(deps, sheet):
        return sheet
    with suppress(CallsheetError):
        submit(deps, sheet.id)
    return need_sheet(deps, sheet.id)


def release_all(deps: Dependencies) -> None:
    """Spend what was released by an approval whose process ended before it could."""
    for sheet in deps.ledger().sheets([SheetState.APPROVED], forward=True):
        if is_fresh(sheet, deps.clock.now()):
            release(deps, sheet)


def forward_sheets(deps: Dependencies) -> list[Sheet]:
    """The sheets that are put forward and wait for a person."""
    now = deps.clock.now()
    found = deps.ledger().sheets([SheetState.AWAITING_APPROVAL], forward=True)
    return [sheet for sheet in found if sheet.is_forward(now)]


def cancel(deps: Dependencies, target: str) -> Sheet | Task:
    """Withdraw a sheet, or a task by its id or its sheet's, that was not sent; nothing of it is sent then.

    Raises `InvalidRequest` for what was sent, with what became of the money.
    """
    task = deps.ledger().task(target)
    if task is None:
        sheet = need_sheet(deps, target)
        try:
            if sheet.task_id is None:
                return _withdrawn(deps, deps.ledger().move_sheet(target, SheetEvent.WITHDRAWN, now=deps.clock.now()))
        except IllegalEvent:
            # It ended, or was spent, at this moment or before.
            sheet = need_sheet(deps, target)
        task = deps.ledger().task(sheet.task_id) if sheet.task_id else None
        if task is None:
            raise not_open(deps, target)
    try:
        if task.state is TaskState.WAITING:
            withdraw_task(deps, task, "withdrawn", "it was withdrawn before it was sent")
            return _withdrawn(deps, deps.ledger().task(task.id))
    except IllegalEvent:
        task = deps.ledger().task(task.id) or task
    raise _too_late(task)


def _withdrawn(deps: Dependencies, item: Sheet | Task | None) -> Sheet | Task:
    if item is None:
        raise LedgerProblem("The ledger lost what was withdrawn.", next_step=NextStep())
    keep_taken_back(deps)
    deps.changes.notify()
    return item


def _too_late(task: Task) -> InvalidRequest:
    fate = fate_of(task)
    return InvalidRequest(
        f"Task {task.id} is {task.state.value.replace('_', ' ')}: it was sent before, and no gateway documents a way to"
        " take that back.",
        next_step=NextStep(text="The clip is saved when it is ready." if fate is Fate.CHARGED else ""),
        fate=fate,
        code="too_late",
        retry="never",
    )
