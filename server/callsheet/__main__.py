"""The entry point: serves MCP when a program is on the other end of stdin, else is the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `callsheet`; the exit code is the process's."""
    from .compose import Surroundings, build_program, quiet_libraries

    quiet_libraries()
    program = build_program(Surroundings.of_process())
    arguments = sys.argv[1:]
    if arguments == ["mcp"] or (not arguments and not sys.stdin.isatty()):
        program.serve_mcp()
        return
    from .surface.cli import run

    sys.exit(run(program, arguments))


if __name__ == "__main__":
    main()
