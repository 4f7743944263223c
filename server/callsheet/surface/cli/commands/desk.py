"""`callsheet desk`: opens the page on which a person decides and watches, and serves it until Ctrl-C."""

from __future__ import annotations

import sys
import threading
import webbrowser
from typing import Annotated

import typer
from rich.text import Text

from callsheet.edges.process.desk_lock import find_desk
from callsheet.surface.cli.console.command import MAKE, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.progress import run_watched, say_left_open
from callsheet.surface.cli.console.session import Session, begin

EXAMPLES = ("desk", "desk --port 8765 --no-open")
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def desk(
    context: typer.Context,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="The port on this computer; 0: a free one.")
    ] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only show the address; open no browser.")] = False,
    as_json: Json = False,
) -> int:
    """Open the desk: a local page to approve or decline, watch tasks, play clips and set allowances.

    It answers on this computer only, follows open tasks while it runs, and ends with Ctrl-C. Its address
    signs in once, within ten minutes; after that the approval passphrase does. Approving needs the
    passphrase, or a passkey, each time.
    """
    session = begin(context, as_json)

    def on_open(url: str) -> None:
        _tell(session, url)
        if not no_open and _has_display(session):
            # A browser that starts slowly must not keep the desk from answering it.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    try:
        run_watched(session, lambda: session.program.serve_desk(session.service, port=port, on_open=on_open))
    except KeyboardInterrupt:
        say_left_open(session)
        return ExitCode.OK
    return ExitCode.OK


def _tell(session: Session, url: str) -> None:
    if session.as_json:
        session.screen.answer({"url": url, "address": find_desk(session.program.paths.state)}, compact=True)
        return
    session.screen.show(Text("The desk is open. Ctrl-C ends it."))
    session.screen.whole(f"  {url}", indent=0)


def _has_display(session: Session) -> bool:
    """Whether a browser with windows can be expected; one for the terminal would fight with us over it."""
    if not sys.platform.startswith("linux"):
        return True
    return any(session.program.environ.get(name) for name in DISPLAYS)


COMMANDS = (Command("desk", desk, MAKE, "the page to approve and watch in a browser", EXAMPLES),)

__all__ = ["COMMANDS"]
