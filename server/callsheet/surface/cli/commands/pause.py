"""`callsheet pause` and `resume`: stop all submissions, and let them continue.

Pausing needs no terminal and no passphrase, so that it is always easy. Resuming needs a person.
"""

from __future__ import annotations

import typer
from rich.text import Text

from callsheet.core.consent import Means
from callsheet.edges.config.policy_file import is_paused, write_pause
from callsheet.edges.keys.passphrase import load_verifier
from callsheet.errors import Action, NextStep
from callsheet.surface.cli.console.command import MAKE, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.progress import hand_over
from callsheet.surface.cli.console.prompts import ask_passphrase
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.next_steps import command


def pause(context: typer.Context, as_json: Json = False) -> int:
    """Stop all submissions, from every program, including approved and allowed ones.

    A request in flight is not recalled, and tasks at the gateways are followed to their end. Approvals and
    allowances still expire during the pause.
    """
    session = begin(context, as_json)
    write_pause(session.program.policy_path, paused=True)
    session.service.record_audit("paused", "everything", actor=Means.TERMINAL.value)
    return _write_answer(session, f"Paused. Nothing is submitted until you run: {command(NextStep(Action.RESUME))}")


def resume(context: typer.Context, as_json: Json = False) -> int:
    """Resume submissions after a pause. Needs a terminal, and the approval passphrase if one is set."""
    session = begin(context, as_json)
    if not is_paused(session.program.policy_path):
        return _write_answer(session, "Submissions are not paused.")
    verifier = load_verifier(session.program.verifier_path)
    with session.open_terminal("resume submissions") as terminal:
        if verifier is not None:
            ask_passphrase(session.service, terminal, verifier)
    write_pause(session.program.policy_path, paused=False)
    session.service.record_audit("resumed", "everything", actor=Means.TERMINAL.value)
    return _write_answer(session, "Submissions are resumed.")


def _write_answer(session: Session, text: str) -> int:
    hand_over(session)
    if session.as_json:
        session.write_json({"paused": is_paused(session.program.policy_path), "next_step": text})
    else:
        session.output.write(Text(text))
    return ExitCode.OK


COMMANDS = (
    Command("pause", pause, MAKE, "stop all submissions", ("pause",)),
    Command("resume", resume, MAKE, "end a pause, with the passphrase", ("resume",)),
)
