"""May this be spent: caps, the age of an approval, and allowances. The ledger asks when it spends a sheet.

An allowance is a person's consent, given once, to a number of clips up to a sum, for named models, until a time. A use
is never given back, not even when the gateway refuses the clip: an allowance for three clips leads to at most three
submissions. No tool creates, widens or prolongs one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal

from callsheet.errors import (
    AFTER_A_NO,
    ANOTHER_MODEL,
    ANOTHER_SHOT,
    DECLINED,
    Action,
    InvalidRequest,
    NextStep,
    NotApproved,
    PolicyRefusal,
)

from .audit import AuditEntry
from .catalogue.prices import Price, dollars, from_micros, to_micros
from .consent import Caps, Means, Mode, Policy, Spending, warns_of_duplicate
from .shot import Shot
from .tasks import APPROVAL_LIFETIME, Sheet, SheetState

NO_SLOT = "no_slot"
"""The problem's code of a task that only waits for one of the concurrent slots."""
SAME_ID = "same_id"
"""The code of the refusal to store a gateway's id that another task has."""


@dataclass(frozen=True, slots=True)
class SpendTerms:
    """The terms on which a sheet may be spent.

    `digest` is of its current binding, `windows` are the starts of the UTC day and month. With `allowed_under`,
    the policy in force, an allowance may replace the approval of the sheet itself.
    """

    digest: str
    caps: Caps
    windows: tuple[float, float]
    allowed_under: Policy | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """How many tasks may be open at the same time: `concurrent` in all, `at_gateway` at the task's own gateway.

    A task of unknown outcome holds a slot for `unknown_holds_seconds`: the gateway may be generating it, but not
    forever.
    """

    concurrent: int
    at_gateway: int
    unknown_holds_seconds: float = 3600.0


def bearing_on_sheet(policy: Policy, card_id: str, price: Price, shot: Shot) -> str:
    """A digest of what in the policy bears on that clip: caps, rules, the least act of approval, hosts it names."""
    gateway = card_id.partition("/")[0]
    return _policy_digest(
        policy.caps_for(gateway),
        repr(policy.endpoint(gateway)),
        [(rule.allowed, rule.per_clip) for rule in policy.rules_for(card_id)],
        policy.floor_for(card_id, price.usd),
        None if price.known else policy.unknown_price_ceiling,
        sorted(policy.callback_hosts) if shot.callback_url else (),
        sorted(policy.image_hosts) if shot.inputs else (),
    )


def bearing_on_models(policy: Policy, card_ids: Sequence[str]) -> str:
    """The same for any clip of those models, with the ways to their gateways, to which a sheet is bound anyway."""
    rules = [(rule.allowed, rule.per_clip, rule.floor) for card_id in card_ids for rule in policy.rules_for(card_id)]
    gateways = sorted({card_id.partition("/")[0] for card_id in card_ids})
    ways = [(policy.base_url(item), policy.route(item).mark, repr(policy.endpoint(item))) for item in gateways]
    floors = (policy.floor, policy.passphrase_from, policy.unknown_price_ceiling)
    return _policy_digest(policy.caps, ways, rules, floors, sorted(policy.callback_hosts), sorted(policy.image_hosts))


def _policy_digest(caps: Caps, *parts: object) -> str:
    # How many tasks run at the same time changes nothing that a person agreed to.
    money = asdict(replace(caps, concurrent=0))
    text = json.dumps([money, *parts], default=lambda amount: str(amount.normalize()))
    return f"{POLICY_PARTS}{hashlib.sha256(text.encode()).hexdigest()[:16]}"


POLICY_PARTS = "parts "
"""Begins a digest of parts of a policy; the version of a whole one, which older sheets are bound to, is only hex."""

AGREED_AGAIN = "agreed_again"
AGREED = ("approved", AGREED_AGAIN)
REFUSED = "declined"
WITHDRAWN = "withdrawn"
"""Of an approval that was taken back with its sheet."""
SPENT = "spent"
ALLOWANCE_MADE = "allowance_made"


def find_consent(acts: Iterable[AuditEntry], *, digest: str, task_id: str = "", ledger: str = "") -> AuditEntry | None:
    """The act by which a sheet may be spent, from the trail's entries about that sheet, oldest first; or None.

    It ends with a no, with a withdrawal, and with its use for another task than `task_id`: the row of a sheet or of
    an allowance proves nothing, because every program of the user can write it. With `ledger`, an act in another
    one does not count: in each copy the sheet could be spent once more.
    """
    found = None
    for act in acts:
        if act.action in AGREED:
            detail = read_detail(act)
            is_here = not ledger or detail.get("ledger", ledger) == ledger
            found = act if is_here and detail.get("digest", digest) == digest else None
        elif act.action in (REFUSED, WITHDRAWN) or act.subject != task_id:
            found = None
    return found


def was_consented(acts: Sequence[AuditEntry], *, digest: str, task_id: str | None) -> bool:
    """Whether an act of consent precedes the use of a sheet for that task; for any task, without one.

    A person who has a sheet sent that is spent already agrees to just that.
    """
    for number, act in enumerate(acts):
        if act.action == SPENT and task_id in (None, act.subject):
            return find_consent(acts[:number], digest=digest) is not None
    last = find_consent(acts, digest=digest)
    return last is not None and last.action == AGREED_AGAIN


