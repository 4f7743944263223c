"""From an approved sheet to at most one paid request."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal

import httpx2
import pytest

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.consent import Means, Mode
from callsheet.core.sent import MarkedTask
from callsheet.core.shot import Shot
from callsheet.core.spending import Slots, SpendTerms
from callsheet.core.tasks import ClaimedTask, SheetEvent, TaskState
from callsheet.edges.config.policy_file import write_pause
from callsheet.edges.files.paths import register, registered_path
from callsheet.edges.keys.store import SecretKey, store_key_file
from callsheet.errors import (
    Action,
    GatewayRefused,
    KeyProblem,
    NotApproved,
    OutcomeUnknown,
    PolicyRefusal,
    SetupProblem,
    UnknownThing,
)
from callsheet.service import Draft
from callsheet.service.consent import binding_now
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.submission import ATTEMPT_SECONDS, submit
from samples import a_task
from workspace import KEY, SHOT, Workspace, accepted, account_of, draft, reply


def approved(workspace: Workspace) -> tuple[object, str]:
    """A live service with one sheet that a person approved."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    return service, sheet_id


def test_a_live_sheet_without_approval_sends_nothing_and_says_what_a_person_must_do(workspace: Workspace) -> None:
    """The first answer names the command; nothing reaches the gateway."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)

    answer = submit(service.deps, sheet_id)

    assert answer.status == "approval_needed"
    assert (answer.next_step.action, answer.next_step.target) == (Action.APPROVE, sheet_id)
    assert answer.approval_text.startswith("Price: 0.24 USD (48 credits)")
    assert workspace.gateway.requests == []


async def test_an_approved_sheet_is_sent_once_with_the_exact_bytes_and_the_key(workspace: Workspace) -> None:
    """What goes out is the frozen body, to the pinned address, authorised once."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [accepted()]

    answer = submit(service.deps, sheet_id)
    await run_task(service.deps, answer.report.task.id)

    [request] = workspace.gateway.paid
    assert str(request.url) == "https://api.poyo.ai/api/generate/submit"
    assert request.content == service.deps.ledger().sheet(sheet_id).body
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["idempotency-key"] == f"callsheet-{sheet_id}"
    assert service.task(answer.report.task.id).task.state is TaskState.QUEUED


