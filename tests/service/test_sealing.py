"""Sending and following with a sealed key: what nobody can do without the passphrase, and what goes on all the same."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from callsheet.core.approval import Means
from callsheet.core.gateway import Accepted, GatewayProblem, Postponed, Rejected, SubmitOutcome, Unclear
from callsheet.core.redaction import fingerprint
from callsheet.core.sheet import Clip, Task
from callsheet.core.shot import Shot
from callsheet.core.task import SheetEvent, TaskState
from callsheet.edges.downloads import LinkGone
from callsheet.edges.key_derivation import make_scrypt_recipe
from callsheet.edges.sealed_keys import seal_key, write_sealed
from callsheet.edges.secrets import SecretKey
from callsheet.errors import (
    CallsheetError,
    GatewayUnreachable,
    InvalidRequest,
    KeyProblem,
    NotApproved,
    OutcomeUnknown,
    PolicyRefusal,
)
from callsheet.service import Service, open_tasks_notice
from callsheet.service.following import run_task
from callsheet.service.sealing import claim_for_sending, permit, settle_permit
from callsheet.service.submission import submit
from studio import KEY, SHOT, Studio, accepted, draft, reply, status

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

    async def keep(self, task: Task, url: str, *, directory: Path, loopback: str | None) -> Clip:
        if self.script:
            raise self.script.pop(0)
        return CLIP


def seal(studio: Studio, *, key: str = KEY, base_url: str = ADDRESS) -> None:
    """A person has sealed PoYo's key (at a low cost, as only a test does)."""
    sealed = seal_key(
        SecretKey("poyo", key, source="file"), PASSPHRASE, base_url=base_url, recipe=make_scrypt_recipe(1)
    )
    write_sealed(sealed, keys_directory=studio.home / "config" / "keys")


def sealed_service(studio: Studio, *, keeper: Keeper | None = None) -> Service:
    """A process in live mode whose key for PoYo is sealed; no key lies anywhere else."""
    studio.write_policy('mode = "live"\n')
    seal(studio)
    return process(studio, keeper=keeper)


def process(studio: Studio, *, keeper: Keeper | None = None) -> Service:
    """One more process on the same home."""
    service = studio.service()
    object.__setattr__(service.world, "clips", keeper or Keeper())
    return service


def edit(studio: Studio, statement: str, *values: Any) -> None:
    """Somebody writes into the ledger past the program."""
    with sqlite3.connect(studio.home / "data" / "ledger.sqlite3") as db:
        changed = db.execute(statement, values).rowcount
    db.close()
    assert changed == 1, statement


async def opened_task(service: Service, sheet_id: str) -> str:
    """A person has agreed in that process and typed the passphrase; the task, which is not sent yet."""
    await permit(service.world, sheet_id, PASSPHRASE)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.world, sheet_id).report.task.id
    claim_for_sending(service.world, sheet_id)
    return task_id


async def step(studio: Studio, service: Service, task_id: str) -> Task:
    """Let the task's next time come, and run it."""
    studio.clock.time = max(service.task(task_id).task.next_at, studio.clock.time)
    await run_task(service.world, task_id)
    return service.task(task_id).task


def make_forged_task(studio: Studio, service: Service, sheet_id: str) -> str:
    """Somebody who writes into the ledger has made an approved sheet, and a task that waits to be sent."""
    edit(
        studio,
        "UPDATE sheet SET state = 'spent', approved_by = 'terminal', approved_at = ? WHERE id = ?",
        studio.clock.time,
        sheet_id,
    )
    now = studio.clock.time
    edit(
        studio,
        "INSERT INTO task (id, sheet_id, mode, gateway, model, state, reserve_micros, created_at, updated_at, next_at,"
        " owner, attempts, said, polls, failures, hints)"
        " VALUES ('task_forged', ?, 'live', 'poyo', 'sora-2-official', 'waiting', 0, ?, ?, ?, ?, 0, '', 0, 0, '')",
        sheet_id,
        now,
        now,
        now,
        service.world.runner_id,
    )
    return "task_forged"


