"""The sheet page: what would be sent, rendered from the stored bytes, with the forms to approve or decline it."""

from __future__ import annotations

import hmac
from typing import Any

from starlette.responses import JSONResponse, Response

from callsheet.core.consent import Means, Mode, Need, decide_need, split_approval, text_matches, text_to_type
from callsheet.core.gateway.uploads import MEDIA_TYPES
from callsheet.core.payload.own_files import format_own_file
from callsheet.core.security.redaction import clean
from callsheet.core.shot import PARAMETERS
from callsheet.core.signatures import sheet_subject
from callsheet.core.spending import is_fresh
from callsheet.core.tasks import Sheet, SheetState
from callsheet.errors import CallsheetError, InvalidRequest, NotApproved, SetupProblem, UnknownThing

from .requests import RequestContext, http_status, render_error

APPROVED_BY = {
    Means.REHEARSAL: "automatically, as a rehearsal",
    Means.ALLOWANCE: "under an allowance",
    Means.CLIENT: "in the agent's client",
    Means.TERMINAL: "in a terminal",
    Means.DESK: "on this desk, with the passphrase",
    Means.PASSKEY: "on this desk, with a passkey",
}
ANSWER_SECONDS = 0.5
"""Long enough to see an immediate refusal. The task's page shows the rest; closing the desk ends this wait."""
NO_PASSKEY = (
    "This gateway's key is sealed with your approval passphrase. A passkey cannot open it, so type the passphrase."
)
SENDING = "Approved. The request is being sent, once."
OPEN = (SheetState.DRAFTED, SheetState.AWAITING_APPROVAL)
SENDABLE = (SheetState.APPROVED, SheetState.SPENT)
AUTOMATIC = "automatic"
"""The code of the refusal to ask a person about what needs no approval."""
SUMMARY = 160


def subject_of(sheet: Sheet) -> str:
    """What a passkey signs: this sheet with everything it is bound to."""
    return sheet_subject(sheet.id, sheet.binding.digest)


def sheet_summary(sheet: Sheet) -> dict[str, Any]:
    """A short summary of a sheet, for lists."""
    shot = sheet.shot
    video_format = " · ".join(PARAMETERS[name].shown(value) for name, value in shot.parameters.items())
    return {
        "id": sheet.id,
        "mode": sheet.mode.value,
        "price": sheet.price.in_dollars if sheet.price.known else "Price unknown",
        "model": sheet.card_id,
        "format": clean(video_format, limit=60),
        "prompt": clean(shot.prompt, limit=SUMMARY),
        "made_at": sheet.made_at,
    }


async def page_view(context: RequestContext) -> Response:
    """The sheet as it would be sent."""
    return _page(context, context.state.service.sheet(context.path_param("sheet_id")))


async def picture(context: RequestContext) -> Response:
    """A picture of the person's own as it would be uploaded, found by the bytes of the sheet."""
    service = context.state.service
    files = service.own_files(service.sheet(context.path_param("sheet_id")))
    number = int(context.path_param("number"))
    if number >= len(files):
        raise UnknownThing("That sheet has no such picture.", next_step="Open the sheet.")
    return Response(service.read_own_file(files[number]), media_type=MEDIA_TYPES[files[number].format])


async def approve(context: RequestContext) -> Response:
    """Approve: with the passphrase (and the typed amount when live) or with a passkey."""
    state = context.state
    sheet = state.service.sheet(context.path_param("sheet_id"))
    if not _is_undecided(context, sheet):
        return context.redirect(f"/sheets/{sheet.id}", f"Nothing changed: the sheet is already {sheet.state.value}.")
    try:
        _require_shown(context, sheet)
        _require_decidable(context, sheet)
        if context.state.service.needs_passphrase(sheet.id) and context.form.get("passkey"):
            raise NotApproved(NO_PASSKEY, next_step="Type the passphrase.")
        _require_amount(context, sheet)
        proof = await state.step_up.prove(context.form, context.session, subject_of(sheet), sheet_id=sheet.id)
    except CallsheetError as error:
        return _page(context, sheet, error)
    if context.state.service.needs_passphrase(sheet.id):
        return await _approve_and_send(context, sheet)
    approved = state.service.approve(sheet.id, by=proof.means, evidence=proof.evidence)
    if approved.task_id is not None:
        return _to_task(context, approved.task_id)
    if "send" in context.form:
        return await send(context)
    how = "with your passkey" if proof.means is Means.PASSKEY else "with the passphrase"
    notice = f"Approved {how}, for one hour. Nothing was sent yet: you or your agent can submit it now."
    return context.redirect(f"/sheets/{sheet.id}", notice)


