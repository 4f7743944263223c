"""Two calls on one sheet at the same moment: each reports what holds, and neither an internal error."""

from __future__ import annotations

from decimal import Decimal

import pytest

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.spending import Slots
from callsheet.core.tasks import SHEET_LIFETIME, TaskEvent, TaskState
from callsheet.errors import Action, Fate, InvalidRequest, NotApproved
from callsheet.service import Draft, Service
from callsheet.service.consent import approve
from callsheet.service.drafts import explain
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.submission import SLOT_RETRY_SECONDS, submit
from workspace import SHOT, Workspace, accepted, draft, overtaken, reply

MODEL = "poyo/sora-2-official"


def meeting(workspace: Workspace) -> tuple[Service, Service, str]:
    """Two live processes and a sheet."""
    workspace.go_live()
    service = workspace.service()
    return service, workspace.service(), draft(service)


def test_a_sheet_that_is_approved_while_its_caller_is_being_told_to_ask_is_sent(workspace: Workspace) -> None:
    """The person was faster than the answer."""
    service, other, sheet_id = meeting(workspace)
    deps = overtaken(service, "move_sheet", lambda: other.approve(sheet_id, by=Means.DESK))

    assert submit(deps, sheet_id).status == "waiting"


def test_a_sheet_that_another_call_spends_up_to_the_cap_answers_with_its_task(workspace: Workspace) -> None:
    """The cap has no room for it twice, and it is not to be spent twice."""
    workspace.go_live('[caps]\nper_day = "0.24"\n')
    service, other = workspace.service(), workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    spent: list[str] = []
    deps = overtaken(service, "spending", lambda: spent.append(submit(other.deps, sheet_id).report.task.id))

    answer = submit(deps, sheet_id)

    assert [answer.report.task.id] == spent == [report.task.id for report in service.tasks()]
    assert answer.again


async def test_a_slot_that_is_taken_between_looking_and_claiming_is_waited_for(workspace: Workspace) -> None:
    """Nothing is sent, and the next look is as soon as for any other slot."""
    workspace.go_live("[caps]\nconcurrent = 1\n")
    service = workspace.service()
    tasks, now = [], workspace.clock.now()
    for length in (4, 8):
        sheet_id = draft(service, Shot.of(SHOT.prompt, duration_seconds=length))
        service.approve(sheet_id, by=Means.TERMINAL)
        tasks.append(submit(service.deps, sheet_id).report.task.id)
    claim = service.deps.ledger().claim

    await run_task(
        overtaken(
            service, "claim", lambda: claim(tasks[1], attempt="other", deadline=now + 150, now=now, slots=Slots(1, 1))
        ),
        tasks[0],
    )

    found = service.task(tasks[0]).task
    assert (found.state, found.problem.code, found.next_at - now) == (TaskState.WAITING, "no_slot", SLOT_RETRY_SECONDS)
    assert workspace.gateway.paid == []


async def test_two_tasks_that_get_one_id_at_the_same_moment_do_not_both_keep_it(workspace: Workspace) -> None:
    """The id is compared in the transaction that stores it."""
    workspace.go_live()
    service = workspace.service()
    tasks = []
    for number in range(2):
        sheet_id = draft(service, Shot.of(f"{SHOT.prompt} Take {number}.", duration_seconds=4))
        service.approve(sheet_id, by=Means.TERMINAL)
        tasks.append(submit(service.deps, sheet_id).report.task.id)
    ledger = service.deps.ledger()

    def answer_the_other() -> None:
        claimed = ledger.claim(
            tasks[0], attempt="other", deadline=workspace.clock.time + 150, now=workspace.clock.time, slots=Slots(5, 5)
        )
        changes = {"gateway_task_id": "job-1"}
        ledger.advance(claimed.task.id, TaskEvent.ACCEPTED, now=workspace.clock.time, attempt="other", changes=changes)

    deps = overtaken(service, "advance", answer_the_other)
    workspace.gateway.replies = [accepted("job-1")]
    await run_task(deps, tasks[1])

    found = [service.task(task_id).task for task_id in tasks]
    assert [(task.state, task.gateway_task_id) for task in found] == [
        (TaskState.QUEUED, "job-1"),
        (TaskState.OUTCOME_UNKNOWN, None),
    ]
    assert (found[1].problem.code, found[1].problem.untrusted_task_id) == ("same_id", "job-1")


