"""Submitting: from an approved sheet to at most one paid request.

The order is what protects the money. One transaction spends the sheet, reserves its price and makes
the task; a second one puts the task down as being submitted, with an attempt id and a deadline; only
then does the first byte go out, and only if less than half of the deadline has passed. What comes
back is stored as the answer of that attempt, even when it comes late.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import anyio

from callsheet.core.approval import Means as ApprovalMeans
from callsheet.core.approval import Need, decide_need
from callsheet.core.gateway import Accepted, HttpReply, Postponed, Rejected, SubmitOutcome, SubmitParts
from callsheet.core.policy import Mode
from callsheet.core.schedule import first_poll_delay, retry_delay
from callsheet.core.sheet import SHEET_LIFETIME, Problem, Sheet, Task
from callsheet.core.spending import Slots
from callsheet.core.task import IllegalEvent, SheetEvent, SheetState, TaskEvent, TaskId, TaskState
from callsheet.edges.ledger import NO_SLOT
from callsheet.errors import (
    CallsheetError,
    Fate,
    GatewayRefused,
    GatewayUnreachable,
    LedgerProblem,
    OutcomeUnknown,
    SetupProblem,
)

from .consent import approvable, approve, binding_now, need_sheet, require_mode, spending_windows
from .hints import asks_balance, gather_hints, note_balance
from .pacing import wait_for_pace
from .reports import Submission, notice, report_task
from .sealing import approval_words, hold_unsent, may_pay, reach_to_pay, settle_permit
from .world import World, card_of, clip_seconds_of

ATTEMPT_SECONDS = 150.0
POST_SECONDS = 60.0
SLOT_RETRY_SECONDS = 5.0
SLOT_PATIENCE = 12
ACCOUNT_STATUSES = (401, 402)
NO_LIMIT = 1_000_000
UNKNOWN_HOLDS_SECONDS = 3600.0
BLOCKED_RETRY_SECONDS = 30.0
MOST_ATTEMPTS_LIMITED = 6
LEAST_LIMITED_SECONDS = 5.0
STORE_AGAIN_SECONDS = 0.2
STORE_GRACE_SECONDS = 5.0

log = logging.getLogger(__name__)


def submit(world: World, sheet_id: str) -> Submission:
    """Spend a sheet on a task, if it is approved; else say what a person must do. Sends nothing itself.

    The runner sends. A spent sheet returns its task. Raises `NotApproved`, `PolicyRefusal`, `KeyProblem`,
    `UnknownThing`, `LedgerProblem`; then nothing was sent and the sheet is as it was.
    """
    sheet = need_sheet(world, sheet_id)
    if sheet.task_id is not None:
        return _submitted(world, sheet.task_id, "already_submitted")
    policy = world.policy()
    require_mode(policy, sheet)
    sheet = approvable(world, sheet_id)
    _require_reachable(world, sheet)
    _require_not_refused_before(world, sheet)
    if not may_pay(world, sheet):
        return _approval_needed(world, sheet)
    if sheet.state is not SheetState.APPROVED:
        if decide_need(policy, sheet.mode) is Need.PERSON:
            return _approval_needed(world, sheet)
        approve(world, sheet_id, by=ApprovalMeans.REHEARSAL)
    task = _spend(world, sheet)
    world.changes.notify()
    return _submitted(world, task.id, "submitted")


def _require_reachable(world: World, sheet: Sheet) -> None:
    """A live sheet needs a key, a rehearsal a gateway that the sandbox can play."""
    facts = world.facts(sheet.binding.gateway)
    if sheet.mode is Mode.LIVE:
        world.need_key(facts)
    elif not world.sandbox_plays(facts.id):
        raise SetupProblem(
            f"The sandbox does not play {facts.name}.",
            next_step="Rehearse with another gateway; this payload has been checked all the same.",
        )


def _require_not_refused_before(world: World, sheet: Sheet) -> None:
    """The same bytes, with the same key and price table, that the gateway refused are not offered to it again."""
    for task in world.ledger().takes(sheet.binding.shot_digest):
        earlier = world.ledger().sheet(task.sheet_id)
        if task.problem is None or not task.problem.lasting or earlier is None:
            continue
        before = earlier.binding
        if (before.account, before.prices) == (sheet.binding.account, sheet.binding.prices):
            raise GatewayRefused(
                f"{world.facts(task.gateway).name} refused this very request before (task {task.id}:"
                f" {task.problem.message}).",
                fate=Fate.NOTHING_SENT,
                next_step="Change the shot as the message says and call explain_payload again.",
            )


def _submitted(world: World, task_id: TaskId, status: str) -> Submission:
    task = world.ledger().task(task_id)
    assert task is not None
    report = report_task(world, task)
    return Submission(status=status, notice=report.notice, next_step=report.next_step, report=report)


def _approval_needed(world: World, sheet: Sheet) -> Submission:
    if sheet.state is SheetState.DRAFTED:
        world.ledger().move_sheet(sheet.id, SheetEvent.ASKED, now=world.clock.now())
    command = f"callsheet approve {sheet.id}"
    why, then = approval_words(world, sheet)
    return Submission(
        status="approval_needed",
        notice=f"{why} {notice(world, sheet.mode)}",
        next_step=f"Ask the person to run `{command}` in their own terminal, {then}",
        approval_text=sheet.shown,
        approval_command=command,
    )


def _spend(world: World, sheet: Sheet) -> Task:
    now = world.clock.now()
    task = Task(
        id=TaskId(f"task_{world.clock.token()}"),
        sheet_id=sheet.id,
        mode=sheet.mode,
        gateway=sheet.binding.gateway,
        model=sheet.binding.model,
        state=TaskState.WAITING,
        reserve_micros=sheet.reserve_micros or 0,
        created_at=now,
        updated_at=now,
        next_at=now,
        owner=world.runner_id,
    )
    return world.ledger().spend(
        sheet.id,
        digest=binding_now(world, sheet).digest,
        task=task,
        caps=world.policy().caps,
        now=now,
        windows=spending_windows(now),
    )


async def send_task(world: World, task: Task) -> None:
    """Send a waiting task's paid request, once; or leave it waiting and say why."""
    sheet = need_sheet(world, task.sheet_id)
    if world.clock.now() > task.created_at + SHEET_LIFETIME:
        _withdraw(world, task)
        return
    # A slot comes first: a request reserved with the rate limiter for nothing is taken from the status reads.
    if _is_blocked(world, task, sheet) or _awaits_slot(world, task):
        return
    asks = task.mode is Mode.LIVE and asks_balance(world, task)
    if not wait_for_pace(world, task, requests=2 if asks else 1):
        return
    if asks:
        task = await note_balance(world, task)
        # That took its time: the person may have forbidden it meanwhile.
        if _is_blocked(world, task, sheet):
            return
    attempt, now = world.clock.token(), world.clock.now()
    claimed = world.ledger().claim(
        task.id,
        attempt=attempt,
        deadline=now + ATTEMPT_SECONDS,
        now=now,
        slots=slots_for(world, task),
    )
    if claimed is None:
        _hold_for_slot(world, task, places=1)
        return
    await _send_claimed(world, claimed, sheet, attempt)


