"""`callsheet approve` and `callsheet decline`: a person's yes or no to one sheet.

Everything is checked before the person is asked. The text is rendered at that moment from the bytes
that will be sent. It appears on the terminal that asks, even if the output is redirected.
The passphrase is read there too; no argument, variable or pipe can supply it.
"""

from __future__ import annotations

from dataclasses import replace

import typer

from callsheet.core.consent import Means, Mode, Need, decide_need, text_to_type
from callsheet.core.tasks import APPROVAL_LIFETIME, Sheet, SheetState
from callsheet.errors import Action, NextStep, NotApproved
from callsheet.surface.cli.console.command import MAKE, Command, Json, SheetArgument
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.prompts import ask_amount, ask_passphrase, require_verifier
from callsheet.surface.cli.console.send import send_sealed
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.next_steps import command
from callsheet.surface.text import format_age
from callsheet.surface.views.builders import sheet_answer

APPROVE_EXAMPLES = ("approve sheet_ixesul7gcrf73z7jv4iy",)
DECLINE_EXAMPLES = ("decline sheet_ixesul7gcrf73z7jv4iy",)

LETS_SEND = "approving allows this to be sent once, unchanged."


def approve(context: typer.Context, sheet: SheetArgument, as_json: Json = False) -> int:
    """Approve one sheet: shows what will be sent and asks for the approval passphrase.

    Works at a terminal only. For a live sheet you also type its price. If the gateway's key is sealed, the
    passphrase unlocks it for this one sheet, which is sent immediately and followed until its clip is saved.
    """
    session = begin(context, as_json)
    if session.service.needs_passphrase(sheet):
        return send_sealed(session, sheet)
    found = session.service.approvable(sheet)
    policy = session.program.policy()
    if found.state is SheetState.APPROVED:
        return _write_answer(session, found, _approved_before(session, found))
    if decide_need(policy, found.mode) is Need.NOTHING:
        text = f"In the sandbox approval is automatic. Run: {_submit_command(found)}"
        return _write_answer(session, found, text)
    verifier = require_verifier(session.program)
    wanted = text_to_type(found.price, policy, found.binding.gateway) if found.mode is Mode.LIVE else None
    with session.open_terminal("approve a sheet") as terminal:
        ask_amount(terminal, replace(found, shown=session.service.approval_text(sheet)), wanted, meaning=LETS_SEND)
        ask_passphrase(session.service, terminal, verifier)
    approved = session.service.approve(sheet, by=Means.TERMINAL)
    return _write_answer(
        session, approved, f"Approved for one hour. Your agent can submit it now. Or run: {_submit_command(approved)}"
    )


def decline(context: typer.Context, sheet: SheetArgument, as_json: Json = False) -> int:
    """Decline one sheet, so that it can never be submitted. Needs no passphrase."""
    session = begin(context, as_json)
    declined = session.service.decline(sheet)
    return _write_answer(
        session, declined, f"Declined. Sheet {declined.id} can no longer be submitted; nothing was sent."
    )


def _approved_before(session: Session, sheet: Sheet) -> str:
    """The answer for a sheet that is already approved; raises `NotApproved` if the approval has expired."""
    passed = session.service.now() - (sheet.approved_at or 0.0)
    if not 0 <= passed <= APPROVAL_LIFETIME:
        raise NotApproved(
            f"The approval of sheet {sheet.id} has expired; an approval is valid for one hour.",
            next_step=NextStep(Action.EXPLAIN, "Explain the shot again to get a new sheet."),
        )
    return f"Already approved {format_age(passed)} ago, for one hour. Run: {_submit_command(sheet)}"


def _submit_command(sheet: Sheet) -> str:
    return command(NextStep(Action.SUBMIT, target=sheet.id))


def _write_answer(session: Session, sheet: Sheet, text: str) -> int:
    if session.as_json:
        session.write_json({**sheet_answer(sheet).model_dump(mode="json"), "next_step": text})
    else:
        session.output.write_unwrapped(text, indent=0)
    return ExitCode.OK


COMMANDS = (
    Command("approve", approve, MAKE, "approve a sheet, with the passphrase", APPROVE_EXAMPLES),
    Command("decline", decline, MAKE, "decline a sheet", DECLINE_EXAMPLES),
)
