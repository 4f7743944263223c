"""Submitting: from an approved sheet to at most one paid request.

The order is what protects the money. One transaction spends the sheet, reserves its price and creates
the task; a second one records that the task is being submitted, with an attempt id and a deadline; then a
mark outside the ledger names it. Only then does the first byte go out, and only if less than half of the deadline has
passed. What comes back is stored as the answer of that attempt, even when it comes late.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import anyio

from callsheet.core.consent import Means as ApprovalMeans
from callsheet.core.consent import Mode, Need, decide_need
from callsheet.core.gateway.protocol import HttpReply, SubmitOutcome, SubmitParts
from callsheet.core.poll_schedule import retry_delay
from callsheet.core.spending import NO_SLOT, Slots, SpendTerms
from callsheet.core.tasks import (
    SHEET_LIFETIME,
    ClaimedTask,
    IllegalEvent,
    Problem,
    Sheet,
    SheetEvent,
    SheetState,
    Task,
    TaskEvent,
    TaskId,
    TaskState,
)
from callsheet.errors import (
    Action,
    CallsheetError,
    Fate,
    GatewayUnreachable,
    InvalidRequest,
    LedgerProblem,
    NextStep,
    NotApproved,
    OutcomeUnknown,
)

from .blockers import acts_text, allowance_for, require_current_ledger, require_mode, spending_windows
from .consent import (
    approvable,
    approve,
    binding_now,
    changed_since,
    need_sheet,
    read_shot,
)
from .dependencies import Dependencies, card_of, wait_for_pace, wait_for_upload
from .outcomes import asks_balance, keep_outcome, lists_model, record_balance, record_hints, screen_submit
from .results import Submission, notice, report_tasks
from .sealed_keys import approval_texts, hold_unsent, is_locked, reach_to_pay, settle_permit
from .uploads import is_waiting, upload_file, with_links

ATTEMPT_SECONDS = 150.0
"""The deadline of an attempt: a request may start in its first half, takes `POST_SECONDS`, and leaves time to store."""
POST_SECONDS = 60.0
"""Gateways answer a submission within seconds; after a minute the answer is taken as lost."""
SLOT_RETRY_SECONDS = 5.0
"""A slot becomes free when a clip ends, which takes minutes: looking more often finds nothing."""
SLOT_PATIENCE = 12
"""Far back in the queue a task looks once a minute (12 x 5 s), so that a long queue costs few reads."""
NO_LIMIT = 1_000_000
UPLOAD_TRIES = 5
"""An upload that fails this often is not worth a person's waiting: the task ends, with nothing sent."""
UPLOAD_FAILED = "upload_failed"
UNKNOWN_HOLDS_SECONDS = 3600.0
"""A task of unknown outcome may run at the gateway: it keeps its slot longer than any clip takes."""
BLOCKED_RETRY_SECONDS = 30.0
"""A person changes the policy or a key: half a minute is soon enough, and costs few file reads."""

log = logging.getLogger(__name__)


def submit(deps: Dependencies, sheet_id: str) -> Submission:
    """Spend a sheet on a task, if it is approved; else say what a person must do. Sends nothing itself.

    The runner sends. A spent sheet returns its task. Raises `NotApproved`, `PolicyRefusal`, `KeyProblem`,
    `UnknownThing`, `LedgerProblem`; then nothing was sent and the sheet is as it was.
    """
    sheet = need_sheet(deps, sheet_id)
    if sheet.task_id is not None:
        return _submitted(deps, sheet.task_id, again=True)
    try:
        return submit_unspent(deps, sheet)
    except IllegalEvent:
        # Another call approved, declined or ended the sheet at this moment: what holds now is the answer.
        return submit(deps, sheet_id)
    except CallsheetError:
        # Another call may have been faster by a moment; then there is a task, and that is the answer.
        sheet = need_sheet(deps, sheet_id)
        if sheet.task_id is None:
            raise
        return _submitted(deps, sheet.task_id, again=True)


