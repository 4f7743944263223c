"""Sheets that were put forward: an approval sends them, once, whoever records it and whoever sends."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

import anyio
import pytest

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import FORWARD_LIFETIME, SheetState, TaskState
from callsheet.errors import CallsheetError, InvalidRequest, NotApproved, PolicyRefusal
from callsheet.service import Answer, Draft, Service
from callsheet.service.approval.forward import forward_sheets, release_all, submit_and_wait
from callsheet.service.consent import approve
from callsheet.service.polling import run_task
from callsheet.service.submission import submit
from workspace import Workspace, accepted, draft, status

MODEL = "poyo/sora-2-official"
BOX = """
[endpoints.gpu-box]
wire = "openai-videos"
base_url = "https://gpu-box.lan:8443/v1"
address = "10.20.0.7"
clips_per_day = 2
[endpoints.gpu-box.models."wan"]
seconds = [4]
sizes = ["832x480"]
price = "none"
"""
FLOOR = '[approval]\npassphrase_from = "9.00"\n'


def shot(number: int) -> Shot:
    """A shot unlike the others; 0.24 USD."""
    return Shot.of(f"A red kite, number {number}.", duration_seconds=4)


def live(workspace: Workspace, extra: str = FLOOR) -> Service:
    """A live install whose client's form is enough for a sum of 2 USD."""
    workspace.go_live(extra)
    return workspace.service()


async def send_all(service: Service) -> list[TaskState]:
    """Run every task once; where they are."""
    for task in service.deps.ledger().tasks():
        await run_task(service.deps, task.id)
    return [task.state for task in service.deps.ledger().tasks()]


@pytest.mark.parametrize("by", [Means.CLIENT, Means.TERMINAL, Means.DESK, Means.PASSKEY])
async def test_an_approval_sends_what_was_put_forward_whoever_records_it(workspace: Workspace, by: Means) -> None:
    """In another process than the one that put it forward; once, and the next submit finds the task."""
    service = live(workspace)
    sheet_id = draft(service)
    [asked] = service.put_forward(sheet_id)
    workspace.gateway.replies = [accepted()]

    released = workspace.service().approve(sheet_id, by=by)

    assert asked.needs_person
    assert (released.state, released.approved_by) == (SheetState.SPENT, by)
    [found], [again] = service.put_forward(sheet_id), service.put_forward(sheet_id)
    assert (found.again, again.again) == (False, True)
    assert found.report.task.id == again.report.task.id == released.task_id
    assert await send_all(service) == [TaskState.QUEUED]
    assert len(workspace.gateway.paid) == 1
    assert service.verify_audit().unapproved == ()


def test_a_sheet_that_nobody_put_forward_is_approved_for_later(workspace: Workspace) -> None:
    """Nothing is spent before somebody submits it."""
    service = live(workspace)
    sheet_id = draft(service)

    assert service.approve(sheet_id, by=Means.TERMINAL).state is SheetState.APPROVED
    release_all(service.deps)
    assert service.deps.ledger().tasks() == []
    assert submit(service.deps, sheet_id).status == "waiting"


