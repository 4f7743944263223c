"""From starting the process to its first replies, and the memory then: ours and others, in turns, as ratios.

python bench/startup.py [rounds] [another server's command line]...

The others are the smallest server that the SDK can make, ours without its snapshot, and those that are named, for
example `node_modules/.bin/evolink-media`.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from pipe_client import BARE, OURS, PipeClient

WITHOUT = (
    sys.executable,
    "-c",
    "from callsheet.compose import Surroundings, build_program; build_program(Surroundings.of_program()).serve_mcp()",
)
SHOT = {
    "prompt": "A red kite over dunes at dusk, slow pan, warm light.",
    "duration_seconds": 4,
    "gateway": "poyo",
    "model": "sora-2-official",
}
MEMORY = ("resident memory, MB", "proportional memory, MB")
Figures = dict[str, float]


def list_tools(client: PipeClient) -> Figures:
    """Milliseconds to the reply to the first list, and megabytes then."""
    client.ask("tools/list", {})
    return {"start to tools/list, ms": elapsed(client), **memory(client, "at tools/list")}


def load_sdk(client: PipeClient) -> Figures:
    """Megabytes when the SDK has answered something: no snapshot holds a list from a cursor."""
    client.ask("tools/list", {"cursor": "0"})
    return memory(client, "when loaded")


def explain(client: PipeClient) -> Figures:
    """Milliseconds to the first explanation, after a list."""
    client.ask("tools/list", {})
    client.ask("tools/call", {"name": "explain_payload", "arguments": SHOT})
    return {"start to explain_payload, ms": elapsed(client)}


def elapsed(client: PipeClient) -> float:
    """Milliseconds since the process was started."""
    return (time.perf_counter() - client.started) * 1000


def memory(client: PipeClient, when: str) -> Figures:
    """Its figures then."""
    return {f"{name} {when}": kilobytes / 1024 for name, kilobytes in zip(MEMORY, client.memory(), strict=True)}


def compare(name: str, other: Sequence[str], home: Path, *, rounds: int, ask: Callable[[PipeClient], Figures]) -> None:
    """Measure in turns, so that a busy machine burdens both alike; the first turn does not count."""

    def measure(command: Sequence[str]) -> Figures:
        with PipeClient(command, home) as client:
            client.initialize()
            return ask(client)

    pairs = [(measure(other), measure(OURS)) for _ in range(rounds + 1)][1:]
    for figure in pairs[0][0]:
        theirs, ours = (median(pair[side][figure] for pair in pairs) for side in (0, 1))
        ratio = median(pair[1][figure] / pair[0][figure] for pair in pairs)
        print(f"{figure:38} {name:16} {theirs:7.1f}   callsheet {ours:7.1f}   ratio {ratio:.2f}")


def main() -> None:
    """Everything, one figure a line."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(f"{rounds} rounds, medians")
    with tempfile.TemporaryDirectory() as path:
        home = Path(path)
        compare("bare", BARE, home, rounds=rounds, ask=list_tools)
        compare("bare", BARE, home, rounds=rounds, ask=load_sdk)
        compare("no snapshot", WITHOUT, home, rounds=rounds, ask=explain)
        for line in sys.argv[2:]:
            command = shlex.split(line)
            compare(Path(command[0]).name[:16], command, home, rounds=rounds, ask=list_tools)


if __name__ == "__main__":
    main()
