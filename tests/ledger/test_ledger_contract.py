"""What every ledger promises: what it stores survives, what it refuses changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal

import pytest

from callsheet.core.consent import Caps, Means
from callsheet.core.spending import Slots, SpendTerms
from callsheet.core.tasks import (
    ClaimedTask,
    Clip,
    IllegalEvent,
    Problem,
    Sheet,
    SheetEvent,
    SheetState,
    Task,
    TaskEvent,
    TaskFilter,
    TaskState,
)
from callsheet.errors import Action, InvalidRequest, NotApproved, PolicyRefusal, UnknownThing
from callsheet.service.ports import Ledger
from samples import START, a_sheet, a_task, add_approved

WINDOWS = (START - 1000, START - 1000)


def spend(ledger: Ledger, sheet: Sheet, task: Task | None = None, caps: Caps | None = None) -> Task:
    """Spend the sheet on that task, bound as it is."""
    return ledger.spend(
        sheet.id,
        task=task or a_task(sheet),
        terms=SpendTerms(sheet.binding.digest, caps or Caps(), WINDOWS),
        now=START,
    )


def test_a_sheet_comes_back_as_it_was_stored(make_ledger: Callable[[], Ledger], ledger: Ledger, sheet: Sheet) -> None:
    """In another process too."""
    assert make_ledger().sheet(sheet.id) == sheet
    assert sheet.approved_by is Means.TERMINAL
    assert sheet.price.usd == Decimal("0.24")


def test_a_sheet_that_is_stored_approved_keeps_who_approved_it(
    make_ledger: Callable[[], Ledger], ledger: Ledger
) -> None:
    """Every field, of which a sheet without an approval leaves three empty."""
    approved = a_sheet(approved_by=Means.ALLOWANCE, approved_at=START - 5, allowance="allowance_a", shown="Price: x")
    ledger.add_sheet(approved, now=START)

    assert make_ledger().sheet(approved.id) == approved


def test_a_task_comes_back_as_it_was_stored(make_ledger: Callable[[], Ledger], ledger: Ledger, sheet: Sheet) -> None:
    """With its problem and its clip."""
    spend(ledger, sheet)
    changes = {
        "problem": Problem("x", "y", "unknown", "said"),
        "clip": Clip("/a", 1, "b", 4.0, 2, 3, "/c", "/d"),
        "percent": 7,
    }

    stored = ledger.touch("t1", now=START + 1, changes=changes)

    assert make_ledger().task("t1") == stored
    assert stored.clip == changes["clip"]
    assert stored.problem == changes["problem"]


def test_spending_twice_returns_the_same_task(ledger: Ledger, sheet: Sheet) -> None:
    """The second task is never created."""
    first = spend(ledger, sheet)

    assert spend(ledger, sheet, a_task(sheet, "t2")) == first
    assert [task.id for task in ledger.tasks()] == ["t1"]


def test_forty_threads_in_two_ledgers_spend_one_sheet_once(
    make_ledger: Callable[[], Ledger], ledger: Ledger, sheet: Sheet
) -> None:
    """Only one task is created, and all of them get it."""
    other = make_ledger()
    found: list[Task] = []
    barrier = threading.Barrier(40)

    def race(number: int) -> None:
        barrier.wait()
        found.append(spend((ledger, other)[number % 2], sheet, a_task(sheet, f"t{number}")))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 40
    assert len({task.id for task in found}) == 1
    assert len(ledger.tasks(limit=100)) == 1


@pytest.mark.parametrize("state", [SheetEvent.DECLINED, SheetEvent.EXPIRED])
def test_a_sheet_that_is_not_approved_cannot_be_spent(ledger: Ledger, sheet: Sheet, state: SheetEvent) -> None:
    """And nothing is left behind."""
    ledger.move_sheet(sheet.id, state, now=START)

    with pytest.raises(NotApproved):
        spend(ledger, sheet)
    assert ledger.tasks() == []


def test_a_live_sheet_without_consent_on_record_cannot_be_spent(ledger: Ledger) -> None:
    """Whatever its row says; and nothing is left behind."""
    sheet = ledger.add_sheet(a_sheet(), now=START)
    assert sheet.state is SheetState.APPROVED

    with pytest.raises(NotApproved):
        spend(ledger, sheet)
    assert ledger.tasks() == []
    assert ledger.sheet(sheet.id).state is SheetState.APPROVED


def test_an_approval_on_record_is_not_taken_back(ledger: Ledger, sheet: Sheet) -> None:
    """Only one of which the trail knows nothing; who saw it so may have looked a moment too early."""
    unknown = ledger.add_sheet(a_sheet("sheet_b"), now=START)

    assert ledger.move_sheet(unknown.id, SheetEvent.UNPROVEN, now=START).state is SheetState.AWAITING_APPROVAL
    assert ledger.move_sheet(sheet.id, SheetEvent.UNPROVEN, now=START).state is SheetState.APPROVED


def test_a_gateways_id_belongs_to_one_task(ledger: Ledger, sheet: Sheet) -> None:
    """In one mode at one gateway; a person may move it from a task that was given up."""
    other = add_approved(ledger, "sheet_b")
    elsewhere = add_approved(ledger, "sheet_c")
    spend(ledger, sheet)
    spend(ledger, other, a_task(other, "t2"))
    spend(ledger, elsewhere, a_task(elsewhere, "t3", gateway="apidot"))
    for task_id in ("t1", "t2", "t3"):
        ledger.claim(task_id, attempt="a", deadline=START + 9, now=START, slots=Slots(5, 5))
    named = {"gateway_task_id": "job"}
    ledger.advance("t1", TaskEvent.ACCEPTED, now=START, attempt="a", changes=named)
    ledger.advance("t3", TaskEvent.ACCEPTED, now=START, attempt="a", changes=named)

    with pytest.raises(InvalidRequest) as refused:
        ledger.advance("t2", TaskEvent.ACCEPTED, now=START, attempt="a", changes=named)
    assert refused.value.error_code == "same_id"
    assert ledger.task("t2").state is TaskState.SUBMITTING
    ledger.advance("t2", TaskEvent.ANSWER_LOST, now=START, changes={})
    ledger.advance("t1", TaskEvent.RESOLVED_LOST, now=START, changes={})
    moved = ledger.advance("t2", TaskEvent.RESOLVED_ACCEPTED, now=START, changes=named)
    assert moved.gateway_task_id == "job"


def test_a_binding_that_changed_cannot_be_spent(ledger: Ledger, sheet: Sheet) -> None:
    """One other byte in any part is another digest."""
    with pytest.raises(NotApproved, match="has changed"):
        ledger.spend(sheet.id, task=a_task(sheet), terms=SpendTerms("00", Caps(), WINDOWS), now=START)
    assert ledger.sheet(sheet.id).state is SheetState.APPROVED


def test_breaking_a_cap_leaves_the_sheet_unspent(ledger: Ledger, sheet: Sheet) -> None:
    """So that it can be spent when there is room."""
    with pytest.raises(PolicyRefusal):
        spend(ledger, sheet, caps=Caps(per_clip=Decimal("0.10")))

    assert ledger.sheet(sheet.id).state is SheetState.APPROVED
    assert ledger.tasks() == []


def test_an_illegal_event_changes_nothing(ledger: Ledger, sheet: Sheet) -> None:
    """Neither on a task nor on a sheet."""
    before = spend(ledger, sheet)

    with pytest.raises(IllegalEvent):
        ledger.advance("t1", TaskEvent.CLIP_SAVED, now=START, changes={"percent": 9})
    with pytest.raises(IllegalEvent):
        ledger.move_sheet(sheet.id, SheetEvent.APPROVED, now=START)
    assert ledger.task("t1") == before


def test_an_answer_of_another_attempt_is_not_taken(ledger: Ledger, sheet: Sheet) -> None:
    """A zombie cannot overwrite what a later attempt did."""
    spend(ledger, sheet)
    ledger.claim("t1", attempt="first", deadline=START + 9, now=START, slots=Slots(5, 5))

    with pytest.raises(IllegalEvent):
        ledger.advance("t1", TaskEvent.ACCEPTED, now=START, attempt="other", changes={})
    assert ledger.task("t1").state is TaskState.SUBMITTING


def test_a_claim_returns_what_may_be_sent(ledger: Ledger, sheet: Sheet) -> None:
    """The task with its attempt on record, and the sheet that was spent on it."""
    spend(ledger, sheet)

    claimed = ledger.claim("t1", attempt="a", deadline=START + 9, now=START, slots=Slots(5, 5))

    assert claimed == ClaimedTask(ledger.task("t1"), ledger.sheet(sheet.id), "a", START + 9)
    assert claimed.task.state is TaskState.SUBMITTING
    assert claimed.sheet.state is SheetState.SPENT
    with pytest.raises(IllegalEvent):
        ledger.claim("t1", attempt="b", deadline=START + 9, now=START, slots=Slots(5, 5))


def test_without_a_free_slot_nothing_is_claimed(ledger: Ledger, sheet: Sheet) -> None:
    """The task keeps waiting, and the number of missing slots says how far back it is."""
    task = spend(ledger, sheet)

    assert ledger.claim("t1", attempt="a", deadline=START + 9, now=START, slots=Slots(0, 5)) is None
    assert ledger.task("t1").state is TaskState.WAITING
    assert ledger.missing_slots(task, now=START, slots=Slots(0, 5)) == 1
    assert ledger.missing_slots(task, now=START, slots=Slots(1, 5)) == 0


SLOTS = {
    "the only one in all": (Slots(1, 9), 0, 0, True),
    "none left in all": (Slots(1, 9), 0, 1, False),
    "the last in all": (Slots(3, 9), 1, 1, True),
    "none left in all, most of them here": (Slots(3, 9), 2, 1, False),
    "the only one at the gateway": (Slots(9, 1), 0, 0, True),
    "those elsewhere do not count at the gateway": (Slots(9, 1), 0, 3, True),
    "none left at the gateway": (Slots(9, 1), 1, 0, False),
    "the last at the gateway": (Slots(9, 3), 2, 3, True),
    "none left at the gateway, though in all": (Slots(9, 3), 3, 0, False),
}


@pytest.mark.parametrize("case", SLOTS)
def test_as_many_tasks_are_claimed_as_there_are_slots_and_no_more(ledger: Ledger, sheet: Sheet, case: str) -> None:
    """Both limits, each with one below, at and above; `missing_slots` counts the same."""
    slots, here, elsewhere, claims = SLOTS[case]
    for number, gateway in enumerate(["poyo"] * here + ["apidot"] * elsewhere):
        held = add_approved(ledger, f"held_{number}")
        spend(ledger, held, a_task(held, f"held_{number}", gateway=gateway))
        assert ledger.claim(f"held_{number}", attempt="h", deadline=START + 9, now=START, slots=Slots(9, 9))
    task = spend(ledger, sheet)

    missing = ledger.missing_slots(task, now=START, slots=slots)
    claimed = ledger.claim("t1", attempt="a", deadline=START + 9, now=START, slots=slots)

    assert (claimed is not None, missing <= 0) == (claims, claims)
    assert ledger.task("t1").state is (TaskState.SUBMITTING if claims else TaskState.WAITING)


@pytest.mark.parametrize(("slots", "is_claimed"), [(Slots(1, 5), False), (Slots(5, 1), False), (Slots(2, 2), True)])
def test_a_slot_that_is_taken_is_not_given_twice(ledger: Ledger, sheet: Sheet, slots: Slots, is_claimed: bool) -> None:
    """In all, and at the task's gateway."""
    other = add_approved(ledger, "sheet_b")
    spend(ledger, sheet)
    spend(ledger, other, a_task(other, "t2"))

    assert ledger.claim("t1", attempt="a", deadline=START + 9, now=START, slots=slots) is not None
    claimed = ledger.claim("t2", attempt="b", deadline=START + 9, now=START, slots=slots)
    assert (claimed is not None) is is_claimed


