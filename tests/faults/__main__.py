"""Prints the fault table: `PYTHONPATH=tests python -m faults`. Ends with 1 if a row is wrong."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from faults.fault_table import ROWS
from faults.fault_trial import play_row
from faults.verdict import HEADING, judge, line


async def main() -> int:
    """Play every row and print it."""
    bad = 0
    logging.disable()
    print(HEADING)  # noqa: T201 - the table is what this is for
    for row in ROWS:
        with TemporaryDirectory() as directory:
            outcome = await play_row(row, Path(directory) / "home")
        wrong = judge(row, outcome)
        bad += bool(wrong)
        print(line(row, outcome) + "".join(f"\n    WRONG {text}" for text in wrong))  # noqa: T201
    print(f"{len(ROWS)} faults, {bad} concluded wrongly")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(anyio.run(main))
