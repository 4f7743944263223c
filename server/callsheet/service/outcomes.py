"""What became of a paid request: how its answer is stored, however late, and hints where the answer was lost.

Nothing here sends a paid request. An answer is stored under its attempt. An answer that comes after the outcome was
settled otherwise is kept beside it, because it may be all that is known of a paid job.

Gateways disagree on when they charge, so neither a balance that fell nor an unchanged balance proves anything. Hints
are free to ask, bounded in time, and fail with nothing more than "could not be read": no hint may delay or decide
anything.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import anyio

from callsheet.core.consent import Means, Mode
from callsheet.core.gateway.protocol import (
    Accepted,
    BalanceReader,
    GatewayProblem,
    HttpReply,
    HttpRequest,
    ModelsReader,
    Postponed,
    Progress,
    RecentReader,
    Rejected,
    StatusOutcome,
    SubmitOutcome,
    Unclear,
)
from callsheet.core.gateway.refusals import Reason, read_reason
from callsheet.core.payload.form import read_frozen
from callsheet.core.poll_schedule import first_poll_delay, retry_delay
from callsheet.core.spending import SAME_ID
from callsheet.core.tasks import IllegalEvent, Problem, Task, TaskEvent, exceeds_declared
from callsheet.errors import CallsheetError, Fate, GatewayUnreachable, InvalidRequest, LedgerProblem

from .dependencies import KEY_RETURNED, KEY_RETURNED_TEXT, Dependencies, card_of, count_request
from .ports import SecretKey

LASTING_REASONS = (Reason.SHOT, Reason.SIZE, Reason.ACCESS)
MOST_ATTEMPTS_LIMITED = 6
LEAST_LIMITED_SECONDS = 5.0
STORE_AGAIN_SECONDS = 0.2
STORE_GRACE_SECONDS = 5.0

Changes = dict[str, Any]

log = logging.getLogger(__name__)


async def keep_outcome(
    deps: Dependencies, task: Task, attempt: str, outcome: SubmitOutcome | CallsheetError
) -> Task | None:
    """Store an answer, with retries while the disk refuses it: it may be all that is known of a paid job.

    Cancelled (the program stops), it tries once more and raises `LedgerProblem`; the deadline then makes the
    outcome unknown.
    """
    pause, stopping = STORE_AGAIN_SECONDS, False
    while True:
        try:
            return _store_outcome(deps, task, attempt, outcome)
        except LedgerProblem as error:
            known = f" (accepted as {outcome.gateway_task_id})" if isinstance(outcome, Accepted) else ""
            log.warning("answer%s for task %s is not stored yet: %s", known, task.id, error.message)
            if stopping:
                raise
        try:
            await deps.clock.sleep(pause)
        except anyio.get_cancelled_exc_class():
            stopping = True
        pause = min(2 * pause, STORE_GRACE_SECONDS)


def _store_outcome(
    deps: Dependencies, task: Task, attempt: str, outcome: SubmitOutcome | CallsheetError
) -> Task | None:
    """Store what became of an attempt. Nothing here can lead to a second request for the same attempt."""
    now = deps.clock.now()
    if isinstance(outcome, CallsheetError):
        event, changes = _read_error(deps, task, outcome, now)
    else:
        event, changes = _read_answer(deps, task, outcome, now)
    repeated = isinstance(outcome, Accepted | Unclear) and outcome.note != ""
    try:
        known = deps.ledger().advance(task.id, event, now=now, attempt=attempt, changes=changes)
        return stop_allowance(deps, known, repeated=repeated)
    except InvalidRequest:
        # One of the two would be followed as the other.
        assert isinstance(outcome, Accepted)
        problem = GatewayProblem(200, SAME_ID, "", page="the gateway gave this task the id of another task")
        return _store_outcome(deps, task, attempt, Unclear(problem, outcome.gateway_task_id, outcome.note))
    except IllegalEvent as error:
        # A person or the deadline was faster; what is stored stands, and the answer is in the log.
        log.warning("answer of a finished attempt: task %s, %s", task.id, error)
        stop_allowance(deps, replace(task, charge=changes.get("charge")), repeated=repeated)
        if isinstance(outcome, Accepted):
            _keep_late_id(deps, task, attempt, outcome.gateway_task_id)
        elif isinstance(outcome, Unclear) and outcome.named_id:
            _keep_late_id(deps, task, attempt, outcome.named_id)
        return None


def stop_allowance(deps: Dependencies, task: Task, *, repeated: bool = False) -> Task:
    """The task; ends the allowance under which it was sent if it costs more than was agreed, or became several jobs."""
    sheet = deps.ledger().sheet(task.sheet_id) if repeated or exceeds_declared(task) else None
    if sheet is not None and sheet.allowance is not None:
        deps.ledger().consent.revoke(sheet.allowance, now=deps.clock.now(), by=Means.ALLOWANCE)
    return task


def _read_answer(deps: Dependencies, task: Task, outcome: SubmitOutcome, now: float) -> tuple[TaskEvent, Changes]:
    """The event and the changes that a gateway's answer means for its task."""
    speed = deps.speed(task.mode)
    match outcome:
        case Accepted(gateway_task_id, state, charge, note):
            delay = first_poll_delay(card_of(deps, task).poll, jitter=deps.clock.jitter(), speed=speed)
            return TaskEvent.ACCEPTED, {
                "gateway_task_id": gateway_task_id,
                "said": deps.sanitize(state, limit=60),
                "accepted_at": now,
                "charge": None if charge is None else deps.sanitize(f"{charge.amount} {charge.unit}", limit=60),
                "problem": None,
                **({"hints": note} if note else {}),
                "next_at": now + delay,
            }
        case Rejected(problem):
            refusal = quote_problem(deps, problem, Fate.SENT_NOT_CHARGED)
            # A page comes from a server in front of the gateway, which may let the same bytes pass later.
            reason = read_reason(problem.status, problem.code, problem.message)
            lasting = reason in LASTING_REASONS and not problem.page.endswith("page")
            return TaskEvent.REFUSED, {"problem": replace(refusal, lasting=lasting), "finished_at": now}
        case Postponed(problem):
            refusal = replace(quote_problem(deps, problem, Fate.SENT_NOT_CHARGED), code="rate_limited")
            # A limiter that never lets go must not be asked without end.
            if task.attempts >= MOST_ATTEMPTS_LIMITED:
                return TaskEvent.REFUSED, {"problem": refusal, "finished_at": now}
            delay = retry_delay(
                task.attempts, retry_after=problem.retry_after_seconds, jitter=deps.clock.jitter(), speed=speed
            )
            next_at = now + max(delay, LEAST_LIMITED_SECONDS / speed)
            return TaskEvent.NOT_SENT, {"problem": refusal, "next_at": next_at}
        case unclear:
            lost = quote_problem(deps, unclear.problem, Fate.UNKNOWN)
            changes: Changes = {"problem": replace(lost, untrusted_task_id=unclear.named_id), "hints": unclear.note}
            return TaskEvent.ANSWER_LOST, changes


