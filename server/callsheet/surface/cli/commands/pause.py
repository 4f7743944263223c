"""`callsheet pause` and `resume`: one stop for everything that may be submitted, whoever approved it.

Pausing needs nothing, not even a terminal: a stop may never be hard to reach. Going on is a person's act.
"""

from __future__ import annotations

import typer
from rich.text import Text

from callsheet.core.consent.approval import Means
from callsheet.edges.config.policy_file import is_paused, write_pause
from callsheet.edges.keys.passphrase import load_verifier
from callsheet.surface.cli.console.command import MAKE, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.prompts import ask_passphrase
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import meet_person


def pause(context: typer.Context, as_json: Json = False) -> int:
    """Submit nothing from now on, in any program, whatever was approved or allowed.

    A request that is on its way is not recalled, and tasks at the gateways are followed to their end. Approvals and
    allowances run out while it lasts, as they would have.
    """
    session = begin(context, as_json)
    write_pause(session.program.policy_path, paused=True)
    session.service.record_audit("paused", "everything", actor=Means.TERMINAL.value)
    return _tell(session, "Paused: nothing is submitted until you run: callsheet resume")


def resume(context: typer.Context, as_json: Json = False) -> int:
    """Let submissions go on after a pause. Needs a terminal, and the approval passphrase if one is set."""
    session = begin(context, as_json)
    if not is_paused(session.program.policy_path):
        return _tell(session, "Nothing is paused.")
    verifier = load_verifier(session.program.verifier_path)
    with meet_person(session.program.environ, session.redactor.text, purpose="let submissions go on") as person:
        if verifier is not None:
            ask_passphrase(person, verifier)
    write_pause(session.program.policy_path, paused=False)
    session.service.record_audit("resumed", "everything", actor=Means.TERMINAL.value)
    return _tell(session, "Submissions go on.")


def _tell(session: Session, text: str) -> int:
    if session.as_json:
        session.screen.answer({"paused": is_paused(session.program.policy_path), "next_step": text})
    else:
        session.screen.show(Text(text))
    return ExitCode.OK


COMMANDS = (
    Command("pause", pause, MAKE, "submit nothing from now on", ("pause",)),
    Command("resume", resume, MAKE, "end a pause, with the passphrase", ("resume",)),
)

__all__ = ["COMMANDS"]
