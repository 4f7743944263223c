"""An answer that comes after its attempt was settled otherwise is kept beside it, and takes nothing back."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from callsheet.core.consent import Means
from callsheet.core.gateway.protocol import Accepted, GatewayProblem, Rejected, SubmitOutcome, Unclear
from callsheet.core.spending import Slots
from callsheet.core.tasks import TaskEvent, TaskState
from callsheet.errors import LedgerProblem
from callsheet.service import Service
from callsheet.service.outcomes import expire_attempt, keep_outcome
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.submission import ATTEMPT_SECONDS, submit
from workspace import START, Workspace, accepted, draft, overtaken

NOTHING = GatewayProblem(500, "", "")


def submitting(workspace: Workspace) -> tuple[Service, str]:
    """A live task whose paid request is under way, as attempt `a`."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    service.deps.ledger().claim(task_id, attempt="a", deadline=START + ATTEMPT_SECONDS, now=START, slots=Slots(5, 5))
    return service, task_id


def resolved_as_another(service: Service, task_id: str) -> TaskState:
    """The deadline passed, and a person attached another id."""
    service.deps.ledger().advance(task_id, TaskEvent.ANSWER_LOST, now=START + 200, changes={})
    resolve_task(service.deps, task_id, accepted_as="job-of-the-person")
    return TaskState.QUEUED


def refused_before(service: Service, task_id: str) -> TaskState:
    """The gateway's first answer was a refusal."""
    service.deps.ledger().advance(task_id, TaskEvent.REFUSED, now=START, changes={})
    return TaskState.REJECTED


@pytest.mark.parametrize("late", [Accepted("job-late"), Unclear(NOTHING, "job-late")], ids=["accepted", "unclear"])
@pytest.mark.parametrize("settle", [resolved_as_another, refused_before])
async def test_the_id_of_a_late_answer_is_kept_as_a_hint(
    workspace: Workspace, settle: Callable[[Service, str], TaskState], late: SubmitOutcome
) -> None:
    """It may be the only trace of a paid job; the state and the id that are stored stand."""
    service, task_id = submitting(workspace)
    state = settle(service, task_id)
    before = service.task(task_id).task

    assert await keep_outcome(service.deps, before, "a", late) is None

    after = service.task(task_id).task
    assert (after.state, after.gateway_task_id) == (state, before.gateway_task_id)
    assert "job-late" in after.hints
    assert after.hints.startswith(before.hints)


async def test_earlier_hints_are_kept_beside_a_late_id(workspace: Workspace) -> None:
    """Each may be what a person needs."""
    service, task_id = submitting(workspace)
    refused_before(service, task_id)
    task = service.deps.ledger().touch(task_id, now=START, changes={"hints": "Balance before 5."})

    await keep_outcome(service.deps, task, "a", Accepted("job-late"))

    hints = service.task(task_id).task.hints
    assert hints.startswith("Balance before 5.")
    assert "job-late" in hints


@pytest.mark.parametrize(
    ("attempt", "late"),
    [
        ("another", Accepted("job-late")),
        ("a", Accepted("job-of-the-person")),
        ("a", Unclear(NOTHING)),
        ("a", Rejected(NOTHING)),
    ],
    ids=["of another attempt", "the same id", "no id", "a refusal"],
)
async def test_a_late_answer_that_says_nothing_new_leaves_no_hint(
    workspace: Workspace, attempt: str, late: SubmitOutcome
) -> None:
    """Also that of an attempt which is not the task's latest."""
    service, task_id = submitting(workspace)
    resolved_as_another(service, task_id)
    before = service.task(task_id).task

    await keep_outcome(service.deps, before, attempt, late)

    assert service.task(task_id).task == before


async def test_the_answer_of_an_attempt_is_not_stored_as_that_of_the_next_one(workspace: Workspace) -> None:
    """While the gateway answers, another process settles the attempt as not sent and begins one of its own."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    ledger = workspace.service().deps.ledger()

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            ledger.advance(task_id, TaskEvent.NOT_SENT, now=START, changes={})
            ledger.claim(task_id, attempt="next", deadline=START + ATTEMPT_SECONDS, now=START, slots=Slots(5, 5))
        return accepted("job-1")

    workspace.gateway.on_request = answer
    await run_task(service.deps, task_id)

    task = service.task(task_id).task
    assert (task.state, task.attempt, task.gateway_task_id) == (TaskState.SUBMITTING, "next", None)


async def test_a_person_who_gave_up_is_overruled_by_the_gateways_own_answer(workspace: Workspace) -> None:
    """The job is paid for, so it is followed."""
    service, task_id = submitting(workspace)
    ledger = service.deps.ledger()
    ledger.advance(task_id, TaskEvent.ANSWER_LOST, now=START + 200, changes={})
    resolve_task(service.deps, task_id, accepted_as=None)

    stored = await keep_outcome(service.deps, ledger.task(task_id), "a", Accepted("job-late"))

    assert (stored.state, stored.gateway_task_id) == (TaskState.QUEUED, "job-late")


async def test_the_own_attempt_does_not_expire_while_its_answer_is_being_stored(workspace: Workspace) -> None:
    """However long the disk refuses it: this process knows the answer."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    workspace.gateway.replies = [accepted("job-1")]

    def refuse_past_the_deadline() -> None:
        workspace.clock.time += ATTEMPT_SECONDS + 10
        expire_attempt(service.deps, service.task(task_id).task)
        raise LedgerProblem("The disk is full.", next_step="-")

    deps = overtaken(service, "advance", refuse_past_the_deadline)
    await run_task(deps, task_id)

    task = service.task(task_id).task
    assert (task.state, task.gateway_task_id) == (TaskState.QUEUED, "job-1")
    assert [entry["kind"] for entry in service.history(task_id)] == ["created", "claimed", "accepted"]


@pytest.mark.parametrize(("late", "state"), [(0, TaskState.SUBMITTING), (1, TaskState.OUTCOME_UNKNOWN)])
async def test_an_attempt_of_a_process_that_is_gone_expires_after_its_deadline(
    workspace: Workspace, late: float, state: TaskState
) -> None:
    """Not in the last second before it, in which the answer may still come."""
    service, task_id = submitting(workspace)
    workspace.clock.time = START + ATTEMPT_SECONDS + late
    expire_attempt(service.deps, service.task(task_id).task)

    assert service.task(task_id).task.state is state
