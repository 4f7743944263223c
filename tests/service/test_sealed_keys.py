"""Sending and following with a sealed key: what nobody can do without the passphrase, and what goes on all the same."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from callsheet.core.consent import Means
from callsheet.core.gateway.protocol import Accepted, GatewayProblem, Postponed, Rejected, SubmitOutcome, Unclear
from callsheet.core.security.redaction import fingerprint
from callsheet.core.shot import Shot
from callsheet.core.tasks import Clip, SheetEvent, Task, TaskEvent, TaskState
from callsheet.edges.keys.passphrase import create_recipe
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import (
    Action,
    CallsheetError,
    DownloadProblem,
    GatewayUnreachable,
    InvalidRequest,
    KeyProblem,
    LinkGone,
    NotApproved,
    OutcomeUnknown,
    PolicyRefusal,
)
from callsheet.service import Service
from callsheet.service.approval.forward import submit_and_wait
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.sealed_keys import (
    claim_for_sending,
    locked_tasks,
    permit,
    settle_permit,
    tend,
    unlock,
    unsent_sheets,
)
from callsheet.service.submission import submit
from samples import CHEAP
from workspace import KEY, Workspace, accepted, draft, reply, status

PASSPHRASE = "a heron over the reeds"
ADDRESS = "https://api.poyo.ai"
VIDEO = "https://storage.example.com/v/clip.mp4"
CLIP = Clip("/clips/a.mp4", 5, "00" * 32, 4.0, 1280, 720, "/clips/a.jpg", "/clips/b.jpg")
FINISHED = status("finished", files=[{"file_url": VIDEO, "file_type": "video"}], credits_amount=48)
ENOUGH = 10.0


class Keeper:
    """Stands where clips are kept; plays its script, then keeps every clip."""

    def __init__(self, *script: Exception) -> None:
        self.script = list(script)

    async def keep(self, task: Task, url: str, *, directory: Path, loopback: str | None, route: object) -> Clip:
        if self.script:
            raise self.script.pop(0)
        return CLIP


def seal(workspace: Workspace, *, key: str = KEY, base_url: str = ADDRESS) -> None:
    """A person has sealed PoYo's key (at a low cost, as only a test does)."""
    sealed = seal_key(SecretKey("poyo", key, source="file"), PASSPHRASE, base_url=base_url, recipe=create_recipe(CHEAP))
    write_sealed(sealed, keys_directory=workspace.home / "config" / "keys")


def sealed_service(workspace: Workspace, *, keeper: Keeper | None = None) -> Service:
    """A process in live mode whose key for PoYo is sealed; no key lies anywhere else."""
    workspace.write_policy('mode = "live"\n')
    seal(workspace)
    return process(workspace, keeper=keeper)


def process(workspace: Workspace, *, keeper: Keeper | None = None) -> Service:
    """One more process on the same home."""
    service = workspace.service()
    object.__setattr__(service.deps, "clips", keeper or Keeper())
    return service


def edit(workspace: Workspace, statement: str, *values: Any) -> None:
    """Somebody writes into the ledger past the program."""
    with sqlite3.connect(workspace.ledger_file) as db:
        changed = db.execute(statement, values).rowcount
    db.close()
    assert changed == 1, statement


async def opened_task(service: Service, sheet_id: str) -> str:
    """A person has agreed in that process and typed the passphrase; the task, which is not sent yet."""
    await permit(service.deps, sheet_id, PASSPHRASE)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    claim_for_sending(service.deps, sheet_id)
    return task_id


async def step(workspace: Workspace, service: Service, task_id: str) -> Task:
    """Let the task's next time come, and run it."""
    workspace.clock.time = max(service.task(task_id).task.next_at, workspace.clock.time)
    await run_task(service.deps, task_id)
    return service.task(task_id).task


def make_forged_task(workspace: Workspace, service: Service, sheet_id: str) -> str:
    """Somebody who writes into the ledger has made an approved sheet, and a task that waits to be sent."""
    edit(
        workspace,
        "UPDATE sheet SET state = 'spent', approved_by = 'terminal', approved_at = ? WHERE id = ?",
        workspace.clock.time,
        sheet_id,
    )
    now = workspace.clock.time
    edit(
        workspace,
        "INSERT INTO task (id, sheet_id, mode, gateway, model, state, reserve_micros, created_at, updated_at, next_at,"
        " owner, attempts, said, polls, failures, hints)"
        " VALUES ('task_forged', ?, 'live', 'poyo', 'sora-2-official', 'waiting', 0, ?, ?, ?, ?, 0, '', 0, 0, '')",
        sheet_id,
        now,
        now,
        now,
        service.deps.runner_id,
    )
    return "task_forged"