def submit_unspent(deps: Dependencies, sheet: Sheet) -> Submission:
    sheet_id = sheet.id
    policy = deps.policy()
    sheet = approvable(deps, sheet_id)
    if is_locked(deps, sheet):
        return _approval_needed(deps, sheet)
    asks = sheet.state is not SheetState.APPROVED and decide_need(policy, sheet.mode) is Need.PERSON
    if asks and allowance_for(deps, sheet) is None:
        return _approval_needed(deps, sheet)
    if not asks:
        approve(deps, sheet_id, by=ApprovalMeans.REHEARSAL)
    try:
        task, is_first = _spend(deps, sheet, by_allowance=asks)
    except NotApproved:
        # Another call took the last of the allowance.
        if asks and allowance_for(deps, sheet) is None:
            return _approval_needed(deps, sheet)
        raise
    deps.changes.notify()
    return _submitted(deps, task.id, again=not is_first)


def _submitted(deps: Dependencies, task_id: TaskId, *, again: bool) -> Submission:
    task = deps.ledger().task(task_id)
    if task is None:
        raise LedgerProblem("The ledger has a spent sheet without its task.", next_step=NextStep(Action.DOCTOR))
    (report,) = report_tasks(deps, [task])
    used = _allowance_used(deps, need_sheet(deps, task.sheet_id))
    return Submission("", "", NextStep(), again=again, covered_by=used, sheet_id=task.sheet_id).followed(report)


def _allowance_used(deps: Dependencies, sheet: Sheet) -> str:
    """A sentence on the allowance that approved the sheet, and what of it is used now; the empty text if none did."""
    if sheet.allowance is None:
        return ""
    use = deps.ledger().consent.allowance(sheet.allowance).use
    return f"Approved by the person's allowance {sheet.allowance}; used so far: {use}."


def _approval_needed(deps: Dependencies, sheet: Sheet) -> Submission:
    if sheet.state is not SheetState.APPROVED:
        # Put forward: a person's approval then sends it.
        deps.ledger().move_sheet(sheet.id, SheetEvent.ASKED, now=deps.clock.now())
        if sheet.state is SheetState.DRAFTED:
            deps.notices.tell(sheet)
    said, then = approval_texts(deps, sheet)
    url = f"{desk}sheets/{sheet.id}" if (desk := deps.desk_url()) else ""
    step = NextStep(Action.APPROVE, then, target=sheet.id, desk_url=url, home=deps.home)
    needed = Submission("approval_needed", f"{said} {notice(deps, sheet.mode)}", step, approval_text=sheet.shown)
    return replace(needed, sheet_id=sheet.id, why=acts_text(deps, sheet))


def _spend(deps: Dependencies, sheet: Sheet, *, by_allowance: bool) -> tuple[Task, bool]:
    """The sheet's one task, and whether this call created it."""
    now = deps.clock.now()
    task = Task(
        id=TaskId(f"task_{deps.clock.token()}"),
        sheet_id=sheet.id,
        mode=sheet.mode,
        gateway=sheet.binding.gateway,
        model=sheet.binding.model,
        state=TaskState.WAITING,
        reserve_micros=sheet.reserve_micros or 0,
        created_at=now,
        updated_at=now,
        next_at=now,
        owner=deps.runner_id,
    )
    spent = deps.ledger().spend(
        sheet.id,
        task=task,
        terms=SpendTerms(
            digest=binding_now(deps, sheet).digest,
            caps=deps.policy().caps_for(task.gateway),
            windows=spending_windows(now),
            allowed_under=deps.policy() if by_allowance else None,
        ),
        now=now,
    )
    return spent, spent.id == task.id


async def send_task(deps: Dependencies, task: Task) -> None:
    """Send a waiting task's paid request, once; or leave it waiting and say why."""
    sheet = need_sheet(deps, task.sheet_id)
    if deps.clock.now() > (sheet.approved_at or task.created_at) + SHEET_LIFETIME:
        withdraw_task(deps, task, "too_late", "it could not be sent within a day of its approval")
        return
    # A slot comes first: a request reserved with the rate limiter for nothing is taken from the status reads.
    if _is_blocked(deps, task, sheet) or _awaits_slot(deps, task) or not await _upload_files(deps, task, sheet):
        return
    asks = task.mode is Mode.LIVE and asks_balance(deps, task)
    if not wait_for_pace(deps, task, requests=2 if asks else 1):
        return
    if asks:
        task = await record_balance(deps, task)
        # That took time: a person may have forbidden it meanwhile.
        if _is_blocked(deps, task, sheet):
            return
    if not await lists_model(deps, task):
        _hold(deps, task, "model_not_listed", "the server does not list this model", BLOCKED_RETRY_SECONDS)
        return
    attempt, now = deps.clock.token(), deps.clock.now()
    try:
        claimed = deps.ledger().claim(
            task.id, attempt=attempt, deadline=now + ATTEMPT_SECONDS, now=now, slots=slots_for(deps, task)
        )
    except NotApproved as error:
        _hold(deps, task, error.error_code, error.message, BLOCKED_RETRY_SECONDS)
        return
    if claimed is None:
        _hold_for_slot(deps, task, places=1)
        return
    await _send_claimed(deps, claimed)