async def send(context: RequestContext) -> Response:
    """Submit a sheet that is approved, or needs no approval. One that does need it is only put forward."""
    submission = await context.state.service.submit(context.path_param("sheet_id"), wait_seconds=ANSWER_SECONDS)
    if submission.report is None:
        return context.redirect(f"/sheets/{submission.sheet_id}", "Nothing was sent yet. Read it, then decide.")
    return _to_task(context, submission.report.task.id)


def _to_task(context: RequestContext, task_id: str) -> Response:
    """To the task that is being sent; back to the first page, if that is where the person decided."""
    return context.redirect("/" if "home" in context.form else f"/tasks/{task_id}", SENDING)


async def _approve_and_send(context: RequestContext, sheet: Sheet) -> Response:
    """Open the key for this one request, send it, and redirect to its task."""
    submission = await context.state.service.approve_and_send(
        sheet.id, passphrase=context.form.get("passphrase", ""), by=Means.DESK, wait_seconds=ANSWER_SECONDS
    )
    if submission.report is None:
        return context.redirect(f"/sheets/{sheet.id}", submission.notice)
    return _to_task(context, submission.report.task.id)


async def decline(context: RequestContext) -> Response:
    """Decline. Needs no passphrase, because it can only prevent spending."""
    sheet = context.state.service.decline(context.path_param("sheet_id"), by=Means.DESK)
    return context.redirect("/", f"Declined. Sheet {sheet.id} can no longer be submitted; nothing was sent.")


async def challenge(context: RequestContext) -> Response:
    """What a passkey must sign for this sheet, in its current form."""
    state = context.state
    sheet = state.service.sheet(context.path_param("sheet_id"))
    _require_shown(context, sheet)
    _require_decidable(context, sheet)
    if context.state.service.needs_passphrase(sheet.id):
        raise NotApproved(NO_PASSKEY, next_step="Type the passphrase.")
    return JSONResponse(state.step_up.ask(context.session, subject_of(sheet), sheet_id=sheet.id))


def _require_shown(context: RequestContext, sheet: Sheet) -> None:
    """Raises unless the form comes from a page that showed this sheet with its current binding."""
    if not hmac.compare_digest(context.form.get("shown", "").encode(), sheet.binding.digest.encode()):
        raise NotApproved(
            "The sheet changed after this form was shown.",
            next_step="Read the sheet again, then decide.",
        )


def _require_decidable(context: RequestContext, sheet: Sheet) -> None:
    """Raises unless the sheet could now be approved and submitted, by the person who asks."""
    service = context.state.service
    if service.needs_passphrase(sheet.id):
        service.sendable(sheet.id)
    else:
        service.approvable(sheet.id)
    if decide_need(service.policy, sheet.mode) is Need.NOTHING:
        raise InvalidRequest(
            "In the sandbox approval is automatic: nothing needs to be approved.",
            next_step="You or your agent can submit it without approval.",
            code=AUTOMATIC,
        )
    context.state.step_up.require_permitted(sheet.id)


def _is_undecided(context: RequestContext, sheet: Sheet) -> bool:
    """Whether there is something to decide. With a sealed key, an approval in the ledger alone sends nothing."""
    return sheet.state in OPEN or (sheet.state in SENDABLE and context.state.service.needs_passphrase(sheet.id))


def has_lapsed(context: RequestContext, sheet: Sheet) -> bool:
    """Whether the sheet's approval has expired."""
    return sheet.state is SheetState.APPROVED and not is_fresh(sheet, context.now)


def _amount(context: RequestContext, sheet: Sheet) -> str | None:
    """What to type with the passphrase: the price of a live sheet, or the name of an endpoint that is free."""
    policy = context.state.service.policy
    return text_to_type(sheet.price, policy, sheet.binding.gateway) if sheet.mode is Mode.LIVE else None