def test_without_the_passphrase_a_sealed_key_sends_nothing_and_says_what_a_person_must_do(studio: Studio) -> None:
    """The answer names the command; nobody is asked through the client, where a yes could not open the key."""
    service = sealed_service(studio)
    sheet_id = draft(service)

    answer = submit(service.world, sheet_id)

    assert answer.status == "approval_needed"
    assert answer.approval_command == f"callsheet approve {sheet_id}"
    assert "sealed" in answer.notice
    assert "also sends it" in answer.next_step
    assert service.question(sheet_id) is None
    assert service.is_sealed("poyo")
    assert not service.is_sealed("apidot")
    assert studio.gateway.requests == []


async def test_an_approval_written_into_the_ledger_sends_nothing(studio: Studio) -> None:
    """This is what a sealed key is for: whoever can edit the file still cannot pay."""
    service = sealed_service(studio)
    sheet_id = draft(service)
    edit(
        studio,
        "UPDATE sheet SET state = 'approved', approved_by = 'terminal', approved_at = ? WHERE id = ?",
        studio.clock.time,
        sheet_id,
    )

    answer = submit(service.world, sheet_id)

    assert answer.status == "approval_needed"
    assert service.tasks() == []
    assert studio.gateway.requests == []


def test_what_the_ledger_calls_approved_still_waits_for_its_person(studio: Studio) -> None:
    """As long as it could be approved; one that grew old, or was never asked for, waits for nobody."""
    service = sealed_service(studio)
    asked, called, other = (draft(service, Shot(f"Take {n}.", duration_seconds=4)) for n in range(3))
    assert submit(service.world, asked).status == "approval_needed"
    ledger = service.world.ledger()
    ledger.move_sheet(called, SheetEvent.APPROVED, now=studio.clock.now(), by=Means.TERMINAL)

    assert [sheet.id for sheet in service.pending()] == [asked, called]
    studio.clock.time += 3601
    assert [sheet.id for sheet in service.pending()] == [asked]
    studio.clock.time += 24 * 3600
    assert service.pending() == []
    assert other not in (asked, called)


async def test_a_task_written_into_the_ledger_is_held_and_never_sent(studio: Studio) -> None:
    """Not by this process, and not by one in which the same key is open for another sheet or for following."""
    service = sealed_service(studio)
    forged = make_forged_task(studio, service, draft(service))

    held = await step(studio, service, forged)
    assert (held.state, held.problem.code) == (TaskState.WAITING, "key_sealed")
    assert "callsheet watch" in service.task(forged).next_step

    other = draft(service, SHOT.__class__("A second kite.", duration_seconds=4))
    studio.gateway.replies = [accepted()]
    await opened_task(service, other)
    service.unlock("poyo", PASSPHRASE)
    for _ in range(3):
        held = await step(studio, service, forged)
        assert (held.state, held.problem.code) == (TaskState.WAITING, "key_sealed")
    assert studio.gateway.requests == []


async def test_the_sheet_that_was_agreed_to_is_sent_once_with_the_sealed_key(studio: Studio) -> None:
    """Approve, send, follow, save, forget: in the process where the passphrase was typed."""
    service = sealed_service(studio)
    sheet_id = draft(service)
    studio.gateway.replies = [accepted(), status("running", progress=40), FINISHED]

    task_id = await opened_task(service, sheet_id)
    seen = [(await step(studio, service, task_id)).state for _ in range(4)]

    assert seen == [TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.SAVED]
    [request] = studio.gateway.paid
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.content == service.world.ledger().sheet(sheet_id).body
    assert service.world.ledger().sheet(sheet_id).binding.account == fingerprint(KEY)
    with sqlite3.connect(studio.home / "data" / "ledger.sqlite3") as db:
        assert db.execute("SELECT account FROM pace").fetchall() == [(f"live/poyo/{fingerprint(KEY)}",)]
    db.close()
    assert service.world.opened.gateways() == ()
    assert submit(process(studio).world, sheet_id).status == "already_submitted"