async def test_a_spent_sheet_returns_its_task_and_sends_nothing(workspace: Workspace) -> None:
    """Calling again, in another process too, buys nothing more."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [accepted()]
    first = submit(service.deps, sheet_id)
    await run_task(service.deps, first.report.task.id)

    again = submit(workspace.service().deps, sheet_id)
    await run_task(service.deps, first.report.task.id)

    assert (again.status, again.again) == ("already_accepted", True)
    assert again.report.task.id == first.report.task.id
    assert len(workspace.gateway.paid) == 1


async def test_the_row_is_on_disk_before_the_first_byte_goes_out(workspace: Workspace) -> None:
    """While the gateway sees the request, another process already reads the task as being submitted."""
    service, sheet_id = approved(workspace)
    seen = []

    def watch(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            seen.extend(workspace.service().deps.ledger().tasks())
        return accepted()

    workspace.gateway.on_request = watch
    answer = submit(service.deps, sheet_id)
    await run_task(service.deps, answer.report.task.id)

    assert [task.state for task in seen] == [TaskState.SUBMITTING]
    assert seen[0].attempt
    assert service.task(answer.report.task.id).task.state is TaskState.QUEUED


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.ReadError("reset"),
        httpx2.ReadTimeout("slow"),
        httpx2.WriteError("reset"),
        httpx2.RemoteProtocolError("half a header"),
        reply({"code": 200, "data": {}}),
        httpx2.Response(200, content=b"<html>"),
        reply({"code": 500, "error": {"message": "boom", "type": "internal_error"}}, 500),
        reply({"code": 503}, 503),
    ],
)
async def test_an_answer_that_is_lost_is_unknown_and_never_sent_again(workspace: Workspace, failure: object) -> None:
    """However often the task is run afterwards, the gateway saw one request."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [failure, *[accepted()] * 5]
    task_id = submit(service.deps, sheet_id).report.task.id

    for _ in range(5):
        await run_task(service.deps, task_id)
        workspace.clock.time += 1000

    report = service.task(task_id)
    assert report.task.state is TaskState.OUTCOME_UNKNOWN
    assert len(workspace.gateway.paid) == 1
    assert (report.next_step.action, report.next_step.target) == (Action.RESOLVE, task_id)


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout("slow"),
        httpx2.PoolTimeout("busy"),
        reply({"code": 429, "error": {"message": "later", "type": "rate_limit_error"}}, 429, **{"retry-after": "20"}),
    ],
)
async def test_what_was_surely_not_executed_is_tried_again_under_the_same_approval(
    workspace: Workspace, failure: object
) -> None:
    """The task waits, then goes out once more, without a new approval."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [failure, accepted()]
    task_id = submit(service.deps, sheet_id).report.task.id

    await run_task(service.deps, task_id)
    waiting = service.task(task_id).task
    assert waiting.state is TaskState.WAITING
    assert waiting.next_at > workspace.clock.time
    workspace.clock.time = waiting.next_at + 1
    await run_task(service.deps, task_id)

    assert service.task(task_id).task.state is TaskState.QUEUED


async def test_retry_after_is_followed(workspace: Workspace) -> None:
    """A 429 that says 20 s is not asked again before."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [reply({"code": 429}, 429, **{"retry-after": "20"})]
    task_id = submit(service.deps, sheet_id).report.task.id

    await run_task(service.deps, task_id)

    assert service.task(task_id).task.next_at >= workspace.clock.time + 20


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 422])
async def test_a_documented_refusal_is_final_and_releases_the_reservation(workspace: Workspace, code: int) -> None:
    """The task is rejected in the gateway's words, and its price no longer counts."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [reply({"code": code, "error": {"message": "no, thanks", "type": "x"}}, code)]
    task_id = submit(service.deps, sheet_id).report.task.id

    await run_task(service.deps, task_id)

    report = service.task(task_id)
    assert report.task.state is TaskState.REJECTED
    assert "no, thanks" in report.status_text
    assert report.fate == "sent_not_charged"
    spent = service.deps.ledger().spending(report.task.mode, (0, 0))
    assert spent.today == 0


async def test_an_error_code_inside_http_200_is_read(workspace: Workspace) -> None:
    """HTTP 200 with a refusal in the body is a refusal."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [reply({"code": 402, "error": {"message": "Insufficient credits", "type": "x"}})]
    task_id = submit(service.deps, sheet_id).report.task.id

    await run_task(service.deps, task_id)

    assert service.task(task_id).task.state is TaskState.REJECTED


async def test_a_task_found_being_submitted_after_its_deadline_is_unknown(workspace: Workspace) -> None:
    """A process that died in the middle leaves a task that is never sent again automatically."""
    service, sheet_id = approved(workspace)
    task_id = submit(service.deps, sheet_id).report.task.id
    now = workspace.clock.now()
    service.deps.ledger().claim(task_id, attempt="dead", deadline=now + ATTEMPT_SECONDS, now=now, slots=Slots(5, 5))

    await run_task(service.deps, task_id)
    assert service.task(task_id).task.state is TaskState.SUBMITTING
    workspace.clock.time += ATTEMPT_SECONDS + 1
    await run_task(service.deps, task_id)

    assert service.task(task_id).task.state is TaskState.OUTCOME_UNKNOWN
    assert workspace.gateway.requests == []


async def test_a_person_resolves_an_unknown_outcome_either_way(workspace: Workspace) -> None:
    """Named as accepted it is followed; named as lost it is given up."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [httpx2.ReadError("reset")]
    task_id = submit(service.deps, sheet_id).report.task.id
    await run_task(service.deps, task_id)

    task = resolve_task(service.deps, task_id, accepted_as="task-unified-9-zzz")

    assert task.state is TaskState.QUEUED
    assert task.gateway_task_id == "task-unified-9-zzz"


async def test_another_take_after_an_unknown_outcome_warns_of_a_double_charge_first(workspace: Workspace) -> None:
    """Giving the task up proves nothing: agent and person both read it before the rest, and no allowance covers it."""
    service, sheet_id = approved(workspace)
    service.allow(("poyo/sora-2-official",), clips=3, up_to=Decimal("3.00"), seconds=3600, by=Means.TERMINAL)
    workspace.gateway.replies = [httpx2.ReadError("reset")]
    task_id = submit(service.deps, sheet_id).report.task.id
    await run_task(service.deps, task_id)
    resolve_task(service.deps, task_id, accepted_as=None)

    again = service.deps.ledger().sheet(draft(service))

    assert again.take == 2
    assert again.shown.splitlines()[1].startswith("POSSIBLE DUPLICATE CHARGE")
    assert task_id in again.shown
    assert submit(service.deps, again.id).status == "approval_needed"


async def test_a_task_given_up_as_lost_counts_against_the_caps_until_the_month_ends(workspace: Workspace) -> None:
    """The person may be wrong, so the price stays reserved."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [httpx2.ReadError("reset")]
    task_id = submit(service.deps, sheet_id).report.task.id
    await run_task(service.deps, task_id)

    resolve_task(service.deps, task_id, accepted_as=None)

    assert service.spending().this_month == Decimal("0.24")
    workspace.clock.time += 32 * 86_400
    assert service.spending().this_month == 0