def read_detail(entry: AuditEntry) -> Mapping[str, object]:
    """An entry's details. One that was damaged fits nothing."""
    try:
        found = json.loads(entry.detail)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"digest": None, "sheet": None}


def is_fresh(sheet: Sheet, now: float) -> bool:
    """Whether the sheet's approval is young enough to count."""
    if sheet.approved_at is None:
        return False
    # Not before the approval either: setting the clock back must not prolong it.
    return sheet.approved_at - 60 <= now <= min(sheet.approved_at + APPROVAL_LIFETIME, sheet.expires_at)


def require_fresh_approval(sheet: Sheet, digest: str, now: float) -> None:
    """Raise `NotApproved` for a sheet that is not approved, or was approved for something else or too long ago."""
    if sheet.state is not SheetState.APPROVED or sheet.approved_at is None:
        if sheet.state is SheetState.DECLINED:
            raise NotApproved(f"Sheet {sheet.id} is declined.", next_step=AFTER_A_NO, code=DECLINED, retry="never")
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
                next_step=f"Only a person can change this rule, in the policy file. {ANOTHER_MODEL}",
            )
        if rule.per_clip is not None and (price is None or price > rule.per_clip):
            cost = "not known" if price is None else f"{dollars(price)} USD"
            raise PolicyRefusal(
                f"The policy allows at most {dollars(rule.per_clip)} USD for a clip of {card_id}; its price is {cost}.",
                next_step=f"Only a person can change this rule, in the policy file. {ANOTHER_SHOT}",
            )


def require_within_caps(caps: Caps, reserve_micros: int, spending: Spending) -> None:
    """Raise `PolicyRefusal`, with the figures, for a reservation that would exceed a cap."""
    price = from_micros(reserve_micros)
    if caps.clips_at_gateway is not None and spending.clips_at_gateway >= caps.clips_at_gateway:
        raise PolicyRefusal(
            f"The policy allows {caps.clips_at_gateway} clips a day (UTC) at this endpoint, and"
            f" {spending.clips_at_gateway} were submitted today.",
            next_step=f"Only a person can raise `clips_per_day`, in the policy file. {ANOTHER_MODEL}",
        )
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
                next_step=f"Only a person can raise the cap, in the policy file. {ANOTHER_SHOT}",
            )


MOST_CLIPS = 100
LONGEST_SECONDS = 7 * 24 * 3600.0
CLOCK_SLACK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """One allowance and how much of it is used. Money is in millionths of a US dollar, times are Unix seconds.

    `models` are card ids (`gateway/model`), `policy` is the digest of what in the policy bore on them when it was
    created (in older ones its version): editing that ends it, as it ends every approval.
    """

    id: str
    mode: Mode
    models: tuple[str, ...]
    clips: int
    up_to_micros: int
    made_at: float
    expires_at: float
    policy: str
    made_by: Means
    revoked_at: float | None = None
    used_clips: int = 0
    used_micros: int = 0

    @property
    def use(self) -> str:
        """How much of it is used, in one phrase: `3 of 10 clips, 0.72 of 5.00 USD`."""
        used, most = dollars(from_micros(self.used_micros)), dollars(from_micros(self.up_to_micros))
        return f"{self.used_clips} of {self.clips} clips, {used} of {most} USD"


def check_allowance(models: tuple[str, ...], *, clips: int, up_to: Decimal, seconds: float, free: bool = False) -> None:
    """Raise `InvalidRequest` with every rule that an allowance breaks. `free`: its models charge nothing."""
    broken = []
    if not models:
        broken.append("it must name at least one model")
    if not 1 <= clips <= MOST_CLIPS:
        broken.append(f"clips must be 1 to {MOST_CLIPS}")
    if not Decimal(0) < up_to <= 10_000 and not (free and up_to == 0):
        broken.append("the sum must be above 0 and at most 10000 USD")
    if not 60 <= seconds <= LONGEST_SECONDS:
        broken.append("it must last between 1 minute and 7 days")
    if broken:
        raise InvalidRequest(
            f"That allowance is not valid: {'; '.join(broken)}.", next_step="Set it within these limits."
        )


def end_of(allowance: Allowance, *, now: float, policy: Policy) -> str | None:
    """Why an allowance no longer covers anything; None while it is in force."""
    if allowance.revoked_at is not None:
        return "revoked"
    # Setting the clock back must not prolong it either.
    if not allowance.made_at - CLOCK_SLACK_SECONDS <= now < allowance.expires_at:
        return "over"
    if allowance.policy not in (policy.version, bearing_on_models(policy, allowance.models)):
        return "void: the policy has been edited since"
    if allowance.used_clips >= allowance.clips or 0 < allowance.up_to_micros <= allowance.used_micros:
        return "used up"
    return None


def covers(allowance: Allowance, sheet: Sheet, *, now: float, policy: Policy) -> bool:
    """Whether that allowance is consent to that sheet: known price, named model, something left of it.

    A possible duplicate charge is never covered: a person has to see the warning.
    """
    if end_of(allowance, now=now, policy=policy) is not None or not sheet.price.known or sheet.reserve_micros is None:
        return False
    return (
        sheet.mode is allowance.mode
        and sheet.card_id in allowance.models
        and not warns_of_duplicate(sheet.shown)
        and allowance.used_micros + sheet.reserve_micros <= allowance.up_to_micros
    )