async def test_a_key_in_the_environment_is_not_used_where_one_is_sealed(studio: Studio) -> None:
    """Nor one in a file: the sealed key's account is bound, and without the passphrase there is no key."""
    other = "environment-key-51c0ffee"
    studio.environ["POYO_API_KEY"] = other
    service = sealed_service(studio)
    sheet_id = draft(service)

    assert service.world.find_key(service.world.facts("poyo")) is None
    assert submit(service.world, sheet_id).status == "approval_needed"
    assert service.world.ledger().sheet(sheet_id).binding.account == fingerprint(KEY)
    studio.gateway.replies = [accepted()]
    await step(studio, service, await opened_task(service, sheet_id))

    assert [request.headers["authorization"] for request in studio.gateway.paid] == [f"Bearer {KEY}"]
    assert service.redactor().text(f"a {other} b") == "a [key hidden] b"


async def test_the_opened_key_cannot_pay_a_second_sheet(studio: Studio) -> None:
    """Not even one that the ledger calls approved, while the first is under way."""
    service = sealed_service(studio)
    first = draft(service)
    second = draft(service, SHOT.__class__("A second kite.", duration_seconds=4))
    studio.gateway.replies = [accepted()]
    task_id = await opened_task(service, first)
    await step(studio, service, task_id)
    assert service.world.opened.is_open("poyo")

    service.approve(second, by=Means.TERMINAL)
    assert submit(service.world, second).status == "approval_needed"
    assert len(studio.gateway.paid) == 1


async def test_a_task_set_back_in_the_ledger_is_not_paid_again(studio: Studio) -> None:
    """The permit is used up in memory, whatever state somebody writes."""
    service = sealed_service(studio)
    studio.gateway.replies = [accepted(), accepted()]
    task_id = await opened_task(service, draft(service))
    await step(studio, service, task_id)
    edit(studio, "UPDATE task SET state = 'waiting', attempt = NULL, deadline = NULL WHERE id = ?", task_id)

    held = await step(studio, service, task_id)

    assert (held.state, held.problem.code) == (TaskState.WAITING, "key_sealed")
    assert len(studio.gateway.paid) == 1


OTHER_BYTES = "CAST(replace(CAST(body AS TEXT), 'red kite', 'red deer') AS BLOB)"
CHANGED = {
    "the bytes": (f"UPDATE sheet SET body = {OTHER_BYTES} WHERE id = ?", "body_sha256"),
    "the end": ("UPDATE sheet SET expires_at = expires_at + 86400 WHERE id = ?", "expires"),
    "the take": ("UPDATE sheet SET take = 7 WHERE id = ?", "take"),
}


@pytest.mark.parametrize("what", CHANGED)
async def test_what_is_changed_in_the_ledger_after_the_agreement_is_not_sent(studio: Studio, what: str) -> None:
    """Between the passphrase and the request: the task waits and nothing is sent."""
    service = sealed_service(studio)
    sheet_id = draft(service)
    task_id = await opened_task(service, sheet_id)
    edit(studio, CHANGED[what][0], sheet_id)

    held = await step(studio, service, task_id)

    assert held.state is TaskState.WAITING
    assert CHANGED[what][1] in held.problem.message
    assert studio.gateway.requests == []


async def test_bytes_and_binding_changed_together_do_not_pass_either(studio: Studio) -> None:
    """A sheet's name is made from what it is bound to; another content under the same name is refused."""
    service = sealed_service(studio)
    sheet_id, other = draft(service), draft(service, SHOT.__class__("A second kite.", duration_seconds=4))
    edit(studio, "UPDATE sheet SET shot_digest = 'x' || shot_digest WHERE id = ?", other)
    edit(
        studio,
        "UPDATE sheet SET (body, binding, shot, expires_at) = "
        "(SELECT body, binding, shot, expires_at FROM sheet WHERE id = ?) WHERE id = ?",
        other,
        sheet_id,
    )

    with pytest.raises(NotApproved, match="all of it"):
        await permit(service.world, sheet_id, PASSPHRASE)

    assert service.world.opened.gateways() == ()
    assert studio.gateway.requests == []


