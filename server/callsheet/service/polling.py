"""Following a task: status reads, the download, the pictures. Free of charge, so free to try again.

`run_task` does what can be done for a task now and stores when there is something to do again. Each
step is a compare-and-set in the ledger, so being called twice, by anyone, does no harm. A read that
fails never changes a task's state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from callsheet.core.consent import Means, Mode
from callsheet.core.gateway.protocol import (
    USUAL,
    ContentReader,
    GatewayProblem,
    HttpRequest,
    OwnWay,
    Phase,
    Progress,
    StatusOutcome,
    StatusUnavailable,
    TaskRef,
)
from callsheet.core.poll_schedule import next_poll_delay, retry_delay
from callsheet.core.sent import SentRequest
from callsheet.core.tasks import Clip, IllegalEvent, Problem, Task, TaskEvent, TaskState
from callsheet.errors import (
    Action,
    CallsheetError,
    DownloadProblem,
    Fate,
    InvalidRequest,
    LedgerOlder,
    LedgerProblem,
    LinkGone,
    NextStep,
)

from .dependencies import (
    KEY_RETURNED,
    KEY_RETURNED_TEXT,
    Dependencies,
    card_of,
    clip_seconds_of,
    keep_taken_back,
    wait_for_pace,
)
from .export import clip_label
from .outcomes import expire_attempt, quote_problem, screen_status, stop_allowance
from .ports import UNPROVEN, Evidence
from .results import (
    CONTENT_MISSING,
    JOB_FORGOTTEN,
    NO_FILE_NAMED,
    NO_KEY,
    OTHER_TASK_NAMED,
    STATE_OVERDUE,
    UNRECOGNISED_STATE,
    fate_of,
    is_late,
)
from .sealed_keys import forget_idle, hold_unasked, is_locked
from .submission import send_task

KEYLESS_RETRY_SECONDS = 60.0
CONTRADICTION_SECONDS = 10.0
BLOCKED_SECONDS = 30.0
UNNAMED_STATES = (UNRECOGNISED_STATE, STATE_OVERDUE)
LINK_PAUSE_SECONDS = 60.0
CONTENT_PATIENCE_SECONDS = 600.0
"""Servers were seen to hand a clip out minutes after they called it finished."""
TELLING_FAILURES = 3
"""So many failed reads in a row are no accident."""

PHASE_EVENTS = {
    Phase.QUEUED: TaskEvent.SEEN_QUEUED,
    Phase.RUNNING: TaskEvent.SEEN_RUNNING,
    Phase.UNRECOGNISED: TaskEvent.SEEN_RUNNING,
    Phase.SUCCEEDED: TaskEvent.SEEN_FINISHED,
    Phase.FAILED: TaskEvent.SEEN_FAILED,
}

log = logging.getLogger(__name__)


async def run_task(deps: Dependencies, task_id: str) -> None:
    """Do the next step of a task, whatever it is, if it is due. Raises only `LedgerProblem`."""
    task = deps.ledger().task(task_id)
    if task is None or deps.clock.now() < task.next_at:
        return
    try:
        match task.state:
            case TaskState.WAITING:
                await send_task(deps, task)
            case TaskState.SUBMITTING:
                expire_attempt(deps, task)
            case TaskState.QUEUED | TaskState.RUNNING:
                await _read_status(deps, task)
            case TaskState.SUCCEEDED:
                await _fetch_clip(deps, task)
            case _:
                return
    except IllegalEvent as error:
        # Another process moved the task on, or the gateway contradicted itself; the ledger holds what is true.
        log.info("task %s: %s", task_id, error)
        now = deps.clock.now()
        deps.ledger().touch(task_id, now=now, changes={"next_at": now + CONTRADICTION_SECONDS})
    except LedgerProblem:
        raise
    except CallsheetError as error:
        # A policy or key file that cannot be read, a card that is gone: recorded on the task, and tried again.
        _hold_open(deps, task, error)
    forget_idle(deps)
    deps.changes.notify()


def _hold_open(deps: Dependencies, task: Task, error: CallsheetError) -> None:
    fate = Fate.NOTHING_SENT if task.state is TaskState.WAITING else Fate.CHARGED
    now = deps.clock.now()
    problem = Problem(error.error_code, error.message, fate.value)
    deps.ledger().touch(task.id, now=now, changes={"problem": problem, "next_at": now + BLOCKED_SECONDS})


async def _read_status(deps: Dependencies, task: Task) -> None:
    if is_locked(deps, task):
        hold_unasked(deps, task)
    elif wait_for_pace(deps, task):
        task = await poll_task(deps, task)
        if task.state is TaskState.RUNNING and task.problem is not None and task.problem.code in UNNAMED_STATES:
            await _try_link(deps, task)


async def _try_link(deps: Dependencies, task: Task) -> None:
    """Fetch the video of a task whose state has an unknown word. A whole video is the end; a failure proves nothing."""
    if task.result_url is None:
        return
    try:
        clip = await _save(deps, task, task.result_url)
    except CallsheetError as error:
        log.info("task %s: its state is not known, and its link gives no video yet: %s", task.id, error.message)
        return
    now = deps.clock.now()
    deps.ledger().advance(task.id, TaskEvent.SEEN_FINISHED, now=now, changes={"finished_at": now})
    changes = {"clip": clip, "problem": None, "failures": 0, "percent": 100}
    deps.ledger().advance(task.id, TaskEvent.CLIP_SAVED, now=now, changes=changes)


async def poll_task(deps: Dependencies, task: Task) -> Task:
    """Ask the gateway once after a task and store what it says."""
    facts = deps.facts(task.gateway)
    gateway = deps.gateway(task.gateway)
    found = task.gateway_task_id or ""
    if deps.holds_key(None, found):
        # A ledger that an older version wrote: such an id must not become part of an address.
        return _read_failed(deps, task, KEY_RETURNED, KEY_RETURNED_TEXT, None)
    try:
        request = gateway.build_status(TaskRef(task.model, found))
    except ValueError:
        # Somebody edited the row; a person can give the id again.
        return _read_failed(deps, task, "status_unreadable", "the ledger has no id of the gateway for it", None)
    try:
        base_url, key, route = await deps.reach(task.mode, facts)
        if key is None and facts.key_env:
            missing = Problem(NO_KEY, "its key is missing, so its status cannot be read", Fate.CHARGED.value)
            return _postpone(deps, task, missing, KEYLESS_RETRY_SECONDS)
        reply = await deps.http.fetch(request, base_url=base_url, key=key, route=route)
    except CallsheetError as error:
        return _read_failed(deps, task, error.error_code, error.message, None)
    return _store_status(deps, task, screen_status(deps, key, gateway.read_status(reply)))


def _store_status(deps: Dependencies, task: Task, outcome: StatusOutcome | None) -> Task:
    if outcome is None:
        return _read_failed(deps, task, KEY_RETURNED, KEY_RETURNED_TEXT, None)
    if isinstance(outcome, StatusUnavailable):
        return _status_unavailable(deps, task, outcome)
    if outcome.named_id not in ("", task.gateway_task_id):
        return _read_failed(deps, task, OTHER_TASK_NAMED, "the gateway's answer is about another task", None)
    if outcome.phase is Phase.SUCCEEDED and not outcome.video_urls and (content := _build_content(deps, task)):
        outcome = replace(outcome, video_urls=(content.path,))
    if outcome.phase is Phase.SUCCEEDED and not outcome.video_urls:
        return _read_failed(deps, task, NO_FILE_NAMED, "finished, but the gateway gives no video link", None)
    if outcome.phase is Phase.UNRECOGNISED and outcome.video_urls and task.state is TaskState.SUCCEEDED:
        # The gateway has said that it is finished; only a fresh link was wanted.
        outcome = replace(outcome, phase=Phase.SUCCEEDED)
    now = deps.clock.now()
    elapsed = now - (task.accepted_at or task.created_at)
    delay = next_poll_delay(
        card_of(deps, task).poll,
        elapsed=elapsed,
        clip_seconds=clip_seconds_of(deps, task),
        speed=deps.speed(task.mode),
        called_back=deps.called_back(task),
    )
    changes: dict[str, Any] = {
        "said": deps.sanitize(outcome.said, limit=60),
        "percent": outcome.percent,
        "polls": task.polls + 1,
        "failures": 0,
        "problem": None,
        "next_at": now + (delay if outcome.ask_after_seconds is None else outcome.ask_after_seconds),
    }
    if outcome.charge is not None:
        changes["charge"] = deps.sanitize(f"{outcome.charge.amount} {outcome.charge.unit}", limit=60)
    changes.update(_phase_changes(deps, task, outcome, now))
    # What the next read repeats need not wait for the disk; an end must.
    lasting = outcome.phase in (Phase.SUCCEEDED, Phase.FAILED)
    known = deps.ledger().advance(task.id, PHASE_EVENTS[outcome.phase], now=now, changes=changes, lasting=lasting)
    return stop_allowance(deps, known)


def _status_unavailable(deps: Dependencies, task: Task, outcome: StatusUnavailable) -> Task:
    problem, code, said = outcome.problem, "status_unreadable", ""
    again = task.failures + 1 >= TELLING_FAILURES
    message = f"its status could not be read (HTTP {problem.status})"
    if outcome.unknown_task:
        message = "the gateway does not know the task (yet)"
        if again and deps.facts(task.gateway).own:
            code, message = JOB_FORGOTTEN, "the server no longer knows this job; was it restarted?"
    elif again and deps.facts(task.gateway).own and problem.message:
        # A proxy may hand out a job's failure as its own error, for ever; only a person can read it there.
        said = deps.sanitize(problem.message)
        message += f"; it says: {said}"
    return _read_failed(deps, task, code, message, problem.retry_after_seconds, said=said)


def _build_content(deps: Dependencies, task: Task) -> HttpRequest | None:
    """Asks the gateway for the task's clip, where it hands clips out itself."""
    gateway, found = deps.gateway(task.gateway), TaskRef(task.model, task.gateway_task_id or "")
    return gateway.build_content(found) if isinstance(gateway, ContentReader) else None


