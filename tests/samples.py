"""Sheets, tasks and costs as plain values, for tests that are about something else."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from callsheet.core.catalogue.prices import Price
from callsheet.core.consent import Binding, Means, Mode
from callsheet.core.sent import MarkedTask
from callsheet.core.shot import Shot
from callsheet.core.tasks import (
    SHEET_LIFETIME,
    ClaimedTask,
    Sheet,
    SheetEvent,
    SheetId,
    SheetState,
    Task,
    TaskId,
    TaskState,
)
from callsheet.edges.keys.passphrase import Cost
from callsheet.service.ports import Ledger

START = 1_790_000_000.0

SEARCHES = {
    "generate a video from a text prompt": "explain_payload",
    "how much does a video cost": "explain_payload",
    "check video status and download": "get_task",
    "which video models are there": "list_models",
    "show me the video": "view_clip",
    "cancel it": "cancel",
}
"""What people say, and the tool that a search must find first."""

CHEAP = Cost(kibibytes=8, passes=1)
"""The least costly key derivation, for tests that are not about its cost."""


def a_sheet(name: str = "sheet_a", **changes: Any) -> Sheet:
    """An approved live sheet of 0.24 USD."""
    binding = Binding(
        mode="live",
        gateway="poyo",
        model="sora-2-official",
        base_url="https://api.poyo.ai",
        method="POST",
        path="/api/generate/submit",
        body_sha256=f"body of {name}",
        account="",
        price="0.24 USD",
        prices="1",
        callback_host="",
        policy="default",
        take="1",
    )
    sheet = Sheet(
        id=SheetId(name),
        take=1,
        state=SheetState.APPROVED,
        binding=binding,
        shot=Shot.of(prompt="A cat"),
        price=Price(Decimal(48), "credits", Decimal("0.24"), "2026-08-07", "page"),
        body=b"{}",
        reserve_micros=240_000,
        shown="",
        made_at=START - 10,
        expires_at=START - 10 + SHEET_LIFETIME,
        approved_by=Means.TERMINAL,
        approved_at=START - 5,
    )
    return replace(sheet, **changes)


def a_task(sheet: Sheet, name: str = "t1", **changes: Any) -> Task:
    """A waiting live task of that sheet."""
    task = Task(
        id=TaskId(name),
        sheet_id=sheet.id,
        mode=Mode.LIVE,
        gateway="poyo",
        model="sora-2-official",
        state=TaskState.WAITING,
        reserve_micros=240_000,
        created_at=START,
        updated_at=START,
        next_at=START,
        owner="me",
    )
    return replace(task, **changes)


def a_marked_task() -> MarkedTask:
    """What the mark's edge would return for it."""
    return MarkedTask(a_claimed_task())


def add_approved(ledger: Ledger, name: str = "sheet_a", **changes: Any) -> Sheet:
    """Such a sheet, stored and then approved by a person, so that the trail knows of it."""
    unasked = {"state": SheetState.AWAITING_APPROVAL, "approved_by": None, "approved_at": None}
    sheet = ledger.add_sheet(a_sheet(name, **unasked, **changes), now=START - 10)
    return ledger.move_sheet(sheet.id, SheetEvent.APPROVED, now=START - 5, by=Means.TERMINAL)


def a_claimed_task() -> ClaimedTask:
    """What the ledger would return for a task that may be sent now."""
    sheet = a_sheet(state=SheetState.SPENT, task_id=TaskId("t1"))
    task = a_task(sheet, state=TaskState.SUBMITTING, attempt="attempt", attempts=1, deadline=START + 150)
    return ClaimedTask(task, sheet, "attempt", START + 150)
