"""The approval that a sheet needs before it is spent, and the rules that forbid it whatever was approved."""

from __future__ import annotations

from decimal import Decimal

import pytest

from callsheet.core.audit import AuditEntry
from callsheet.core.consent import Floor, Policy, Rule
from callsheet.core.spending import read_detail, require_allowed, require_fresh_approval
from callsheet.core.tasks import APPROVAL_LIFETIME, Sheet, SheetState
from callsheet.errors import NotApproved, PolicyRefusal
from samples import a_sheet

AT = 1_000.0


def approved(**changes: object) -> Sheet:
    return a_sheet(**{"approved_at": AT, "expires_at": AT + 10 * APPROVAL_LIFETIME, **changes})


@pytest.mark.parametrize("now", [AT, AT - 60, AT + APPROVAL_LIFETIME])
def test_an_approval_counts_for_as_long_as_it_says(now: float) -> None:
    sheet = approved()

    require_fresh_approval(sheet, sheet.binding.digest, now)


@pytest.mark.parametrize(
    ("sheet", "now", "said"),
    [
        (approved(), AT + APPROVAL_LIFETIME + 1, "too old"),
        (approved(), AT - 61, "too old"),
        (approved(expires_at=AT), AT + 1, "too old"),
        (approved(state=SheetState.DECLINED), AT, "is declined"),
        (approved(state=SheetState.SPENT), AT, "spent, not approved"),
        (approved(approved_at=None), AT, "not approved"),
    ],
)
def test_an_approval_that_is_missing_too_old_or_from_the_future_does_not_count(
    sheet: Sheet, now: float, said: str
) -> None:
    with pytest.raises(NotApproved, match=said):
        require_fresh_approval(sheet, sheet.binding.digest, now)


def test_an_approval_of_something_else_does_not_count() -> None:
    with pytest.raises(NotApproved, match="has changed since it was approved"):
        require_fresh_approval(approved(), "another digest", AT)


@pytest.mark.parametrize(
    ("rule", "price", "said"),
    [
        (Rule(allowed=False), Decimal(0), "does not allow"),
        (Rule(per_clip=Decimal("0.50")), Decimal("0.51"), "0.51 USD"),
        (Rule(per_clip=Decimal("0.50")), None, "not known"),
    ],
)
@pytest.mark.parametrize("named", ["poyo", "poyo/sora-2"])
def test_a_rule_of_a_gateway_or_of_a_model_forbids(named: str, rule: Rule, price: Decimal | None, said: str) -> None:
    policy = Policy(version="1", rules=((named, rule),))

    with pytest.raises(PolicyRefusal, match=said):
        require_allowed(policy, "poyo/sora-2", price)
    require_allowed(policy, "apixo/sora-2", price)


def test_the_strictest_floor_of_all_that_apply_counts() -> None:
    policy = Policy(version="1", rules=(("poyo", Rule(floor=Floor.PASSPHRASE)),), passphrase_from=Decimal(2))

    assert policy.floor_for("poyo/sora-2", Decimal(1)) is Floor.PASSPHRASE
    assert policy.floor_for("apixo/sora-2", Decimal(1)) is Floor.CLIENT
    assert policy.floor_for("apixo/sora-2", Decimal(2)) is Floor.PASSPHRASE
    assert policy.floor_for("apixo/sora-2", None) is Floor.PASSPHRASE


@pytest.mark.parametrize("detail", ["", "5", "[]", "[" * 100_000])
def test_the_details_of_a_damaged_entry_fit_no_sheet(detail: str) -> None:
    found = read_detail(AuditEntry(1, AT, "terminal", "approved", "sheet_1", detail, "", ""))

    assert found == {"digest": None, "sheet": None}
