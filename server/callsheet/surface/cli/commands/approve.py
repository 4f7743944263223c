"""`callsheet approve` and `callsheet decline`: a person's yes or no to one sheet.

Everything is checked before the person is asked. The text is rendered at that moment from the bytes
that will be sent. It appears on the terminal that asks, even if the output is redirected.
The passphrase is read there too; no argument, variable or pipe can supply it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import typer

from callsheet.core.consent import Means, Mode, Need, decide_need
from callsheet.core.tasks import APPROVAL_LIFETIME, Sheet, SheetState
from callsheet.errors import Action, InvalidRequest, NextStep, NotApproved
from callsheet.service.approval.questions import total_to_type
from callsheet.surface.cli.console.command import MAKE, Command, Json, SheetArgument, SheetArguments
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.progress import run_with_runner
from callsheet.surface.cli.console.prompts import ask_amount, ask_passphrase, require_verifier, show_sheet
from callsheet.surface.cli.console.send import SENDS_NOW, follow_to_answer, send, write_interrupted
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import Terminal
from callsheet.surface.next_steps import command
from callsheet.surface.text import format_age
from callsheet.surface.views.builders import sheet_answer

APPROVE_EXAMPLES = ("approve sheet_ixesul7gcrf73z7jv4iy",)
DECLINE_EXAMPLES = ("decline sheet_ixesul7gcrf73z7jv4iy",)

LETS_SEND = "approving allows this to be sent once, unchanged."


def approve(context: typer.Context, sheet: SheetArguments, as_json: Json = False) -> int:
    """Approve a sheet, or several together: shows what will be sent and asks for the approval passphrase.

    Works at a terminal only. For live sheets you also type their price, or its sum. What an agent has submitted
    and waits for you is sent immediately; any other sheet is approved for one hour. If the gateway's key is sealed, the
    passphrase unlocks it for one sheet, which is sent immediately and followed until its clip is saved.
    """
    session = begin(context, as_json)
    session.sends = True
    sheet_ids = list(dict.fromkeys(sheet))
    sealed = [sheet_id for sheet_id in sheet_ids if session.service.needs_passphrase(sheet_id)]
    if sealed and len(sheet_ids) > 1:
        raise InvalidRequest(f"The key for {sealed[0]} is sealed.", next_step="Approve these sheets one after another.")
    if sealed:
        return send(session, sealed[0], must_ask=True)
    asked = [found for sheet_id in sheet_ids if (found := _undecided(session, sheet_id))]
    if not asked:
        return ExitCode.OK
    ids = [found.id for found in asked]
    session.service.approvable(*ids)
    verifier = require_verifier(session.program)
    with session.open_terminal("approve a sheet") as terminal:
        _ask_amounts(session, terminal, asked)
        ask_passphrase(session.service, terminal, verifier)
    # One may have ended while the person typed: then none of them is sent, and the error says so rightly.
    session.service.approvable(*ids)
    approved = [session.service.approve(sheet_id, by=Means.TERMINAL) for sheet_id in ids]
    task_ids = [found.task_id for found in approved if found.task_id is not None]
    if task_ids:
        try:
            run_with_runner(session, lambda: _see_sent(session, task_ids))
        except KeyboardInterrupt:
            write_interrupted(session, approved[-1].id)
            return ExitCode.INTERRUPTED
    for found in approved:
        text = f"Approved for one hour. Your agent can submit it now. Or run: {_submit_command(found)}"
        if found.task_id is not None:
            text = f"Approved, and submitted as task {found.task_id}. {session.service.task(found.task_id).status_text}"
        _write_answer(session, found, text)
    return ExitCode.OK


async def _see_sent(session: Session, task_ids: Sequence[str]) -> None:
    """Stay until the gateways have answered: no other process may be there to send."""
    for task_id in task_ids:
        await follow_to_answer(session, task_id)


def _undecided(session: Session, sheet_id: str) -> Sheet | None:
    """The sheet if it must be asked for, as it would be sent now; else writes why not. Raises what prevents it."""
    found = session.service.approvable(sheet_id)
    if found.state is SheetState.APPROVED:
        _write_answer(session, found, _approved_before(session, found))
    elif decide_need(session.program.policy(), found.mode) is Need.NOTHING:
        _write_answer(session, found, f"In the sandbox approval is automatic. Run: {_submit_command(found)}")
    else:
        return replace(found, shown=session.service.approval_text(sheet_id))
    return None


def _ask_amounts(session: Session, terminal: Terminal, sheets: list[Sheet]) -> None:
    """Show all of them, then ask for their sum."""
    policy = session.program.policy()
    wanted = total_to_type([found for found in sheets if found.mode is Mode.LIVE], policy)
    for found in sheets[:-1]:
        show_sheet(terminal, found)
    meaning = SENDS_NOW if any(found.is_forward(session.service.now()) for found in sheets) else LETS_SEND
    if len(sheets) > 1:
        meaning = f"{len(sheets)} sheets together. For each of them: {meaning}"
    ask_amount(terminal, sheets[-1], wanted, meaning=meaning)


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
