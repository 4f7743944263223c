"""Allowances: a person's consent, given once, to a number of clips up to a sum, for named models, until a time.

Whether one covers a sheet is decided here; the ledger asks inside the transaction that spends the sheet. A use is
never given back, not even when the gateway refuses the clip: an allowance for three clips leads to at most three
submissions. No tool creates, widens or prolongs one.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from callsheet.core.catalogue.pricing import dollars, from_micros
from callsheet.core.consent.approval import Means, warns_of_duplicate
from callsheet.core.consent.policy import Mode
from callsheet.core.tasks.models import Sheet
from callsheet.errors import InvalidRequest

MOST_CLIPS = 100
LONGEST_SECONDS = 7 * 24 * 3600.0
CLOCK_SLACK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """One allowance and how much of it is used. Money is in millionths of a US dollar, times are Unix seconds.

    `models` are card ids (`gateway/model`), `policy` is the version of the policy when it was created: editing the
    policy ends it, as it ends every approval.
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


def check_allowance(models: tuple[str, ...], *, clips: int, up_to: Decimal, seconds: float) -> None:
    """Raise `InvalidRequest` with every rule that an allowance breaks."""
    broken = []
    if not models:
        broken.append("it must name at least one model")
    if not 1 <= clips <= MOST_CLIPS:
        broken.append(f"clips must be 1 to {MOST_CLIPS}")
    if not Decimal(0) < up_to <= 10_000:
        broken.append("the sum must be above 0 and at most 10000 USD")
    if not 60 <= seconds <= LONGEST_SECONDS:
        broken.append("it must last between 1 minute and 7 days")
    if broken:
        raise InvalidRequest(
            f"That allowance is not valid: {'; '.join(broken)}.", next_step="Set it within these limits."
        )


def end_of(allowance: Allowance, *, now: float, policy: str) -> str | None:
    """Why an allowance no longer covers anything; None while it is in force."""
    if allowance.revoked_at is not None:
        return "revoked"
    # Setting the clock back must not prolong it either.
    if not allowance.made_at - CLOCK_SLACK_SECONDS <= now < allowance.expires_at:
        return "over"
    if allowance.policy != policy:
        return "void: the policy has been edited since"
    if allowance.used_clips >= allowance.clips or allowance.used_micros >= allowance.up_to_micros:
        return "used up"
    return None


def covers(allowance: Allowance, sheet: Sheet, *, now: float, policy: str) -> bool:
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
