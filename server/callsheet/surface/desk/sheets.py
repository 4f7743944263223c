"""The call sheet: what would be sent, drawn from the stored bytes, and a person's yes or no to it."""

from __future__ import annotations

import hmac
from decimal import Decimal
from typing import Any

from starlette.responses import JSONResponse, Response

from callsheet.core.catalogue.pricing import dollars
from callsheet.core.consent.approval import Means, Need, amount_matches, amount_to_type, decide_need, split_approval
from callsheet.core.consent.policy import Mode
from callsheet.core.security.redaction import clean
from callsheet.core.spending.limits import is_fresh
from callsheet.core.tasks.models import Sheet
from callsheet.core.tasks.states import SheetState
from callsheet.errors import CallsheetError, InvalidRequest, NotApproved, SetupProblem
from callsheet.service.consent import require_mode

from .requests import Visit, said, status_of
from .sealed import NO_PASSKEY, approve_and_send

WAYS = {
    Means.REHEARSAL: "by itself, as a rehearsal",
    Means.ALLOWANCE: "under an allowance",
    Means.CLIENT: "in the agent's client",
    Means.TERMINAL: "in a terminal",
    Means.DESK: "on this desk, with the passphrase",
    Means.PASSKEY: "on this desk, with a passkey",
}
OPEN = (SheetState.DRAFTED, SheetState.AWAITING_APPROVAL)
SENDABLE = (SheetState.APPROVED, SheetState.SPENT)
SUMMARY = 160


def subject_of(sheet: Sheet) -> str:
    """What a passkey signs for: this sheet with everything that it is bound to."""
    return f"sheet {sheet.id} {sheet.binding.digest}"


def summary(sheet: Sheet) -> dict[str, Any]:
    """A sheet in few words, for lists."""
    shot = sheet.shot
    length = f"{shot.duration_seconds} s" if shot.duration_seconds else ""
    picture = " · ".join(part for part in (length, shot.aspect_ratio, shot.resolution) if part)
    return {
        "id": sheet.id,
        "mode": sheet.mode.value,
        "price": f"{dollars(sheet.price.usd)} USD" if sheet.price.usd is not None else "Price unknown",
        "model": sheet.card_id,
        "picture": clean(picture, limit=60),
        "prompt": clean(shot.prompt, limit=SUMMARY),
        "made_at": sheet.made_at,
    }


async def show(visit: Visit) -> Response:
    """The sheet as it would be sent."""
    return _page(visit, visit.office.service.sheet(visit.named("sheet_id")))


async def approve(visit: Visit) -> Response:
    """A person's yes: with the passphrase, and live with the amount typed; or with a passkey."""
    office = visit.office
    sheet = office.service.sheet(visit.named("sheet_id"))
    if not _is_undecided(visit, sheet):
        return visit.go(f"/sheets/{sheet.id}", f"That sheet is {sheet.state.value} already; nothing was changed.")
    try:
        _require_shown(visit, sheet)
        _require_decidable(visit, sheet)
        if visit.office.service.needs_passphrase(sheet.id) and visit.form.get("passkey"):
            raise NotApproved(NO_PASSKEY, next_step="Type the passphrase.")
        _require_amount(visit, sheet)
        proof = await office.prover.prove(visit.form, visit.session, subject_of(sheet))
    except CallsheetError as error:
        return _page(visit, sheet, error)
    if visit.office.service.needs_passphrase(sheet.id):
        return await approve_and_send(visit, sheet)
    office.service.approve(sheet.id, by=proof.means, who=proof.who)
    how = "with your passkey" if proof.means is Means.PASSKEY else "with the passphrase"
    notice = f"Approved {how}, for one hour. Nothing was sent yet: the agent submits it by asking once more."
    return visit.go(f"/sheets/{sheet.id}", notice)


async def decline(visit: Visit) -> Response:
    """A person's no. Needs no proof: it can only prevent."""
    sheet = visit.office.service.decline(visit.named("sheet_id"), by=Means.DESK)
    return visit.go("/", f"Declined. Sheet {sheet.id} can no longer be submitted; nothing was sent.")


async def challenge(visit: Visit) -> Response:
    """What a passkey is to sign for this sheet, as it stands now."""
    office = visit.office
    sheet = office.service.sheet(visit.named("sheet_id"))
    _require_shown(visit, sheet)
    _require_decidable(visit, sheet)
    if visit.office.service.needs_passphrase(sheet.id):
        raise NotApproved(NO_PASSKEY, next_step="Type the passphrase.")
    nonce, to_sign = office.prover.challenges.issue(visit.session, subject_of(sheet))
    return JSONResponse({"nonce": nonce, "options": office.passkeys.signing_options(to_sign)})


