"""What an allowance covers: no more clips, money, models or time than the person said."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from callsheet.core.catalogue.prices import Price
from callsheet.core.consent import DUPLICATE, Binding, Caps, Means, Mode, Policy
from callsheet.core.shot import Shot
from callsheet.core.spending import CLOCK_SLACK_SECONDS, Allowance, bearing_on_models, check_allowance, covers, end_of
from callsheet.core.tasks import Sheet, SheetId, SheetState
from callsheet.errors import InvalidRequest
from cases import cases

BINDING = Binding("live", "poyo", "sora-2-official", "https://api.poyo.ai", *[""] * 8, "1", "9.0")
SHEET = Sheet(
    id=SheetId("sheet_a"),
    take=1,
    state=SheetState.DRAFTED,
    binding=BINDING,
    shot=Shot.of("A red kite."),
    price=Price(Decimal(48), "credits", Decimal("0.24"), "2026-08-07", "page"),
    body=b"{}",
    reserve_micros=240_000,
    shown="Price: 0.24 USD",
    made_at=0.0,
    expires_at=9.0,
)
POLICY = Policy()
EDITED = Policy(caps=Caps(per_clip=Decimal(9)))
ALLOWANCE = Allowance(
    id="allow_a",
    mode=Mode.LIVE,
    models=("poyo/sora-2-official",),
    clips=2,
    up_to_micros=500_000,
    made_at=1000.0,
    expires_at=2000.0,
    policy=bearing_on_models(POLICY, ("poyo/sora-2-official",)),
    made_by=Means.TERMINAL,
)
NOW = {"now": 1500.0, "policy": POLICY}


def test_a_sheet_within_the_terms_is_covered() -> None:
    """The control for all that follows."""
    assert covers(ALLOWANCE, SHEET, **NOW)
    assert covers(replace(ALLOWANCE, used_clips=1, used_micros=260_000), SHEET, **NOW)
    assert covers(ALLOWANCE, SHEET, now=ALLOWANCE.made_at - CLOCK_SLACK_SECONDS, policy=POLICY)


NOT_COVERED = {
    "another model": (ALLOWANCE, replace(SHEET, binding=replace(BINDING, model="sora-2-pro")), NOW),
    "another gateway": (ALLOWANCE, replace(SHEET, binding=replace(BINDING, gateway="apidot")), NOW),
    "another mode": (replace(ALLOWANCE, mode=Mode.SANDBOX), SHEET, NOW),
    "no clips left": (replace(ALLOWANCE, used_clips=2), SHEET, NOW),
    "too little money left": (replace(ALLOWANCE, used_micros=260_001), SHEET, NOW),
    "an unknown price": (ALLOWANCE, replace(SHEET, price=Price(None, "", None, "undated", "page")), NOW),
    "no price to reserve": (ALLOWANCE, replace(SHEET, reserve_micros=None), NOW),
    "a possible duplicate": (ALLOWANCE, replace(SHEET, shown=f"Price: 0.24 USD · {DUPLICATE}"), NOW),
    "after its end": (ALLOWANCE, SHEET, {**NOW, "now": 2000.0}),
    "a clock before it was made": (ALLOWANCE, SHEET, {**NOW, "now": 999.0 - CLOCK_SLACK_SECONDS}),
    "another policy": (ALLOWANCE, SHEET, {**NOW, "policy": EDITED}),
    "revoked": (replace(ALLOWANCE, revoked_at=1400.0), SHEET, NOW),
}


@cases("kind", NOT_COVERED)
def test_whatever_lies_outside_the_terms_is_not_covered(kind: str) -> None:
    """One step over any of them is enough."""
    allowance, sheet, when = NOT_COVERED[kind]
    assert not covers(allowance, sheet, **when)


def test_why_an_allowance_has_ended_is_said() -> None:
    """In a word that a person understands; nothing while it holds."""
    assert end_of(ALLOWANCE, **NOW) is None
    assert end_of(replace(ALLOWANCE, used_micros=500_000), **NOW) == "used up"
    assert end_of(replace(ALLOWANCE, revoked_at=1.0), **NOW) == "revoked"
    assert end_of(ALLOWANCE, now=2000.0, policy=POLICY) == "over"
    assert "policy has been edited" in (end_of(ALLOWANCE, now=1500.0, policy=EDITED) or "")
    assert replace(ALLOWANCE, used_clips=1, used_micros=240_000).use == "1 of 2 clips, 0.24 of 0.50 USD"


@cases(
    ("changes", "rule"),
    [
        ({"clips": 0}, "clips must be 1 to 100"),
        ({"clips": 101}, "clips must be 1 to 100"),
        ({"up_to": Decimal(0)}, "above 0"),
        ({"seconds": 59.0}, "between 1 minute and 7 days"),
        ({"seconds": 8 * 24 * 3600.0}, "between 1 minute and 7 days"),
        ({"models": ()}, "at least one model"),
    ],
)
def test_an_allowance_without_bounds_is_refused(changes: dict[str, object], rule: str) -> None:
    """Every broken rule is named."""
    terms = {"models": ("poyo/x",), "clips": 1, "up_to": Decimal(1), "seconds": 60.0} | changes
    models = terms.pop("models")
    with pytest.raises(InvalidRequest, match=rule):
        check_allowance(models, **terms)