async def test_a_wrong_passphrase_approves_nothing_and_sends_nothing(studio: Studio) -> None:
    """The sheet is as it was, and the right one works afterwards."""
    service = sealed_service(studio)
    sheet_id = draft(service)
    async with service.running():
        with pytest.raises(NotApproved, match="does not open"):
            await service.approve_and_send(sheet_id, passphrase="a heron", by=Means.TERMINAL)
        assert service.approvable(sheet_id).approved_at is None
        assert service.world.opened.gateways() == ()
        assert not service.opens("poyo", "a heron")
        assert service.opens("poyo", PASSPHRASE)
        assert service.world.opened.gateways() == ()

    assert studio.gateway.requests == []


async def test_approve_and_send_is_one_paid_request_and_says_so(studio: Studio) -> None:
    """What the desk and the terminal call."""
    service = sealed_service(studio)
    sheet_id = draft(service)
    studio.gateway.replies = [accepted()]
    with anyio.fail_after(ENOUGH):
        async with service.running():
            answer = await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)
            with pytest.raises(InvalidRequest, match="sent already"):
                await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)

    assert answer.status == "submitted"
    assert answer.report.task.state is TaskState.QUEUED
    assert service.world.ledger().sheet(sheet_id).approved_by is Means.TERMINAL
    assert len(studio.gateway.paid) == 1
    assert service.world.opened.gateways() == ()


async def test_two_processes_with_the_passphrase_send_one_sheet_once(studio: Studio) -> None:
    """Two terminals, one sheet, at the same moment: one paid request, one task."""
    services = [sealed_service(studio), process(studio)]
    sheet_id = draft(services[0])
    studio.gateway.replies = [accepted(), accepted()]
    answers = []

    async def send(service: Service) -> None:
        async with service.running():
            try:
                answer = await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)
                answers.append(answer.report.task.id)
            except InvalidRequest:
                # The other one was that much faster.
                answers.append(service.world.ledger().sheet(sheet_id).task_id)

    with anyio.fail_after(ENOUGH):
        async with anyio.create_task_group() as group:
            for service in services:
                group.start_soon(send, service)

    assert len(answers) == 2
    assert len(set(answers)) == 1
    assert len(studio.gateway.paid) == 1


async def test_a_permit_for_what_another_process_has_sent_is_of_no_use_any_more(studio: Studio) -> None:
    """The same person agreed in two places; the second permit is gone, whatever the ledger says afterwards."""
    first, second = sealed_service(studio), process(studio)
    sheet_id = draft(first)
    studio.gateway.replies = [accepted(), accepted()]
    await permit(second.world, sheet_id, PASSPHRASE)
    task_id = await opened_task(first, sheet_id)
    await step(studio, first, task_id)

    with anyio.fail_after(ENOUGH):
        async with second.running():
            while second.world.opened.permitted("poyo"):
                await second.world.changes.wait(0.05)
            edit(studio, "UPDATE task SET state = 'waiting', owner = ? WHERE id = ?", second.world.runner_id, task_id)
            held = await step(studio, second, task_id)

    assert (held.state, held.problem.code) == (TaskState.WAITING, "key_sealed")
    assert len(studio.gateway.paid) == 1


async def test_who_was_slower_to_send_a_sheet_keeps_no_permit_for_it(studio: Studio) -> None:
    """The other process is sending at this moment, and keeps its own."""
    first, second = sealed_service(studio), process(studio)
    sheet_id = draft(first)
    await permit(second.world, sheet_id, PASSPHRASE)
    task_id = await opened_task(first, sheet_id)
    edit(studio, "UPDATE task SET state = 'submitting' WHERE id = ?", task_id)

    claim_for_sending(second.world, sheet_id)

    assert second.world.opened.gateways() == ()
    assert first.world.opened.permitted("poyo") == (sheet_id,)
    assert first.task(task_id).task.owner == first.world.runner_id


