"""How long explain_payload takes over stdio, next to the trivial tool of a bare server, call by call in turns.

python bench/latency.py [calls]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from pipe_client import BARE, OURS, PipeClient

SHOT = {
    "prompt": "A red kite over dunes at dusk, slow pan, warm light, then the string snaps.",
    "duration_seconds": 8,
    "gateway": "poyo",
    "model": "sora-2-official",
}


def timed(client: PipeClient, tool: str, arguments: Mapping[str, Any]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    result = client.ask("tools/call", {"name": tool, "arguments": arguments})
    elapsed = (time.perf_counter() - began) * 1000
    assert not result.get("isError"), result
    return elapsed


def main() -> None:
    """Ask the bare server and ours in turns: the same shot again, a new shot, the list of models to choose from."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    times: dict[str, list[float]] = {"bare ping": [], "same shot": [], "new shot": [], "choose a model": []}
    with (
        tempfile.TemporaryDirectory() as home,
        PipeClient(BARE, Path(home)) as bare,
        PipeClient(OURS, Path(home)) as ours,
    ):
        bare.initialize()
        ours.initialize()
        for number in range(calls + 20):
            times["bare ping"].append(timed(bare, "ping", {}))
            times["same shot"].append(timed(ours, "explain_payload", SHOT))
            shot = {**SHOT, "prompt": f"{SHOT['prompt']} Take {number}."}
            times["new shot"].append(timed(ours, "explain_payload", shot))
            times["choose a model"].append(timed(ours, "explain_payload", {"prompt": SHOT["prompt"]}))
    print(f"{calls} calls each, after 20 to warm up")
    trivial = median(times["bare ping"][20:])
    for name, found in times.items():
        measured = found[20:]
        tail = quantiles(measured, n=20)[18]
        print(f"{name:16} p50 {median(measured):6.2f} ms   p95 {tail:6.2f} ms   ratio {median(measured) / trivial:.2f}")


if __name__ == "__main__":
    main()