def _is_blocked(world: World, task: Task, sheet: Sheet) -> bool:
    """Whether the policy forbids sending now, or things are not as they were approved; the task then waits."""
    if not may_pay(world, sheet):
        hold_unsent(world, task)
        return True
    try:
        require_mode(world.policy(), sheet)
        changed = sheet.binding.differences(binding_now(world, sheet))
    except CallsheetError as error:
        _hold(world, task, error.error_code, error.message, BLOCKED_RETRY_SECONDS)
        return True
    if changed:
        message = f"changed since the approval: {', '.join(changed)}"
        _hold(world, task, "not_as_approved", message, BLOCKED_RETRY_SECONDS)
    return bool(changed)


def _awaits_slot(world: World, task: Task) -> bool:
    """Whether there is no slot for the task yet, those of this process that wait longer going first."""
    missing = world.ledger().places_missing(task, now=world.clock.now(), slots=slots_for(world, task))
    if missing > 0:
        _hold_for_slot(world, task, places=missing)
    return missing > 0


def _hold_for_slot(world: World, task: Task, *, places: int) -> None:
    """Look again soon; whoever stands far back in the line looks less often."""
    seconds = SLOT_RETRY_SECONDS * min(places, SLOT_PATIENCE) / world.speed(task.mode)
    _hold(world, task, NO_SLOT, "all concurrent tasks are taken", seconds)