async def test_two_people_do_not_give_one_id_to_two_tasks(workspace: Workspace) -> None:
    """Nor does one whom the gateway's late answer overtakes."""
    workspace.go_live()
    service = workspace.service()
    tasks = []
    for number in range(2):
        sheet_id = draft(service, Shot.of(f"{SHOT.prompt} Take {number}.", duration_seconds=4))
        service.approve(sheet_id, by=Means.TERMINAL)
        workspace.gateway.replies = [reply({}, 500)]
        tasks.append(submit(service.deps, sheet_id).report.task.id)
        await run_task(service.deps, tasks[-1])
    deps = overtaken(service, "advance", lambda: resolve_task(service.deps, tasks[0], accepted_as="job-1"))

    with pytest.raises(InvalidRequest) as refused:
        resolve_task(deps, tasks[1], accepted_as="job-1")
    assert (refused.value.error_code, refused.value.next_step.target) == ("same_id", tasks[0])
    assert service.task(tasks[1]).task.state is TaskState.OUTCOME_UNKNOWN


def test_a_sheet_that_is_declined_while_an_allowance_is_about_to_spend_it_is_not_sent(workspace: Workspace) -> None:
    """The person's no wins, and uses nothing up."""
    service, other, sheet_id = meeting(workspace)
    service.allow((MODEL,), clips=1, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    deps = overtaken(service, "spend", lambda: other.decline(sheet_id, by=Means.DESK))

    with pytest.raises(InvalidRequest, match=r"is already declined.*Nothing was sent"):
        submit(deps, sheet_id)

    assert service.tasks() == []
    assert service.allowances()[0].used_clips == 0


def test_a_sheet_that_is_declined_while_it_grows_too_old_says_so(workspace: Workspace) -> None:
    """When it is submitted, and when it is approved."""
    for act in (submit, lambda deps, sheet_id: approve(deps, sheet_id, by=Means.TERMINAL)):
        service, other, sheet_id = meeting(workspace)
        workspace.clock.time += SHEET_LIFETIME + 1
        deps = overtaken(service, "move_sheet", lambda other=other, sheet_id=sheet_id: other.decline(sheet_id))
        with pytest.raises(InvalidRequest, match="is already declined"):
            act(deps, sheet_id)


def test_who_comes_too_late_to_approve_is_told_what_the_sheet_is_now(workspace: Workspace) -> None:
    """And not what it was when they looked."""
    service, other, sheet_id = meeting(workspace)
    deps = overtaken(service, "move_sheet", lambda: other.decline(sheet_id))

    with pytest.raises(InvalidRequest, match="is already declined"):
        approve(deps, sheet_id, by=Means.TERMINAL)


async def test_a_status_that_comes_after_the_end_of_its_task_changes_nothing(workspace: Workspace) -> None:
    """Another process was faster while the gateway was asked."""
    service, other, sheet_id = meeting(workspace)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    workspace.gateway.replies = [
        accepted("job-1"),
        reply({"code": 200, "data": {"task_id": "job-1", "status": "running"}}),
    ]
    await run_task(service.deps, task_id)
    workspace.clock.time = now = service.task(task_id).task.next_at

    def fail() -> None:
        other.deps.ledger().advance(task_id, TaskEvent.SEEN_FAILED, now=now, changes={})

    await run_task(overtaken(service, "advance", fail), task_id)

    task = service.task(task_id).task
    assert (task.state, task.polls, task.next_at) == (TaskState.FAILED, 0, now + 10)


def test_who_approves_what_was_sent_already_is_led_to_its_task(workspace: Workspace) -> None:
    """With what became of the request."""
    service, other, sheet_id = meeting(workspace)
    other.approve(sheet_id, by=Means.TERMINAL)
    task = submit(other.deps, sheet_id).report.task

    with pytest.raises(InvalidRequest, match="is already spent") as caught:
        approve(service.deps, sheet_id, by=Means.TERMINAL)

    assert (caught.value.next_step.action, caught.value.next_step.target) == (Action.GET, task.id)
    assert caught.value.fate is Fate.NOTHING_SENT


def test_two_that_draft_an_old_shot_anew_get_the_same_sheet(workspace: Workspace) -> None:
    """And not two that could both be sent."""
    service, other, sheet_id = meeting(workspace)
    workspace.clock.time += SHEET_LIFETIME + 1
    theirs: list[str] = []
    deps = overtaken(service, "move_sheet", lambda: theirs.append(draft(other)))

    mine = explain(deps, Draft(shot=SHOT, gateway="poyo", model="sora-2-official")).sheet

    assert mine is not None
    assert theirs == [mine.id]
    assert mine.id != sheet_id
    with pytest.raises((InvalidRequest, NotApproved)):
        service.approve(sheet_id, by=Means.TERMINAL)
