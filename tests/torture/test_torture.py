"""A small torture; `make torture` is the whole one."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture.harness import Harness, Plan
from torture.verdict import audit


@pytest.mark.slow
def test_processes_that_are_killed_at_random_pay_once_and_lose_nothing(tmp_path: Path) -> None:
    """Three processes on one ledger, killed again and again until every task has ended."""
    plan = Plan(tasks=30, at_most_seconds=90.0)

    result = audit(Harness(plan, tmp_path).perform())

    print(result.figures)  # noqa: T201 - `pytest -s` shows the figures
    assert result.wrong == []