def slots_for(world: World, task: Task) -> Slots:
    """How many tasks may be open at once: the person's cap over all, and the documented limit of the gateway.

    In the sandbox the person's cap is not applied, so that load can be rehearsed.
    """
    concurrent = NO_LIMIT if task.mode is Mode.SANDBOX else world.policy().caps.concurrent
    documented = card_of(world, task).rate_limit.concurrent_tasks or NO_LIMIT
    return Slots(concurrent, documented, UNKNOWN_HOLDS_SECONDS / world.speed(task.mode))


def _withdraw(world: World, task: Task) -> None:
    """What could not be sent for a day is not sent any more: nobody expects the bill then."""
    problem = Problem("too_late", "it could not be sent within a day of its approval", Fate.NOTHING_SENT.value)
    world.ledger().advance(
        task.id, TaskEvent.RESOLVED_LOST, now=world.clock.now(), changes={"problem": problem, "attempt": None}
    )
    world.changes.notify()


def _hold(world: World, task: Task, code: str, message: str, seconds: float) -> None:
    now = world.clock.now()
    problem = Problem(code, message, Fate.NOTHING_SENT.value)
    world.ledger().touch(task.id, now=now, changes={"problem": problem, "next_at": now + seconds})
    world.changes.notify()


async def _send_claimed(world: World, task: Task, sheet: Sheet, attempt: str) -> None:
    """Send and store the answer. Shielded: a cancelled caller does not lose an answer that is on its way."""
    with anyio.CancelScope(shield=True) as scope:
        world.sending[task.id] = scope
        try:
            try:
                outcome: SubmitOutcome | CallsheetError = await _post(world, task, sheet)
            except CallsheetError as error:
                outcome = error
            except anyio.get_cancelled_exc_class():
                outcome = OutcomeUnknown("The program was stopped while the request was under way.", next_step="")
            settle_permit(world, sheet, outcome)
            stored = await _keep_outcome(world, task, attempt, outcome)
        finally:
            world.sending.pop(task.id, None)
    world.changes.notify()
    if stored is not None and stored.state is TaskState.OUTCOME_UNKNOWN and stored.mode is Mode.LIVE:
        await gather_hints(world, stored)


async def _post(world: World, task: Task, sheet: Sheet) -> SubmitOutcome:
    gateway = world.gateway(task.gateway)
    try:
        # The claim may have waited for the ledger; a person may have forbidden or changed things meanwhile.
        require_mode(world.policy(), sheet)
        changed = sheet.binding.differences(binding_now(world, sheet))
        base_url, key = await reach_to_pay(world, task, sheet)
    except CallsheetError as error:
        # Policy, address and key are read from files; what fails there has certainly sent nothing.
        raise GatewayUnreachable(error.message, next_step=error.next_step) from error
    if changed:
        raise GatewayUnreachable(f"Changed since the approval: {', '.join(changed)}.", next_step="")
    if task.mode is Mode.LIVE:
        base_url = sheet.binding.base_url
    request = gateway.build_submit(SubmitParts(task.model, sheet.body, idempotency_key=f"callsheet-{sheet.id}"))
    if task.deadline is None or world.clock.now() > task.deadline - ATTEMPT_SECONDS / 2:
        raise GatewayUnreachable("Too much time passed before the request could go out.", next_step="")
    reply: HttpReply = await world.http.post_paid(request, base_url=base_url, key=key, within=POST_SECONDS)
    return gateway.read_submit(reply)


async def _keep_outcome(world: World, task: Task, attempt: str, outcome: SubmitOutcome | CallsheetError) -> Task | None:
    """Store an answer, again and again while the disk refuses it: it may be all that is known of a paid job.

    Cancelled (the program stops), it tries once more and raises `LedgerProblem`; the deadline then makes the
    outcome unknown.
    """
    pause, stopping = STORE_AGAIN_SECONDS, False
    while True:
        try:
            return _store_outcome(world, task, attempt, outcome)
        except LedgerProblem as error:
            known = f" (accepted as {outcome.gateway_task_id})" if isinstance(outcome, Accepted) else ""
            log.warning("answer%s for task %s is not stored yet: %s", known, task.id, error.message)
            if stopping:
                raise
        try:
            await world.clock.sleep(pause)
        except anyio.get_cancelled_exc_class():
            stopping = True
        pause = min(2 * pause, STORE_GRACE_SECONDS)


