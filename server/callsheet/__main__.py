"""The entry point: serves MCP when a program is on the other end of stdin, else is the command line."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

from callsheet.edges.process.hardening import harden, harden_logs

TYPE_CHECKING = False  # as `typing` has it; importing that takes a tenth of the time to the first reply
if TYPE_CHECKING:
    from .compose import Surroundings
    from .service import Service

SETUP_EXIT = 8
COLLECT_EVERY = 100_000


def main(surroundings: Callable[[], Surroundings] | None = None) -> None:
    """Run `callsheet`; the exit code is the process's. Only tests pass surroundings other than the process's own."""
    harden()
    arguments = sys.argv[1:]
    # A shell asks for completions without arguments too, and some do it without a terminal.
    completing = "_CALLSHEET_COMPLETE" in os.environ
    if arguments == ["mcp"] or (not arguments and not completing and not sys.stdin.isatty()):
        # The collector finds nothing while modules are imported, and looking takes a tenth of the start.
        gc.disable()
        from callsheet.surface.mcp.snapshot import read_snapshot, take_over

        pipe = take_over(read_snapshot())
        pipe.wait_until_wanted()
        harden_logs()
        from callsheet.surface.mcp.stdio import serve_stdio

        serve_stdio(lambda: _make_service(surroundings), pipe)
        return
    harden_logs()
    if arguments[:1] == ["team"]:
        sys.exit(_run_team(arguments[1:]))
    # The command imports and reads the catalogue too; a desk that stays open still needs the collector.
    gc.set_threshold(COLLECT_EVERY)
    from .compose import Surroundings, build_program, quiet_libraries
    from .errors import CallsheetError

    quiet_libraries()
    try:
        program = build_program((surroundings or Surroundings.of_program)())
    except CallsheetError as error:
        from .surface.next_steps import for_person

        sys.stderr.write(f"{error} {for_person(error.next_step)}\n")
        sys.exit(SETUP_EXIT)
    from callsheet.surface.cli import run

    sys.exit(run(program, arguments))


def _run_team(arguments: list[str]) -> int:
    """Team mode, where its extra is installed. Nothing else imports it."""
    try:
        from .team import main as run
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f"Team mode is not installed ({missing.name} is missing). Install it in a clone: pip install '.[team]'\n"
        )
        return SETUP_EXIT
    return run(arguments)


def _make_service(surroundings: Callable[[], Surroundings] | None) -> Service:
    """The use cases. Not before a tool needs them: a client may ask for the tools before a slow server is ready."""
    from .compose import Surroundings, build_service, quiet_libraries

    quiet_libraries()
    return build_service((surroundings or Surroundings.of_program)())


if __name__ == "__main__":
    main()