def _is_blocked(deps: Dependencies, task: Task, sheet: Sheet) -> bool:
    """Whether the policy forbids sending now, or things are not as they were approved; the task then waits."""
    if is_locked(deps, sheet):
        hold_unsent(deps, task)
        return True
    try:
        require_mode(deps.policy(), sheet)
        require_current_ledger(deps, sheet)
        changed = changed_since(deps, sheet)
    except CallsheetError as error:
        _hold(deps, task, error.error_code, error.message, BLOCKED_RETRY_SECONDS)
        return True
    if changed:
        message = f"changed since the approval: {', '.join(changed)}"
        _hold(deps, task, "not_as_approved", message, BLOCKED_RETRY_SECONDS)
    return bool(changed)


def _awaits_slot(deps: Dependencies, task: Task) -> bool:
    """Whether there is no slot for the task yet, those of this process that wait longer going first."""
    missing = deps.ledger().missing_slots(task, now=deps.clock.now(), slots=slots_for(deps, task))
    if missing > 0:
        _hold_for_slot(deps, task, places=missing)
    return missing > 0


def _hold_for_slot(deps: Dependencies, task: Task, *, places: int) -> None:
    """Look again soon; less often the further back in the queue."""
    seconds = SLOT_RETRY_SECONDS * min(places, SLOT_PATIENCE) / deps.speed(task.mode)
    _hold(deps, task, NO_SLOT, "all concurrent tasks are taken", seconds)


def slots_for(deps: Dependencies, task: Task) -> Slots:
    """How many tasks may be open at the same time: the person's cap in total, and the documented limit of the gateway.

    In the sandbox the person's cap is not applied, so that load can be rehearsed.
    """
    concurrent = NO_LIMIT if task.mode is Mode.SANDBOX else deps.policy().caps.concurrent
    documented = card_of(deps, task).rate_limit.concurrent_tasks or NO_LIMIT
    return Slots(concurrent, documented, UNKNOWN_HOLDS_SECONDS / deps.speed(task.mode))


def withdraw_task(deps: Dependencies, task: Task, code: str, message: str) -> None:
    """Give up what was not sent: the person no longer expects the charge."""
    problem = Problem(code, message, Fate.NOTHING_SENT.value)
    changes = {"problem": problem, "attempt": None}
    # Another process may have claimed it at this moment: then the event is illegal, and nothing changes.
    deps.ledger().advance(task.id, TaskEvent.WITHDRAWN, now=deps.clock.now(), changes=changes)
    deps.uploaded.pop(task.id, None)
    deps.changes.notify()


def _hold(deps: Dependencies, task: Task, code: str, message: str, seconds: float) -> None:
    now = deps.clock.now()
    problem = Problem(code, message, Fate.NOTHING_SENT.value)
    deps.ledger().touch(task.id, now=now, changes={"problem": problem, "next_at": now + seconds})
    deps.changes.notify()


async def _upload_files(deps: Dependencies, task: Task, sheet: Sheet) -> bool:
    """Whether the sheet's own files are uploaded; if not, the task waits, or has ended with nothing sent.

    Only the person's approval of this very sheet led here, and a crash only means that a file is uploaded again.
    """
    names = read_shot(deps, card_of(deps, task), sheet.body).own_files
    if not names or deps.facts(task.gateway).own:
        return True
    links = deps.uploaded.setdefault(task.id, {})
    for name in (name for name in names if name not in links):
        # Each upload takes time, in which a person may have forbidden the next.
        if _is_blocked(deps, task, sheet) or not wait_for_upload(deps, task):
            return False
        try:
            links[name] = await upload_file(deps, task, name, others=links.values())
        except CallsheetError as error:
            _upload_failed(deps, task, error)
            return False
    if task.failures and is_waiting(deps, task):
        deps.ledger().touch(task.id, now=deps.clock.now(), changes={"failures": 0, "problem": None})
    return not _is_blocked(deps, task, sheet)