def _require_shown(visit: Visit, sheet: Sheet) -> None:
    """Raises unless the form comes from a page that showed this sheet as it is bound now."""
    if not hmac.compare_digest(visit.form.get("shown", "").encode(), sheet.binding.digest.encode()):
        raise NotApproved(
            "The sheet is not the one that was shown with this form.",
            next_step="Read the sheet as it is now, then decide.",
        )


def _require_decidable(visit: Visit, sheet: Sheet) -> None:
    """Raises unless the sheet could be approved, and spent, as things stand."""
    service = visit.office.service
    if service.needs_passphrase(sheet.id):
        service.sendable(sheet.id)
    else:
        service.approvable(sheet.id)
    policy = service.policy
    require_mode(policy, sheet)
    if decide_need(policy, sheet.mode) is Need.NOTHING:
        raise InvalidRequest(
            "In the sandbox approval is automatic: nothing needs to be approved.",
            next_step="The agent may call submit_video as it is.",
        )


def _is_undecided(visit: Visit, sheet: Sheet) -> bool:
    """Whether there is something to decide. Where a key is sealed, that the ledger says "approved" sends nothing."""
    return sheet.state in OPEN or (sheet.state in SENDABLE and visit.office.service.needs_passphrase(sheet.id))


def has_lapsed(visit: Visit, sheet: Sheet) -> bool:
    """Whether the sheet was approved so long ago that the approval no longer counts."""
    return sheet.state is SheetState.APPROVED and not is_fresh(sheet, visit.now)


def _amount(visit: Visit, sheet: Sheet) -> Decimal | None:
    """What a person types beside the passphrase: the price of a live sheet."""
    return amount_to_type(sheet.price, visit.office.service.policy) if sheet.mode is Mode.LIVE else None


def _require_amount(visit: Visit, sheet: Sheet) -> None:
    amount = _amount(visit, sheet)
    if visit.form.get("passkey") or amount is None:
        return
    if not amount_matches(visit.form.get("amount", ""), amount):
        raise NotApproved(
            f"The amount typed is not the amount shown ({dollars(amount)} USD).",
            next_step=f"Type {dollars(amount)} to agree, or decline.",
            code="wrong_amount",
        )


def _page(visit: Visit, sheet: Sheet, error: CallsheetError | None = None) -> Response:
    # A sheet that is still open, but too old: asking whether it can be approved would write that down.
    too_old = sheet.state in OPEN and visit.now > sheet.expires_at
    undecided = not too_old and _is_undecided(visit, sheet)
    hindrance = _hindrance(visit, sheet) if undecided and error is None else None
    amount = _amount(visit, sheet) if undecided else None
    lines = [{"label": label, "text": text} for label, text in split_approval(_text(visit, sheet))]
    return visit.page(
        "sheet.html",
        status=status_of(error) if error else 200,
        sheet=summary(sheet),
        take=sheet.take,
        undecided=undecided,
        shown=sheet.binding.digest,
        expires_at=sheet.expires_at,
        state="expired" if too_old else "lapsed" if has_lapsed(visit, sheet) else sheet.state.value,
        approved_at=sheet.approved_at,
        approved_by=WAYS[sheet.approved_by] if sheet.approved_by else "",
        task_id=sheet.task_id,
        price=lines[0],
        lines=lines[1:-1],
        prompt=lines[-1],
        whole=visit.office.service.whole_prompt(sheet.id) if undecided and hindrance is None else "",
        amount=dollars(amount) if amount is not None else "",
        typed=visit.form.get("amount", ""),
        error=said(error) if error else None,
        hindrance=said(hindrance) if hindrance else None,
        sealed_why=NO_PASSKEY,
        **_ways(visit, sheet),
    )


def _ways(visit: Visit, sheet: Sheet) -> dict[str, Any]:
    """By which means this sheet can be approved here."""
    office = visit.office
    try:
        passphrase, passkeys = office.door.has_passphrase(), bool(office.passkeys.all())
    except SetupProblem as error:
        return {"has_passphrase": False, "has_passkey": False, "sealed": False, "setup": said(error)}
    sealed = visit.office.service.needs_passphrase(sheet.id)
    return {"has_passphrase": passphrase, "has_passkey": passkeys and not sealed, "sealed": sealed, "setup": None}


def _hindrance(visit: Visit, sheet: Sheet) -> CallsheetError | None:
    try:
        _require_decidable(visit, sheet)
    except CallsheetError as error:
        return error
    return None


def _text(visit: Visit, sheet: Sheet) -> str:
    """What the person agrees to, made anew from the stored bytes; of a sheet that cannot be approved, as it was."""
    too_old = sheet.state in OPEN and visit.now > sheet.expires_at
    if too_old or not _is_undecided(visit, sheet) or _hindrance(visit, sheet) is not None:
        return sheet.shown
    service = visit.office.service
    return service.sending_text(sheet.id) if service.needs_passphrase(sheet.id) else service.approval_text(sheet.id)


__all__ = ["approve", "challenge", "decline", "has_lapsed", "show", "subject_of", "summary"]
