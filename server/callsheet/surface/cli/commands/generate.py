"""`callsheet generate` and `submit`: to a saved clip in one command, from a prompt or from a sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.consent import Mode, Need, decide_need
from callsheet.core.tasks import TaskState
from callsheet.edges.process.desktop import find_opener, open_clip
from callsheet.errors import InvalidRequest
from callsheet.service import Draft, Explanation
from callsheet.surface.cli.console.command import MAKE, Command, Json, SheetArgument, Wait
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_explanation
from callsheet.surface.cli.console.explanation_view import write_explanation, write_json_explanation
from callsheet.surface.cli.console.send import send
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.shot_options import takes_shot
from callsheet.surface.cli.console.terminal import is_interactive

GENERATE_EXAMPLES = (
    'generate "A red kite over dunes at dusk, slow pan" --duration 4 --model poyo/seedance-2',
    'generate "The cat wakes up" --image ./cat.png --model poyo/sora-2-official --yes',
)
SUBMIT_EXAMPLES = ("submit sheet_ixesul7gcrf73z7jv4iy", "submit sheet_ixesul7gcrf73z7jv4iy --no-wait --json")


@takes_shot
def generate(
    context: typer.Context,
    draft: Draft,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing. In the sandbox only.")] = False,
    wait: Wait = True,
    as_json: Json = False,
) -> int:
    """Explain a shot, ask you, send it once, follow it, and save the clip.

    In live mode you type the amount and the approval passphrase, as in `callsheet approve`; no option answers for you.
    Without a terminal nothing live is sent: the answer says how to approve it, and the exit code is 3. Without a model
    the models that can take the shot are listed. Ctrl-C ends the waiting, not the task.
    """
    session = begin(context, as_json)
    service = session.service
    if yes and service.policy.mode is not Mode.SANDBOX:
        raise InvalidRequest(
            "--yes is for the sandbox only: outside it you agree to each clip yourself.",
            next_step="Run the same command without --yes.",
            code="usage",
        )
    explanation = service.explain(draft)
    sheet, ready = explanation.sheet, explanation.status == "ready"
    if not as_json:
        write_explanation(session.output, explanation, service.catalogue, asks=ready)
    if sheet is None or not ready:
        return _write_why_not(session, explanation)
    asks = not yes and not as_json and is_interactive()
    if asks and decide_need(service.policy, sheet.mode) is Need.NOTHING and not _is_wanted(session):
        session.output.write(Text("Nothing was sent.", style="yellow"))
        return ExitCode.NOT_APPROVED
    code = send(session, sheet.id, wait=wait)
    if asks:
        _offer_to_open(session, sheet.id)
    return code


def _write_why_not(session: Session, explanation: Explanation) -> int:
    """After an explanation that leads to no clip: the error that prevents it, or a choice that is open."""
    refusal = next((blocker.error for blocker in explanation.blocked if blocker.refuses), None)
    if refusal is not None:
        raise refusal
    if session.as_json:
        write_json_explanation(session, explanation)
    return exit_for_explanation(explanation, is_payload=False) or ExitCode.INVALID


def _is_wanted(session: Session) -> bool:
    with session.open_terminal("agree") as terminal:
        return terminal.ask("Generate this rehearsal? It is free (yes/no)", usual="yes").lower() in ("y", "yes")


def _offer_to_open(session: Session, sheet_id: str) -> None:
    """Offer to open a saved clip where there is a screen."""
    found, environ = session.service.sheet(sheet_id), session.program.environ
    task, opener = session.service.find_task(found.task_id or ""), find_opener(environ)
    if opener is None or task is None or task.state is not TaskState.SAVED or task.clip is None:
        return
    with session.open_terminal("open the clip") as terminal:
        if terminal.confirm("Open it now?") and not open_clip(opener, Path(task.clip.path), environ):
            terminal.write("No program here opens it.", style="yellow")


def submit(context: typer.Context, sheet: SheetArgument, wait: Wait = True, as_json: Json = False) -> int:
    """Send a sheet, once, and save the clip.

    A live sheet without approval is shown first, and you type its amount and the passphrase. Without a terminal it is
    not sent: the answer says how to approve it, and the exit code is 3. For a sheet that was sent before, its task is
    shown and nothing is sent. Ctrl-C ends the waiting, not the task.
    """
    return send(begin(context, as_json), sheet, wait=wait)


COMMANDS = (
    Command("generate", generate, MAKE, "a clip in one command: explain, ask, send, save", GENERATE_EXAMPLES),
    Command("submit", submit, MAKE, "send a sheet, once, and save the clip", SUBMIT_EXAMPLES),
)