def _store_outcome(world: World, task: Task, attempt: str, outcome: SubmitOutcome | CallsheetError) -> Task | None:
    """Store what became of an attempt. Nothing here can lead to a second request for the same attempt."""
    now = world.clock.now()
    speed = world.speed(task.mode)
    match outcome:
        case Accepted(gateway_task_id, state):
            delay = first_poll_delay(
                card_of(world, task).poll,
                jitter=world.clock.jitter(),
                clip_seconds=clip_seconds_of(world, task),
                speed=speed,
            )
            event = TaskEvent.ACCEPTED
            changes = {
                "gateway_task_id": gateway_task_id,
                "said": world.heard(state, limit=60),
                "accepted_at": now,
                "problem": None,
                "next_at": now + delay,
            }
        case Rejected(problem):
            event = TaskEvent.REFUSED
            refusal = told(world, problem.code, problem.message, Fate.SENT_NOT_CHARGED)
            lasting = problem.status not in ACCOUNT_STATUSES
            changes = {"problem": replace(refusal, lasting=lasting), "finished_at": now}
        case Postponed(problem) if task.attempts >= MOST_ATTEMPTS_LIMITED:
            # A limiter that never lets go, or a gateway that only says so: it is not asked without end.
            event = TaskEvent.REFUSED
            refusal = told(world, "rate_limited", problem.message, Fate.SENT_NOT_CHARGED)
            changes = {"problem": refusal, "finished_at": now}
        case Postponed(problem):
            delay = retry_delay(
                task.attempts, retry_after=problem.retry_after_seconds, jitter=world.clock.jitter(), speed=speed
            )
            event = TaskEvent.NOT_SENT
            changes = {
                "problem": told(world, "rate_limited", problem.message, Fate.SENT_NOT_CHARGED),
                "next_at": now + max(delay, LEAST_LIMITED_SECONDS / speed),
            }
        case GatewayUnreachable():
            delay = retry_delay(task.attempts, retry_after=None, jitter=world.clock.jitter(), speed=speed)
            event = TaskEvent.NOT_SENT
            changes = {
                "problem": Problem("unreachable", outcome.message, Fate.NOTHING_SENT.value),
                "next_at": now + delay,
            }
        case CallsheetError():
            event = TaskEvent.ANSWER_LOST
            changes = {"problem": Problem("outcome_unknown", outcome.message, Fate.UNKNOWN.value)}
        case unclear:
            event = TaskEvent.ANSWER_LOST
            code = unclear.problem.code or f"http_{unclear.problem.status}"
            changes = {"problem": told(world, code, unclear.problem.message, Fate.UNKNOWN)}
    try:
        return world.ledger().advance(task.id, event, now=now, attempt=attempt, changes=changes)
    except IllegalEvent as error:
        # A person or the deadline was faster; what is stored stands, and the answer is in the log.
        log.warning("answer of a finished attempt: task %s, %s", task.id, error)
        if isinstance(outcome, Accepted):
            _keep_late_id(world, task, attempt, outcome.gateway_task_id)
        return None


def _keep_late_id(world: World, task: Task, attempt: str, gateway_task_id: str) -> None:
    """The gateway's own answer came after somebody had settled the matter otherwise: it may be right, so it is kept."""
    current = world.ledger().task(task.id)
    if current is None or current.attempt != attempt or current.gateway_task_id == gateway_task_id:
        return
    hint = f"The gateway's own late answer names task {gateway_task_id}."
    world.ledger().touch(task.id, now=world.clock.now(), changes={"hints": f"{current.hints} {hint}".strip()})


def told(world: World, code: str, said: str, fate: Fate) -> Problem:
    """A problem in the gateway's own words: rid of keys, cleaned, bounded, and marked as its words."""
    text = world.heard(said)
    return Problem(
        world.heard(code, limit=60) or "unspecified", f"the gateway said: {text or '(nothing)'}", fate.value, text
    )


def expire_attempt(world: World, task: Task) -> None:
    """A task found being submitted after its deadline: its outcome is unknown, and it is not sent again."""
    if task.id in world.sending:
        return
    now = world.clock.now()
    if task.deadline is not None and now <= task.deadline:
        world.ledger().touch(task.id, now=now, changes={"next_at": task.deadline + 1})
        return
    problem = Problem("outcome_unknown", "the program ended while the request was under way", Fate.UNKNOWN.value)
    world.ledger().advance(task.id, TaskEvent.ANSWER_LOST, now=now, attempt=task.attempt, changes={"problem": problem})
    world.changes.notify()
