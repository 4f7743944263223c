"""Wrong passphrases at the terminal: a few tries, then one a minute, and each wrong one is in the audit trail.

The tries are counted in the ledger, because each command is a new process and many could run together. The desk is one
process and counts its own.
"""

from __future__ import annotations

from collections.abc import Callable

from callsheet.core.consent import Means
from callsheet.errors import NotApproved

from .dependencies import ROUNDING_SECONDS, Dependencies

TRIES = 5
"""How many tries may follow each other, as on the desk."""
TRY_SECONDS = 60.0
ACCOUNT = "passphrase/terminal"
WRONG = "passphrase_refused"
PAUSED = "too_many_tries"


def count_try(deps: Dependencies, is_right: Callable[[], bool]) -> bool:
    """Whether the typed passphrase is right; a right one is no try. Raises `NotApproved` when there were too many.

    The try is counted before it is checked, so no process gains by being stopped between the two.
    """
    wait = _reserve(deps, TRY_SECONDS)
    if wait > ROUNDING_SECONDS:
        _reserve(deps, -TRY_SECONDS)
        raise NotApproved(
            f"Too many wrong passphrases. Try again in {wait:.0f} s.", next_step="Wait, then try again.", code=PAUSED
        )
    if is_right():
        _reserve(deps, -TRY_SECONDS)
        return True
    now = deps.clock.now()
    deps.ledger().consent.record(WRONG, "terminal", actor=Means.TERMINAL.value, now=now, detail={"wrong_tries": "1"})
    return False


def _reserve(deps: Dependencies, interval: float) -> float:
    """Take a try from the shared count, or give one back; the seconds to wait for it."""
    return deps.ledger().reserve_pace(ACCOUNT, interval=interval, burst=TRIES, now=deps.clock.now())