def _phase_changes(deps: Dependencies, task: Task, outcome: Progress, now: float) -> dict[str, Any]:
    if outcome.phase is Phase.SUCCEEDED:
        return {"result_url": outcome.video_urls[0], "finished_at": now, "next_at": now, "percent": 100}
    if outcome.phase is Phase.FAILED:
        problem = quote_problem(deps, outcome.failure or GatewayProblem(200, "", ""), Fate.UNKNOWN)
        return {"problem": problem, "finished_at": now}
    if outcome.phase is Phase.UNRECOGNISED:
        said = deps.sanitize(outcome.said, limit=60)
        code = STATE_OVERDUE if is_late(deps, task) else UNRECOGNISED_STATE
        link = outcome.video_urls[0] if outcome.video_urls else None
        return {"problem": Problem(code, f"said: {said}", Fate.CHARGED.value, said), "result_url": link}
    return {}


def _read_failed(
    deps: Dependencies, task: Task, code: str, message: str, retry_after: float | None, *, said: str = ""
) -> Task:
    failures = task.failures + 1
    delay = retry_delay(failures, retry_after=retry_after, jitter=deps.clock.jitter(), speed=deps.speed(task.mode))
    problem = Problem(code, message, Fate.CHARGED.value, said)
    return _postpone(deps, task, problem, delay, failures=failures)


