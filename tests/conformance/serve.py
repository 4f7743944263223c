"""Serves the MCP server over loopback HTTP, with what the conformance suite expects to find added to it.

    python tests/conformance/serve.py

The program itself serves standard input and output alone; the suite speaks only HTTP. Prints the URL on one line,
then serves until it is ended. The server is the one that `build_server` makes, so that every call of the suite
passes the same gates as a call of the program.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path

import uvicorn

from callsheet.compose import Surroundings, build_service
from callsheet.edges.clock import SystemClock
from callsheet.surface.mcp.serving import build_server

sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance.fixtures import add_fixtures


def main() -> None:
    """Serve on a free port."""
    with tempfile.TemporaryDirectory() as home, socket.socket() as listener:
        surroundings = Surroundings(environ={"CALLSHEET_HOME": home}, working_directory=Path("/"), clock=SystemClock())
        server = build_server(build_service(surroundings))
        add_fixtures(server)
        listener.bind(("127.0.0.1", 0))
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)  # noqa: T201
        config = uvicorn.Config(server.streamable_http_app(), log_level="error", lifespan="on")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