def _read_error(deps: Dependencies, task: Task, error: CallsheetError, now: float) -> tuple[TaskEvent, Changes]:
    """The event and the changes that a failed request means for its task."""
    if not isinstance(error, GatewayUnreachable):
        problem = Problem("outcome_unknown", error.message, Fate.UNKNOWN.value)
        return TaskEvent.ANSWER_LOST, {"problem": problem}
    delay = retry_delay(task.attempts, retry_after=None, jitter=deps.clock.jitter(), speed=deps.speed(task.mode))
    problem = Problem("unreachable", error.message, Fate.NOTHING_SENT.value)
    return TaskEvent.NOT_SENT, {"problem": problem, "next_at": now + delay}


def _keep_late_id(deps: Dependencies, task: Task, attempt: str, gateway_task_id: str) -> None:
    """The gateway's own answer came after the outcome was settled otherwise: it may be right, so it is kept."""
    current = deps.ledger().task(task.id)
    if current is None or current.attempt != attempt or current.gateway_task_id == gateway_task_id:
        return
    hint = f"The gateway's own late answer names task {gateway_task_id}."
    deps.ledger().touch(task.id, now=deps.clock.now(), changes={"hints": f"{current.hints} {hint}".strip()})


def quote_problem(deps: Dependencies, problem: GatewayProblem, fate: Fate) -> Problem:
    """A problem with its HTTP status and the gateway's own words: redacted, cleaned, bounded, and marked as its."""
    text = deps.sanitize(problem.message)
    failed = not 200 <= problem.status <= 299
    parts = [f"HTTP {problem.status}"] if failed else [f"code {problem.code}"] if problem.code.isdecimal() else []
    parts.append(f"the gateway said: {text}" if text else problem.page or "no reason given")
    return Problem(
        deps.sanitize(problem.code, limit=60) or "unspecified",
        ", ".join(parts),
        fate.value,
        text,
        http_status=problem.status,
    )


def expire_attempt(deps: Dependencies, task: Task) -> None:
    """A task found being submitted after its deadline: its outcome is unknown, and it is not sent again."""
    if task.id in deps.sending:
        return
    now = deps.clock.now()
    if task.deadline is not None and now <= task.deadline:
        deps.ledger().touch(task.id, now=now, changes={"next_at": task.deadline + 1})
        return
    problem = Problem("outcome_unknown", "the program ended while the request was under way", Fate.UNKNOWN.value)
    deps.ledger().advance(task.id, TaskEvent.ANSWER_LOST, now=now, attempt=task.attempt, changes={"problem": problem})
    deps.changes.notify()


def screen_submit(deps: Dependencies, key: SecretKey | None, outcome: SubmitOutcome) -> SubmitOutcome:
    """The answer to a paid request; unclear where its id or its state has the key."""
    match outcome:
        case Accepted(found, state, _) if deps.holds_key(key, found, state):
            problem = GatewayProblem(200, KEY_RETURNED, "", page=KEY_RETURNED_TEXT)
        case Unclear(problem, found) if deps.holds_key(key, found):
            problem = replace(problem, code=KEY_RETURNED, message="", page=KEY_RETURNED_TEXT)
        case _:
            return outcome
    return Unclear(problem, "" if deps.holds_key(key, found) else found)