def test_without_the_passphrase_a_sealed_key_sends_nothing_and_says_what_a_person_must_do(workspace: Workspace) -> None:
    """The answer names the command; nobody is asked through the client, where a yes could not open the key."""
    service = sealed_service(workspace)
    sheet_id = draft(service)

    answer = submit(service.deps, sheet_id)

    assert answer.status == "approval_needed"
    assert (answer.next_step.action, answer.next_step.target) == (Action.APPROVE, sheet_id)
    assert "sealed" in answer.notice
    assert "also sends it" in answer.next_step.text
    assert service.question(sheet_id) is None
    assert service.is_sealed("poyo")
    assert not service.is_sealed("apidot")
    assert workspace.gateway.requests == []


async def test_an_approval_written_into_the_ledger_sends_nothing(workspace: Workspace) -> None:
    """This is what a sealed key is for: editing the file is not enough to pay."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    edit(
        workspace,
        "UPDATE sheet SET state = 'approved', approved_by = 'terminal', approved_at = ? WHERE id = ?",
        workspace.clock.time,
        sheet_id,
    )

    answer = submit(service.deps, sheet_id)

    assert answer.status == "approval_needed"
    assert service.tasks() == []
    assert workspace.gateway.requests == []


def test_what_the_ledger_calls_approved_still_waits_for_its_person(workspace: Workspace) -> None:
    """As long as it could be approved; one that grew old, or was never asked for, waits for nobody."""
    service = sealed_service(workspace)
    asked, called, other = (draft(service, Shot.of(f"Take {n}.", duration_seconds=4)) for n in range(3))
    assert submit(service.deps, asked).status == "approval_needed"
    ledger = service.deps.ledger()
    ledger.move_sheet(called, SheetEvent.APPROVED, now=workspace.clock.now(), by=Means.TERMINAL)

    assert [sheet.id for sheet in service.pending()] == [asked, called]
    workspace.clock.time += 3601
    assert [sheet.id for sheet in service.pending()] == [asked]
    workspace.clock.time += 24 * 3600
    assert service.pending() == []
    assert other not in (asked, called)


async def test_a_task_written_into_the_ledger_is_held_and_never_sent(workspace: Workspace) -> None:
    """Not by this process, and not by one in which the same key is open for another sheet or for following."""
    service = sealed_service(workspace)
    forged = make_forged_task(workspace, service, draft(service))

    held = await step(workspace, service, forged)
    assert (held.state, held.problem.code) == (TaskState.WAITING, "key_sealed")
    assert service.task(forged).next_step.action is Action.WATCH

    other = draft(service, Shot.of("A second kite.", duration_seconds=4))
    workspace.gateway.replies = [accepted()]
    await opened_task(service, other)
    service.unlock("poyo", PASSPHRASE)
    for _ in range(3):
        held = await step(workspace, service, forged)
        assert (held.state, held.problem.code) == (TaskState.WAITING, "key_sealed")
    assert workspace.gateway.requests == []


async def test_the_sheet_that_was_agreed_to_is_sent_once_with_the_sealed_key(workspace: Workspace) -> None:
    """Approve, send, follow, save, forget: in the process where the passphrase was typed."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    workspace.gateway.replies = [accepted(), status("running", progress=40), FINISHED]

    task_id = await opened_task(service, sheet_id)
    seen = [(await step(workspace, service, task_id)).state for _ in range(4)]

    assert seen == [TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.SAVED]
    [request] = workspace.gateway.paid
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.content == service.deps.ledger().sheet(sheet_id).body
    assert service.deps.ledger().sheet(sheet_id).binding.account == fingerprint(KEY)
    with sqlite3.connect(workspace.ledger_file) as db:
        assert db.execute("SELECT account FROM pace").fetchall() == [(f"live/poyo/{fingerprint(KEY)}",)]
    db.close()
    assert service.deps.opened.gateways() == ()
    assert submit(process(workspace).deps, sheet_id).status == "already_accepted"


async def test_a_key_in_the_environment_is_not_used_where_one_is_sealed(workspace: Workspace) -> None:
    """Nor one in a file: the sealed key's account is bound, and without the passphrase there is no key."""
    other = "environment-key-51c0ffee"
    workspace.environ["POYO_API_KEY"] = other
    service = sealed_service(workspace)
    sheet_id = draft(service)

    assert service.deps.find_key(service.deps.facts("poyo")) is None
    assert submit(service.deps, sheet_id).status == "approval_needed"
    assert service.deps.ledger().sheet(sheet_id).binding.account == fingerprint(KEY)
    workspace.gateway.replies = [accepted()]
    await step(workspace, service, await opened_task(service, sheet_id))

    assert [request.headers["authorization"] for request in workspace.gateway.paid] == [f"Bearer {KEY}"]
    assert service.redactor().text(f"a {other} b") == "a [key hidden] b"


async def test_the_opened_key_cannot_pay_a_second_sheet(workspace: Workspace) -> None:
    """Not even one that the ledger calls approved, while the first is under way."""
    service = sealed_service(workspace)
    first = draft(service)
    second = draft(service, Shot.of("A second kite.", duration_seconds=4))
    workspace.gateway.replies = [accepted()]
    task_id = await opened_task(service, first)
    await step(workspace, service, task_id)
    assert service.deps.opened.is_open("poyo")

    service.approve(second, by=Means.TERMINAL)
    assert submit(service.deps, second).status == "approval_needed"
    assert len(workspace.gateway.paid) == 1


