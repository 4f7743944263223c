"""What a large catalogue costs: two servers side by side, one with the shipped cards, one with 500 models.

python bench/catalogue.py [calls] [rounds] [another tree]

The 500 are the shipped ones and copies of what PoYo publishes, kept as `callsheet models refresh` keeps them. With
another tree of the project, the server with the shipped cards is that one's, so that a version is held against another.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

from callsheet.compose import Surroundings, build_service
from callsheet.edges.clock import SystemClock
from callsheet.sandbox.published import load_data, poyo_page
from latency import SHOT, timed
from pipe_client import OURS, PipeClient
from startup import elapsed, memory

MODELS = 500
SLOWER, LARGEST = 1.3, 6 * 1024
"""The bars: the ratio of the medians, held against another tree, and the bytes of a list of models."""

Sides = tuple[tuple[Sequence[str], Path], tuple[Sequence[str], Path]]
KITE = SHOT["prompt"]
EXPLAINED: Mapping[str, Callable[[int], Mapping[str, Any]]] = {
    "same shot": lambda _number: SHOT,
    "new shot": lambda number: {**SHOT, "prompt": f"{KITE} Take {number}."},
    "choose a model": lambda _number: {"prompt": KITE},
    "choose, new shot": lambda number: {"prompt": f"{KITE} Take {number}.", "duration_seconds": 8},
    "foreign payload": lambda _number: {"payload": {"model": "sora-2", "prompt": KITE, "seconds": "8"}},
}
LISTED: tuple[Mapping[str, Any], ...] = (
    {},
    {"gateway": "poyo"},
    {"family": "seedance"},
    {"duration_seconds": 5, "resolution": "720p", "audio": True},
    {"aspect_ratio": "9:16", "with_image": True},
)


def fill(home: Path) -> None:
    """Keep a published list there with which the catalogue has that many models."""
    service = build_service(Surroundings({"CALLSHEET_HOME": str(home)}, Path("/nowhere"), SystemClock()))
    own, items = {card.model for card in service.cards(gateway="poyo")}, load_data("poyo_catalogue.json")["items"]
    others = len(service.cards()) - len(own)
    listed, numbers = list(items), count(1)
    while len(own | {item["model_id"] for item in listed}) + others < MODELS:
        number = next(numbers)
        listed += [{**items[number % len(items)], "model_id": f"another-model-{number}"}]
    data = {**poyo_page("", ""), "items": listed, "next_cursor": None, "has_more": False}
    page = json.dumps({"code": 200, "data": data}).encode()
    today = datetime.now(UTC).date().isoformat()
    service.deps.published.keep("poyo", url="https://api.poyo.ai", date=today, pages=[page])
    print(f"{len(service.cards())} models, {len(page):,} bytes published")


def compare(name: str, pairs: list[tuple[float, float]], unit: str) -> float:
    """Print a line; the ratio of the medians, of the large to the small one."""
    small, large = (median(pair[side] for pair in pairs) for side in (0, 1))
    print(f"{name:36} shipped {small:8.2f} {unit}   {MODELS} models {large:8.2f} {unit}   ratio {large / small:.2f}")
    return large / small


def compare_starts(sides: Sides, rounds: int) -> None:
    """From the start to the first list of tools, to the first explanation, and the memory then."""
    found: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    for _ in range(rounds + 1):
        small, large = (_start(*side) for side in sides)
        found.append((small, large))
    for name in found[0][0]:
        compare(name, [(small[name], large[name]) for small, large in found[1:]], "MB" if "MB" in name else "ms")


def _start(command: Sequence[str], home: Path) -> dict[str, float]:
    with PipeClient(command, home) as client:
        client.initialize()
        client.ask("tools/list", {})
        figures = {"start to tools/list, ms": elapsed(client), **memory(client, "at tools/list")}
        client.ask("tools/call", {"name": "explain_payload", "arguments": SHOT})
        return {**figures, "start to explain_payload, ms": elapsed(client), **memory(client, "when explained")}


def compare_calls(sides: Sides, calls: int, slower: float) -> list[str]:
    """Ask both in turns; what misses its bar."""
    missed = []
    with PipeClient(*sides[0]) as small, PipeClient(*sides[1]) as large:
        for client in (small, large):
            client.initialize()
        for name, build in EXPLAINED.items():
            pairs = [
                (timed(small, "explain_payload", build(number)), timed(large, "explain_payload", build(number)))
                for number in range(calls + 10)
            ]
            if compare(f"explain_payload, {name}", pairs[10:], "ms") > slower:
                missed.append(name)
        for terms in LISTED:
            sizes = [
                _size(client.ask("tools/call", {"name": "list_models", "arguments": terms}))
                for client in (small, large)
            ]
            pairs = [
                (timed(small, "list_models", terms), timed(large, "list_models", terms)) for _ in range(calls // 3)
            ]
            compare(f"list_models {', '.join(terms)}", pairs, "ms")
            print(f"{'':36} shipped {sizes[0]:8,} bytes   {MODELS} models {sizes[1]:8,} bytes")
            if max(sizes) > LARGEST:
                missed.append(f"list_models {terms}")
    return missed


def _size(result: Mapping[str, Any]) -> int:
    """What an agent reads of it."""
    return len(json.dumps(result["structuredContent"], separators=(",", ":"), ensure_ascii=False).encode())


def main() -> None:
    """Everything, one figure a line; ends with what misses its bar."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory() as path:
        homes = (Path(path) / "shipped", Path(path) / "large")
        for home in homes:
            home.mkdir()
        fill(homes[1])
        tree = ("env", f"PYTHONPATH={Path(sys.argv[3]) / 'server'}") if len(sys.argv) > 3 else ()
        sides = (((*tree, *OURS), homes[0]), (OURS, homes[1]))
        compare_starts(sides, rounds)
        missed = compare_calls(sides, calls, SLOWER if tree else inf)
    print(f"missed: {', '.join(missed)}" if missed else "every bar is met")


if __name__ == "__main__":
    main()