def screen_status(deps: Dependencies, key: SecretKey | None, outcome: StatusOutcome) -> StatusOutcome | None:
    """A status answer without links that have the key; None where nothing is left to go by."""
    if not isinstance(outcome, Progress):
        return outcome
    links = tuple(link for link in outcome.video_urls if not deps.holds_key(key, link))
    if deps.holds_key(key, outcome.said, outcome.named_id) or (outcome.video_urls and not links):
        return None
    return replace(outcome, video_urls=links)


HINT_SECONDS = 4.0
NEAR_SECONDS = 900.0
MOST_LISTED = 5
UNREADABLE = "could not be read"


def asks_balance(deps: Dependencies, task: Task) -> bool:
    """Whether `record_balance` is going to ask the gateway."""
    return task.balance_before is None and isinstance(deps.gateway(task.gateway), BalanceReader)


async def record_balance(deps: Dependencies, task: Task) -> Task:
    """Store the account's balance before a paid request, where the gateway reports it."""
    if task.balance_before is not None:
        return task
    balance = await _read_balance(deps, task)
    if balance is None:
        return task
    return deps.ledger().touch(task.id, now=deps.clock.now(), changes={"balance_before": balance})


async def lists_model(deps: Dependencies, task: Task) -> bool:
    """Whether the server lists the model now, where a person wants that: some render any name with their own model."""
    gateway, endpoint = deps.gateway(task.gateway), deps.policy().endpoint(task.gateway)
    if task.mode is not Mode.LIVE or endpoint is None or not endpoint.strict_model:
        return True
    if not isinstance(gateway, ModelsReader) or (reply := await _ask(deps, task, gateway.build_models())) is None:
        return False
    return task.model in (gateway.read_models(reply) or ())


async def record_hints(deps: Dependencies, task: Task) -> None:
    """Store what the gateway reports after an answer was lost: the balance, and recent tasks of that model."""
    hints = [task.hints] if task.hints else []
    if task.balance_before is not None:
        count_request(deps, task)
        after = await _read_balance(deps, task)
        hints.append(f"Balance before {task.balance_before}, after {after or UNREADABLE} (a hint, no proof).")
    listed = await _list_recent(deps, task)
    if listed is not None:
        hints.append(f"Tasks the gateway lists from that time: {listed or 'none'}.")
    if hints:
        deps.ledger().touch(task.id, now=deps.clock.now(), changes={"hints": " ".join(hints)})
        deps.changes.notify()


async def _read_balance(deps: Dependencies, task: Task) -> str | None:
    gateway = deps.gateway(task.gateway)
    if not isinstance(gateway, BalanceReader):
        return None
    reply = await _ask(deps, task, gateway.build_balance())
    balance = gateway.read_balance(reply) if reply is not None else None
    return None if balance is None else deps.sanitize(f"{balance.amount} {balance.unit}", limit=60)


async def _list_recent(deps: Dependencies, task: Task) -> str | None:
    gateway = deps.gateway(task.gateway)
    if not isinstance(gateway, RecentReader):
        return None
    count_request(deps, task)
    reply = await _ask(deps, task, gateway.build_recent())
    if reply is None:
        return UNREADABLE
    if not 200 <= reply.status <= 299:
        return UNREADABLE
    sent_at = (task.deadline or task.updated_at) - NEAR_SECONDS
    sheet = deps.ledger().sheet(task.sheet_id)
    asked = read_frozen(sheet.body) if sheet is not None else {}
    near = [
        item
        for item in gateway.read_recent(reply)
        if item.model in ("", task.model)
        and (item.created_at is None or item.created_at >= sent_at)
        and all(str(asked.get(name, value)) == value for name, value in item.said.items())
    ]
    mine = {known.gateway_task_id for known in deps.ledger().tasks(limit=1000)}
    found = [item for item in near if item.gateway_task_id not in mine]
    found = [item for item in found if not deps.holds_key(None, item.gateway_task_id)]
    # Only a list that tells jobs apart shows that a server in between sent the request again.
    again = sum(1 for item in found if item.said)
    more = f"; {again} jobs were made of this one request, so a proxy repeats requests" if again > 1 else ""
    stop_allowance(deps, task, repeated=again > 1)
    return ", ".join(item.gateway_task_id for item in found[:MOST_LISTED]) + more


async def _ask(deps: Dependencies, task: Task, request: HttpRequest) -> HttpReply | None:
    try:
        facts = deps.facts(task.gateway)
        base_url, key, route = await deps.reach(task.mode, facts)
        if key is None and facts.key_env:
            return None
        with anyio.fail_after(HINT_SECONDS):
            return await deps.http.fetch(request, base_url=base_url, key=key, route=route)
    except (CallsheetError, TimeoutError):
        return None