async def test_a_task_set_back_in_the_ledger_is_not_paid_again(workspace: Workspace) -> None:
    """The permit is used up in memory, whatever state somebody writes."""
    service = sealed_service(workspace)
    workspace.gateway.replies = [accepted(), accepted()]
    task_id = await opened_task(service, draft(service))
    await step(workspace, service, task_id)
    edit(workspace, "UPDATE task SET state = 'waiting', attempt = NULL, deadline = NULL WHERE id = ?", task_id)

    held = await step(workspace, service, task_id)

    assert (held.state, held.problem.code) == (TaskState.WAITING, "key_sealed")
    assert len(workspace.gateway.paid) == 1


OTHER_BYTES = "CAST(replace(CAST(body AS TEXT), 'red kite', 'red deer') AS BLOB)"
CHANGED = {
    "the bytes": (f"UPDATE sheet SET body = {OTHER_BYTES} WHERE id = ?", "body_sha256"),
    "the end": ("UPDATE sheet SET expires_at = expires_at + 86400 WHERE id = ?", "expires"),
    "the take": ("UPDATE sheet SET take = 7 WHERE id = ?", "take"),
}


@pytest.mark.parametrize("what", CHANGED)
async def test_what_is_changed_in_the_ledger_after_the_agreement_is_not_sent(workspace: Workspace, what: str) -> None:
    """Between the passphrase and the request: the task waits and nothing is sent."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    task_id = await opened_task(service, sheet_id)
    edit(workspace, CHANGED[what][0], sheet_id)

    held = await step(workspace, service, task_id)

    assert held.state is TaskState.WAITING
    assert CHANGED[what][1] in held.problem.message
    assert workspace.gateway.requests == []


async def test_bytes_and_binding_changed_together_do_not_pass_either(workspace: Workspace) -> None:
    """A sheet's name is made from what it is bound to; another content under the same name is refused."""
    service = sealed_service(workspace)
    sheet_id, other = draft(service), draft(service, Shot.of("A second kite.", duration_seconds=4))
    edit(workspace, "UPDATE sheet SET shot_digest = 'x' || shot_digest WHERE id = ?", other)
    edit(
        workspace,
        "UPDATE sheet SET (body, binding, shot, expires_at) = "
        "(SELECT body, binding, shot, expires_at FROM sheet WHERE id = ?) WHERE id = ?",
        other,
        sheet_id,
    )

    with pytest.raises(NotApproved, match="all of it"):
        await permit(service.deps, sheet_id, PASSPHRASE)

    assert service.deps.opened.gateways() == ()
    assert workspace.gateway.requests == []


async def test_a_wrong_passphrase_approves_nothing_and_sends_nothing(workspace: Workspace) -> None:
    """The sheet is as it was, and the right one works afterwards."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    async with service.running():
        with pytest.raises(NotApproved, match="does not open"):
            await service.approve_and_send(sheet_id, passphrase="a heron", by=Means.TERMINAL)
        assert service.approvable(sheet_id).approved_at is None
        assert service.deps.opened.gateways() == ()
        assert not service.opens("poyo", "a heron")
        assert service.opens("poyo", PASSPHRASE)
        assert service.deps.opened.gateways() == ()

    assert workspace.gateway.requests == []


async def test_approve_and_send_is_one_paid_request_and_says_so(workspace: Workspace) -> None:
    """What the desk and the terminal call."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    workspace.gateway.replies = [accepted()]
    with anyio.fail_after(ENOUGH):
        async with service.running():
            answer = await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)
            with pytest.raises(InvalidRequest, match="already sent"):
                await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)

    assert answer.status == "accepted"
    assert answer.report.task.state is TaskState.QUEUED
    assert service.deps.ledger().sheet(sheet_id).approved_by is Means.TERMINAL
    assert len(workspace.gateway.paid) == 1
    assert service.deps.opened.gateways() == ()


async def test_two_processes_with_the_passphrase_send_one_sheet_once(workspace: Workspace) -> None:
    """Two terminals, one sheet, at the same moment: one paid request, one task."""
    services = [sealed_service(workspace), process(workspace)]
    sheet_id = draft(services[0])
    workspace.gateway.replies = [accepted(), accepted()]
    answers = []

    async def send(service: Service) -> None:
        async with service.running():
            try:
                answer = await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)
                answers.append(answer.report.task.id)
            except InvalidRequest:
                # The other one was that much faster.
                answers.append(service.deps.ledger().sheet(sheet_id).task_id)

    with anyio.fail_after(ENOUGH):
        async with anyio.create_task_group() as group:
            for service in services:
                group.start_soon(send, service)

    assert len(answers) == 2
    assert len(set(answers)) == 1
    assert len(workspace.gateway.paid) == 1