async def test_a_waiting_task_that_is_given_up_frees_its_price(workspace: Workspace) -> None:
    """Nothing was sent, so nothing can have been charged."""
    service, sheet_id = approved(workspace)
    task_id = submit(service.deps, sheet_id).report.task.id

    resolve_task(service.deps, task_id, accepted_as=None)

    assert service.task(task_id).fate == "nothing_sent"
    assert service.spending().this_month == 0


@pytest.mark.parametrize("live", [True, False])
async def test_a_shot_of_unknown_outcome_is_held_until_a_person_resolves_it(workspace: Workspace, live: bool) -> None:
    """It has no sheet and points to the task; a sheet drafted before is not sent either, nor in the sandbox."""
    if live:
        workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    if live:
        service.approve(sheet_id, by=Means.TERMINAL)
    task = submit(service.deps, sheet_id).report.task
    second = draft(service)
    if live:
        service.approve(second, by=Means.TERMINAL)
    service.deps.ledger().claim(
        task.id, attempt="a", deadline=workspace.clock.time, now=workspace.clock.time, slots=Slots(9, 9)
    )
    workspace.clock.time += 1
    await run_task(service.deps, task.id)

    explanation = service.explain(Draft(shot=SHOT, gateway="poyo", model="sora-2-official"))

    assert (explanation.status, explanation.sheet) == ("held", None)
    assert (explanation.next_step.action, explanation.next_step.target) == (Action.RESOLVE, task.id)
    with pytest.raises(OutcomeUnknown, match=task.id) as caught:
        submit(service.deps, second)
    assert caught.value.fate == "nothing_sent"
    assert workspace.gateway.paid == []


def test_submitting_live_without_a_key_names_the_variable_and_sends_nothing(workspace: Workspace) -> None:
    """The sheet is left as it was."""
    workspace.write_policy('mode = "live"\n')
    service = workspace.service()
    sheet_id = draft(service)

    with pytest.raises(KeyProblem) as caught:
        submit(service.deps, sheet_id)
    assert "POYO_API_KEY" in caught.value.next_step.text


def test_read_only_wins_over_everything(workspace: Workspace) -> None:
    """An approved sheet is not sent either."""
    service, sheet_id = approved(workspace)
    workspace.write_policy('mode = "read-only"\n')

    with pytest.raises(PolicyRefusal, match="read-only"):
        submit(service.deps, sheet_id)


def test_a_sandbox_sheet_cannot_go_live(workspace: Workspace) -> None:
    """Arming live mode after the draft asks for a new sheet."""
    service = workspace.service()
    sheet_id = draft(service)
    workspace.go_live()

    with pytest.raises(PolicyRefusal, match="sandbox"):
        submit(service.deps, sheet_id)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda workspace: workspace.go_live('[gateways.poyo]\nbase_url = "https://proxy.example.org"\n'), "base_url"),
        (lambda workspace: workspace.environ.update(POYO_API_KEY="another-key-entirely-00"), "account"),
        (lambda workspace: workspace.go_live('[caps]\nper_clip = "1.00"\n'), "policy"),
    ],
)
def test_whatever_changes_after_the_approval_voids_it(workspace: Workspace, change: object, part: str) -> None:
    """Nothing is sent; the message names what changed."""
    service, sheet_id = approved(workspace)
    change(workspace)

    with pytest.raises(NotApproved, match=part):
        submit(service.deps, sheet_id)


