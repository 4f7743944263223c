"""The person's passkeys: which there are, a new one, and one less. Both changes need the passphrase."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from callsheet.core.consent.approval import Means
from callsheet.core.security.redaction import clean
from callsheet.edges.keys.passkeys import Passkey
from callsheet.errors import CallsheetError, SetupProblem

from .requests import Visit, said, status_of
from .step_up import read_signature

SUBJECT = "passkey registration"


async def show(visit: Visit) -> Response:
    """The passkeys there are, and the form for a new one."""
    return _page(visit)


async def offer(visit: Visit) -> Response:
    """For the passphrase, what the browser needs to make a new passkey."""
    office = visit.office
    await office.door.check(visit.form.get("passphrase", ""))
    nonce, challenge = office.prover.challenges.issue(visit.session, SUBJECT)
    return JSONResponse({"nonce": nonce, "options": office.passkeys.registration_options(challenge)})


async def register(visit: Visit) -> Response:
    """Keep the passkey that the browser made for a challenge which only the passphrase got."""
    office = visit.office
    try:
        nonce, credential = read_signature(visit.form.get("passkey", ""))
        challenge = office.prover.challenges.redeem(visit.session, SUBJECT, nonce)
        name = clean(visit.form.get("name", ""), limit=60)
        made = office.passkeys.register(credential, challenge=challenge, origin=office.origin, name=name, now=visit.now)
    except CallsheetError as error:
        return _page(visit, error)
    _note(visit, "passkey_registered", made)
    return visit.go("/passkeys", f"“{made.name}” can approve from now on.")


async def remove(visit: Visit) -> Response:
    """Forget one, for the passphrase."""
    office = visit.office
    try:
        await office.door.check(visit.form.get("passphrase", ""))
        gone = office.passkeys.remove(visit.named("passkey_id"))
    except CallsheetError as error:
        return _page(visit, error)
    _note(visit, "passkey_removed", gone)
    return visit.go("/passkeys", f"“{gone.name}” can approve no longer. Your device may still list it.")


def _note(visit: Visit, action: str, passkey: Passkey) -> None:
    visit.office.service.record_audit(action, passkey.id[:24], actor=Means.DESK.value, detail={"name": passkey.name})


def _page(visit: Visit, error: CallsheetError | None = None) -> Response:
    office = visit.office
    setup, found, known = None, [], False
    try:
        known, found = office.door.has_passphrase(), office.passkeys.all()
    except SetupProblem as problem:
        setup = said(problem)
    return visit.page(
        "passkeys.html",
        status=status_of(error) if error else 200,
        passkeys=found,
        has_passphrase=known,
        name=clean(visit.form.get("name", ""), limit=60),
        setup=setup,
        error=said(error) if error else None,
    )


__all__ = ["offer", "register", "remove", "show"]