async def test_a_task_that_may_not_be_sent_keeps_no_key_open(studio: Studio) -> None:
    """It waits for an agreement of its own; the key goes when the last task that needs it has ended."""
    service = sealed_service(studio)
    forged = make_forged_task(studio, service, draft(service, SHOT.__class__("A second kite.", duration_seconds=4)))
    studio.gateway.replies = [accepted(), FINISHED]
    task_id = await opened_task(service, draft(service))
    for _ in range(2):
        await step(studio, service, task_id)
    assert service.world.opened.is_open("poyo")

    assert (await step(studio, service, task_id)).state is TaskState.SAVED

    assert service.world.opened.gateways() == ()
    assert service.task(forged).task.state is TaskState.WAITING


async def test_who_waits_for_an_approval_that_another_process_sends_waits_for_the_task(studio: Studio) -> None:
    """Between the person's yes and the task lies a moment in which nothing is to be said yet."""
    desk = sealed_service(studio)
    waiting = process(studio)
    sheet_id = draft(desk)
    await permit(desk.world, sheet_id, PASSPHRASE)
    desk.approve(sheet_id, by=Means.DESK)
    with anyio.move_on_after(0.05) as soon:
        await waiting.wait_for_approval(sheet_id, wait_seconds=ENOUGH)
    assert soon.cancelled_caught

    task_id = submit(desk.world, sheet_id).report.task.id
    with anyio.fail_after(ENOUGH):
        await waiting.wait_for_approval(sheet_id, wait_seconds=2 * ENOUGH)
    assert submit(waiting.world, sheet_id).report.task.id == task_id


async def test_while_a_key_is_open_tasks_that_others_come_to_hold_are_taken_over(studio: Studio) -> None:
    """The process with the open key follows them too, as long as it has something to follow."""
    first = sealed_service(studio)
    studio.gateway.replies = [accepted("task-unified-1-abc"), accepted("task-unified-1-abd")]
    mine = await opened_task(first, draft(first))
    await step(studio, first, mine)
    other = process(studio)
    theirs = await opened_task(other, draft(other, SHOT.__class__("A second kite.", duration_seconds=4)))
    await step(studio, other, theirs)
    third = process(studio)
    third.world.ledger().adopt(other.world.runner_id, third.world.runner_id)
    assert (await step(studio, third, theirs)).problem.code == "key_sealed"

    studio.gateway.on_request = lambda _: status("running")
    with anyio.fail_after(ENOUGH):
        async with first.running():
            while first.task(theirs).task.state is not TaskState.RUNNING:
                await first.world.changes.wait(0.05)
    assert first.task(theirs).task.owner == first.world.runner_id


async def test_a_task_is_held_as_soon_as_it_is_adopted_and_given_up_to_whoever_asks_for_it(studio: Studio) -> None:
    """A person who looks at once sees what to do; a process that was about to hold it does not keep it from them."""
    first = sealed_service(studio)
    studio.gateway.replies = [accepted()]
    task_id = await opened_task(first, draft(first))
    await step(studio, first, task_id)
    later = first.task(task_id).task.next_at
    other = process(studio)

    with anyio.fail_after(ENOUGH):
        async with other.running():
            while (held := other.task(task_id).task).problem is None:
                await other.world.changes.wait(0.05)
            assert (held.owner, held.problem.code) == (other.world.runner_id, "key_sealed")
            assert studio.clock.time < later
            other.world.ledger().touch(task_id, now=studio.clock.time, changes={"problem": None})
            third = process(studio)
            assert third.unlock("poyo", PASSPHRASE, wanted=[task_id]) == 1
            assert third.task(task_id).task.owner == third.world.runner_id
    assert len(studio.gateway.requests) == 1


async def test_an_approval_that_somebody_wrote_into_the_ledger_does_not_keep_the_true_one_out_of_the_trail(
    studio: Studio,
) -> None:
    """The person's own act is recorded whatever the row said before."""
    service = sealed_service(studio)
    sheet_id = draft(service)
    forged = "UPDATE sheet SET state = 'approved', approved_by = 'terminal', approved_at = ? WHERE id = ?"
    edit(studio, forged, studio.clock.time, sheet_id)
    studio.gateway.replies = [accepted()]

    with anyio.fail_after(ENOUGH):
        async with service.running():
            await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.DESK)

    assert ("agreed_again", "desk") in [(entry.action, entry.actor) for entry in service.audit()]
    assert service.verify_audit().broken is None
    assert len(studio.gateway.paid) == 1


