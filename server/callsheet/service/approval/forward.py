"""Putting sheets forward, and what an approval then releases: approving and sending are one act.

A call that submits sheets which need a person puts them forward; the ledger holds since when, for every process. The
approval of such a sheet sends it: the process that recorded it spends the sheet, and if that one ends first, another
does. Being put forward is no consent, and a sheet is spent once, by whichever process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import anyio

from callsheet.core.spending import is_fresh
from callsheet.core.tasks import MOST_TOGETHER, IllegalEvent, Sheet, SheetEvent, SheetState, Task, TaskState
from callsheet.errors import CallsheetError, InvalidRequest, NextStep, PolicyRefusal
from callsheet.service.blockers import allowance_for, require_caps_together
from callsheet.service.consent import approvable, need_sheet, not_open
from callsheet.service.dependencies import Dependencies, keep_taken_back
from callsheet.service.results import Submission, fate_of
from callsheet.service.sealed_keys import is_locked
from callsheet.service.submission import submit, withdraw_task

LOOK_AGAIN_SECONDS = 1.0
"""Another process may have recorded the approval."""

OnWait = Callable[[Sequence[Submission]], Awaitable[None] | None]


def put_forward(deps: Dependencies, sheet_ids: Sequence[str]) -> list[Submission]:
    """Submit one to six sheets: spend what may be spent, put forward what needs a person.

    Raises, before anything happens, what prevents one of them or their sum. Where one is spent already, and for what
    comes between, the error is in its `Submission`: no answer may say of all that nothing was sent.
    """
    wanted = list(dict.fromkeys(sheet_ids))
    if not 1 <= len(wanted) <= MOST_TOGETHER:
        raise InvalidRequest(f"Submit 1 to {MOST_TOGETHER} sheets together.", next_step=NextStep(text="Name fewer."))
    sheets = [need_sheet(deps, sheet_id) for sheet_id in wanted]
    unspent = [sheet for sheet in sheets if sheet.task_id is None]
    try:
        if len(unspent) > 1:
            require_approvable(deps, [sheet.id for sheet in unspent])
    except CallsheetError as error:
        if len(unspent) == len(sheets):
            raise
        prevented = error if isinstance(error, PolicyRefusal) else None
    else:
        prevented = None
    return _all_or_raise(
        [
            _failed(sheet.id, prevented) if prevented and sheet in unspent else _try_submit(deps, sheet.id)
            for sheet in sheets
        ]
    )


def require_approvable(deps: Dependencies, sheet_ids: Sequence[str]) -> list[Sheet]:
    """The sheets, if each can be approved and the caps hold for all of them together; raises what prevents it."""
    sheets = [approvable(deps, sheet_id) for sheet_id in sheet_ids]
    require_caps_together(deps, sheets)
    return sheets


def submit_one(deps: Dependencies, sheet_id: str) -> Submission:
    """Submit a sheet. The first call that learns of the task of a sheet which was put forward counts as its sender."""
    was_forward = need_sheet(deps, sheet_id).forward_at is not None
    answer = submit(deps, sheet_id)
    if answer.report is None or not was_forward:
        return answer
    return replace(answer, again=not deps.ledger().consent.collect(sheet_id)).followed(answer.report)


def _try_submit(deps: Dependencies, sheet_id: str) -> Submission:
    try:
        return submit_one(deps, sheet_id)
    except CallsheetError as error:
        return _failed(sheet_id, error)


def _failed(sheet_id: str, error: CallsheetError) -> Submission:
    return Submission("", error.message, error.next_step, sheet_id=sheet_id, error=error)


def _all_or_raise(found: list[Submission]) -> list[Submission]:
    errors = [item.error for item in found if item.error is not None]
    if len(errors) == len(found):
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
    deadline = anyio.current_time() + wait_seconds
    while waiting := [item for item in found if item.needs_person and _is_waiting(deps, item.sheet_id)]:
        seconds = deadline - anyio.current_time()
        if seconds <= 0:
            break
        if on_wait is not None and (told := on_wait(waiting)) is not None:
            await told
        await deps.changes.wait(min(seconds, LOOK_AGAIN_SECONDS))
    stays = [item for item in found if not item.needs_person or item in waiting]
    return _all_or_raise([item if item in stays else _try_submit(deps, item.sheet_id) for item in found])


def _is_waiting(deps: Dependencies, sheet_id: str) -> bool:
    sheet = need_sheet(deps, sheet_id)
    if sheet.state is SheetState.AWAITING_APPROVAL:
        return sheet.is_forward(deps.clock.now()) and allowance_for(deps, sheet) is None
    # Where only another process can send it, an approval is not the end: it is spent a moment later.
    return sheet.state is SheetState.APPROVED and is_locked(deps, sheet)


def is_answered(task: Task) -> bool:
    """Whether the gateway has answered, or it is known why it was not asked yet."""
    if task.state is TaskState.WAITING:
        return task.problem is not None
    return task.state is not TaskState.SUBMITTING


def release(deps: Dependencies, sheet: Sheet) -> Sheet:
    """The sheet, spent if it was approved while it was put forward. What prevents that may pass: it is tried again."""
    if not sheet.is_released or is_locked(deps, sheet):
        return sheet
    with suppress(CallsheetError):
        submit(deps, sheet.id)
    return need_sheet(deps, sheet.id)


def release_all(deps: Dependencies) -> None:
    """Spend what was released by an approval whose process ended before it could."""
    for sheet in deps.ledger().sheets([SheetState.APPROVED], limit=-1, forward=True):
        if is_fresh(sheet, deps.clock.now()):
            release(deps, sheet)


def forward_sheets(deps: Dependencies) -> list[Sheet]:
    """The sheets that are put forward and wait for a person."""
    found = deps.ledger().sheets([SheetState.AWAITING_APPROVAL], forward=True)
    return [sheet for sheet in found if sheet.is_forward(deps.clock.now())]


def cancel(deps: Dependencies, target: str) -> None:
    """Withdraw a sheet, or a task by its id or its sheet's, that was not sent; nothing of it is sent then.

    Raises `InvalidRequest` for what was sent, with what became of the money.
    """
    ledger = deps.ledger()
    task = ledger.task(target)
    if task is None:
        with suppress(IllegalEvent):
            ledger.move_sheet(need_sheet(deps, target).id, SheetEvent.WITHDRAWN, now=deps.clock.now())
            keep_taken_back(deps)
            deps.changes.notify()
            return
        # It is spent, or over.
        task_id = need_sheet(deps, target).task_id
        if task_id is None or (task := ledger.task(task_id)) is None:
            raise not_open(deps, target)
    if task.state is TaskState.WAITING:
        with suppress(IllegalEvent):
            withdraw_task(deps, task, "withdrawn", "it was withdrawn before it was sent")
            keep_taken_back(deps)
            return
        task = ledger.task(task.id) or task
    state = task.state.value.replace("_", " ")
    raise InvalidRequest(
        f"Task {task.id} is {state}: it was sent before, and no gateway documents a way to take that back.",
        next_step=NextStep(text="A clip that is generated is saved all the same."),
        fate=fate_of(task),
        code="too_late",
        retry="never",
    )
