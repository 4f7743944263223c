"""The fault table: for every fault of the wire, what is concluded, what the gateway saw, what stays reserved."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.fault_table import ROWS, Row
from faults.fault_trial import play_row
from faults.verdict import judge, line

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_each_fault_is_concluded_rightly_and_costs_at_most_one_request(row: Row, tmp_path: Path) -> None:
    """State at once and an hour later, complete requests, bytes, reservation."""
    outcome = await play_row(row, tmp_path / "home")

    print(line(row, outcome))  # noqa: T201 - `pytest -s` shows the table
    assert judge(row, outcome) == []


def test_no_row_is_there_twice() -> None:
    """Each has a name of its own."""
    assert len({row.name for row in ROWS}) == len(ROWS)