async def test_what_changes_between_spending_and_sending_holds_the_request_back(workspace: Workspace) -> None:
    """The task keeps waiting and says why; it goes out when things are as approved again."""
    service, sheet_id = approved(workspace)
    task_id = submit(service.deps, sheet_id).report.task.id
    workspace.environ["POYO_API_KEY"] = "another-key-entirely-00"

    await run_task(service.deps, task_id)
    held = service.task(task_id)

    assert held.task.state is TaskState.WAITING
    assert "account" in held.status_text
    assert workspace.gateway.requests == []


@pytest.mark.parametrize("state", ["drafted", "awaiting_approval", "approved", "declined", "expired"])
async def test_a_task_whose_sheet_is_not_spent_on_it_is_never_sent(workspace: Workspace, state: str) -> None:
    """However such a row came about: the last look before the request is at the sheet."""
    service, sheet_id = approved(workspace)
    task_id = submit(service.deps, sheet_id).report.task.id
    with sqlite3.connect(workspace.ledger_file) as ledger:
        ledger.execute("UPDATE sheet SET state = ?", (state,))
    ledger.close()

    for _ in range(3):
        await run_task(service.deps, task_id)
        workspace.clock.time += 600

    assert workspace.gateway.paid == []
    assert service.task(task_id).task.state is TaskState.WAITING
    assert "not spent on this task" in service.task(task_id).task.problem.message


def test_caps_are_reserved_when_the_sheet_is_spent(workspace: Workspace) -> None:
    """The second clip that would break the day's cap is refused, with the figures."""
    workspace.go_live('[caps]\nper_day = "0.40"\n')
    service = workspace.service()
    first = draft(service)
    service.approve(first, by=Means.TERMINAL)
    submit(service.deps, first)
    second = draft(service)
    terms = SpendTerms(
        digest=binding_now(service.deps, service.sheet(second)).digest, caps=service.policy.caps, windows=(0.0, 0.0)
    )
    service.deps.ledger().move_sheet(second, SheetEvent.APPROVED, now=workspace.clock.time, by=Means.TERMINAL)

    figures = r"0\.24 USD would exceed the cap per day of 0\.40 USD"
    with pytest.raises(PolicyRefusal, match=figures):
        submit(service.deps, second)
    # Another process may spend between the check and the transaction, which therefore looks again.
    with pytest.raises(PolicyRefusal, match=figures):
        service.deps.ledger().spend(
            second, task=a_task(service.sheet(second), mode=Mode.LIVE), terms=terms, now=workspace.clock.time
        )


def test_a_clip_over_the_cap_per_clip_is_refused(workspace: Workspace) -> None:
    """However much of the day is left."""
    workspace.go_live('[caps]\nper_clip = "0.20"\n')
    service = workspace.service()
    sheet_id = draft(service)

    with pytest.raises(PolicyRefusal, match="per clip"):
        service.approve(sheet_id, by=Means.TERMINAL)
    with pytest.raises(PolicyRefusal, match="per clip"):
        submit(service.deps, sheet_id)


async def test_only_so_many_tasks_are_open_at_the_gateways_at_once(workspace: Workspace) -> None:
    """One more waits for a slot, and says so."""
    workspace.go_live("[caps]\nconcurrent = 1\n")
    service = workspace.service()
    workspace.gateway.replies = [accepted("task-unified-1-abc")]
    tasks = []
    for length in (4, 8):
        sheet_id = draft(service, Shot.of(SHOT.prompt, duration_seconds=length))
        service.approve(sheet_id, by=Means.TERMINAL)
        tasks.append(submit(service.deps, sheet_id).report.task.id)
    for task_id in tasks:
        await run_task(service.deps, task_id)

    assert [service.task(task_id).task.state for task_id in tasks] == [TaskState.QUEUED, TaskState.WAITING]
    assert "concurrent" in service.task(tasks[1]).status_text


