"""What must be true when a sheet is spent. The ledger checks it inside its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from callsheet.core.catalogue.pricing import dollars, from_micros, to_micros
from callsheet.core.consent.approval import Spending
from callsheet.core.consent.policy import Caps, Policy
from callsheet.core.tasks.models import APPROVAL_LIFETIME, Sheet
from callsheet.core.tasks.states import SheetState
from callsheet.errors import Action, NextStep, NotApproved, PolicyRefusal

NO_SLOT = "no_slot"
"""The problem's code of a task that only waits for one of the concurrent slots."""


@dataclass(frozen=True, slots=True)
class SpendTerms:
    """The terms on which a sheet may be spent.

    `digest` is of its current binding, `windows` are the starts of the UTC day and month. With `allowed_under`,
    the version of the policy, an allowance may replace the approval of the sheet itself.
    """

    digest: str
    caps: Caps
    windows: tuple[float, float]
    allowed_under: str | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """How many tasks may be open at the same time: `concurrent` in all, `at_gateway` at the task's own gateway.

    A task of unknown outcome holds a slot for `unknown_holds_seconds`: the gateway may be generating it, but not
    forever.
    """

    concurrent: int
    at_gateway: int
    unknown_holds_seconds: float = 3600.0


def is_fresh(sheet: Sheet, now: float) -> bool:
    """Whether the sheet's approval is young enough to count."""
    if sheet.approved_at is None:
        return False
    # Not before the approval either: setting the clock back must not prolong it.
    return sheet.approved_at - 60 <= now <= min(sheet.approved_at + APPROVAL_LIFETIME, sheet.expires_at)


def require_fresh_approval(sheet: Sheet, digest: str, now: float) -> None:
    """Raise `NotApproved` for a sheet that is not approved, or was approved for something else or too long ago."""
    if sheet.state is not SheetState.APPROVED or sheet.approved_at is None:
        raise NotApproved(
            f"Sheet {sheet.id} is {sheet.state.value.replace('_', ' ')}, not approved.",
            next_step=NextStep(Action.SUBMIT, "A person has to approve it first.", target=sheet.id),
        )
    if sheet.binding.digest != digest:
        raise NotApproved(
            f"The price table, policy, key or address of sheet {sheet.id} has changed since it was approved.",
            next_step=NextStep(Action.EXPLAIN, "A new sheet is needed."),
        )
    if not is_fresh(sheet, now):
        raise NotApproved(
            f"The approval of sheet {sheet.id} is too old.",
            next_step=NextStep(Action.EXPLAIN, "A new sheet is needed."),
        )


def require_allowed(policy: Policy, card_id: str, price: Decimal | None) -> None:
    """Raise `PolicyRefusal` for what the rules for that gateway or model forbid. A `price` of None is not known."""
    for rule in policy.rules_for(card_id):
        if not rule.allowed:
            raise PolicyRefusal(
                f"The policy does not allow {card_id}.",
                next_step="Choose another model, or have a person change its rule in the policy file.",
            )
        if rule.per_clip is not None and (price is None or price > rule.per_clip):
            cost = "not known" if price is None else f"{dollars(price)} USD"
            raise PolicyRefusal(
                f"The policy allows at most {dollars(rule.per_clip)} USD for a clip of {card_id}; its price is {cost}.",
                next_step="Choose a cheaper shot, or have a person change the rule in the policy file.",
            )


def require_within_caps(caps: Caps, reserve_micros: int, spending: Spending) -> None:
    """Raise `PolicyRefusal`, with the figures, for a reservation that would exceed a cap."""
    price = from_micros(reserve_micros)
    limits: tuple[tuple[str, Decimal | None, Decimal], ...] = (
        ("per clip", caps.per_clip, Decimal(0)),
        ("per day", caps.per_day, spending.today),
        ("per month", caps.per_month, spending.this_month),
    )
    for name, cap, spent in limits:
        if cap is not None and reserve_micros + to_micros(spent) > to_micros(cap):
            raise PolicyRefusal(
                f"{dollars(price)} USD would exceed the cap {name} of {dollars(cap)} USD ({dollars(spent)} USD is"
                " reserved or spent).",
                next_step="Choose a cheaper shot, or have a person raise the cap in the policy file.",
            )
