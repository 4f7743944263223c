"""What stands between a sheet and its submission, even with an approval: mode, rules, caps, key, passphrase.

`find_blockers` is the only place that decides it. Nobody is asked to approve a sheet that would be refused afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from callsheet.core.consent import Floor, Mode, Policy, Spending, amount_to_type
from callsheet.core.shot import OWN_FILE_SCHEME
from callsheet.core.spending import Allowance, require_allowed, require_within_caps
from callsheet.core.tasks import Sheet, SheetState, Task, TaskState
from callsheet.errors import (
    ANOTHER_MODEL,
    Action,
    CallsheetError,
    Fate,
    GatewayRefused,
    LedgerOlder,
    LedgerProblem,
    NextStep,
    OutcomeUnknown,
    PolicyRefusal,
    SetupProblem,
)

from .dependencies import Dependencies
from .results import Blocker, refusal_step

PAUSED = "A person paused all submissions."
RESUME = NextStep(Action.RESUME, "Only a person can end the pause. Approvals stay valid as long as before.")
CHANGE_MODE = NextStep(Action.SETUP, "Only a person can change the mode.")


def find_blockers(deps: Dependencies, sheet: Sheet) -> tuple[Blocker, ...]:
    """Everything for which that sheet would be refused now, even with an approval; the strongest first.

    Explaining, each question, each approval, the use of an allowance and the submission decide by this and nothing
    else, so nobody is asked for an approval that changes nothing. Caps and rules are reported for a rehearsal too, but
    do not stop it.
    """
    policy, found = deps.policy(), []
    for code, lifted_by, check in _CHECKS:
        try:
            check(deps, policy, sheet)
        except CallsheetError as error:
            if isinstance(error, LedgerProblem) and not isinstance(error, LedgerOlder):
                raise
            refuses = sheet.mode is Mode.LIVE or code not in OF_PRICE
            who = LIFTED_IN_TEAM.get(code, lifted_by) if deps.only_desk else lifted_by
            found.append(Blocker(code, error, who, refuses))
    return tuple(found)


def require_unblocked(deps: Dependencies, sheet: Sheet) -> None:
    """Raise the first refusal that this sheet would meet."""
    for blocker in find_blockers(deps, sheet):
        if blocker.refuses:
            raise blocker.error


def held_by(deps: Dependencies, shot_digest: str) -> Task | None:
    """The task of that same shot whose outcome is unknown: until a person resolves it, no other take is drafted."""
    return next((task for task in deps.ledger().takes(shot_digest) if task.state is TaskState.OUTCOME_UNKNOWN), None)


def floor_of(deps: Dependencies, sheet: Sheet) -> Floor:
    """The least act that approves this sheet. A rehearsal may be approved by any."""
    if sheet.mode is not Mode.LIVE:
        return Floor.CLIENT
    if deps.is_sealed(sheet.binding.gateway):
        return Floor.PASSPHRASE
    return deps.policy().floor_for(sheet.card_id, sheet.price.usd)


def allowance_for(deps: Dependencies, sheet: Sheet) -> Allowance | None:
    """The allowance by which this sheet may be spent without asking, if there is one.

    A sealed key is opened by a passphrase for one submission, so no allowance reaches it. Nor does one let a file of
    the person's own leave: they agree to each, having seen it. Nor does one cover a shot to which a person said no.
    """
    if deps.is_sealed(sheet.binding.gateway) and sheet.mode is Mode.LIVE:
        return None
    if OWN_FILE_SCHEME.encode() in sheet.body:
        return None
    found = deps.ledger().consent.covering(sheet, now=deps.clock.now(), policy=deps.policy())
    return None if found is None or declined_before(deps, sheet.binding.shot_digest) else found


def acts_text(deps: Dependencies, sheet: Sheet) -> str:
    """Which act of a person approves this sheet, and what else there is."""
    if deps.only_desk:
        return "An approver of the team decides on the desk, with a passkey. No form will do."
    if deps.is_sealed(sheet.binding.gateway) and sheet.mode is Mode.LIVE:
        return "Its key is sealed, so it needs the approval passphrase, at a terminal or on the desk. No form will do."
    own = " An allowance of the person's would cover such clips." if OWN_FILE_SCHEME.encode() not in sheet.body else ""
    if floor_of(deps, sheet) is Floor.PASSPHRASE:
        why = "The policy asks for the approval passphrase or a passkey, at a terminal or on the desk. No form will do."
        return f"{why}{own}"
    return f"It needs the amount in the client's form, or the passphrase or a passkey elsewhere.{own}"


def declined_before(deps: Dependencies, shot_digest: str) -> Sheet | None:
    """The sheet of that same shot to which a person said no, if none was submitted after it."""
    sheet = next(iter(deps.ledger().sheets([SheetState.DECLINED], limit=1, shot_digest=shot_digest)), None)
    if sheet is None or any(task.created_at > sheet.made_at for task in deps.ledger().takes(shot_digest)):
        return None
    return sheet


def spending_windows(now: float) -> tuple[float, float]:
    """The starts of the current UTC day and month, in seconds since the epoch."""
    moment = datetime.fromtimestamp(now, UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day.timestamp(), day.replace(day=1).timestamp()


def spending_now(deps: Dependencies, mode: Mode, gateway_id: str = "") -> Spending:
    """What is reserved or spent today and this month (UTC) in that mode, and that gateway's clips of today."""
    return deps.ledger().spending(mode, spending_windows(deps.clock.now()), gateway_id)