async def test_in_the_sandbox_a_task_waits_for_a_slot_and_after_a_failure_as_much_shorter(workspace: Workspace) -> None:
    """As everything there is faster: 5 s and 2.5 s, at 30 times real time. APIXO takes three tasks at once."""
    service = workspace.service()
    ledger, now, tasks = service.deps.ledger(), workspace.clock.now(), []
    for number in range(4):
        sheet_id = draft(service, Shot.of(f"Kite {number}.", duration_seconds=4), gateway="apixo", model="sora-2")
        tasks.append(submit(service.deps, sheet_id).report.task.id)
    failing = replace(service.deps, sent=NoMark())
    await run_task(failing, tasks[0])
    for task_id in tasks[1:]:
        ledger.claim(task_id, attempt=task_id, deadline=now + ATTEMPT_SECONDS, now=now, slots=Slots(9, 9))
    workspace.clock.time = held = ledger.task(tasks[0]).next_at
    await run_task(service.deps, tasks[0])

    assert (held - now, ledger.task(tasks[0]).problem.code) == (pytest.approx(2.5 / 30), "no_slot")
    assert ledger.task(tasks[0]).next_at - held == pytest.approx(5 / 30)


class NoMark:
    """Stands where the mark is written, on a disk that fails."""

    def record(self, claimed: ClaimedTask) -> MarkedTask:
        raise SetupProblem("The disk failed.", next_step="")


def test_an_unknown_price_needs_a_ceiling_that_a_person_set(workspace: Workspace) -> None:
    """Without one nothing can be approved; with one, that sum is reserved and shown."""
    workspace.environ["APIXO_API_KEY"] = KEY
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service, gateway="apixo", model="sora-2")
    with pytest.raises(PolicyRefusal, match="not documented"):
        submit(service.deps, sheet_id)

    workspace.go_live('[prices]\nunknown_ceiling = "1.50"\n')
    sheet = service.deps.ledger().sheet(draft(service, gateway="apixo", model="sora-2"))

    assert sheet.shown.startswith("Price: unknown, counted as 1.50 USD (your ceiling); the gateway may charge more")
    assert sheet.reserve_micros == 1_500_000


def test_an_approval_grows_old(workspace: Workspace) -> None:
    """An hour later the sheet must be approved again."""
    service, sheet_id = approved(workspace)
    workspace.clock.time += 3601

    with pytest.raises(NotApproved, match="too old"):
        submit(service.deps, sheet_id)


def test_a_clock_that_was_set_back_does_not_prolong_an_approval(workspace: Workspace) -> None:
    """Before the moment of approval it does not hold either."""
    service, sheet_id = approved(workspace)
    workspace.clock.time -= 7200

    with pytest.raises(NotApproved):
        submit(service.deps, sheet_id)


