"""`callsheet mcp`: serves MCP to coding agents."""

from __future__ import annotations

from typing import Annotated

import typer

from callsheet.surface.cli.console.command import SET_UP, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.session import begin

EXAMPLES = ("mcp", "mcp --http 8765")


def mcp(
    context: typer.Context,
    http: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65535, help="Serve HTTP on this computer instead; 0: a free port."),
    ] = None,
) -> int:
    """Serve MCP on standard input and output. Your agent's client starts this command.

    With --http it listens on 127.0.0.1 instead. Each request then needs a token. The token is in a private file
    whose path is shown, and changes at each start.
    """
    program = begin(context).program
    if http is None:
        program.serve_mcp()
    else:
        program.serve_http(http)
    return ExitCode.OK


COMMANDS = (Command("mcp", mcp, SET_UP, "serve MCP on standard input and output, or HTTP", EXAMPLES),)