def _require_amount(context: RequestContext, sheet: Sheet) -> None:
    amount = _amount(context, sheet)
    if context.form.get("passkey") or amount is None:
        return
    if not text_matches(context.form.get("amount", ""), amount):
        raise NotApproved(
            f"The amount typed is not the amount shown ({amount}{'' if sheet.price.free else ' USD'}).",
            next_step=f"Type {amount} to agree, or decline.",
            code="wrong_amount",
        )


def _page(context: RequestContext, sheet: Sheet, error: CallsheetError | None = None) -> Response:
    return context.page(
        "sheet.html", status=http_status(error) if error else 200, view=sheet_view(context, sheet, error)
    )


def sheet_view(context: RequestContext, sheet: Sheet, error: CallsheetError | None = None) -> dict[str, Any]:
    """A sheet with all that a person agrees to, and how they can decide here."""
    service = context.state.service
    # A sheet that is still open, but too old: checking whether it can be approved would record that it expired.
    too_old = sheet.state in OPEN and context.now > sheet.expires_at
    undecided = not too_old and _is_undecided(context, sheet)
    obstacle = _obstacle(context, sheet) if undecided else None
    asks = undecided and obstacle is None
    amount = _amount(context, sheet) if undecided else None
    lines = [{"label": label, "text": text} for label, text in split_approval(_text(context, sheet, asks=asks))]
    return {
        **sheet_summary(sheet),
        "take": sheet.take,
        "owner": context.state.name_owner(sheet.id),
        "undecided": undecided,
        "shown": sheet.binding.digest,
        "expires_at": sheet.expires_at,
        "state": "expired" if too_old else "lapsed" if has_lapsed(context, sheet) else sheet.state.value,
        "approved_at": sheet.approved_at,
        "approved_by": APPROVED_BY[sheet.approved_by] if sheet.approved_by else "",
        "task_id": sheet.task_id,
        "cost": lines[0],
        "lines": lines[1:-1],
        "words": lines[-1],
        "pictures": [format_own_file(file) for file in service.own_files(sheet)],
        "whole": service.whole_prompt(sheet.id) if asks else "",
        "amount": amount or "",
        "unit": "" if sheet.price.free else " USD",
        "typed": context.form.get("amount", ""),
        "error": render_error(error) if error else None,
        "obstacle": render_error(obstacle) if obstacle and error is None else None,
        "automatic": obstacle is not None and obstacle.error_code == AUTOMATIC,
        "refused": _refusal(context, sheet) if undecided else "",
        "void": service.find_void(sheet) if obstacle else "",
        "sealed_why": NO_PASSKEY,
        "sends_now": sheet.is_forward(context.now),
        **_approval_ways(context, sheet),
    }


def _approval_ways(context: RequestContext, sheet: Sheet) -> dict[str, Any]:
    """How this sheet can be approved here."""
    ways = approval_ways(context)
    sealed = ways["setup"] is None and context.state.service.needs_passphrase(sheet.id)
    return {**ways, "has_passkey": ways["has_passkey"] and not sealed, "sealed": sealed}


def approval_ways(context: RequestContext) -> dict[str, Any]:
    """What a person can prove here that it is them with; `setup` is what is wrong with that."""
    try:
        return {**context.state.step_up.ways(), "setup": None}
    except SetupProblem as error:
        return {
            "has_passphrase": False,
            "has_passkey": False,
            "no_way": "",
            "decides": True,
            "setup": render_error(error),
        }


def _obstacle(context: RequestContext, sheet: Sheet) -> CallsheetError | None:
    try:
        _require_decidable(context, sheet)
    except CallsheetError as error:
        return error
    return None


def _refusal(context: RequestContext, sheet: Sheet) -> str:
    """Why the person who asks may not decide on the sheet, and who can; empty where they may."""
    try:
        context.state.step_up.require_permitted(sheet.id)
    except NotApproved as refusal:
        return f"{refusal.message} {refusal.next_step.text}"
    return ""


def _text(context: RequestContext, sheet: Sheet, *, asks: bool) -> str:
    """The approval text, rendered again from the stored bytes; the stored text if the sheet cannot be approved."""
    if not asks:
        return sheet.shown
    service = context.state.service
    return service.sending_text(sheet.id) if service.needs_passphrase(sheet.id) else service.approval_text(sheet.id)