def test_a_declined_sheet_stays_declined_and_the_next_draft_is_a_new_take(workspace: Workspace) -> None:
    """No call revives it."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.decline(sheet_id)

    with pytest.raises(Exception, match="declined"):
        submit(service.deps, sheet_id)
    assert draft(service) != sheet_id


def test_an_unknown_sheet_is_refused(workspace: Workspace) -> None:
    """With the way to get one."""
    with pytest.raises(UnknownThing) as caught:
        submit(workspace.service().deps, "sheet_nothing")
    assert caught.value.next_step.action is Action.EXPLAIN


async def test_after_a_lost_answer_the_balance_before_and_after_is_a_hint(workspace: Workspace) -> None:
    """Shown to the person who must resolve it, and called no proof."""
    service, sheet_id = approved(workspace)
    workspace.gateway.balances = [120.5, 72.5]
    workspace.gateway.replies = [httpx2.ReadError("reset")]
    task_id = submit(service.deps, sheet_id).report.task.id

    await run_task(service.deps, task_id)

    report = service.task(task_id)
    assert report.task.state is TaskState.OUTCOME_UNKNOWN
    assert "Balance before 120.5 credits, after 72.5 credits (a hint, no proof)" in report.status_text


async def test_evolinks_own_list_is_a_hint_too(workspace: Workspace) -> None:
    """Tasks of that model from that time which nobody here knows are named; an id that holds the key is not."""
    workspace.environ["EVOLINK_API_KEY"] = KEY
    workspace.go_live()
    service = workspace.service()
    tasks = []
    for length in (4, 8):
        shot = Shot.of(SHOT.prompt, duration_seconds=length)
        sheet_id = draft(service, shot, gateway="evolink", model="sora-2-preview")
        service.approve(sheet_id, by=Means.TERMINAL)
        tasks.append(submit(service.deps, sheet_id).report.task.id)
    now = int(workspace.clock.now())
    rows = [
        {"id": "task-unified-1-new", "model": "sora-2-preview", "created_at": now + 1},
        {"id": "task-unified-1-mine", "model": "sora-2-preview", "created_at": now},
        {"id": f"task-{KEY}", "model": "sora-2-preview", "created_at": now},
        {"id": "task-unified-1-old", "model": "sora-2-preview", "created_at": now - 90000},
        {"id": "task-unified-1-other", "model": "sora-2-pro-preview", "created_at": now},
    ]
    answers = [reply({"id": "task-unified-1-mine", "status": "pending"}), httpx2.ReadError("reset")]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            return reply({"data": rows, "total": 5}) if request.url.path == "/v1/tasks" else reply({}, 500)
        if isinstance(found := answers.pop(0), Exception):
            raise found
        return found

    workspace.gateway.on_request = answer
    for task_id in tasks:
        await run_task(service.deps, task_id)

    assert service.task(tasks[0]).task.gateway_task_id == "task-unified-1-mine"
    assert service.task(tasks[1]).task.hints == "Tasks the gateway lists from that time: task-unified-1-new."


@pytest.mark.parametrize(
    ("code", "offered_again"), [(400, False), (403, False), (422, False), (401, True), (402, True)]
)
async def test_bytes_that_were_refused_are_not_offered_again(
    workspace: Workspace, code: int, offered_again: bool
) -> None:
    """Unless the refusal was about the account; changing the key or the shot helps too."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [reply({"code": code, "error": {"message": "no", "type": "x"}}, code), accepted()]
    await run_task(service.deps, submit(service.deps, sheet_id).report.task.id)
    again = draft(service)

    if offered_again:
        service.approve(again, by=Means.TERMINAL)
        assert submit(service.deps, again).status == "waiting"
    else:
        with pytest.raises(GatewayRefused, match="refused this same request before") as caught:
            submit(service.deps, again)
        assert caught.value.fate == "nothing_sent"
        workspace.environ["POYO_API_KEY"] = "another-key-entirely-00"
        other = draft(service)
        service.approve(other, by=Means.TERMINAL)
        assert submit(service.deps, other).status == "waiting"


async def test_what_could_not_be_sent_for_a_day_is_withdrawn(workspace: Workspace) -> None:
    """Nobody expects the bill then; nothing was sent, and the reservation is released."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [httpx2.ConnectError("refused")] * 3
    task_id = submit(service.deps, sheet_id).report.task.id
    await run_task(service.deps, task_id)
    workspace.clock.time += 86_500

    await run_task(service.deps, task_id)

    report = service.task(task_id)
    assert report.task.state is TaskState.ABANDONED
    assert report.fate == "nothing_sent"
    assert len(workspace.gateway.paid) == 1


@pytest.mark.parametrize(("late", "sent"), [(ATTEMPT_SECONDS / 2 + 1, 0), (ATTEMPT_SECONDS / 2 - 1, 1)])
async def test_a_request_does_not_start_in_the_second_half_of_its_deadline(
    workspace: Workspace, late: float, sent: int
) -> None:
    """Its answer might come when the attempt already counts as lost."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [accepted()]
    find_key, delays = service.deps.find_key, [late]

    def find_slowly(facts: GatewayFacts) -> object:
        if service.deps.sending and delays:
            workspace.clock.time += delays.pop()
        return find_key(facts)

    deps = replace(service.deps, find_key=find_slowly)
    task_id = submit(deps, sheet_id).report.task.id
    await run_task(deps, task_id)

    assert len(workspace.gateway.paid) == sent
    assert service.task(task_id).task.state is (TaskState.QUEUED if sent else TaskState.WAITING)


@pytest.mark.parametrize(
    ("policy", "code"),
    [('mode = "read-only"\n', "policy_refusal"), ('mode = "live"\n[caps]\nper_clip = "1.00"\n', "not_as_approved")],
)
async def test_what_changes_while_the_balance_is_read_holds_the_request_back(
    workspace: Workspace, policy: str, code: str
) -> None:
    """The balance is asked after the first look, and that takes time."""
    service, sheet_id = approved(workspace)

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return accepted()
        workspace.write_policy(policy)
        return reply({"code": 200, "data": {"credits_amount": 100}})

    workspace.gateway.on_request = answer
    task_id = submit(service.deps, sheet_id).report.task.id
    await run_task(service.deps, task_id)

    assert workspace.gateway.paid == []
    task = service.task(task_id).task
    assert (task.state, task.attempts, task.problem.code) == (TaskState.WAITING, 0, code)


