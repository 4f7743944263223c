"""Allowances: a person's yes, given ahead, to a number of clips up to a sum, for named models, until a time."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.responses import JSONResponse, Response

from callsheet.core.catalogue.pricing import dollars, from_micros
from callsheet.core.consent.approval import Means
from callsheet.core.consent.policy import Mode
from callsheet.core.spending.allowances import Allowance
from callsheet.errors import CallsheetError, SetupProblem

from .requests import Form, Visit, said, status_of

SPANS = {3600: "1 hour", 2 * 3600: "2 hours", 8 * 3600: "8 hours", 24 * 3600: "1 day", 7 * 24 * 3600: "7 days"}
USUAL = {"clips": "5", "up_to": "", "seconds": "7200"}
FULL = 100


@dataclass(frozen=True, slots=True)
class Terms:
    """What an allowance would allow, and under which policy."""

    mode: Mode
    policy: str
    models: tuple[str, ...]
    clips: int
    up_to: Decimal
    seconds: int

    @property
    def subject(self) -> str:
        """What a passkey signs for: exactly these terms."""
        return f"allowance {json.dumps(asdict(self), sort_keys=True, default=str)}"


async def show(visit: Visit) -> Response:
    """The allowances there are, and the form for a new one."""
    return _page(visit)


async def allow(visit: Visit) -> Response:
    """Make one: with the passphrase or a passkey, in this very request."""
    office = visit.office
    try:
        terms = _read_terms(visit)
        proof = await office.prover.prove(visit.form, visit.session, terms.subject)
        # Proving takes its time; what holds now counts. A second click waited behind the first one's proof.
        office.service.require_policy(terms.policy)
        if not visit.session.first_use(visit.form.get("once", "")):
            return visit.go("/allowances", "That form was sent before, and allowed what it says once.")
        made = office.service.allow(
            terms.models, clips=terms.clips, up_to=terms.up_to, seconds=terms.seconds, by=proof.means
        )
    except CallsheetError as error:
        return _page(visit, error)
    return visit.go("/allowances", f"Allowed: {made.clips} clips, up to {dollars(terms.up_to)} USD.")


async def revoke(visit: Visit) -> Response:
    """End one now. Needs no proof: it can only prevent."""
    ended = visit.office.service.revoke(visit.named("allowance_id"), by=Means.DESK)
    return visit.go("/allowances", f"Revoked; it had been used for {ended.use}. What was sent is not called back.")


async def challenge(visit: Visit) -> Response:
    """What a passkey is to sign for these terms."""
    office = visit.office
    nonce, to_sign = office.prover.challenges.issue(visit.session, _read_terms(visit).subject)
    return JSONResponse({"nonce": nonce, "options": office.passkeys.signing_options(to_sign)})


def _read_terms(visit: Visit) -> Terms:
    """The terms in the form, which was shown under the policy in force; raises what is wrong with them."""
    form = visit.form
    models = tuple(sorted(set(form.every("models"))))
    clips, up_to, seconds = _whole(form, "clips"), _sum(form), _whole(form, "seconds")
    service = visit.office.service
    service.require_policy(form.get("shown", ""))
    policy = service.allowable(models, clips=clips, up_to=up_to, seconds=seconds)
    return Terms(policy.mode, policy.version, models, clips, up_to, seconds)


def _whole(form: Form, name: str) -> int:
    text = form.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _sum(form: Form) -> Decimal:
    text = form.get("up_to", "").strip().removeprefix("$").strip()
    if not text or len(text) > 12 or set(text) - set("0123456789."):
        return Decimal(0)
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0)


def _page(visit: Visit, error: CallsheetError | None = None) -> Response:
    office = visit.office
    policy = office.service.policy
    found = [_facts(item, office.service.allowance_end(item)) for item in office.service.allowances()]
    filled = {name: visit.form.get(name, usual) for name, usual in USUAL.items()}
    return visit.page(
        "allowances.html",
        status=status_of(error) if error else 200,
        allowances=[item for item in found if not item["end"]],
        ended=[item for item in found if item["end"]],
        gateways=_choices(visit),
        chosen=visit.form.every("models"),
        filled=filled,
        spans=SPANS,
        error=said(error) if error else None,
        live=policy.mode is Mode.LIVE,
        shown=policy.version,
        once=secrets.token_urlsafe(16),
        **_ways(visit),
    )


def _ways(visit: Visit) -> dict[str, Any]:
    office = visit.office
    try:
        return {
            "has_passphrase": office.door.has_passphrase(),
            "has_passkey": bool(office.passkeys.all()),
            "setup": None,
        }
    except SetupProblem as error:
        return {"has_passphrase": False, "has_passkey": False, "setup": said(error)}


def _choices(visit: Visit) -> list[dict[str, Any]]:
    """Every model by gateway; one whose price is not documented is covered by no allowance."""
    catalogue, live = visit.office.service.catalogue, visit.office.service.policy.mode is Mode.LIVE
    return [
        {
            "name": facts.name,
            "sealed": live and visit.office.service.is_sealed(facts.id),
            "models": [{"id": card.id, "model": card.model} for card in facts.models if card.price.kind != "unknown"],
            "unpriced": [card.model for card in facts.models if card.price.kind == "unknown"],
        }
        for facts in catalogue.gateways
    ]


def _facts(allowance: Allowance, end: str | None) -> dict[str, Any]:
    return {
        "id": allowance.id,
        "mode": allowance.mode.value,
        "models": allowance.models,
        "use": allowance.use,
        "clips": allowance.clips,
        "used_clips": allowance.used_clips,
        "up_to": dollars(from_micros(allowance.up_to_micros)),
        "percent": min(
            FULL,
            round(FULL * max(allowance.used_clips / allowance.clips, allowance.used_micros / allowance.up_to_micros)),
        ),
        "made_at": allowance.made_at,
        "made_by": allowance.made_by.value,
        "expires_at": allowance.expires_at,
        "end": end or "",
    }


__all__ = ["Terms", "allow", "challenge", "revoke", "show"]
