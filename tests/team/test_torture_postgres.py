"""A small torture over PostgreSQL; `make torture-postgres` is the whole one."""

from __future__ import annotations

from pathlib import Path

import pytest

from team.postgres import WHY_NOT, find_programs
from team.torture_postgres import TeamPlan, torture


@pytest.mark.slow
@pytest.mark.skipif(find_programs() is None, reason=WHY_NOT)
def test_a_team_whose_processes_and_database_fail_pays_once_and_loses_nothing(tmp_path: Path) -> None:
    """Workers and replicas are killed, workers freeze for longer than a lease, the server crashes."""
    plan = TeamPlan(tasks=30, replicas=2, at_most_seconds=240.0)

    result = torture(plan, tmp_path)

    print(result.figures)  # noqa: T201 - `pytest -s` shows the figures
    assert result.wrong == []
