"""The whole torture: `make torture`, or `PYTHONPATH=tests python -m torture [tasks]`. 1 if anything is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from torture.harness import Harness, Plan
from torture.verdict import audit


def say(text: str) -> None:
    """To whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run, audit, print."""
    plan = Plan(tasks=int(sys.argv[1])) if len(sys.argv) > 1 else Plan()
    with TemporaryDirectory() as directory:
        result = audit(Harness(plan, Path(directory), say=say).perform())
    lines = [f"{name:<28} {value}" for name, value in result.figures.items()]
    lines += [f"WRONG: {text}" for text in result.wrong] or ["Nothing was paid twice, nothing was lost."]
    say("\n".join(lines))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