async def test_a_permit_for_what_another_process_has_sent_is_of_no_use_any_more(workspace: Workspace) -> None:
    """The same person agreed in two places; the second permit is gone, whatever the ledger says afterwards."""
    first, second = sealed_service(workspace), process(workspace)
    sheet_id = draft(first)
    workspace.gateway.replies = [accepted(), accepted()]
    await permit(second.deps, sheet_id, PASSPHRASE)
    task_id = await opened_task(first, sheet_id)
    await step(workspace, first, task_id)

    with anyio.fail_after(ENOUGH):
        async with second.running():
            while second.deps.opened.permitted("poyo"):
                await second.deps.changes.wait(0.05)
            edit(workspace, "UPDATE task SET state = 'waiting', owner = ? WHERE id = ?", second.deps.runner_id, task_id)
            held = await step(workspace, second, task_id)

    assert (held.state, held.problem.code) == (TaskState.WAITING, "key_sealed")
    assert len(workspace.gateway.paid) == 1


async def test_who_was_slower_to_send_a_sheet_keeps_no_permit_for_it(workspace: Workspace) -> None:
    """The other process is sending at this moment, and keeps its own."""
    first, second = sealed_service(workspace), process(workspace)
    sheet_id = draft(first)
    await permit(second.deps, sheet_id, PASSPHRASE)
    task_id = await opened_task(first, sheet_id)
    edit(workspace, "UPDATE task SET state = 'submitting' WHERE id = ?", task_id)

    claim_for_sending(second.deps, sheet_id)

    assert second.deps.opened.gateways() == ()
    assert first.deps.opened.permitted("poyo") == (sheet_id,)
    assert first.task(task_id).task.owner == first.deps.runner_id


async def test_a_task_that_may_not_be_sent_keeps_no_key_open(workspace: Workspace) -> None:
    """It waits for an agreement of its own; the key goes when the last task that needs it has ended."""
    service = sealed_service(workspace)
    forged = make_forged_task(workspace, service, draft(service, Shot.of("A second kite.", duration_seconds=4)))
    workspace.gateway.replies = [accepted(), FINISHED]
    task_id = await opened_task(service, draft(service))
    for _ in range(2):
        await step(workspace, service, task_id)
    assert service.deps.opened.is_open("poyo")

    assert (await step(workspace, service, task_id)).state is TaskState.SAVED

    assert service.deps.opened.gateways() == ()
    assert service.task(forged).task.state is TaskState.WAITING


async def test_who_waits_for_an_approval_that_another_process_sends_waits_for_the_task(workspace: Workspace) -> None:
    """Between the person's yes and the task lies a moment in which nothing is to be said yet."""
    desk = sealed_service(workspace)
    waiting = process(workspace)
    sheet_id = draft(desk)
    await permit(desk.deps, sheet_id, PASSPHRASE)
    desk.approve(sheet_id, by=Means.DESK)
    with anyio.move_on_after(0.05) as soon:
        await submit_and_wait(waiting.deps, [sheet_id], ENOUGH)
    assert soon.cancelled_caught

    task_id = submit(desk.deps, sheet_id).report.task.id
    with anyio.fail_after(ENOUGH):
        [told] = await submit_and_wait(waiting.deps, [sheet_id], 2 * ENOUGH)
    assert told.report.task.id == task_id


async def test_while_a_key_is_open_tasks_that_others_come_to_hold_are_taken_over(workspace: Workspace) -> None:
    """The process with the open key follows them too, as long as it has something to follow."""
    first = sealed_service(workspace)
    workspace.gateway.replies = [accepted("task-unified-1-abc"), accepted("task-unified-1-abd")]
    mine = await opened_task(first, draft(first))
    await step(workspace, first, mine)
    other = process(workspace)
    theirs = await opened_task(other, draft(other, Shot.of("A second kite.", duration_seconds=4)))
    await step(workspace, other, theirs)
    third = process(workspace)
    third.deps.ledger().adopt(other.deps.runner_id, third.deps.runner_id)
    assert (await step(workspace, third, theirs)).problem.code == "key_sealed"

    workspace.gateway.on_request = lambda request: status("running", task_id=request.url.path.rpartition("/")[2])
    with anyio.fail_after(ENOUGH):
        async with first.running():
            while first.task(theirs).task.state is not TaskState.RUNNING:
                await first.deps.changes.wait(0.05)
    assert first.task(theirs).task.owner == first.deps.runner_id


async def test_a_task_is_held_as_soon_as_it_is_adopted_and_given_up_to_whoever_asks_for_it(
    workspace: Workspace,
) -> None:
    """A person who looks at once sees what to do; a process that was about to hold it does not keep it from them."""
    first = sealed_service(workspace)
    workspace.gateway.replies = [accepted()]
    task_id = await opened_task(first, draft(first))
    await step(workspace, first, task_id)
    later = first.task(task_id).task.next_at
    other = process(workspace)

    with anyio.fail_after(ENOUGH):
        async with other.running():
            while (held := other.task(task_id).task).problem is None:
                await other.deps.changes.wait(0.05)
            assert (held.owner, held.problem.code) == (other.deps.runner_id, "key_sealed")
            assert workspace.clock.time < later
            other.deps.ledger().touch(task_id, now=workspace.clock.time, changes={"problem": None})
            third = process(workspace)
            assert third.unlock("poyo", PASSPHRASE, wanted=[task_id]) == 1
            assert third.task(task_id).task.owner == third.deps.runner_id
    assert len(workspace.gateway.requests) == 1