async def test_a_rehearsal_needs_no_passphrase_where_the_key_is_sealed(studio: Studio) -> None:
    """The sandbox has a key of its own."""
    seal(studio)
    service = process(studio)

    answer = submit(service.world, draft(service))

    assert answer.status == "submitted"
    assert service.held() == []


async def test_a_refusal_of_the_policy_withdraws_the_permit(studio: Studio) -> None:
    """Over a cap nothing is spent, and the key is forgotten at once."""
    service = sealed_service(studio)
    studio.write_policy('mode = "live"\n[caps]\nper_day = "0.10"\n')
    sheet_id = draft(service)
    async with service.running():
        with pytest.raises(PolicyRefusal, match="per day"):
            await service.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)
        assert service.world.opened.gateways() == ()

    assert service.tasks() == []
    assert studio.gateway.requests == []


async def test_a_payload_that_carries_the_sealed_key_is_refused_when_it_is_opened(studio: Studio) -> None:
    """Drafting could not know the key; the bytes are searched before anything is approved."""
    service = sealed_service(studio)
    sheet_id = draft(service, SHOT.__class__(f"A kite with {KEY} on it", duration_seconds=4))

    with pytest.raises(InvalidRequest, match="contains the gateway key") as caught:
        await permit(service.world, sheet_id, PASSPHRASE)

    assert KEY not in str(caught.value)
    assert service.world.opened.gateways() == ()


async def test_what_was_surely_not_sent_is_tried_again_under_the_same_agreement(studio: Studio) -> None:
    """A refused connection proves that nothing was bought; the second try pays, and there is no third."""
    service = sealed_service(studio)
    studio.gateway.replies = [httpx2.ConnectError("refused"), accepted()]
    task_id = await opened_task(service, draft(service))

    first = await step(studio, service, task_id)
    second = await step(studio, service, task_id)

    assert (first.state, first.problem.code) == (TaskState.WAITING, "unreachable")
    assert second.state is TaskState.QUEUED
    assert service.world.opened.permitted("poyo") == ()


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
async def test_only_a_request_that_surely_bought_nothing_gives_its_permit_back(studio: Studio, kind: str) -> None:
    """At once, before anything else has looked at the task."""
    service = sealed_service(studio)
    sheet = await permit(service.world, draft(service), PASSPHRASE)
    outcome, again = OUTCOMES[kind]
    digest = sheet.binding.digest
    assert service.world.opened.take("poyo", sheet.id, digest=digest, base_url=ADDRESS) is not None

    settle_permit(service.world, sheet, outcome)

    assert service.world.opened.allows(sheet.id) is again


async def test_read_only_wins_over_the_passphrase(studio: Studio) -> None:
    """The mode is looked at before the key is."""
    service = sealed_service(studio)
    sheet_id = draft(service)
    studio.write_policy('mode = "read-only"\n')

    with pytest.raises(PolicyRefusal, match="read-only"):
        await permit(service.world, sheet_id, PASSPHRASE)
    assert service.world.opened.gateways() == ()


async def test_a_lost_answer_uses_the_agreement_up(studio: Studio) -> None:
    """It may have been bought: the outcome is unknown and the key is forgotten."""
    service = sealed_service(studio)
    studio.gateway.replies = [httpx2.ReadError("gone")]
    task_id = await opened_task(service, draft(service))

    task = await step(studio, service, task_id)

    assert task.state is TaskState.OUTCOME_UNKNOWN
    assert service.world.opened.gateways() == ()