def require_mode(policy: Policy, sheet: Sheet) -> None:
    """A pause and the policy's mode win over everything: read-only submits nothing, live needs live mode armed."""
    if policy.paused:
        raise PolicyRefusal(PAUSED, next_step=RESUME)
    if policy.mode is Mode.READ_ONLY:
        raise PolicyRefusal(
            "The policy is read-only.",
            next_step=CHANGE_MODE,
        )
    if policy.mode is not sheet.mode:
        raise PolicyRefusal(
            f"Sheet {sheet.id} is for {sheet.mode.value}, the policy says {policy.mode.value}.",
            next_step=NextStep(Action.EXPLAIN, "A new sheet follows the policy."),
        )


def require_current_ledger(deps: Dependencies, sheet: Sheet) -> None:
    """Raise `LedgerOlder` for a live sheet in a ledger that has forgotten what was sent."""
    if sheet.mode is Mode.LIVE:
        deps.sent.require_current()


def _check_ledger(deps: Dependencies, _: Policy, sheet: Sheet) -> None:
    require_current_ledger(deps, sheet)


def _check_mode(_: Dependencies, policy: Policy, sheet: Sheet) -> None:
    require_mode(policy, sheet)


def _check_held(deps: Dependencies, _: Policy, sheet: Sheet) -> None:
    if (task := held_by(deps, sheet.binding.shot_digest)) is not None:
        raise OutcomeUnknown(
            f"Task {task.id} of this same shot may already have been accepted.",
            fate=Fate.NOTHING_SENT,
            next_step=NextStep(Action.RESOLVE, "First look for it in the gateway's own task list.", target=task.id),
        )


def _check_rules(_: Dependencies, policy: Policy, sheet: Sheet) -> None:
    require_allowed(policy, sheet.card_id, sheet.price.usd)


def _check_price(_: Dependencies, policy: Policy, sheet: Sheet) -> None:
    if amount_to_type(sheet.price, policy) is None:
        raise PolicyRefusal(
            f"The price of {sheet.card_id} is not documented.",
            next_step=f"Only a person can set [prices] unknown_ceiling, in the policy file. {ANOTHER_MODEL}",
        )


def _check_caps(deps: Dependencies, policy: Policy, sheet: Sheet) -> None:
    # What was spent is reserved already: it must not be counted a second time.
    if sheet.task_id is None:
        gateway = sheet.binding.gateway
        spent = spending_now(deps, Mode.LIVE, gateway)
        require_within_caps(policy.caps_for(gateway), sheet.reserve_micros or 0, spent)


