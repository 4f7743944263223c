"""Roles and budgets of a team, as rules."""

from __future__ import annotations

import pytest

from callsheet.core.people import (
    Budget,
    Payer,
    Period,
    Person,
    Role,
    Viewer,
    find_role,
    require_approver,
    require_within_budget,
)
from callsheet.errors import NotApproved, PolicyRefusal


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["makers"], Role.MEMBER),
        (["makers", "leads"], Role.APPROVER),
        (["leads", "ops"], Role.ADMIN),
        (["Makers"], None),
        ([], None),
    ],
)
def test_the_highest_role_of_the_groups_counts(groups: list[str], role: Role | None) -> None:
    """Exactly as they are written; somebody without one is not let in."""
    roles = {Role.MEMBER: ["makers"], Role.APPROVER: ["leads"], Role.ADMIN: ["ops"]}
    assert find_role(groups, roles) is role


@pytest.mark.parametrize(
    ("role", "owner", "four_eyes", "allowed"),
    [
        (Role.MEMBER, "other", False, False),
        (Role.APPROVER, "me", False, True),
        (Role.APPROVER, "me", True, False),
        (Role.APPROVER, "other", True, True),
        (Role.ADMIN, "me", True, False),
        (None, "other", False, False),
    ],
)
def test_who_may_say_yes(role: Role | None, owner: str, four_eyes: bool, allowed: bool) -> None:
    """With four eyes nobody to their own, and the program never."""
    person = Person("me", "https://id.example", "s", "Me", "red", role, 0.0, 0.0) if role else None
    try:
        assert require_approver(Viewer(person), owner=owner, four_eyes=four_eyes) is person
        assert allowed
    except NotApproved:
        assert not allowed


@pytest.mark.parametrize(
    ("spent", "price", "crossed"),
    [
        (0, 49, ()),
        (0, 50, (50,)),
        (49, 1, (50,)),
        (50, 1, ()),
        (0, 100, (50, 80, 100)),
        (79, 21, (80, 100)),
        (100, 0, ()),
    ],
)
def test_a_warning_is_given_when_its_share_is_reached(spent: int, price: int, crossed: tuple[int, ...]) -> None:
    """Not before, and not again."""
    budget = Budget(Payer.TEAM, "red", Period.DAY, 100)
    assert require_within_budget(budget, spent=spent, price=price) == crossed


def test_one_micro_too_much_is_refused() -> None:
    """With the figures."""
    with pytest.raises(PolicyRefusal, match=r"0\.24 USD would exceed the budget of 1 USD a day of this person"):
        require_within_budget(Budget(Payer.PERSON, "p", Period.DAY, 1_000_000), spent=760_001, price=240_000)