async def test_a_limiter_that_never_lets_go_is_not_asked_without_end(workspace: Workspace) -> None:
    """A handful of tries under one approval, never at once; then it is refused, and a person decides."""
    service, sheet_id = approved(workspace)
    workspace.gateway.replies = [reply({"code": 429}, 429, **{"retry-after": "0"}) for _ in range(50)]
    task_id = submit(service.deps, sheet_id).report.task.id

    for _ in range(500):
        await run_task(service.deps, task_id)
        workspace.clock.time += 10

    assert service.task(task_id).task.state is TaskState.REJECTED
    assert len(workspace.gateway.paid) <= 6


async def test_an_approval_given_before_a_possible_duplicate_was_known_is_not_enough(workspace: Workspace) -> None:
    """The second take was drafted, and even approved, while the first was still waiting."""
    service, sheet_id = approved(workspace)
    first = submit(service.deps, sheet_id).report.task.id
    second = draft(service)
    service.approve(second, by=Means.TERMINAL)
    workspace.gateway.replies = [httpx2.ReadError("reset")]
    await run_task(service.deps, first)

    resolve_task(service.deps, first, accepted_as=None)

    with pytest.raises(NotApproved, match="POSSIBLE DUPLICATE CHARGE"):
        submit(service.deps, second)
    assert "POSSIBLE DUPLICATE CHARGE" in service.deps.ledger().sheet(draft(service)).shown.splitlines()[0]


async def test_a_prompt_with_the_words_of_the_warning_does_not_stand_in_for_it(workspace: Workspace) -> None:
    """The person must read of the possible duplicate above the prompt, or nothing approves and nothing is sent."""
    workspace.go_live()
    service = workspace.service()
    kite = Shot.of(f"{SHOT.prompt} POSSIBLE DUPLICATE CHARGE", duration_seconds=4)
    sheet_id = draft(service, kite)
    service.approve(sheet_id, by=Means.TERMINAL)
    first = submit(service.deps, sheet_id).report.task.id
    second = draft(service, kite)
    workspace.gateway.replies = [httpx2.ReadError("reset")]
    await run_task(service.deps, first)

    resolve_task(service.deps, first, accepted_as=None)

    with pytest.raises(NotApproved, match="unknown outcome"):
        service.approve_typed(second, typed="0.24", by=Means.CLIENT)
    third = draft(service, kite)
    assert third != second
    assert "POSSIBLE DUPLICATE CHARGE" in service.deps.ledger().sheet(third).shown.splitlines()[0]


@pytest.mark.parametrize("live", [True, False])
async def test_a_policy_that_breaks_while_the_gateway_answers_does_not_cost_the_answer(
    workspace: Workspace, live: bool
) -> None:
    """What was accepted is stored as accepted; what waits is not sent, and says why."""
    if live:
        workspace.go_live()
    service = workspace.service()

    async def sandbox_url() -> str:
        return "http://127.0.0.1:1"

    deps = replace(service.deps, sandbox_url=sandbox_url)
    first, second = draft(service), draft(service, Shot.of("A harbour.", duration_seconds=4))
    for sheet_id in (first, second):
        if live:
            service.approve(sheet_id, by=Means.TERMINAL)
    sent, waiting = [submit(deps, sheet_id).report.task.id for sheet_id in (first, second)]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return reply({}, 404)
        workspace.write_policy("mode = ")
        return accepted()

    workspace.gateway.on_request = answer
    await run_task(deps, sent)
    await run_task(deps, waiting)

    ledger = deps.ledger()
    assert ledger.task(sent).state is TaskState.QUEUED
    assert (ledger.task(waiting).state, ledger.task(waiting).problem.code) == (TaskState.WAITING, "setup_problem")
    assert [request.method for request in workspace.gateway.requests].count("POST") == 1