@pytest.mark.parametrize(("age", "is_free"), [(0, False), (3599, False), (3600, True)])
def test_a_task_of_unknown_outcome_holds_its_slot_for_an_hour(
    ledger: Ledger, sheet: Sheet, age: float, is_free: bool
) -> None:
    """The gateway may be generating it, but not forever."""
    other = add_approved(ledger, "sheet_b")
    spend(ledger, sheet)
    task = spend(ledger, other, a_task(other, "t2"))
    slots = Slots(1, 5, unknown_holds_seconds=3600.0)
    ledger.claim("t1", attempt="a", deadline=START + 9, now=START, slots=slots)
    ledger.advance("t1", TaskEvent.ANSWER_LOST, now=START, changes={})

    assert ledger.missing_slots(task, now=START + age, slots=slots) == (0 if is_free else 1)
    claimed = ledger.claim("t2", attempt="b", deadline=START + 9, now=START + age, slots=slots)
    assert (claimed is not None) is is_free


def test_times_that_a_wrong_clock_set_are_brought_back(ledger: Ledger, sheet: Sheet) -> None:
    """Within a minute the task is due again; a time in the next hour is left unchanged."""
    spend(ledger, sheet, a_task(sheet, next_at=START + 90_000))

    ledger.reset_future_times(now=START)

    assert ledger.next_due("me") == START + 60
    ledger.touch("t1", now=START, changes={"next_at": START + 3000})
    ledger.reset_future_times(now=START)
    assert ledger.next_due("me") == START + 3000


