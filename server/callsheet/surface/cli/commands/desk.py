"""`callsheet desk`: serves the local page for approvals and tasks until Ctrl-C."""

from __future__ import annotations

import sys
import threading
import webbrowser
from typing import Annotated

import typer
from rich.text import Text

from callsheet.edges.process.desktop import SCREENS
from callsheet.edges.process.locks import find_desk
from callsheet.surface.cli.console.command import MAKE, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.progress import hand_over, run_with_runner
from callsheet.surface.cli.console.session import Session, begin

EXAMPLES = ("desk", "desk --port 8765 --no-open")


def desk(
    context: typer.Context,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="The port on this computer; 0: a free one.")
    ] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only show the address; do not open a browser.")] = False,
    as_json: Json = False,
) -> int:
    """Open the desk: a local page to approve or decline, watch tasks, play clips and set allowances.

    It is reachable from this computer only, follows open tasks while it runs, and ends with Ctrl-C. Its address
    signs you in once, within ten minutes; after that you sign in with the approval passphrase. Each approval needs
    the passphrase or a passkey.
    """
    session = begin(context, as_json)

    def on_open(url: str) -> None:
        _write_address(session, url)
        if not no_open and _has_display(session):
            # A browser that starts slowly must not block the desk.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    try:
        run_with_runner(session, lambda: session.program.serve_desk(session.service, port=port, on_open=on_open))
    except KeyboardInterrupt:
        hand_over(session)
        return ExitCode.OK
    return ExitCode.OK


def _write_address(session: Session, url: str) -> None:
    if session.as_json:
        session.write_json({"url": url, "address": find_desk(session.program.paths.state)}, compact=True)
        return
    session.output.write(Text("The desk is open. Ctrl-C ends it."))
    session.output.write_unwrapped(f"  {url}", indent=0)


def _has_display(session: Session) -> bool:
    """Whether a graphical browser can be expected; a text browser would need the same terminal."""
    if not sys.platform.startswith("linux"):
        return True
    return any(session.program.environ.get(name) for name in SCREENS)


COMMANDS = (Command("desk", desk, MAKE, "approve and watch in a browser", EXAMPLES),)
