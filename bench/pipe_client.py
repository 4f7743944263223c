"""A client for measuring: raw JSON-RPC over pipes, so that only the server's own time counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

BARE = (sys.executable, str(Path(__file__).parent / "bare_server.py"))
OURS = (sys.executable, "-m", "callsheet", "mcp")

ERA = "2025-11-25"


class PipeClient:
    """One server process, started when the object is made. `started` is when, on the performance counter."""

    def __init__(self, command: Sequence[str], home: Path) -> None:
        environ = {**os.environ, "CALLSHEET_HOME": str(home)}
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ
        )
        self._id = 0

    def __enter__(self) -> PipeClient:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def initialize(self) -> None:
        """The handshake."""
        about = {"protocolVersion": ERA, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.ask("initialize", about)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Send a request and return its result; anything else on stdout is an error."""
        self._id += 1
        self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        assert self._process.stdout is not None
        reply = json.loads(self._process.stdout.readline())
        assert reply["id"] == self._id, reply
        return reply["result"]

    def memory(self) -> tuple[int, int]:
        """Resident and proportional memory, in kB."""
        rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="ascii")
        figures = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines() if line.endswith("kB")}
        return figures["Rss"], figures["Pss"]

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