def test_a_late_answer_of_the_same_attempt_still_wins(ledger: Ledger, sheet: Sheet) -> None:
    """Unknown becomes accepted."""
    spend(ledger, sheet)
    ledger.claim("t1", attempt="a", deadline=START + 9, now=START, slots=Slots(5, 5))
    ledger.advance("t1", TaskEvent.ANSWER_LOST, now=START + 10, attempt="a", changes={})

    task = ledger.advance("t1", TaskEvent.ACCEPTED, now=START + 11, attempt="a", changes={"gateway_task_id": "g"})

    assert task.state is TaskState.QUEUED
    assert ledger.task("t1") == task


def test_pace_is_exact_over_several_ledgers(make_ledger: Callable[[], Ledger], ledger: Ledger) -> None:
    """A burst, then one request per interval, over all ledgers."""
    other = make_ledger()

    waits = [(ledger, other)[n % 2].reserve_pace("k", interval=2.0, burst=3, now=START) for n in range(6)]

    assert waits == [0, 0, 0, 2.0, 4.0, 6.0]


def test_tasks_of_an_owner_that_is_gone_are_adopted(ledger: Ledger, sheet: Sheet) -> None:
    """Only the open ones."""
    spend(ledger, sheet)

    assert ledger.owners() == ["me"]
    assert ledger.adopt("me", "you") == 1
    assert ledger.due("you", now=START, limit=5) == ["t1"]
    assert ledger.next_due("you") == START
    assert ledger.due("me", now=START, limit=5) == []