async def test_an_approval_that_somebody_wrote_into_the_ledger_does_not_keep_the_true_one_out_of_the_trail(
    workspace: Workspace,
) -> None:
    """The person's own act is recorded whatever the row said before."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    forged = "UPDATE sheet SET state = 'approved', approved_by = 'terminal', approved_at = ? WHERE id = ?"
    edit(workspace, forged, workspace.clock.time, sheet_id)
    workspace.gateway.replies = [accepted()]

    with anyio.fail_after(ENOUGH):
        async with service.running():
            await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.DESK)

    assert ("approved", "desk") in [(entry.action, entry.actor) for entry in service.audit()]
    assert service.verify_audit().broken is None
    assert len(workspace.gateway.paid) == 1


async def test_a_rehearsal_needs_no_passphrase_where_the_key_is_sealed(workspace: Workspace) -> None:
    """The sandbox has a key of its own."""
    seal(workspace)
    service = process(workspace)

    answer = submit(service.deps, draft(service))

    assert answer.status == "waiting"
    assert service.held() == []


async def test_a_refusal_of_the_policy_withdraws_the_permit(workspace: Workspace) -> None:
    """Over a cap nothing is spent, and the key is forgotten at once."""
    service = sealed_service(workspace)
    workspace.write_policy('mode = "live"\n[caps]\nper_day = "0.10"\n')
    sheet_id = draft(service)
    async with service.running():
        with pytest.raises(PolicyRefusal, match="per day"):
            await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)
        assert service.deps.opened.gateways() == ()

    assert service.tasks() == []
    assert workspace.gateway.requests == []


async def test_a_payload_that_carries_the_sealed_key_is_refused_when_it_is_opened(workspace: Workspace) -> None:
    """Drafting could not know the key; the bytes are searched before anything is approved."""
    service = sealed_service(workspace)
    sheet_id = draft(service, Shot.of(f"A kite with {KEY} on it", duration_seconds=4))

    with pytest.raises(InvalidRequest, match="contains the gateway key") as caught:
        await permit(service.deps, sheet_id, PASSPHRASE)

    assert KEY not in str(caught.value)
    assert (caught.value.next_step.action, caught.value.next_step.target) == (Action.DECLINE, sheet_id)
    assert service.deps.opened.gateways() == ()


async def test_what_was_surely_not_sent_is_tried_again_under_the_same_agreement(workspace: Workspace) -> None:
    """A refused connection proves that nothing was bought; the second try pays, and there is no third."""
    service = sealed_service(workspace)
    workspace.gateway.replies = [httpx2.ConnectError("refused"), accepted()]
    task_id = await opened_task(service, draft(service))

    first = await step(workspace, service, task_id)
    second = await step(workspace, service, task_id)

    assert (first.state, first.problem.code) == (TaskState.WAITING, "unreachable")
    assert second.state is TaskState.QUEUED
    assert service.deps.opened.permitted("poyo") == ()


LIMITED = GatewayProblem(429, "limited", "later")
OUTCOMES: dict[str, tuple[SubmitOutcome | CallsheetError, bool]] = {
    "accepted": (Accepted("task-unified-1-abc"), False),
    "refused": (Rejected(LIMITED), False),
    "unclear": (Unclear(LIMITED), False),
    "lost": (OutcomeUnknown("gone", next_step="-"), False),
    "limited": (Postponed(LIMITED), True),
    "not sent": (GatewayUnreachable("refused", next_step="-"), True),
}


@pytest.mark.parametrize("kind", OUTCOMES)
async def test_only_a_request_that_surely_bought_nothing_gives_its_permit_back(workspace: Workspace, kind: str) -> None:
    """At once, before anything else has looked at the task."""
    service = sealed_service(workspace)
    sheet = await permit(service.deps, draft(service), PASSPHRASE)
    outcome, again = OUTCOMES[kind]
    digest = sheet.binding.digest
    assert service.deps.opened.take("poyo", sheet.id, digest=digest, base_url=ADDRESS) is not None

    settle_permit(service.deps, sheet, outcome)

    assert service.deps.opened.allows(sheet.id) is again


async def test_read_only_wins_over_the_passphrase(workspace: Workspace) -> None:
    """The mode is looked at before the key is."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    workspace.write_policy('mode = "read-only"\n')

    with pytest.raises(PolicyRefusal, match="read-only"):
        await permit(service.deps, sheet_id, PASSPHRASE)
    assert service.deps.opened.gateways() == ()


async def test_a_lost_answer_uses_the_agreement_up(workspace: Workspace) -> None:
    """It may have been bought: the outcome is unknown and the key is forgotten."""
    service = sealed_service(workspace)
    workspace.gateway.replies = [httpx2.ReadError("gone")]
    task_id = await opened_task(service, draft(service))

    task = await step(workspace, service, task_id)

    assert task.state is TaskState.OUTCOME_UNKNOWN
    assert service.deps.opened.gateways() == ()


