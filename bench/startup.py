"""From starting the process to the reply to tools/list, and the memory then: ours and a bare server, in turns.

python bench/startup.py [rounds]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pipe_client import BARE, OURS, PipeClient


def measure(command: Sequence[str], home: Path) -> tuple[float, float, float]:
    """Milliseconds to the reply, then resident and proportional memory in MB."""
    with PipeClient(command, home) as client:
        client.initialize()
        client.ask("tools/list", {})
        elapsed = (time.perf_counter() - client.started) * 1000
        resident, proportional = client.memory()
    return elapsed, resident / 1024, proportional / 1024


def main() -> None:
    """Measure in turns, so that a busy machine burdens both alike."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as home:
        measure(BARE, Path(home))
        measure(OURS, Path(home))
        pairs = [(measure(BARE, Path(home)), measure(OURS, Path(home))) for _ in range(rounds)]
    print(f"{rounds} rounds, medians")
    for index, name in enumerate(("start to tools/list, ms", "resident memory, MB", "proportional memory, MB")):
        bare = median(pair[0][index] for pair in pairs)
        ours = median(pair[1][index] for pair in pairs)
        ratio = median(pair[1][index] / pair[0][index] for pair in pairs)
        print(f"{name:26} bare {bare:7.1f}   callsheet {ours:7.1f}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
