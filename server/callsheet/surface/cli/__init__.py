"""The command line. `run` is its one entry; nothing heavy is imported before it is called."""

from __future__ import annotations

from callsheet.surface.program import Program


def run(program: Program, arguments: list[str]) -> int:
    """Run one command and return its exit code (see `exit_codes.ExitCode`). No arguments show the help."""
    from .application import run_command

    return run_command(program, arguments)


__all__ = ["run"]