async def test_another_process_holds_the_task_and_one_with_the_passphrase_takes_it_over(workspace: Workspace) -> None:
    """The first process is gone after it sent; nothing is asked without the key, nothing is lost, the clip is saved."""
    first = sealed_service(workspace)
    workspace.gateway.replies = [accepted(), FINISHED]
    task_id = await opened_task(first, draft(first))
    await step(workspace, first, task_id)

    other = process(workspace)
    other.deps.ledger().adopt(first.deps.runner_id, other.deps.runner_id)
    asked = len(workspace.gateway.requests)
    for _ in range(3):
        held = await step(workspace, other, task_id)
        assert (held.state, held.problem.code, held.polls) == (TaskState.QUEUED, "key_sealed", 0)
    report = other.task(task_id)
    assert "its key is sealed" in report.status_text
    assert report.next_step.action is Action.WATCH
    assert len(workspace.gateway.requests) == asked

    third = process(workspace)
    assert [task.id for task in third.held()] == [task_id]
    with pytest.raises(NotApproved):
        third.unlock("poyo", "not the passphrase")
    assert third.unlock("poyo", PASSPHRASE) == 1
    assert third.unlock("poyo", PASSPHRASE) == 0
    taken = third.task(task_id).task
    assert (taken.owner, taken.problem) == (third.deps.runner_id, None)
    assert [(await step(workspace, third, task_id)).state for _ in range(2)] == [TaskState.SUCCEEDED, TaskState.SAVED]
    assert third.deps.opened.gateways() == ()
    assert len(workspace.gateway.paid) == 1


@pytest.mark.parametrize(("alive", "wanted", "taken"), [(True, False, 0), (True, True, 1), (False, False, 1)])
async def test_who_opens_a_key_takes_over_what_nobody_follows_or_what_the_person_names(
    workspace: Workspace, alive: bool, wanted: bool, taken: int
) -> None:
    """A task that another process is following stays there."""
    first, other = sealed_service(workspace), process(workspace)
    workspace.gateway.replies = [accepted()]
    task_id = await opened_task(first, draft(first))
    await step(workspace, first, task_id)

    locked = locked_tasks(other.deps, is_alive=lambda _: alive)
    named = [task_id] if wanted else []
    assert [task.id for task in locked] == ([] if alive else [task_id])
    assert unlock(other.deps, "poyo", PASSPHRASE, is_alive=lambda _: alive, wanted=named) == taken

    owner = (other if taken else first).deps.runner_id
    assert other.task(task_id).task.owner == owner


async def test_the_last_line_of_a_program_tells_what_a_sealed_task_waits_for(workspace: Workspace) -> None:
    """No start and no background watcher goes on with it, so none is promised."""
    first = sealed_service(workspace)
    workspace.gateway.replies = [accepted()]
    await step(workspace, first, await opened_task(first, draft(first)))

    notice = process(workspace).hand_over()

    assert notice is not None
    assert notice.action is Action.WATCH
    assert notice.text == "1 open task waits for a sealed key, which needs the passphrase at a terminal."


async def test_a_finished_clip_is_saved_without_the_key(workspace: Workspace) -> None:
    """A download needs none, even after it failed once; what needs a fresh link waits instead of expiring."""
    first = sealed_service(workspace)
    workspace.gateway.replies = [accepted(), FINISHED]
    task_id = await opened_task(first, draft(first))
    await step(workspace, first, task_id)
    await step(workspace, first, task_id)
    gone = [LinkGone("The link is gone.", next_step="-") for _ in range(2)]
    other = process(workspace, keeper=Keeper(*gone))

    dead = await step(workspace, other, task_id)
    held = await step(workspace, other, task_id)
    saved = await step(workspace, other, task_id)

    assert (dead.state, dead.problem.code) == (TaskState.SUCCEEDED, "link_gone")
    assert (held.state, held.problem.code) == (TaskState.SUCCEEDED, "key_sealed")
    assert saved.state is TaskState.SAVED


@pytest.mark.parametrize("alive", [True, False])
async def test_a_sheet_that_its_own_process_sends_is_nobody_elses_to_send(workspace: Workspace, alive: bool) -> None:
    """Only when that process is gone before it could send does a person have to do it."""
    first, other = sealed_service(workspace), process(workspace)
    sheet_id = draft(first)
    await opened_task(first, sheet_id)

    unsent = unsent_sheets(other.deps, is_alive=lambda _: alive)

    assert [sheet.id for sheet in unsent] == ([] if alive else [sheet_id])