async def test_another_process_holds_the_task_and_one_with_the_passphrase_takes_it_over(studio: Studio) -> None:
    """The first process is gone after it sent; nothing is asked without the key, nothing is lost, the clip is saved."""
    first = sealed_service(studio)
    studio.gateway.replies = [accepted(), FINISHED]
    task_id = await opened_task(first, draft(first))
    await step(studio, first, task_id)

    other = process(studio)
    other.world.ledger().adopt(first.world.runner_id, other.world.runner_id)
    asked = len(studio.gateway.requests)
    for _ in range(3):
        held = await step(studio, other, task_id)
        assert (held.state, held.problem.code, held.polls) == (TaskState.QUEUED, "key_sealed", 0)
    report = other.task(task_id)
    assert "its key is sealed" in report.status_text
    assert "callsheet watch" in report.next_step
    assert len(studio.gateway.requests) == asked

    third = process(studio)
    assert [task.id for task in third.held()] == [task_id]
    with pytest.raises(NotApproved):
        third.unlock("poyo", "not the passphrase")
    assert third.unlock("poyo", PASSPHRASE) == 1
    assert third.unlock("poyo", PASSPHRASE) == 0
    taken = third.task(task_id).task
    assert (taken.owner, taken.problem) == (third.world.runner_id, None)
    assert [(await step(studio, third, task_id)).state for _ in range(2)] == [TaskState.SUCCEEDED, TaskState.SAVED]
    assert third.world.opened.gateways() == ()
    assert len(studio.gateway.paid) == 1


async def test_the_last_line_of_a_program_tells_what_a_sealed_task_waits_for(studio: Studio) -> None:
    """No start and no background watcher goes on with it, so none is promised."""
    first = sealed_service(studio)
    studio.gateway.replies = [accepted()]
    await step(studio, first, await opened_task(first, draft(first)))

    notice = open_tasks_notice(process(studio))

    assert notice == "1 open task waits for a sealed key: run `callsheet watch` at a terminal, with the passphrase."


async def test_a_finished_clip_is_saved_without_the_key(studio: Studio) -> None:
    """A download needs none, even after it failed once; what needs a fresh link waits instead of expiring."""
    first = sealed_service(studio)
    studio.gateway.replies = [accepted(), FINISHED]
    task_id = await opened_task(first, draft(first))
    await step(studio, first, task_id)
    await step(studio, first, task_id)
    gone = [LinkGone("The link is gone.", next_step="-") for _ in range(2)]
    other = process(studio, keeper=Keeper(*gone))

    dead = await step(studio, other, task_id)
    held = await step(studio, other, task_id)
    saved = await step(studio, other, task_id)

    assert (dead.state, dead.problem.code) == (TaskState.SUCCEEDED, "link_gone")
    assert (held.state, held.problem.code) == (TaskState.SUCCEEDED, "key_sealed")
    assert saved.state is TaskState.SAVED


async def test_a_task_that_was_never_sent_is_sent_after_its_person_agreed_again(studio: Studio) -> None:
    """Its process was killed before it could send; following alone does not send it, the sheet's own permit does."""
    first = sealed_service(studio)
    sheet_id = draft(first)
    task_id = await opened_task(first, sheet_id)

    other = process(studio)
    other.world.ledger().adopt(first.world.runner_id, other.world.runner_id)
    assert (await step(studio, other, task_id)).problem.code == "key_sealed"
    assert other.unlock("poyo", PASSPHRASE) == 0
    # It may not be sent with it, so the key is of no use here.
    assert other.world.opened.gateways() == ()
    assert (await step(studio, other, task_id)).state is TaskState.WAITING
    assert studio.gateway.requests == []
    assert [sheet.id for sheet in other.pending()] == [sheet_id]

    studio.gateway.replies = [accepted()]
    with anyio.fail_after(ENOUGH):
        async with other.running():
            answer = await other.approve_and_send(sheet_id, passphrase=PASSPHRASE, by=Means.TERMINAL)
    assert answer.report.task.id == task_id
    assert other.pending() == []
    assert len(studio.gateway.paid) == 1
    acts = [(entry.action, entry.actor, entry.subject) for entry in other.audit()]
    assert acts[:2] == [("agreed_again", "terminal", sheet_id), ("key_opened", "terminal", "poyo")]


