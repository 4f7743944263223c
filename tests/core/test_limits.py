"""What must hold at the moment when a sheet is spent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from callsheet.core.catalogue import Price
from callsheet.core.consent import Binding, Caps, Means, Spending
from callsheet.core.shot import Shot
from callsheet.core.spending import require_fresh_approval, require_within_caps
from callsheet.core.tasks import APPROVAL_LIFETIME, SHEET_LIFETIME, Sheet, SheetId, SheetState
from callsheet.errors import NotApproved, PolicyRefusal
from cases import cases

NOW = 1_790_000_000.0
BINDING = Binding(*["x"] * 13)
SHEET = Sheet(
    id=SheetId("sheet_a"),
    take=1,
    state=SheetState.APPROVED,
    binding=BINDING,
    shot=Shot("x"),
    price=Price(Decimal(1), "USD", Decimal(1), "", ""),
    body=b"{}",
    reserve_micros=1_000_000,
    shown="",
    made_at=NOW - 10,
    expires_at=NOW - 10 + SHEET_LIFETIME,
    approved_by=Means.TERMINAL,
    approved_at=NOW - 5,
)


def test_an_approved_sheet_as_bound_may_be_spent() -> None:
    """Nothing is raised."""
    require_fresh_approval(SHEET, BINDING.digest, NOW)


@cases(
    "sheet",
    [
        replace(SHEET, state=SheetState.DRAFTED),
        replace(SHEET, state=SheetState.AWAITING_APPROVAL),
        replace(SHEET, state=SheetState.DECLINED),
        replace(SHEET, approved_at=None),
        replace(SHEET, approved_at=NOW - APPROVAL_LIFETIME - 1),
        replace(SHEET, approved_at=NOW + 61),
        replace(SHEET, expires_at=NOW - 1),
    ],
)
def test_a_sheet_that_is_not_freshly_approved_may_not_be_spent(sheet: Sheet) -> None:
    """Whatever the reason."""
    with pytest.raises(NotApproved):
        require_fresh_approval(sheet, BINDING.digest, NOW)


def test_another_binding_may_not_be_spent() -> None:
    """The approval was for something else."""
    with pytest.raises(NotApproved, match="has changed"):
        require_fresh_approval(SHEET, replace(BINDING, price="y").digest, NOW)


@cases(
    ("caps", "name"),
    [
        (Caps(per_clip=Decimal("0.99")), "per clip"),
        (Caps(per_day=Decimal("2.99")), "per day"),
        (Caps(per_month=Decimal("5.99")), "per month"),
    ],
)
def test_each_cap_holds_with_what_is_spent_already(caps: Caps, name: str) -> None:
    """A cent over is over."""
    spending = Spending(Decimal(2), Decimal(5), 1)

    with pytest.raises(PolicyRefusal, match=name):
        require_within_caps(caps, 1_000_000, spending)


def test_exactly_the_cap_is_within_it_and_no_cap_is_no_limit() -> None:
    """Up to and including."""
    spending = Spending(Decimal(2), Decimal(5), 1)

    require_within_caps(Caps(Decimal(1), Decimal(3), Decimal(6)), 1_000_000, spending)
    require_within_caps(Caps(None, None, None), 10**12, spending)