async def test_a_task_that_was_never_sent_is_sent_after_its_person_agreed_again(workspace: Workspace) -> None:
    """Its process was killed before it could send; following does not send it, the sheet's own permit does."""
    first = sealed_service(workspace)
    sheet_id = draft(first)
    task_id = await opened_task(first, sheet_id)

    other = process(workspace)
    other.deps.ledger().adopt(first.deps.runner_id, other.deps.runner_id)
    assert (await step(workspace, other, task_id)).problem.code == "key_sealed"
    assert other.unlock("poyo", PASSPHRASE) == 0
    # It may not be sent with it, so the key is of no use here.
    assert other.deps.opened.gateways() == ()
    assert (await step(workspace, other, task_id)).state is TaskState.WAITING
    assert workspace.gateway.requests == []
    assert [sheet.id for sheet in other.pending()] == [sheet_id]

    workspace.gateway.replies = [accepted()]
    with anyio.fail_after(ENOUGH):
        async with other.running():
            answer = await other.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)
    assert answer.report.task.id == task_id
    assert other.pending() == []
    assert len(workspace.gateway.paid) == 1
    acts = [(entry.action, entry.actor, entry.subject) for entry in other.audit()]
    assert acts[:2] == [("agreed_again", "terminal", sheet_id), ("key_opened", "terminal", "poyo")]


async def test_a_waiting_task_ends_after_a_day(workspace: Workspace) -> None:
    """As every task that could not be sent: nobody expects the bill then."""
    service = sealed_service(workspace)
    task_id = await opened_task(service, draft(service))
    other = process(workspace)
    workspace.clock.time += 24 * 3600 + 61

    task = await step(workspace, other, task_id)

    assert (task.state, task.problem.code) == (TaskState.ABANDONED, "too_late")
    assert workspace.gateway.requests == []


@asynccontextmanager
async def led_elsewhere(workspace: Workspace) -> AsyncIterator[tuple[Service, str, str]]:
    """A task under way with an open key, when somebody edits the policy to lead it to another address."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    workspace.gateway.replies = [accepted()]
    task_id = await opened_task(service, sheet_id)
    await step(workspace, service, task_id)
    workspace.write_policy('mode = "live"\n[gateways.poyo]\nbase_url = "https://evil.example.com"\n')
    yield service, sheet_id, task_id


async def test_an_open_key_does_not_follow_a_policy_to_another_address(workspace: Workspace) -> None:
    """Status reads stop, new sheets cannot be sent, and not a byte goes to the new address."""
    async with led_elsewhere(workspace) as (service, _, task_id):
        asked = len(workspace.gateway.requests)
        for _ in range(2):
            assert (await step(workspace, service, task_id)).state is TaskState.QUEUED
        with pytest.raises(KeyProblem, match="no other address"):
            service.unlock("poyo", PASSPHRASE)
        moved = draft(service)
        with pytest.raises(KeyProblem, match="no other address"):
            await permit(service.deps, moved, PASSPHRASE)

    assert len(workspace.gateway.requests) == asked
    assert all(request.url.host == "api.poyo.ai" for request in workspace.gateway.requests)


async def test_a_damaged_sealed_file_stops_everything_and_falls_back_to_nothing(workspace: Workspace) -> None:
    """An unsealed key that still lies about is not used in its place."""
    workspace.environ["POYO_API_KEY"] = KEY
    service = sealed_service(workspace)
    sheet_id = draft(service)
    (workspace.home / "config" / "keys" / "poyo.sealed").write_bytes(b"{}")

    with pytest.raises(KeyProblem, match="damaged"):
        submit(service.deps, sheet_id)
    with pytest.raises(KeyProblem, match="damaged"):
        await permit(service.deps, sheet_id, PASSPHRASE)
    assert workspace.gateway.requests == []


async def test_the_opened_key_is_hidden_in_whatever_is_said_and_nowhere_in_the_ledger(workspace: Workspace) -> None:
    """A gateway that echoes the key is heard without it; when it is forgotten, nothing keeps it to hide it either."""
    service = sealed_service(workspace)
    workspace.gateway.replies = [reply({"code": 400, "error": {"message": f"bad key {KEY}", "type": "x"}}, 400)]
    task_id = await opened_task(service, draft(service))
    assert service.redactor().text(KEY) == "[key hidden]"

    task = await step(workspace, service, task_id)

    assert task.state is TaskState.REJECTED
    assert "[key hidden]" in task.problem.said
    assert service.deps.opened.gateways() == ()
    assert service.redactor().text(KEY) == KEY
    service.deps.ledger().close()
    files = [path for path in workspace.home.rglob("*") if path.is_file()]
    assert len(files) > 2
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


async def test_an_unsealed_gateway_has_nothing_to_open(workspace: Workspace) -> None:
    """The way with the passphrase in hand is only for sealed keys."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)

    for act in (lambda: service.unlock("poyo", PASSPHRASE), lambda: service.opens("poyo", PASSPHRASE)):
        with pytest.raises(KeyProblem, match="not sealed"):
            act()
    with pytest.raises(KeyProblem, match="not sealed"):
        await permit(service.deps, sheet_id, PASSPHRASE)
    assert service.held() == []