async def test_a_waiting_task_ends_after_a_day(studio: Studio) -> None:
    """As every task that could not be sent: nobody expects the bill then."""
    service = sealed_service(studio)
    task_id = await opened_task(service, draft(service))
    other = process(studio)
    studio.clock.time += 24 * 3600 + 61

    task = await step(studio, other, task_id)

    assert (task.state, task.problem.code) == (TaskState.ABANDONED, "too_late")
    assert studio.gateway.requests == []


@asynccontextmanager
async def led_elsewhere(studio: Studio) -> AsyncIterator[tuple[Service, str, str]]:
    """A task under way with an open key, when somebody edits the policy to lead it to another address."""
    service = sealed_service(studio)
    sheet_id = draft(service)
    studio.gateway.replies = [accepted()]
    task_id = await opened_task(service, sheet_id)
    await step(studio, service, task_id)
    studio.write_policy('mode = "live"\n[gateways.poyo]\nbase_url = "https://evil.example.com"\n')
    yield service, sheet_id, task_id


async def test_an_open_key_does_not_follow_a_policy_to_another_address(studio: Studio) -> None:
    """Status reads stop, new sheets cannot be sent, and not a byte goes to the new address."""
    async with led_elsewhere(studio) as (service, _, task_id):
        asked = len(studio.gateway.requests)
        for _ in range(2):
            assert (await step(studio, service, task_id)).state is TaskState.QUEUED
        with pytest.raises(KeyProblem, match="no other address"):
            service.unlock("poyo", PASSPHRASE)
        moved = draft(service)
        with pytest.raises(KeyProblem, match="no other address"):
            await permit(service.world, moved, PASSPHRASE)

    assert len(studio.gateway.requests) == asked
    assert all(request.url.host == "api.poyo.ai" for request in studio.gateway.requests)


async def test_a_damaged_sealed_file_stops_everything_and_falls_back_to_nothing(studio: Studio) -> None:
    """An unsealed key that still lies about is not used in its place."""
    studio.environ["POYO_API_KEY"] = KEY
    service = sealed_service(studio)
    sheet_id = draft(service)
    (studio.home / "config" / "keys" / "poyo.sealed").write_bytes(b"{}")

    with pytest.raises(KeyProblem, match="damaged"):
        submit(service.world, sheet_id)
    with pytest.raises(KeyProblem, match="damaged"):
        await permit(service.world, sheet_id, PASSPHRASE)
    assert studio.gateway.requests == []


async def test_the_opened_key_is_hidden_in_whatever_is_said_and_nowhere_in_the_ledger(studio: Studio) -> None:
    """A gateway that echoes the key is heard without it; when it is forgotten, nothing keeps it to hide it either."""
    service = sealed_service(studio)
    studio.gateway.replies = [reply({"code": 400, "error": {"message": f"bad key {KEY}", "type": "x"}}, 400)]
    task_id = await opened_task(service, draft(service))
    assert service.redactor().text(KEY) == "[key hidden]"

    task = await step(studio, service, task_id)

    assert task.state is TaskState.REJECTED
    assert "[key hidden]" in task.problem.said
    assert service.world.opened.gateways() == ()
    assert service.redactor().text(KEY) == KEY
    service.world.ledger().close()
    files = [path for path in studio.home.rglob("*") if path.is_file()]
    assert len(files) > 2
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


async def test_an_unsealed_gateway_has_nothing_to_open(studio: Studio) -> None:
    """The way with the passphrase in hand is for sealed keys alone."""
    studio.go_live()
    service = studio.service()
    sheet_id = draft(service)

    for act in (lambda: service.unlock("poyo", PASSPHRASE), lambda: service.opens("poyo", PASSPHRASE)):
        with pytest.raises(KeyProblem, match="not sealed"):
            act()
    with pytest.raises(KeyProblem, match="not sealed"):
        await permit(service.world, sheet_id, PASSPHRASE)
    assert service.held() == []