def _postpone(deps: Dependencies, task: Task, problem: Problem, seconds: float, *, failures: int | None = None) -> Task:
    now = deps.clock.now()
    changes = {
        "problem": problem,
        "next_at": now + seconds,
        "polls": task.polls + 1,
        "failures": task.failures if failures is None else failures,
    }
    return deps.ledger().touch(task.id, now=now, changes=changes, lasting=False)


async def _fetch_clip(deps: Dependencies, task: Task) -> None:
    """Save the clip. A download that failed before asks for a fresh link first, if it can."""
    own = (task.result_url or "").startswith("/")
    if own and is_locked(deps, task):
        hold_unasked(deps, task)
        return
    if (task.failures and not own and not is_locked(deps, task)) or task.result_url is None:
        if not wait_for_pace(deps, task):
            return
        failures, problem = task.failures, task.problem
        try:
            task = await poll_task(deps, task)
        except IllegalEvent as error:
            # The gateway contradicted itself; the link that it gave may still work.
            log.info("task %s: %s", task.id, error)
        if task.state is not TaskState.SUCCEEDED or task.result_url is None:
            return
        task = deps.ledger().touch(task.id, now=deps.clock.now(), changes={"failures": failures, "problem": problem})
    assert task.result_url is not None
    try:
        clip = await _save(deps, task, task.result_url)
    except (LinkGone, DownloadProblem) as error:
        if own:
            _content_missing(deps, task, error)
        elif isinstance(error, LinkGone):
            _link_gone(deps, task, error)
        else:
            _read_failed(deps, task, error.error_code, error.message, None)
        return
    except CallsheetError as error:
        _read_failed(deps, task, error.error_code, error.message, None)
        return
    changes = {"clip": clip, "problem": None, "failures": 0}
    deps.ledger().advance(task.id, TaskEvent.CLIP_SAVED, now=deps.clock.now(), changes=changes)


async def _save(deps: Dependencies, task: Task, link: str) -> Clip:
    if deps.holds_key(None, link):
        raise DownloadProblem(f"Not fetched: {KEY_RETURNED_TEXT}.", next_step="Replace the key.")
    facts, directory = deps.facts(task.gateway), deps.save_directory(deps.policy())
    public = USUAL if task.mode is Mode.SANDBOX else deps.policy().route("")
    public = replace(public, hosts=facts.result_hosts if facts.own else None)
    if link.startswith("/") and (content := _build_content(deps, task)):
        base_url, key, route = await deps.reach(task.mode, facts)
        way = OwnWay(route, public)
        return await deps.clips.keep_own(
            clip_label(deps, task), content, directory=directory, base_url=base_url, key=key, way=way
        )
    loopback = await deps.loopback_origin(task.mode, facts)
    return await deps.clips.keep(clip_label(deps, task), link, directory=directory, loopback=loopback, route=public)


