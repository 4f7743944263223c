"""Following a task: status reads, the download, the pictures. Free of charge, so free to try again.

`run_task` does what can be done for a task now and stores when there is something to do again. Each
step is a compare-and-set in the ledger, so being called twice, by anyone, does no harm. A read that
fails never changes a task's state.
"""

from __future__ import annotations

import logging
from typing import Any

from callsheet.core.approval import Means
from callsheet.core.gateway import Phase, Progress, StatusOutcome, StatusUnavailable, TaskRef
from callsheet.core.schedule import next_poll_delay, retry_delay
from callsheet.core.sheet import Problem, Task
from callsheet.core.task import IllegalEvent, TaskEvent, TaskState
from callsheet.edges.downloads import LinkGone
from callsheet.errors import CallsheetError, Fate, InvalidRequest, LedgerProblem

from .outcomes import expire_attempt, told
from .pacing import wait_for_pace
from .reports import fate_of
from .sealing import forget_idle, hold_unasked, is_away
from .submission import send_task
from .world import World, card_of, clip_seconds_of

KEYLESS_RETRY_SECONDS = 60.0
CONTRADICTION_SECONDS = 10.0
BLOCKED_SECONDS = 30.0
LINK_PAUSE_SECONDS = 60.0

PHASE_EVENTS = {
    Phase.QUEUED: TaskEvent.SEEN_QUEUED,
    Phase.RUNNING: TaskEvent.SEEN_RUNNING,
    Phase.UNRECOGNISED: TaskEvent.SEEN_RUNNING,
    Phase.SUCCEEDED: TaskEvent.SEEN_FINISHED,
    Phase.FAILED: TaskEvent.SEEN_FAILED,
}

log = logging.getLogger(__name__)


async def run_task(world: World, task_id: str) -> None:
    """Do the next step of a task, whatever it is, if it is due. Raises only `LedgerProblem`."""
    task = world.ledger().task(task_id)
    if task is None or world.clock.now() < task.next_at:
        return
    try:
        match task.state:
            case TaskState.WAITING:
                await send_task(world, task)
            case TaskState.SUBMITTING:
                expire_attempt(world, task)
            case TaskState.QUEUED | TaskState.RUNNING:
                await _ask_after(world, task)
            case TaskState.SUCCEEDED:
                await _fetch_clip(world, task)
            case _:
                return
    except IllegalEvent as error:
        # Somebody else moved the task on, or the gateway took a word back; the ledger holds what is true.
        log.info("task %s: %s", task_id, error)
        now = world.clock.now()
        world.ledger().touch(task_id, now=now, changes={"next_at": now + CONTRADICTION_SECONDS})
    except LedgerProblem:
        raise
    except CallsheetError as error:
        # A policy or key file that cannot be read, a card that is gone: said on the task, and tried again.
        _hold_open(world, task, error)
    forget_idle(world)
    world.changes.notify()


def _hold_open(world: World, task: Task, error: CallsheetError) -> None:
    fate = Fate.NOTHING_SENT if task.state is TaskState.WAITING else Fate.CHARGED
    now = world.clock.now()
    problem = Problem(error.error_code, error.message, fate.value)
    world.ledger().touch(task.id, now=now, changes={"problem": problem, "next_at": now + BLOCKED_SECONDS})


async def _ask_after(world: World, task: Task) -> None:
    if is_away(world, task):
        hold_unasked(world, task)
    elif wait_for_pace(world, task):
        await poll_task(world, task)


async def poll_task(world: World, task: Task) -> Task:
    """Ask the gateway once after a task and store what it says."""
    facts = world.facts(task.gateway)
    gateway = world.gateway(task.gateway)
    assert task.gateway_task_id is not None
    try:
        base_url, key = await world.reach(task.mode, facts)
        if key is None:
            return _postpone(
                world, task, "no_key", "its key is missing, so it cannot be asked after", KEYLESS_RETRY_SECONDS
            )
        request = gateway.build_status(TaskRef(task.model, task.gateway_task_id))
        reply = await world.http.fetch(request, base_url=base_url, key=key)
    except CallsheetError as error:
        return _read_failed(world, task, error.error_code, error.message, None)
    return _store_status(world, task, gateway.read_status(reply))


def _store_status(world: World, task: Task, outcome: StatusOutcome) -> Task:
    if isinstance(outcome, StatusUnavailable):
        problem = outcome.problem
        if outcome.unknown_task:
            message = "the gateway does not know the task (yet)"
        else:
            message = f"its status could not be read (HTTP {problem.status})"
        return _read_failed(world, task, "status_unreadable", message, problem.retry_after_seconds)
    if outcome.phase is Phase.SUCCEEDED and not outcome.video_urls:
        return _read_failed(world, task, "no_file_named", "finished, but the gateway names no video", None)
    now = world.clock.now()
    elapsed = now - (task.accepted_at or task.created_at)
    delay = next_poll_delay(
        card_of(world, task).poll,
        elapsed=elapsed,
        clip_seconds=clip_seconds_of(world, task),
        speed=world.speed(task.mode),
    )
    changes: dict[str, Any] = {
        "said": world.heard(outcome.said, limit=60),
        "percent": outcome.percent,
        "polls": task.polls + 1,
        "failures": 0,
        "problem": None,
        "next_at": now + delay,
    }
    if outcome.charge is not None:
        changes["charge"] = world.heard(f"{outcome.charge.amount} {outcome.charge.unit}", limit=60)
    changes.update(_phase_changes(world, outcome, now))
    # What the next read tells again need not wait for the disk; an end must.
    lasting = outcome.phase in (Phase.SUCCEEDED, Phase.FAILED)
    return world.ledger().advance(task.id, PHASE_EVENTS[outcome.phase], now=now, changes=changes, lasting=lasting)


