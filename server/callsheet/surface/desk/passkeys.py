"""The passkeys page: list, add and remove. Adding and removing need the passphrase, or a fresh sign-in to a team."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from callsheet.core.consent import Means
from callsheet.core.security.redaction import clean
from callsheet.core.signatures import challenge_of
from callsheet.edges.keys.passkeys import Passkey
from callsheet.errors import CallsheetError, SetupProblem

from .requests import RequestContext, http_status, render_error
from .step_up import read_signature

SUBJECT = "passkey registration"


async def page_view(context: RequestContext) -> Response:
    """The existing passkeys, and the form for a new one."""
    return _page(context)


async def registration_options(context: RequestContext) -> Response:
    """Once it is sure who asks, the options that the browser needs to create a passkey."""
    state = context.state
    await state.step_up.confirm(context.form, context.session)
    nonce, challenge = state.step_up.challenges.issue(context.session, SUBJECT)
    return JSONResponse({"nonce": nonce, "options": state.passkeys.registration_options(challenge)})


async def register(context: RequestContext) -> Response:
    """Store the passkey that the browser created for a challenge issued then."""
    state = context.state
    try:
        nonce, credential = read_signature(context.form.get("passkey", ""))
        challenge = challenge_of(state.step_up.challenges.redeem(context.session, SUBJECT, nonce))
        name = clean(context.form.get("name", ""), limit=60)
        passkey = state.passkeys.register(
            credential, challenge=challenge, origin=state.origin, name=name, now=context.now
        )
    except CallsheetError as error:
        return _page(context, error)
    _record(context, "passkey_registered", passkey)
    return context.redirect("/passkeys", f"“{passkey.name}” is registered.")


async def remove(context: RequestContext) -> Response:
    """Remove one, once it is sure who asks."""
    state = context.state
    try:
        await state.step_up.confirm(context.form, context.session)
        passkey = state.passkeys.remove(context.path_param("passkey_id"))
    except CallsheetError as error:
        return _page(context, error)
    _record(context, "passkey_removed", passkey)
    return context.redirect("/passkeys", f"“{passkey.name}” is removed. Your device may still list it.")


def _record(context: RequestContext, action: str, passkey: Passkey) -> None:
    detail = {"name": passkey.name, "public_key": passkey.public_key}
    context.state.service.record_audit(action, passkey.id[:24], actor=Means.DESK.value, detail=detail)


def _page(context: RequestContext, error: CallsheetError | None = None) -> Response:
    state = context.state
    setup, found, known = None, [], False
    try:
        known, found = state.step_up.can_confirm(context.session), state.passkeys.all()
    except SetupProblem as problem:
        setup = render_error(problem)
    return context.page(
        "passkeys.html",
        status=http_status(error) if error else 200,
        passkeys=found,
        can_confirm=known,
        name=clean(context.form.get("name", ""), limit=60),
        setup=setup,
        error=render_error(error) if error else None,
    )