def _content_missing(deps: Dependencies, task: Task, error: CallsheetError) -> None:
    """A finished clip that is not handed out: often it only comes late. Its state is the status route's to tell."""
    late = deps.clock.now() - (task.finished_at or task.created_at) > CONTENT_PATIENCE_SECONDS / deps.speed(task.mode)
    code, why = (CONTENT_MISSING, "finished, but the file cannot be had yet; ") if late else (error.error_code, "")
    _read_failed(deps, task, code, f"{why}{error.message}", None)


def _link_gone(deps: Dependencies, task: Task, error: LinkGone) -> None:
    """A dead link is asked for again once, after a pause; if the fresh one is dead too, the clip has expired."""
    if task.problem is None or task.problem.code != "link_gone":
        # Storage that is slow to publish a file, or a clock that differs, gets time to recover.
        pause = LINK_PAUSE_SECONDS / deps.speed(task.mode)
        gone = Problem("link_gone", error.message, Fate.CHARGED.value)
        _postpone(deps, task, gone, pause, failures=task.failures + 1)
        return
    if is_locked(deps, task):
        # No fresh link was asked for yet.
        hold_unasked(deps, task)
        return
    problem = Problem("expired", error.message, Fate.CHARGED.value)
    deps.ledger().advance(task.id, TaskEvent.LINK_GONE, now=deps.clock.now(), changes={"problem": problem})


def accept_ledger(deps: Dependencies, agree: Callable[[Sequence[SentRequest]], object]) -> tuple[SentRequest, ...]:
    """A person goes on with a ledger that is older than what was sent; what it forgot comes back as unknown.

    `agree` gets what is known of that, and raises unless the person agrees. Raises `InvalidRequest` for a ledger that
    is not older.
    """
    try:
        deps.sent.require_current()
    except LedgerOlder:
        agree(deps.sent.forgotten())
        found = deps.sent.accept_ledger(now=deps.clock.now())
        deps.changes.notify()
        return found
    raise InvalidRequest("The ledger is not older than what was sent.", next_step=NextStep(Action.LIST))


def resolve_task(
    deps: Dependencies, task_id: str, *, accepted_as: str | None, by: Means = Means.TERMINAL, proof: Evidence = UNPROVEN
) -> Task:
    """Record what a person found out about a task of unknown outcome: accepted under an id, or lost."""
    task = deps.ledger().task(task_id)
    if task is None:
        raise InvalidRequest("There is no task with that id.", next_step=NextStep(Action.LIST))
    now = deps.clock.now()
    changes: dict[str, Any] = {"owner": deps.runner_id, "problem": None, "next_at": now}
    event = TaskEvent.RESOLVED_LOST
    if task.state is TaskState.WAITING:
        changes["problem"] = Problem("given_up", "a person gave it up before it was sent", Fate.NOTHING_SENT.value)
    if accepted_as is not None:
        event = TaskEvent.RESOLVED_ACCEPTED
        changes |= {"gateway_task_id": accepted_as, "accepted_at": task.accepted_at or task.created_at}
        if deps.holds_key(None, accepted_as):
            raise InvalidRequest("That is the gateway's key, not a task id.", next_step="Copy the task's id.")
        # Asked now, so that an id that no gateway would take is refused before it is stored.
        try:
            deps.gateway(task.gateway).build_status(TaskRef(task.model, accepted_as))
        except ValueError:
            raise InvalidRequest(
                "This gateway cannot have issued that task id.", next_step="Copy the id again."
            ) from None
    try:
        resolved = deps.ledger().advance(task_id, event, now=now, changes=changes)
    except IllegalEvent:
        raise InvalidRequest(
            f"Task {task_id} is {task.state.value}; only one of unknown outcome, or under way, can be resolved.",
            next_step=NextStep(Action.GET, target=task_id),
            fate=fate_of(task),
        ) from None
    detail = {**proof, "as": accepted_as or "lost", "sheet": task.sheet_id}
    detail |= {"was": task.gateway_task_id} if task.gateway_task_id is not None else {}
    deps.ledger().consent.record(event.value, task_id, actor=by.value, now=now, detail=detail)
    keep_taken_back(deps)
    deps.changes.notify()
    return resolved
