"""What must hold at the moment when a sheet is spent. The ledger asks this inside its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from callsheet.core.catalogue.pricing import dollars, from_micros, to_micros
from callsheet.core.consent.approval import Spending
from callsheet.core.consent.policy import Caps, Policy
from callsheet.core.tasks.models import APPROVAL_LIFETIME, Sheet
from callsheet.core.tasks.states import SheetState
from callsheet.errors import NotApproved, PolicyRefusal

NO_SLOT = "no_slot"
"""The problem's code of a task that waits for nothing but one of the concurrent slots."""


@dataclass(frozen=True, slots=True)
class SpendTerms:
    """Under which terms a sheet may be spent.

    `digest` is its binding as it is now, `windows` are the starts of the UTC day and month. With `allowed_under`,
    the version of the policy, an allowance may stand in for an approval of the sheet itself.
    """

    digest: str
    caps: Caps
    windows: tuple[float, float]
    allowed_under: str | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """How many tasks may be open at once: `concurrent` in all, `at_gateway` at the task's own gateway.

    A task of unknown outcome takes up a slot for `unknown_holds_seconds`: the gateway may be filming
    it, but not for ever.
    """

    concurrent: int
    at_gateway: int
    unknown_holds_seconds: float = 3600.0


def is_fresh(sheet: Sheet, now: float) -> bool:
    """Whether the sheet's approval is young enough to count."""
    if sheet.approved_at is None:
        return False
    # Not when the clock stands before the approval either: a clock set back must not prolong it.
    return sheet.approved_at - 60 <= now <= min(sheet.approved_at + APPROVAL_LIFETIME, sheet.expires_at)


def require_fresh_approval(sheet: Sheet, digest: str, now: float) -> None:
    """Refuse to spend a sheet that is not approved, or was approved for something else or long ago: `NotApproved`."""
    if sheet.state is not SheetState.APPROVED or sheet.approved_at is None:
        raise NotApproved(
            f"Sheet {sheet.id} is {sheet.state.value.replace('_', ' ')}, not approved.",
            next_step="Call submit_video to learn what a person must do.",
        )
    if sheet.binding.digest != digest:
        raise NotApproved(
            f"Since sheet {sheet.id} was approved, its price table, policy, key or address has changed.",
            next_step="Call explain_payload again for a new sheet.",
        )
    if not is_fresh(sheet, now):
        raise NotApproved(
            f"The approval of sheet {sheet.id} is too old.", next_step="Call explain_payload again for a new sheet."
        )


def require_allowed(policy: Policy, card_id: str, price: Decimal | None) -> None:
    """Refuse what the person's rules for that gateway or model forbid: `PolicyRefusal`. `price` None is not known."""
    for rule in policy.rules_for(card_id):
        if not rule.allowed:
            raise PolicyRefusal(
                f"The policy does not allow {card_id}.",
                next_step="Choose another model, or a person changes its rule in the policy file.",
            )
        if rule.per_clip is not None and (price is None or price > rule.per_clip):
            told = "not known" if price is None else f"{dollars(price)} USD"
            raise PolicyRefusal(
                f"The policy lets a clip of {card_id} cost {dollars(rule.per_clip)} USD at most; its price is {told}.",
                next_step="Choose a cheaper shot, or a person changes the rule in the policy file.",
            )


def require_within_caps(caps: Caps, reserve_micros: int, spending: Spending) -> None:
    """Refuse a reservation that would break a cap. Raises `PolicyRefusal` with the figures."""
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
                next_step="A person may raise the cap in the policy file, or choose a cheaper shot.",
            )
