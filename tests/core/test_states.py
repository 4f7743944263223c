"""The life of a sheet and of a task is what the two tables say, and nothing else can happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from enum import StrEnum

import pytest

from callsheet.core.catalogue import Price
from callsheet.core.consent import Binding, Mode
from callsheet.core.shot import Shot
from callsheet.core.tasks import (
    OPEN_STATES,
    RESERVING_STATES,
    SHEET_TABLE,
    SLOT_STATES,
    TASK_TABLE,
    IllegalEvent,
    Sheet,
    SheetEvent,
    SheetId,
    SheetState,
    Task,
    TaskEvent,
    TaskId,
    TaskState,
    advance_sheet,
    advance_task,
)
from cases import cases
from render.references import render_diagram

Table = Mapping[tuple[StrEnum, StrEnum], StrEnum]

LIFE_OF_A_SHEET = """
drafted awaiting_approval
awaiting_approval approved
approved spent
drafted declined
awaiting_approval declined
drafted expired
awaiting_approval expired
approved expired
"""
LIFE_OF_A_TASK = """
waiting submitting
submitting queued
queued running
running succeeded
succeeded saved
submitting waiting
submitting rejected
submitting outcome_unknown
running failed
succeeded expired
outcome_unknown queued
outcome_unknown abandoned
"""
TABLES = [
    (SHEET_TABLE, SheetState, SheetEvent, "drafted"),
    (TASK_TABLE, TaskState, TaskEvent, "waiting"),
]
ENDS = {
    "sheet": {"spent", "declined", "expired"},
    # A task that a person gave up may still turn out to have been accepted.
    "task": {"saved", "rejected", "failed", "expired"},
}


def edges(table: Table) -> set[tuple[str, str]]:
    return {(state.value, after.value) for (state, _), after in table.items()}


def reachable(table: Table, start: StrEnum) -> set[StrEnum]:
    found, left = {start}, [start]
    while left:
        state = left.pop()
        new = {after for (before, _), after in table.items() if before is state} - found
        found |= new
        left.extend(new)
    return found


@cases(("table", "life"), [(SHEET_TABLE, LIFE_OF_A_SHEET), (TASK_TABLE, LIFE_OF_A_TASK)])
def test_every_step_of_the_documented_life_is_in_the_table(table: Table, life: str) -> None:
    """Nothing that the design promises is missing."""
    promised = {tuple(line.split()) for line in life.strip().splitlines()}
    assert promised <= edges(table)


@cases(("table", "states", "events", "first"), TABLES, ids=ENDS)
def test_every_state_is_reachable_and_every_event_can_happen(
    table: Table, states: type[StrEnum], events: type[StrEnum], first: str
) -> None:
    """There is no dead row: each state can be come to and each event occurs somewhere."""
    assert reachable(table, states(first)) == set(states)
    assert {event for _, event in table} == set(events)


def test_an_end_is_an_end() -> None:
    """No event leads out of a terminal state, and every other state has a way out."""
    for table, states, name in ((SHEET_TABLE, SheetState, "sheet"), (TASK_TABLE, TaskState, "task")):
        going_on = {state.value for state, _ in table}
        assert {state.value for state in states} - going_on == ENDS[name]


def test_from_every_open_state_an_end_can_be_reached() -> None:
    """No task can be stuck for ever."""
    for state in TaskState:
        assert {found.value for found in reachable(TASK_TABLE, state)} & ENDS["task"]


@cases("state", SheetState)
@cases("event", SheetEvent)
def test_a_sheet_advances_only_by_its_table(state: SheetState, event: SheetEvent) -> None:
    """An event without an entry raises and names both sides."""
    expected = SHEET_TABLE.get((state, event))
    if expected is not None:
        assert advance_sheet(state, event) is expected
        return
    with pytest.raises(IllegalEvent, match=f"'{event.value}' cannot happen in state '{state.value}'") as caught:
        advance_sheet(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)


@cases("state", TaskState)
@cases("event", TaskEvent)
def test_a_task_advances_only_by_its_table(state: TaskState, event: TaskEvent) -> None:
    """An event without an entry raises and names both sides."""
    expected = TASK_TABLE.get((state, event))
    if expected is not None:
        assert advance_task(state, event) is expected
        return
    with pytest.raises(IllegalEvent, match=f"'{event.value}' cannot happen in state '{state.value}'") as caught:
        advance_task(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)


def test_the_tables_cannot_be_written_to() -> None:
    """No module can add a transition of its own."""
    with pytest.raises(TypeError):
        TASK_TABLE[TaskState.SAVED, TaskEvent.CLAIMED] = TaskState.SUBMITTING  # type: ignore[index]
    with pytest.raises(TypeError):
        SHEET_TABLE[SheetState.SPENT, SheetEvent.SPENT] = SheetState.SPENT  # type: ignore[index]


def test_an_unknown_outcome_is_sent_again_only_if_it_was_not_sent() -> None:
    """Every way from `outcome_unknown` to `submitting` begins with the proof that nothing was sent."""
    assert TASK_TABLE[TaskState.OUTCOME_UNKNOWN, TaskEvent.NOT_SENT] is TaskState.WAITING
    without = {
        (state, event): after
        for (state, event), after in TASK_TABLE.items()
        if (state, event) != (TaskState.OUTCOME_UNKNOWN, TaskEvent.NOT_SENT)
    }
    assert TaskState.SUBMITTING not in reachable(without, TaskState.OUTCOME_UNKNOWN)


def test_what_a_gateway_accepted_is_never_submitted_again() -> None:
    """No way leads back to sending from any state after acceptance."""
    for state in (TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED):
        assert not reachable(TASK_TABLE, state) & {TaskState.WAITING, TaskState.SUBMITTING}


def test_submitting_is_entered_only_by_a_claim() -> None:
    """Only a task that waits can be sent, and only by claiming it."""
    ways = {(state, event) for (state, event), after in TASK_TABLE.items() if after is TaskState.SUBMITTING}
    assert ways == {(TaskState.WAITING, TaskEvent.CLAIMED)}


def test_a_sheet_is_spent_once_and_only_when_approved() -> None:
    """There is one way to spend a sheet, and none back."""
    ways = {(state, event) for (state, event), after in SHEET_TABLE.items() if after is SheetState.SPENT}
    assert ways == {(SheetState.APPROVED, SheetEvent.SPENT)}
    assert not any(state is SheetState.SPENT for state, _ in SHEET_TABLE)


def test_the_groups_of_states_are_what_they_are_called() -> None:
    """Open, reserving and slot states fit the table's ends."""
    ends = {TaskState(value) for value in ENDS["task"]} | {TaskState.ABANDONED}
    assert not ends & OPEN_STATES
    assert set(TaskState) - ends - OPEN_STATES == {TaskState.OUTCOME_UNKNOWN}
    assert set(TaskState) - RESERVING_STATES == {TaskState.REJECTED, TaskState.ABANDONED}
    assert not ends & SLOT_STATES
    assert {TaskState.SUBMITTING, TaskState.OUTCOME_UNKNOWN} <= SLOT_STATES