@pytest.mark.parametrize("policy", ['mode = "read-only"\n', 'mode = "live"\n[caps]\nper_day = "0.30"\n', None])
async def test_what_a_person_forbids_or_changes_while_the_ledger_is_locked_is_not_sent(
    workspace: Workspace, policy: str | None
) -> None:
    """The policy is looked at again after the claim, right before the first byte."""
    service, sheet_id = approved(workspace)
    task_id = submit(service.deps, sheet_id).report.task.id
    ledger = service.deps.ledger()
    claim = ledger.claim

    def slow_claim(*arguments: object, **named: object) -> object:
        claimed = claim(*arguments, **named)
        if policy is None:
            write_pause(workspace.home / "config" / "policy.toml", paused=True)
        else:
            workspace.write_policy(policy)
        return claimed

    ledger.claim = slow_claim
    await run_task(service.deps, task_id)

    assert workspace.gateway.requests == []
    assert service.task(task_id).task.state is TaskState.WAITING


def test_a_ceiling_of_nothing_is_no_ceiling(workspace: Workspace) -> None:
    """Else clips of unknown price would slip under every cap."""
    workspace.environ["APIXO_API_KEY"] = KEY
    workspace.go_live('[prices]\nunknown_ceiling = "0"\n')
    service = workspace.service()

    with pytest.raises(PolicyRefusal, match="not documented"):
        submit(service.deps, draft(service, gateway="apixo", model="sora-2"))


async def test_caps_count_what_is_sent_today_however_old_its_approval(workspace: Workspace) -> None:
    """A task that waited over midnight counts on the day on which it goes out."""
    workspace.go_live('[caps]\nper_day = "0.40"\n')
    service = workspace.service()
    first = draft(service)
    service.approve(first, by=Means.TERMINAL)
    submit(service.deps, first)
    workspace.clock.time += 80_000
    second = draft(service)

    with pytest.raises(PolicyRefusal, match="per day"):
        submit(service.deps, second)


PROXY = '[gateways.poyo]\nbase_url = "https://proxy.example.org"\n'


def write_policy_only(workspace: Workspace, text: str) -> None:
    """The policy file changes, and nobody was at a terminal."""
    (workspace.home / "config" / "policy.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("source", ["environment", "file"])
async def test_an_unsealed_key_goes_to_no_address_that_no_person_named(workspace: Workspace, source: str) -> None:
    """Neither to pay nor to ask; once it is named, it does."""
    workspace.go_live()
    if source == "file":
        key = SecretKey("poyo", workspace.environ.pop("POYO_API_KEY"), source="typed")
        store_key_file(key, keys_directory=workspace.home / "config" / "keys")
    write_policy_only(workspace, f'mode = "live"\n{PROXY}')
    service = workspace.service()
    sheet_id = draft(service)

    with pytest.raises(KeyProblem, match="no person named"):
        service.approve(sheet_id, by=Means.TERMINAL)
    with pytest.raises(KeyProblem, match="no person named"):
        await service.deps.reach(Mode.LIVE, service.facts("poyo"))
    assert workspace.gateway.requests == []

    register(account_of(workspace.home), addresses=(("poyo", "https://proxy.example.org"),))
    assert (await service.deps.reach(Mode.LIVE, service.facts("poyo")))[0] == "https://proxy.example.org"
    service.approve(sheet_id, by=Means.TERMINAL)
    assert submit(service.deps, sheet_id).report is not None


async def test_an_address_named_for_one_gateway_is_not_named_for_another(workspace: Workspace) -> None:
    """A proxy of one gateway gets no key of another; the gateway's own address needs no naming."""
    workspace.go_live()
    workspace.environ["APIXO_API_KEY"] = "apixo-key-0001"
    register(account_of(workspace.home), addresses=(("apixo", "https://proxy.example.org"),))
    write_policy_only(workspace, f'mode = "live"\n{PROXY}')
    service = workspace.service()

    with pytest.raises(KeyProblem):
        await service.deps.reach(Mode.LIVE, service.facts("poyo"))
    assert (await service.deps.reach(Mode.LIVE, service.facts("apixo")))[1] is not None


def test_a_home_that_nobody_registered_cannot_be_live(workspace: Workspace) -> None:
    """Whatever its policy, ledger and passphrase say. In the sandbox it works."""
    registered_path(account_of(workspace.home)).unlink()
    workspace.environ["POYO_API_KEY"] = KEY
    path = workspace.home / "config" / "policy.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    write_policy_only(workspace, 'mode = "live"\n')

    with pytest.raises(SetupProblem, match="no person registered it"):
        draft(workspace.service())
    write_policy_only(workspace, 'mode = "sandbox"\n')
    assert draft(workspace.service())
