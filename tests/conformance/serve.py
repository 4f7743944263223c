"""Serves the MCP server over loopback HTTP, with what the conformance suite expects to find added to it.

    python tests/conformance/serve.py

The suite sends no token, so it is served without the token check of `callsheet mcp --http`; everything else is the
program's own. Prints the URL on one line, then serves until it is ended. The server is the one that
`build_server` makes, so that every call of the suite passes the same middleware as a call of the program.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from callsheet.compose import Surroundings, build_service
from callsheet.edges.clock import SystemClock
from callsheet.surface.mcp.http import PATH, build_mcp_web_server, listen, loopback_app
from callsheet.surface.mcp.stdio import build_server

sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance.fixtures import add_fixtures
from conformance.rehearsals import add_rehearsals
from workspace import account_of, make_workspace

POLICY = "[sandbox]\nspeed = 60\n"
"""The suite waits ten seconds for the end of a task."""


def main() -> None:
    """Serve on a free port until a signal ends it; the home is removed then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory() as directory, listen(0) as listener:
        workspace = make_workspace(Path(directory))
        workspace.write_policy(POLICY)
        surroundings = Surroundings(
            environ=workspace.environ,
            working_directory=Path("/"),
            clock=SystemClock(),
            account_home=account_of(workspace.home),
        )
        service = build_service(surroundings)
        server = build_server(service)
        add_fixtures(server)
        add_rehearsals(server, service)
        port = listener.getsockname()[1]
        print(f"http://127.0.0.1:{port}{PATH}", flush=True)  # noqa: T201
        asyncio.run(build_mcp_web_server(loopback_app(server, port)).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
