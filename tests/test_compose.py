"""The composition root: what is handed to the surfaces, and from where the policy may come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import os
from callsheet.compose import Surroundings, project_directory
print(project_directory(Surroundings.of_process()))
"""


@pytest.mark.parametrize(
    ("where", "home_variable", "expected"),
    [
        ("home", "", "/"),
        ("", "", "/"),
        ("home/project", "", "home/project"),
        ("home", "elsewhere", "home"),
    ],
)
def test_the_home_directory_is_no_project_unless_a_home_is_named(
    tmp_path: Path, where: str, home_variable: str, expected: str
) -> None:
    """A new terminal opens in the home directory, and the usual policy lies under it."""
    (tmp_path / "home" / "project").mkdir(parents=True)
    environ = {"HOME": str(tmp_path / "home"), "CALLSHEET_HOME": home_variable and str(tmp_path / home_variable)}

    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=tmp_path / where, env=environ, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == (expected if expected == "/" else str(tmp_path / expected))