def _phase_changes(world: World, outcome: Progress, now: float) -> dict[str, Any]:
    if outcome.phase is Phase.SUCCEEDED:
        return {"result_url": outcome.video_urls[0], "finished_at": now, "next_at": now, "percent": 100}
    if outcome.phase is Phase.FAILED:
        failure = outcome.failure
        problem = told(world, failure.code if failure else "", failure.message if failure else "", Fate.UNKNOWN)
        return {"problem": problem, "finished_at": now}
    if outcome.phase is Phase.UNRECOGNISED:
        said = world.heard(outcome.said, limit=60)
        return {"problem": Problem("unrecognised_state", f"said: {said}", Fate.CHARGED.value, said)}
    return {}


def _read_failed(world: World, task: Task, code: str, message: str, retry_after: float | None) -> Task:
    failures = task.failures + 1
    delay = retry_delay(failures, retry_after=retry_after, jitter=world.clock.jitter(), speed=world.speed(task.mode))
    return _postpone(world, task, code, message, delay, failures=failures)


def _postpone(
    world: World, task: Task, code: str, message: str, seconds: float, *, failures: int | None = None
) -> Task:
    now = world.clock.now()
    changes = {
        "problem": Problem(code, message, Fate.CHARGED.value),
        "next_at": now + seconds,
        "polls": task.polls + 1,
        "failures": task.failures if failures is None else failures,
    }
    return world.ledger().touch(task.id, now=now, changes=changes, lasting=False)


async def _fetch_clip(world: World, task: Task) -> None:
    """Save the clip. A download that failed before asks for a fresh link first, if it can."""
    if (task.failures and not is_away(world, task)) or task.result_url is None:
        if not wait_for_pace(world, task):
            return
        failures, problem = task.failures, task.problem
        try:
            task = await poll_task(world, task)
        except IllegalEvent as error:
            # The gateway took its word back; the link that it gave may work all the same.
            log.info("task %s: %s", task.id, error)
        if task.state is not TaskState.SUCCEEDED or task.result_url is None:
            return
        task = world.ledger().touch(task.id, now=world.clock.now(), changes={"failures": failures, "problem": problem})
    assert task.result_url is not None
    loopback = await world.loopback_origin(task.mode, world.facts(task.gateway))
    directory = world.save_directory(world.policy())
    try:
        clip = await world.clips.keep(task, task.result_url, directory=directory, loopback=loopback)
    except LinkGone as error:
        _link_gone(world, task, error)
        return
    except CallsheetError as error:
        _read_failed(world, task, error.error_code, error.message, None)
        return
    changes = {"clip": clip, "problem": None, "failures": 0}
    world.ledger().advance(task.id, TaskEvent.CLIP_SAVED, now=world.clock.now(), changes=changes)


def _link_gone(world: World, task: Task, error: LinkGone) -> None:
    """A dead link is asked for again once, after a pause; if the fresh one is dead too, the clip has expired."""
    if task.problem is None or task.problem.code != "link_gone":
        # Storage that is slow to publish a file, or a clock that differs, gets the time to come right.
        pause = LINK_PAUSE_SECONDS / world.speed(task.mode)
        _postpone(world, task, "link_gone", error.message, pause, failures=task.failures + 1)
        return
    if is_away(world, task):
        # Nobody has asked for a fresh link yet.
        hold_unasked(world, task)
        return
    problem = Problem("expired", error.message, Fate.CHARGED.value)
    world.ledger().advance(task.id, TaskEvent.LINK_GONE, now=world.clock.now(), changes={"problem": problem})


def resolve_task(world: World, task_id: str, *, accepted_as: str | None) -> Task:
    """A person says what became of a task of unknown outcome: accepted under an id, or lost."""
    task = world.ledger().task(task_id)
    if task is None:
        raise InvalidRequest("There is no task with that id.", next_step="Run `callsheet list`.")
    now = world.clock.now()
    changes: dict[str, Any] = {"owner": world.runner_id, "problem": None, "next_at": now}
    event = TaskEvent.RESOLVED_LOST
    if accepted_as is not None:
        event = TaskEvent.RESOLVED_ACCEPTED
        changes |= {"gateway_task_id": accepted_as, "accepted_at": task.accepted_at or task.created_at}
        # Asked now, so that an id that no gateway would take is refused before it is stored.
        try:
            world.gateway(task.gateway).build_status(TaskRef(task.model, accepted_as))
        except ValueError:
            raise InvalidRequest(
                "That is not a task id this gateway could have given.", next_step="Copy it again."
            ) from None
    try:
        resolved = world.ledger().advance(task_id, event, now=now, changes=changes)
    except IllegalEvent:
        raise InvalidRequest(
            f"Task {task_id} is {task.state.value}; only one of unknown outcome, or under way, can be resolved.",
            next_step=f"Call get_task with {task_id}.",
            fate=fate_of(task),
        ) from None
    told = {"as": accepted_as or "lost", "sheet": task.sheet_id}
    world.ledger().consent.note(event.value, task_id, actor=Means.TERMINAL.value, now=now, detail=told)
    return resolved
