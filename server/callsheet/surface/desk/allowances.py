"""The allowances page: approval in advance of a number of clips up to a sum, for named models, until a time."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.responses import JSONResponse, Response

from callsheet.core.catalogue.prices import dollars, from_micros
from callsheet.core.consent import Means, Mode
from callsheet.core.spending import Allowance, bearing_on_models
from callsheet.errors import CallsheetError

from .requests import Form, RequestContext, http_status, render_error
from .sheets import approval_ways

SPANS = {3600: "1 hour", 2 * 3600: "2 hours", 8 * 3600: "8 hours", 24 * 3600: "1 day", 7 * 24 * 3600: "7 days"}
DEFAULTS = {"clips": "5", "up_to": "", "seconds": "7200"}
FULL = 100


@dataclass(frozen=True, slots=True)
class Terms:
    """What an allowance would permit, and under which parts of the policy."""

    mode: Mode
    policy: str
    models: tuple[str, ...]
    clips: int
    up_to: Decimal
    seconds: int

    @property
    def subject(self) -> str:
        """What a passkey signs: exactly these terms."""
        use = f"0 of {self.clips} clips, 0.00 of {dollars(self.up_to)} USD"
        terms = {"models": ", ".join(self.models), "use": use, "mode": self.mode.value, "policy": self.policy}
        return f"allowance {json.dumps({**terms, 'seconds': self.seconds}, sort_keys=True)}"


async def page_view(context: RequestContext) -> Response:
    """The existing allowances, and the form for a new one."""
    return _page(context)


async def create(context: RequestContext) -> Response:
    """Create one: with the passphrase or a passkey, in this same request."""
    state = context.state
    try:
        terms = _read_terms(context)
        proof = await state.step_up.prove(context.form, context.session, terms.subject)
        # The check takes time, so the policy is read again. A second click waited for the first one's check.
        state.service.require_policy(context.form.get("shown", ""))
        if not context.session.first_use(context.form.get("once", "")):
            return context.redirect("/allowances", "That form was already sent. The allowance was created only once.")
        allowance = state.service.allow(
            terms.models,
            clips=terms.clips,
            up_to=terms.up_to,
            seconds=terms.seconds,
            by=proof.means,
            evidence=proof.evidence,
        )
    except CallsheetError as error:
        return _page(context, error)
    return context.redirect("/allowances", f"Allowed: {allowance.clips} clips, up to {dollars(terms.up_to)} USD.")


async def revoke(context: RequestContext) -> Response:
    """End one now. Needs no passphrase, because it can only prevent spending."""
    ended = context.state.service.revoke(context.path_param("allowance_id"), by=Means.DESK)
    return context.redirect("/allowances", f"Revoked. Used so far: {ended.use}. Requests already sent continue.")


async def challenge(context: RequestContext) -> Response:
    """What a passkey must sign for these terms."""
    return JSONResponse(context.state.step_up.ask(context.session, _read_terms(context).subject))


def _read_terms(context: RequestContext) -> Terms:
    """The terms in the form, checked against the policy in force. Raises for terms that are not allowed."""
    form = context.form
    models = tuple(sorted(set(form.all_values("models"))))
    clips, up_to, seconds = _read_whole(form, "clips"), _read_sum(form), _read_whole(form, "seconds")
    service = context.state.service
    service.require_policy(form.get("shown", ""))
    policy = service.allowable(models, clips=clips, up_to=up_to, seconds=seconds)
    return Terms(policy.mode, bearing_on_models(policy, models), models, clips, up_to, seconds)


def _read_whole(form: Form, name: str) -> int:
    text = form.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _read_sum(form: Form) -> Decimal:
    text = form.get("up_to", "").strip().removeprefix("$").strip()
    if not text or len(text) > 12 or set(text) - set("0123456789."):
        return Decimal(0)
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0)


def _page(context: RequestContext, error: CallsheetError | None = None) -> Response:
    state = context.state
    policy = state.service.policy
    found = [_row(item, state.service.allowance_end(item)) for item in state.service.allowances()]
    filled = {name: context.form.get(name, usual) for name, usual in DEFAULTS.items()}
    return context.page(
        "allowances.html",
        status=http_status(error) if error else 200,
        allowances=[item for item in found if not item["end"]],
        ended=[item for item in found if item["end"]],
        gateways=_model_choices(context),
        chosen=context.form.all_values("models"),
        filled=filled,
        spans=SPANS,
        error=render_error(error) if error else None,
        live=policy.mode is Mode.LIVE,
        shown=policy.version,
        once=secrets.token_urlsafe(16),
        **approval_ways(context),
    )


def _model_choices(context: RequestContext) -> list[dict[str, Any]]:
    """Every model by gateway. An allowance cannot cover a model without a documented price."""
    catalogue, live = context.state.service.catalogue, context.state.service.policy.mode is Mode.LIVE
    return [
        {
            "name": facts.name,
            "sealed": live and context.state.service.is_sealed(facts.id),
            "models": [{"id": card.id, "model": card.model} for card in facts.models if card.price.per != "unknown"],
            "unpriced": [card.model for card in facts.models if card.price.per == "unknown"],
        }
        for facts in catalogue.gateways
    ]


def _row(allowance: Allowance, end: str | None) -> dict[str, Any]:
    # An allowance for clips that cost nothing has no sum.
    of_money = allowance.used_micros / allowance.up_to_micros if allowance.up_to_micros else 0.0
    return {
        "id": allowance.id,
        "mode": allowance.mode.value,
        "models": allowance.models,
        "use": allowance.use,
        "clips": allowance.clips,
        "used_clips": allowance.used_clips,
        "up_to": dollars(from_micros(allowance.up_to_micros)),
        "percent": min(FULL, round(FULL * max(allowance.used_clips / allowance.clips, of_money))),
        "made_at": allowance.made_at,
        "made_by": allowance.made_by.value,
        "expires_at": allowance.expires_at,
        "end": end or "",
    }