def _upload_failed(deps: Dependencies, task: Task, error: CallsheetError) -> None:
    """Try again, wait or give up. Nothing was ordered by this process, so it paid nothing."""
    if not is_waiting(deps, task):
        # It took time: another process may have sent the request, or a person withdrawn it. That stands.
        deps.uploaded.pop(task.id, None)
    elif isinstance(error, GatewayUnreachable):
        _retry_upload(deps, task, error.message)
    elif isinstance(error, InvalidRequest):
        # The file is not the one that was agreed to, and never will be again.
        withdraw_task(deps, task, error.error_code, error.message)
    else:
        _hold(deps, task, error.error_code, error.message, BLOCKED_RETRY_SECONDS)


def _retry_upload(deps: Dependencies, task: Task, message: str) -> None:
    """Try again a few times, then give up."""
    failures, now = task.failures + 1, deps.clock.now()
    if failures >= UPLOAD_TRIES:
        withdraw_task(deps, task, UPLOAD_FAILED, message)
        return
    delay = retry_delay(failures, retry_after=None, jitter=deps.clock.jitter(), speed=deps.speed(task.mode))
    problem = Problem(UPLOAD_FAILED, message, Fate.NOTHING_SENT.value)
    deps.ledger().touch(task.id, now=now, changes={"problem": problem, "next_at": now + delay, "failures": failures})
    deps.changes.notify()


async def _send_claimed(deps: Dependencies, claimed: ClaimedTask) -> None:
    """Send and store the answer. Shielded: a cancelled caller does not lose an answer that is on its way."""
    task = claimed.task
    with anyio.CancelScope(shield=True) as scope:
        deps.sending[task.id] = scope
        try:
            try:
                outcome: SubmitOutcome | CallsheetError = await _post(deps, claimed)
            except CallsheetError as error:
                outcome = error
            except anyio.get_cancelled_exc_class():
                outcome = OutcomeUnknown("The program was stopped while the request was under way.", next_step="")
            settle_permit(deps, claimed.sheet, outcome)
            stored = await keep_outcome(deps, task, claimed.attempt, outcome)
            if stored is None or stored.state is not TaskState.WAITING:
                deps.uploaded.pop(task.id, None)
        finally:
            deps.sending.pop(task.id, None)
    deps.changes.notify()
    if stored is not None and stored.state is TaskState.OUTCOME_UNKNOWN and stored.mode is Mode.LIVE:
        await record_hints(deps, stored)


async def _post(deps: Dependencies, claimed: ClaimedTask) -> SubmitOutcome:
    task, sheet = claimed.task, claimed.sheet
    gateway = deps.gateway(task.gateway)
    try:
        marked = deps.sent.record(claimed)
        # The claim and the mark may have waited; a person may have forbidden or changed things meanwhile.
        require_mode(deps.policy(), sheet)
        changed = changed_since(deps, sheet)
        base_url, key, route = await reach_to_pay(deps, task, sheet)
    except CallsheetError as error:
        # Mark, policy, address and key are files; what fails there has certainly sent nothing.
        raise GatewayUnreachable(error.message, next_step=error.next_step) from error
    if changed:
        raise GatewayUnreachable(f"Changed since the approval: {', '.join(changed)}.", next_step=NextStep())
    body = with_links(deps, claimed)
    request = gateway.build_submit(SubmitParts(task.model, body, idempotency_key=f"callsheet-{sheet.id}"))
    if deps.clock.now() > claimed.deadline - ATTEMPT_SECONDS / 2:
        raise GatewayUnreachable("Too much time passed before the request could go out.", next_step=NextStep())
    reply: HttpReply = await deps.http.post_paid(
        marked, request, base_url=base_url, key=key, route=route, within=POST_SECONDS
    )
    return screen_submit(deps, key, gateway.read_submit(reply))
