"""Taking back what was not sent, while another process sends it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from callsheet.core.consent import Means
from callsheet.core.spending import Slots
from callsheet.core.tasks import TaskEvent, TaskState
from callsheet.errors import InvalidRequest
from callsheet.service import Service
from callsheet.service.approval.forward import cancel
from callsheet.service.submission import submit
from workspace import Workspace, draft, overtaken

EVENTS: dict[str, tuple[TaskEvent, ...]] = {
    "submitting": (),
    "outcome_unknown": (TaskEvent.ANSWER_LOST,),
    "queued": (TaskEvent.ACCEPTED,),
    "running": (TaskEvent.ACCEPTED, TaskEvent.SEEN_RUNNING),
}


def sending(service: Service, task_id: str, events: tuple[TaskEvent, ...]) -> Callable[[], object]:
    """Another process that claims the task, and gets as far as these events."""

    def act() -> None:
        ledger, now = service.deps.ledger(), service.now()
        ledger.claim(task_id, attempt="a", deadline=now + 60, now=now, slots=Slots(9, 9, 60))
        for event in events:
            changes = {"gateway_task_id": "theirs-1"} if event is TaskEvent.ACCEPTED else {}
            ledger.advance(task_id, event, now=now, changes=changes)

    return act


@pytest.mark.parametrize("state", EVENTS)
def test_a_withdrawal_never_ends_a_task_that_was_claimed_at_that_moment(workspace: Workspace, state: str) -> None:
    """It may be paid for, so it is followed, and nobody is told that nothing was sent."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    deps = overtaken(service, "advance", sending(service, task_id, EVENTS[state]))

    with pytest.raises(InvalidRequest) as caught:
        cancel(deps, task_id)

    assert caught.value.error_code == "too_late"
    assert service.task(task_id).task.state == state


def test_a_task_that_waits_is_withdrawn_with_nothing_sent(workspace: Workspace) -> None:
    """Its price no longer counts against the caps."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id

    cancel(service.deps, task_id)

    report = service.task(task_id)
    assert (report.task.state, report.fate) == (TaskState.ABANDONED, "nothing_sent")
    assert service.spending().today == 0
    assert workspace.gateway.requests == []


def test_an_approval_that_was_withdrawn_is_not_revived_by_its_row(workspace: Workspace) -> None:
    """The trail has the approval; it has the withdrawal as well."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.DESK)
    service.cancel(sheet_id)
    with closing(sqlite3.connect(workspace.ledger_file)) as db, db:
        db.execute("UPDATE sheet SET state = 'approved' WHERE id = ?", (sheet_id,))

    [found] = workspace.service().put_forward(sheet_id)

    assert found.needs_person
    assert service.sheet(sheet_id).task_id is None
