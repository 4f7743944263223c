"""Allowances: a person creates, lists and revokes them. Consent for several clips together, within bounds."""

from __future__ import annotations

from decimal import Decimal

from callsheet.core.catalogue.prices import is_free, to_micros
from callsheet.core.consent import Means, Mode, Policy
from callsheet.core.security.redaction import clean
from callsheet.core.spending import Allowance, bearing_on_models, check_allowance, end_of
from callsheet.errors import Action, InvalidRequest, NextStep, NotApproved, PolicyRefusal

from .dependencies import Dependencies, keep_taken_back

PERSONS_MEANS = (Means.TERMINAL, Means.DESK, Means.PASSKEY)


def draft(
    deps: Dependencies, models: tuple[str, ...], *, clips: int, up_to: Decimal, seconds: float, by: Means
) -> Allowance:
    """A person's consent, to be recorded, to `clips` clips of these models (`gateway/model`) up to a sum in US dollars.

    The surface has verified that it is that person. Raises `InvalidRequest`, `UnknownThing`, `PolicyRefusal`.
    """
    if by not in PERSONS_MEANS:
        raise NotApproved("Only a person can create an allowance.", next_step=NextStep(Action.ALLOW))
    policy = allowable(deps, models, clips=clips, up_to=up_to, seconds=seconds)
    now = deps.clock.now()
    return Allowance(
        id=f"allow_{deps.clock.token()}",
        mode=policy.mode,
        models=tuple(dict.fromkeys(models)),
        clips=clips,
        up_to_micros=to_micros(up_to),
        made_at=now,
        expires_at=now + seconds,
        policy=bearing_on_models(policy, tuple(dict.fromkeys(models))),
        made_by=by,
    )


def allowable(deps: Dependencies, models: tuple[str, ...], *, clips: int, up_to: Decimal, seconds: float) -> Policy:
    """The policy under which such an allowance could be created now; raises what prevents it.

    Surfaces call it before they ask for a passphrase.
    """
    named = [deps.catalogue().card(*card_id.split("/", 1)) for card_id in models if "/" in card_id]
    free = all(card is not None and is_free(card.price) for card in named)
    check_allowance(models, clips=clips, up_to=up_to, seconds=seconds, free=free and bool(named))
    policy = deps.policy()
    if policy.mode is Mode.READ_ONLY:
        raise PolicyRefusal(
            "The policy is read-only.", next_step=NextStep(Action.SETUP, "Only a person can change the mode.")
        )
    for card_id in models:
        gateway, found, model = card_id.partition("/")
        if not found:
            raise InvalidRequest(
                f"{clean(card_id, limit=60)} names no gateway.",
                next_step=NextStep(Action.MODELS, "Write gateway/model, for example poyo/sora-2-official."),
            )
        card = deps.card(gateway, model)
        if policy.mode is Mode.LIVE and deps.is_sealed(card.gateway):
            raise InvalidRequest(
                f"The key of {deps.facts(gateway).name} is sealed, so it is opened for one clip at a time.",
                next_step=NextStep(Action.UNSEAL_KEY, "Approve each clip, or unseal the key first.", target=gateway),
            )
    return policy


def require_policy(deps: Dependencies, version: str) -> None:
    """Refuse terms that a person was shown under a policy that is no longer in force: raises `NotApproved`."""
    if deps.policy().version != version:
        raise NotApproved(
            "The policy has changed since these terms were shown.",
            next_step="Read the current terms, then decide.",
        )


def allowances(deps: Dependencies, *, only_open: bool = False) -> list[Allowance]:
    """All allowances, newest first; or those that may still cover something."""
    found = deps.ledger().consent.allowances()
    return [item for item in found if not only_open or ended(deps, item) is None]


def ended(deps: Dependencies, allowance: Allowance) -> str | None:
    """Why it no longer covers anything; None while it may."""
    policy = deps.policy()
    if allowance.mode is not policy.mode:
        return f"it is for {allowance.mode.value}, and the policy says {policy.mode.value}"
    return end_of(allowance, now=deps.clock.now(), policy=policy)


def revoke(deps: Dependencies, allowance_id: str, *, by: Means) -> Allowance:
    """End an allowance now. What was submitted under it goes on. Raises `UnknownThing`."""
    revoked = deps.ledger().consent.revoke(allowance_id, now=deps.clock.now(), by=by)
    keep_taken_back(deps)
    return revoked