@cases(("table", "states", "events", "first"), TABLES, ids=ENDS)
def test_the_diagram_names_every_state_and_every_change(
    table: Table, states: type[StrEnum], events: type[StrEnum], first: str
) -> None:
    """The drawing is the table: one line for each change, none for what stays."""
    title, *lines = render_diagram(table).splitlines()
    assert title == "stateDiagram-v2"
    drawn = {(before, after, event) for before, _, after, event in (line.replace(":", "").split() for line in lines)}
    changes = {(state, after, event) for (state, event), after in table.items() if state is not after}
    assert drawn == {(state.value, after.value, event.value) for state, after, event in changes}
    assert len(lines) == len(changes)
    assert {name for before, after, _ in drawn for name in (before, after)} == {state.value for state in states}


def test_sheets_and_tasks_name_their_card_and_their_mode() -> None:
    """A sheet's side and card come from its binding, a task's card from its gateway and model."""
    binding = Binding(
        mode="live",
        gateway="poyo",
        model="sora-2-official",
        base_url="https://api.poyo.ai",
        method="POST",
        path="/api/generate/submit",
        body_sha256="00",
        account="",
        price="0.24 USD",
        prices="1",
        callback_host="",
        policy="default",
        take="1",
    )
    sheet = Sheet(
        id=SheetId("sheet_a"),
        take=1,
        state=SheetState.DRAFTED,
        binding=binding,
        shot=Shot(prompt="A cat"),
        price=Price(Decimal(48), "credits", Decimal("0.24"), "2026-08-07", "page"),
        body=b"{}",
        reserve_micros=240_000,
        shown="",
        made_at=0.0,
        expires_at=1.0,
    )
    task = Task(
        id=TaskId("task_a"),
        sheet_id=sheet.id,
        mode=Mode.LIVE,
        gateway="poyo",
        model="sora-2-official",
        state=TaskState.WAITING,
        reserve_micros=240_000,
        created_at=0.0,
        updated_at=0.0,
        next_at=0.0,
    )
    assert (sheet.mode, sheet.card_id, task.card_id) == (Mode.LIVE, "poyo/sora-2-official", "poyo/sora-2-official")
    assert replace(sheet, binding=replace(binding, mode="sandbox")).mode is Mode.SANDBOX
