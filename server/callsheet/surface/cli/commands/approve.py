"""`callsheet approve` and `callsheet decline`: a person's yes or no to one call sheet.

Everything is checked before anybody is asked. The text that is shown is rendered at this moment from
the bytes that will be sent, and it is shown on the terminal that asks, wherever the output goes.
The passphrase is read there too; no argument, variable or pipe can give it.
"""

from __future__ import annotations

from dataclasses import replace

import typer
from rich.text import Text

from callsheet.core.consent.approval import Means, Need, amount_to_type, decide_need
from callsheet.core.consent.policy import Mode
from callsheet.core.tasks.models import APPROVAL_LIFETIME, Sheet
from callsheet.core.tasks.states import SheetState
from callsheet.edges.keys.passphrase import load_verifier
from callsheet.errors import NotApproved, SetupProblem
from callsheet.service.consent import require_mode
from callsheet.surface.cli.console.command import MAKE, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.parameters import Json, SheetArgument
from callsheet.surface.cli.console.prompts import approval_panel, ask_amount, ask_passphrase
from callsheet.surface.cli.console.send import send_sealed
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import open_terminal
from callsheet.surface.cli.console.wording import age
from callsheet.surface.views.builders import sheet_answer

APPROVE_EXAMPLES = ("approve sheet_ixesul7gcrf73z7jv4iy",)
DECLINE_EXAMPLES = ("decline sheet_ixesul7gcrf73z7jv4iy",)

LETS_SEND = "approving lets this be sent once, exactly as it is."
AGENT_MAY = "Approved for one hour. The agent may call submit_video again; or run: callsheet submit {}"


def approve(context: typer.Context, sheet: SheetArgument, as_json: Json = False) -> int:
    """Agree to one call sheet: shows what will be sent and asks for the approval passphrase.

    Works at a terminal only. A live sheet also asks for its price to be typed. Where the gateway's key is sealed, the
    passphrase opens it for this one sheet, which is sent at once and followed until its clip is saved.
    """
    session = begin(context, as_json)
    if session.service.needs_passphrase(sheet):
        return send_sealed(session, sheet)
    found = _checked(session, sheet)
    policy = session.program.policy()
    if found.state is SheetState.APPROVED:
        return _tell(session, found, _approved_before(session, found))
    if decide_need(policy, found.mode) is Need.NOTHING:
        said = f"In the sandbox approval is automatic: nothing needs to be approved. Run: callsheet submit {found.id}"
        return _tell(session, found, said)
    verifier = load_verifier(session.program.verifier_path)
    if verifier is None:
        raise SetupProblem(
            "No approval passphrase has been set, so nobody can approve here.",
            next_step="Run `callsheet setup` in your own terminal and choose one.",
        )
    amount = amount_to_type(found.price, policy) if found.mode is Mode.LIVE else None
    with open_terminal(session.program.environ, session.redactor.text, purpose="approve a sheet") as person:
        ask_amount(person, replace(found, shown=session.service.approval_text(sheet)), amount, meaning=LETS_SEND)
        ask_passphrase(person, verifier)
    approved = session.service.approve(sheet, by=Means.TERMINAL)
    return _tell(session, approved, AGENT_MAY.format(approved.id))


def decline(context: typer.Context, sheet: SheetArgument, as_json: Json = False) -> int:
    """Say no to one call sheet: it can never be submitted. Needs no passphrase."""
    session = begin(context, as_json)
    declined = session.service.decline(sheet)
    return _tell(session, declined, f"Declined. Sheet {declined.id} can no longer be submitted; nothing was sent.")


def _checked(session: Session, sheet_id: str) -> Sheet:
    """The sheet, if it could be approved and spent as things stand."""
    sheet = session.service.approvable(sheet_id)
    require_mode(session.program.policy(), sheet)
    return sheet


def _approved_before(session: Session, sheet: Sheet) -> str:
    """What to say of a sheet that was approved already; raises `NotApproved` when that was too long ago."""
    passed = session.service.deps.clock.now() - (sheet.approved_at or 0.0)
    if not 0 <= passed <= APPROVAL_LIFETIME:
        raise NotApproved(
            f"Sheet {sheet.id} was approved too long ago; an approval holds for one hour.",
            next_step=f"Run `callsheet decline {sheet.id}`, then `callsheet explain` for a new sheet.",
        )
    return f"Approved {age(passed)} ago already; it holds for one hour. Run: callsheet submit {sheet.id}"


def _tell(session: Session, sheet: Sheet, text: str) -> int:
    if session.as_json:
        session.screen.answer(
            session.redactor.value({**sheet_answer(sheet).model_dump(mode="json"), "next_step": text})
        )
    else:
        session.screen.show(Text(text))
    return ExitCode.OK


COMMANDS = (
    Command("approve", approve, MAKE, "agree to a sheet, with the passphrase", APPROVE_EXAMPLES),
    Command("decline", decline, MAKE, "say no to a sheet", DECLINE_EXAMPLES),
)

__all__ = ["COMMANDS", "approval_panel", "ask_passphrase"]
