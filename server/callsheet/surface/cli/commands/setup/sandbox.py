"""`callsheet sandbox`: the fake gateways on their own, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from callsheet.errors import InvalidRequest, SetupProblem
from callsheet.surface.cli.console.command import SET_UP, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.session import begin
from callsheet.surface.program import Program

EXAMPLES = ("sandbox", "sandbox --port 8799 --speed 60")
DEFAULT_PORT = 8799


def sandbox(
    context: typer.Context,
    port: Annotated[
        int, typer.Option(metavar="PORT", help="The port; 0: a free one.", min=0, max=65535)
    ] = DEFAULT_PORT,
    speed: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", help="How many times faster than real gateways; default: the policy's."),
    ] = None,
    store: Annotated[Path | None, typer.Option(metavar="DIR", help="Where it stores its tasks and clips.")] = None,
) -> int:
    """Run fake versions of the four gateways on this computer, for other programs. Ctrl-C ends it.

    Prints the base URLs, and the tags that make a gateway fail in a known way.
    """
    session = begin(context)
    program = session.program
    factor = program.policy().sandbox_speed if speed is None else speed
    if not 0.01 <= factor <= 1_000_000:
        raise InvalidRequest("--speed must be a number from 0.01 to 1000000.", next_step="Try --speed 30.")
    directory = store.expanduser() if store else program.paths.data / "sandbox-alone"
    return _serve_sandbox(program, program.working_directory / directory, port, factor)


def _serve_sandbox(program: Program, store: Path, port: int, speed: float) -> int:
    from callsheet.sandbox.server import run_sandbox

    try:
        run_sandbox(store, speed=speed, port=port)
    except KeyboardInterrupt:
        return ExitCode.OK
    except OSError as error:
        raise SetupProblem(
            f"Cannot listen on port {port}: {error.strerror or type(error).__name__}.",
            next_step="Choose another port with --port; 0 means a free one.",
        ) from None
    return ExitCode.OK


COMMANDS = (Command("sandbox", sandbox, SET_UP, "run fake gateways for other programs", EXAMPLES),)