def test_tasks_come_in_pages_of_twenty_the_newest_first(ledger: Ledger) -> None:
    """Unless the caller says otherwise."""
    for number in range(22):
        sheet = add_approved(ledger, f"sheet_{number}")
        spend(ledger, sheet, a_task(sheet, f"t{number}"), caps=Caps(None, None, None))
        ledger.touch(f"t{number}", now=START, changes={"created_at": START + number})

    assert [task.id for task in ledger.tasks()] == [f"t{number}" for number in range(21, 1, -1)]
    assert [task.id for task in ledger.tasks(offset=20)] == ["t1", "t0"]
    assert [task.id for task in ledger.tasks(limit=2, offset=3)] == ["t18", "t17"]


def test_history_tells_what_happened_in_order(ledger: Ledger, sheet: Sheet) -> None:
    """Of sheets and of tasks."""
    spend(ledger, sheet)
    other = ledger.add_sheet(a_sheet("sheet_b"), now=START)
    ledger.move_sheet(other.id, SheetEvent.DECLINED, now=START)

    assert [entry["kind"] for entry in ledger.history(other.id)] == ["drafted", "declined"]
    assert ledger.history(other.id)[0] == {"at": START, "kind": "drafted", "card": other.card_id, "take": 1}
    assert [entry["kind"] for entry in ledger.history("t1")] == ["created"]


def test_unknown_ids_are_named_as_such(ledger: Ledger) -> None:
    """With what to do instead."""
    with pytest.raises(UnknownThing) as no_task:
        ledger.touch("nothing", now=START, changes={"percent": 1})
    with pytest.raises(UnknownThing) as no_sheet:
        ledger.move_sheet("nothing", SheetEvent.APPROVED, now=START)
    with pytest.raises(UnknownThing) as no_allowance:
        ledger.consent.revoke("nothing", now=START, by=Means.TERMINAL)
    assert no_task.value.next_step.action is Action.LIST
    assert no_sheet.value.next_step.action is Action.EXPLAIN
    assert no_allowance.value.next_step.action is Action.ALLOWANCES


def test_a_dismissal_counts_until_the_task_changes(make_ledger: Callable[[], Ledger], ledger: Ledger) -> None:
    """In another process too; unknown ids leave no row."""
    task = spend(ledger, add_approved(ledger))
    undismissed = TaskFilter((TaskState.WAITING, TaskState.ABANDONED), undismissed=True)
    assert ledger.task_list.find(undismissed, limit=9) == [task]

    ledger.task_list.dismiss([task.id, "task_none"], now=START)

    assert make_ledger().task_list.find(undismissed, limit=9) == []
    assert ledger.history("task_none") == []
    assert ledger.task_list.find(TaskFilter(words="CAT", card=task.card_id), limit=9) == [task]
    assert ledger.task_list.find(TaskFilter(words="cat %"), limit=9) == []
    changed = ledger.advance(task.id, TaskEvent.WITHDRAWN, now=START, changes={})
    assert ledger.task_list.find(undismissed, limit=9) == [changed]