async def test_a_waiting_sheet_is_sent_under_the_warning_of_a_duplicate_charge(workspace: Workspace) -> None:
    """An earlier take was given up, which proves nothing: the person who sends the next one reads that first."""
    service = sealed_service(workspace)
    workspace.gateway.replies = [httpx2.ReadError("gone")]
    first = await opened_task(service, draft(service))
    await step(workspace, service, first)
    resolve_task(service.deps, first, accepted_as=None)
    second = draft(service)
    waiting = await opened_task(service, second)
    other = process(workspace)

    warned, *_ = other.sending_text(second).split("\n")

    assert "POSSIBLE DUPLICATE CHARGE" in warned
    assert first in other.sending_text(second)
    assert other.task(waiting).task.state is TaskState.WAITING


async def test_a_waiting_sheet_says_that_it_was_approved_before(workspace: Workspace) -> None:
    """Its own task is no earlier take."""
    service = sealed_service(workspace)
    sheet_id = draft(service)
    task_id = await opened_task(service, sheet_id)

    text = process(workspace).sending_text(sheet_id)

    assert f"Approved before and not sent yet: task {task_id}." in text
    assert "POSSIBLE DUPLICATE CHARGE" not in text


async def test_nothing_in_the_process_keeps_a_forgotten_key(workspace: Workspace) -> None:
    """The redactor that hid it is gone with it, without anybody asking for a new one."""
    others = count_keys()
    service = sealed_service(workspace)
    workspace.gateway.replies = [reply({"code": 400, "error": {"message": "no", "type": "x"}}, 400)]
    task_id = await opened_task(service, draft(service))
    assert service.redactor().text(KEY) == "[key hidden]"
    assert count_keys() == others + 1

    # The event loop lets go of what a thread returned.
    await anyio.lowlevel.checkpoint()
    await step(workspace, service, task_id)

    assert service.deps.opened.gateways() == ()
    assert count_keys() == others


def count_keys() -> int:
    """How many objects of this process hold the key."""
    gc.collect()
    mine = fingerprint(KEY)
    return sum(isinstance(item, SecretKey) and item.fingerprint == mine for item in gc.get_objects())


@pytest.mark.parametrize("alive", [True, False])
async def test_tasks_of_other_processes_are_not_marked_by_one_without_the_key(
    workspace: Workspace, alive: bool
) -> None:
    """Their own process may have the key open; one that is gone is adopted first."""
    first, other = sealed_service(workspace), process(workspace)
    workspace.gateway.replies = [accepted(), FINISHED]
    waiting = await opened_task(first, draft(first))
    asked = await opened_task(first, draft(first, Shot.of("A second kite.", duration_seconds=4)))
    await step(workspace, first, asked)
    before = [first.task(task_id).task for task_id in (waiting, asked)]

    tend(other.deps, is_alive=lambda _: alive)

    assert [first.task(task_id).task for task_id in (waiting, asked)] == before


async def test_own_tasks_are_marked_once_and_a_finished_one_not_at_all(workspace: Workspace) -> None:
    """A clip is fetched without the key; and a task that is held is not put off again and again."""
    first, other = sealed_service(workspace), process(workspace)
    workspace.gateway.replies = [accepted("task-unified-1-abc"), accepted("task-unified-1-abd")]
    finished = await opened_task(first, draft(first))
    queued = await opened_task(first, draft(first, Shot.of("A second kite.", duration_seconds=4)))
    for task_id in (finished, queued):
        await step(workspace, first, task_id)
    ledger = other.deps.ledger()
    ledger.advance(finished, TaskEvent.SEEN_FINISHED, now=workspace.clock.now(), changes={"result_url": VIDEO})
    ledger.adopt(first.deps.runner_id, other.deps.runner_id)
    before = other.task(finished).task

    tend(other.deps, is_alive=lambda _: False)
    held = other.task(queued).task
    workspace.clock.time += 30
    tend(other.deps, is_alive=lambda _: False)

    assert other.task(finished).task == before
    assert held.problem.code == "key_sealed"
    assert other.task(queued).task == held


async def test_a_download_that_failed_is_tried_again_without_asking_for_a_fresh_link(workspace: Workspace) -> None:
    """Asking needs the key. Nothing is counted as asked, and the rate limit is left to those who may ask."""
    first = sealed_service(workspace)
    workspace.gateway.replies = [accepted(), FINISHED]
    task_id = await opened_task(first, draft(first))
    for _ in range(2):
        await step(workspace, first, task_id)
    other = process(workspace, keeper=Keeper(DownloadProblem("The connection broke.", next_step="-")))
    asked = len(workspace.gateway.requests)
    failed = await step(workspace, other, task_id)
    pace = paced(workspace)
    saved = await step(workspace, other, task_id)

    assert (failed.state, failed.failures) == (TaskState.SUCCEEDED, 1)
    assert (saved.state, saved.polls) == (TaskState.SAVED, failed.polls)
    assert len(workspace.gateway.requests) == asked
    assert paced(workspace) == pace


def paced(workspace: Workspace) -> list[tuple[object, ...]]:
    """What is reserved with the rate limiter."""
    with sqlite3.connect(workspace.ledger_file) as db:
        found = db.execute("SELECT * FROM pace").fetchall()
    db.close()
    return found