def require_caps_together(deps: Dependencies, sheets: Sequence[Sheet]) -> None:
    """Raise `PolicyRefusal` unless the caps of a day and a month hold for all these unspent sheets together."""
    policy, live = deps.policy(), [sheet for sheet in sheets if sheet.mode is Mode.LIVE]
    caps, spent = replace(policy.caps, per_clip=None), spending_now(deps, Mode.LIVE)
    require_within_caps(caps, sum(sheet.reserve_micros or 0 for sheet in live), spent)
    for gateway, clips in Counter(sheet.binding.gateway for sheet in live).items():
        before = spending_now(deps, Mode.LIVE, gateway)
        # As the last of them meets it.
        last = replace(before, clips_at_gateway=before.clips_at_gateway + clips - 1)
        require_within_caps(replace(policy.caps_for(gateway), per_clip=None), 0, last)


def _check_key(deps: Dependencies, _: Policy, sheet: Sheet) -> None:
    if sheet.mode is Mode.LIVE:
        deps.need_key(deps.facts(sheet.binding.gateway))


def _check_sandbox(deps: Dependencies, _: Policy, sheet: Sheet) -> None:
    facts = deps.facts(sheet.binding.gateway)
    if sheet.mode is Mode.SANDBOX and not (facts.own or deps.sandbox_plays(facts.id)):
        raise SetupProblem(
            f"The sandbox has no {facts.name}.",
            next_step="The payload was still validated. A person decides whether to rehearse on another gateway.",
        )


def _check_files(deps: Dependencies, _: Policy, sheet: Sheet) -> None:
    for name in sheet.shot.own_files:
        deps.pictures.read(name)


def _check_passphrase(deps: Dependencies, _: Policy, sheet: Sheet) -> None:
    """What only the passphrase can approve needs one. A sealed key brings its own."""
    if sheet.state is SheetState.APPROVED or floor_of(deps, sheet) is not Floor.PASSPHRASE:
        return
    if deps.is_sealed(sheet.binding.gateway) or allowance_for(deps, sheet) is not None or deps.has_passphrase():
        return
    raise SetupProblem(
        "No approval passphrase has been set, and this clip needs it.",
        next_step=NextStep(Action.SETUP, "Only a person can choose one, in their own terminal."),
    )


def _check_not_refused_before(deps: Dependencies, _: Policy, sheet: Sheet) -> None:
    """The same bytes, with the same key and price table, that the gateway refused are not offered to it again."""
    for task in deps.ledger().takes(sheet.binding.shot_digest):
        earlier = deps.ledger().sheet(task.sheet_id)
        if task.problem is None or not task.problem.lasting or earlier is None:
            continue
        before = earlier.binding
        if (before.account, before.prices) == (sheet.binding.account, sheet.binding.prices):
            raise GatewayRefused(
                f"{deps.facts(task.gateway).name} refused this same request before (task {task.id}:"
                f" {task.problem.message}).",
                fate=Fate.NOTHING_SENT,
                next_step=refusal_step(task.problem),
            )


LIFTED_IN_TEAM = {"mode": "an approver, if it is a pause; else an administrator"} | dict.fromkeys(
    ("older_ledger", "rule", "unknown_price", "cap", "no_key"), "an administrator of the team's server"
)
OF_PRICE = ("rule", "unknown_price", "cap")
_CHECKS: tuple[tuple[str, str, Callable[[Dependencies, Policy, Sheet], None]], ...] = (
    ("mode", "a person, in a terminal", _check_mode),
    ("older_ledger", "a person, in a terminal", _check_ledger),
    ("held", "a person, who resolves that task", _check_held),
    ("rule", "a person, in the policy file", _check_rules),
    ("unknown_price", "a person, in the policy file", _check_price),
    ("cap", "a person, in the policy file", _check_caps),
    ("no_key", "a person, in a terminal", _check_key),
    ("no_sandbox", "another gateway", _check_sandbox),
    ("file", "the same picture, drafted again", _check_files),
    ("no_passphrase", "a person, in a terminal", _check_passphrase),
    ("refused_before", "another shot", _check_not_refused_before),
)