ENDS = {
    "an hour passes": (lambda workspace, _, __: pass_time(workspace, FORWARD_LIFETIME + 1), SheetState.APPROVED),
    "just under an hour": (lambda workspace, _, __: pass_time(workspace, FORWARD_LIFETIME - 1), SheetState.SPENT),
    "the clock is set back a day": (lambda workspace, _, __: pass_time(workspace, -86_400), SheetState.APPROVED),
    "a no in the form": (
        lambda _, service, sheet_id: service.keep_answer(sheet_id, answer=Answer.DECLINED),
        SheetState.APPROVED,
    ),
    "a form without an answer": (
        lambda _, service, sheet_id: service.keep_answer(sheet_id, answer=Answer.NO_ANSWER),
        SheetState.SPENT,
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_how_long_a_sheet_is_put_forward(workspace: Workspace, case: str) -> None:
    """After that an approval is one for later; the sheet itself is as good as before."""
    ends, state = ENDS[case]
    service = live(workspace)
    sheet_id = draft(service)
    service.put_forward(sheet_id)
    ends(workspace, service, sheet_id)

    assert service.approve(sheet_id, by=Means.DESK).state is state


def pass_time(workspace: Workspace, seconds: float) -> None:
    """Move the clock."""
    workspace.clock.time += seconds


async def test_an_approval_whose_process_ended_before_it_could_send_is_carried_out_by_another(
    workspace: Workspace,
) -> None:
    """Between the two transactions lies a moment in which a process can be killed."""
    service = live(workspace)
    sheet_id = draft(service)
    service.put_forward(sheet_id)
    approve(workspace.service().deps, sheet_id, by=Means.DESK)
    assert service.deps.ledger().tasks() == []

    release_all(service.deps)
    release_all(workspace.service().deps)

    assert service.sheet(sheet_id).state is SheetState.SPENT
    assert len(service.deps.ledger().tasks()) == 1


def test_a_row_that_says_approved_releases_nothing(workspace: Workspace) -> None:
    """Being put forward is no consent: the trail must have an act."""
    service = live(workspace)
    sheet_id = draft(service)
    service.put_forward(sheet_id)
    now = workspace.clock.time
    with sqlite3.connect(workspace.ledger_file) as db:
        db.execute("UPDATE sheet SET state = 'approved', approved_by = 'desk', approved_at = ?", (now,))

    release_all(service.deps)

    assert service.sheet(sheet_id).state is SheetState.AWAITING_APPROVAL
    assert service.deps.ledger().tasks() == []


async def test_one_question_for_six_sheets_and_each_is_its_own_request(workspace: Workspace) -> None:
    """The sum is typed once; six approvals, six tasks, six paid requests with their own bytes."""
    service = live(workspace, '[approval]\npassphrase_from = "9.00"\n[caps]\nconcurrent = 9\n')
    sheet_ids = [draft(service, shot(number)) for number in range(6)]
    assert all(item.needs_person for item in service.put_forward(*sheet_ids))
    question = service.question(*sheet_ids)
    assert question.amount == Decimal("1.44")
    assert all(f"number {number}" in question.text for number in range(6))
    with pytest.raises(NotApproved) as wrong:
        service.approve_typed(*sheet_ids, typed="0.24", by=Means.CLIENT)

    approved = service.approve_typed(*sheet_ids, typed="1.44", by=Means.CLIENT)

    assert wrong.value.error_code == "wrong_amount"
    assert {sheet.state for sheet in approved} == {SheetState.SPENT}
    jobs = iter(range(6))
    workspace.gateway.on_request = lambda request: (
        accepted(f"task-unified-1-{next(jobs)}") if request.method == "POST" else status("running")
    )
    workspace.clock.time += 1
    while TaskState.WAITING in await send_all(service):
        workspace.clock.time += 30
    bodies = {request.content for request in workspace.gateway.paid}
    assert bodies == {service.sheet(sheet_id).body for sheet_id in sheet_ids}
    assert [entry.action for entry in service.audit()].count("approved") == 6


FLOORS = {
    "the sum is below the floor": ('passphrase_from = "0.50"', True),
    "the sum reaches it": ('passphrase_from = "0.48"', False),
    "one clip is above it": ('passphrase_from = "0.24"', False),
    "there is none": ('passphrase_from = "none"', True),
}


@pytest.mark.parametrize("case", FLOORS)
def test_the_floor_holds_for_the_sum(workspace: Workspace, case: str) -> None:
    """One form for several must not approve what one form for that price could not."""
    floor, asked = FLOORS[case]
    service = live(workspace, f"[approval]\n{floor}\n")
    question = service.question(draft(service, shot(1)), draft(service, shot(2)))

    assert (question is not None) is asked


def test_nobody_is_asked_for_a_sum_that_the_caps_refuse(workspace: Workspace) -> None:
    """Each alone would fit; nothing is put forward."""
    service = live(workspace, '[caps]\nper_day = "0.50"\n')
    sheet_ids = [draft(service, shot(number)) for number in range(3)]

    with pytest.raises(PolicyRefusal):
        service.put_forward(*sheet_ids)

    assert forward_sheets(service.deps) == []
    assert len(service.put_forward(*sheet_ids[:2])) == 2


def test_the_clips_of_a_day_at_an_endpoint_hold_for_all_together(workspace: Workspace) -> None:
    """They are a cap as well: nobody types the name for a third clip that would be refused."""
    workspace.go_live(BOX)
    service = workspace.service()
    drafts = [Draft(shot=shot(number), gateway="gpu-box", model="wan") for number in range(3)]
    sheet_ids = [service.explain(draft).sheet.id for draft in drafts]

    with pytest.raises(PolicyRefusal):
        service.put_forward(*sheet_ids)

    assert (service.question(*sheet_ids), forward_sheets(service.deps)) == (None, [])
    assert service.question(*sheet_ids[:2]).amount_text == "gpu-box"
    assert len(service.put_forward(*sheet_ids[:2])) == 2


OTHERS = {
    "declined": (lambda service, sheet_id: service.decline(sheet_id), "declined"),
    "withdrawn": (lambda service, sheet_id: service.cancel(sheet_id), "invalid_request"),
    "over the cap together": (lambda service, _: None, "policy_refusal"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_prevents_one_sheet_does_not_hide_that_another_was_spent(workspace: Workspace, case: str) -> None:
    """An error for all of them would say that nothing was sent."""
    end, code = OTHERS[case]
    service = live(workspace, f'{FLOOR}[caps]\nper_day = "0.60"\n')
    yes, *others = (draft(service, shot(number)) for number in range(3))
    service.put_forward(yes)
    task_id = service.approve(yes, by=Means.DESK).task_id
    end(service, others[0])

    found = service.put_forward(yes, *others)

    assert found[0].report.task.id == task_id
    assert found[1].error.error_code == code
    assert found[2].needs_person is (code != "policy_refusal")


@pytest.mark.parametrize("count", [0, 7])
def test_one_to_six_sheets_are_submitted_together(workspace: Workspace, count: int) -> None:
    """Also: one that does not exist keeps the others from being put forward."""
    service = live(workspace)
    sheet_ids = [draft(service, shot(number)) for number in range(count)]
    with pytest.raises(InvalidRequest):
        service.put_forward(*sheet_ids)
    with pytest.raises(CallsheetError):
        service.put_forward(draft(service), "sheet_none")

    assert forward_sheets(service.deps) == []


async def test_of_several_that_wait_one_may_be_declined(workspace: Workspace) -> None:
    """The others are sent, and the answer tells which is which."""
    service, desk = live(workspace), workspace.service()
    yes, no, open_ = (draft(service, shot(number)) for number in range(3))
    told: list[int] = []

    def decide(waiting: object) -> None:
        told.append(len(waiting))
        if len(told) == 1:
            desk.approve(yes, by=Means.DESK)
            desk.decline(no, by=Means.DESK)

    found = await submit_and_wait(service.deps, [yes, no, open_], 1.5, on_wait=decide)

    assert told[:2] == [3, 1]
    assert [item.sheet_id for item in found] == [yes, no, open_]
    assert (found[0].report.task.state, found[0].again) == (TaskState.WAITING, False)
    assert found[1].error.error_code == "declined"
    assert found[2].status == "approval_needed"
    assert service.deps.ledger().tasks()[0].sheet_id == yes


async def test_an_allowance_that_is_made_while_a_call_waits_counts(workspace: Workspace) -> None:
    """It is another way in which the person says yes."""
    service, desk = live(workspace), workspace.service()

    def allow(_: object) -> None:
        desk.allow((MODEL,), clips=1, up_to=Decimal(1), seconds=600, by=Means.DESK)

    with anyio.fail_after(20):
        [found] = await submit_and_wait(service.deps, [draft(service)], 10, on_wait=allow)

    assert found.covered_by


@pytest.mark.parametrize("answer", list(Answer))
def test_what_comes_back_for_a_form_is_told_apart(workspace: Workspace, answer: Answer) -> None:
    """Only a no keeps the form from being shown again, and only until the person wants it."""
    service = live(workspace)
    sheet_id = draft(service)
    service.put_forward(sheet_id)

    error = service.keep_answer(sheet_id, answer=answer)

    is_no = answer is Answer.DECLINED
    assert error.error_code == answer.value
    assert (service.question(sheet_id) is None) is is_no
    assert service.question(sheet_id, ask_again=True) is not None
    assert (forward_sheets(service.deps) == []) is is_no


def test_a_no_in_the_form_is_remembered_for_the_shot_and_not_only_for_its_sheet(workspace: Workspace) -> None:
    """Else a withdrawal and a new draft would show the same form again."""
    service = live(workspace)
    sheet_id = draft(service)
    service.put_forward(sheet_id)
    service.keep_answer(sheet_id, answer=Answer.DECLINED)
    service.cancel(sheet_id)

    again = draft(service)

    assert again != sheet_id
    assert service.question(again) is None
    assert service.question(again, ask_again=True) is not None
    service.approve(again, by=Means.DESK)
    service.put_forward(again)
    workspace.clock.time += 1
    assert service.question(draft(service)) is not None


async def test_what_was_not_sent_can_be_cancelled_and_nothing_else(workspace: Workspace) -> None:
    """A sheet, an approved sheet and a task that waits; what was sent stays, and its fate is told."""
    service = live(workspace)
    drafted, approved, waiting, sent = (draft(service, shot(number)) for number in range(4))
    for sheet_id in (approved, waiting, sent):
        service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = [accepted()]
    sent_task = submit(service.deps, sent).report.task.id
    await run_task(service.deps, sent_task)
    waiting_task = submit(service.deps, waiting).report.task.id

    for target in (drafted, approved, waiting):
        service.cancel(target)
    assert service.sheet(drafted).state is service.sheet(approved).state is SheetState.EXPIRED
    assert service.task(waiting_task).task.state is TaskState.ABANDONED
    for target in (sent, sent_task):
        with pytest.raises(InvalidRequest) as late:
            service.cancel(target)
        assert (late.value.error_code, late.value.fate.value) == ("too_late", "charged")
    with pytest.raises(CallsheetError):
        service.approve(drafted, by=Means.DESK)
    with pytest.raises(CallsheetError):
        submit(service.deps, approved)
    await run_task(service.deps, waiting_task)
    assert len(workspace.gateway.paid) == 1
    assert service.spending().today == Decimal("0.24")


EDITS = {
    "a comment": ("# an edit\n", True),
    "another gateway": (
        '[gateways.apixo]\nallowed = false\n[gateways.evolink]\nbase_url = "https://x.example.com"\n',
        True,
    ),
    "another model": ('[models."poyo/sora-2"]\nfloor = "passphrase"\n', True),
    "a floor that the price does not reach": ('[approval]\npassphrase_from = "0.25"\n', True),
    "how many run together": ("[caps]\nconcurrent = 2\n", True),
    "where clips are saved": ('[save]\ndirectory = "/clips"\n', True),
    "hosts that it does not name": ('[hosts]\ncallback = ["example.com"]\nimage = ["example.com"]\n', True),
    "the same amount in other digits": ('[caps]\nper_clip = "2.0"\n', True),
    "a cap": ('[caps]\nper_month = "49.00"\n', False),
    "its floor": ('[approval]\npassphrase_from = "0.24"\n', False),
    "its gateway's rule": ('[gateways.poyo]\nper_clip = "1.00"\n', False),
    "its address": ('[gateways.poyo]\nbase_url = "https://x.example.com"\n', False),
}


@pytest.mark.parametrize("case", EDITS)
def test_a_policy_is_compared_by_what_bears_on_the_sheet(workspace: Workspace, case: str) -> None:
    """An approval and the sheet itself survive an edit that means nothing for them."""
    edit, holds = EDITS[case]
    service = live(workspace, "")
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.go_live(edit)

    assert (draft(service) == sheet_id) is holds
    if holds:
        assert submit(service.deps, sheet_id).status == "waiting"
    else:
        with pytest.raises(CallsheetError):
            submit(service.deps, sheet_id)


def test_an_allowance_survives_what_does_not_bear_on_its_models(workspace: Workspace) -> None:
    """An edit for another gateway ends nothing; one for its own does."""
    service = live(workspace, "")
    service.allow((MODEL,), clips=3, up_to=Decimal(3), seconds=3600, by=Means.TERMINAL)
    workspace.go_live("[gateways.apixo]\nallowed = false\n")
    assert submit(service.deps, draft(service, shot(1))).status == "waiting"
    workspace.go_live('[gateways.poyo]\nfloor = "passphrase"\n')
    assert submit(service.deps, draft(service, shot(2))).status == "approval_needed"
    workspace.go_live("")
    assert submit(service.deps, draft(service, shot(3))).status == "waiting"
    workspace.go_live('[gateways.poyo]\nbase_url = "https://x.example.com"\n')
    assert submit(service.deps, draft(service, shot(4))).status == "approval_needed"
