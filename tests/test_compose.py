"""The composition root: what is handed to the surfaces, and from where the policy may come."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet.compose import Surroundings, project_directory
from callsheet.edges.clock import SystemClock

FIND = """
import os, sys
from pathlib import Path
from callsheet.edges.files.paths import find_paths
paths = find_paths(os.environ, account_home=Path(sys.argv[1]))
print(paths.trusted, paths.config)
"""
NO_ACCOUNT = """
import os, sys
import platformdirs.unix
import callsheet.__main__, callsheet.compose, callsheet.surface.next_steps, callsheet.surface.cli
os.setgid(54321)
os.setuid(54321)
sys.argv = ["callsheet", "doctor"]
callsheet.__main__.main()
"""


@pytest.mark.parametrize(
    ("where", "named", "account", "expected"),
    [
        ("home", "", "home", "/"),
        ("", "", "home", "/"),
        ("home/project", "", "home", "home/project"),
        ("home", "elsewhere", "home", "home"),
        ("home", "", "other", "home"),
        ("link", "", "home", "/"),
        ("link", "", "", "link"),
    ],
)
def test_the_home_directory_is_no_project_unless_a_home_is_named(
    tmp_path: Path, where: str, named: str, account: str, expected: str
) -> None:
    """A new terminal opens in the home directory, and the usual policy lies under it. The system names that home."""
    (tmp_path / "home" / "project").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "home")
    surroundings = Surroundings(
        {"HOME": str(tmp_path / "home"), "CALLSHEET_HOME": named and str(tmp_path / named)},
        tmp_path / where,
        SystemClock(),
        account_home=tmp_path / account if account else None,
    )

    assert project_directory(surroundings) == (Path("/") if expected == "/" else tmp_path / expected)


@pytest.mark.parametrize(
    ("variables", "trusted"),
    [
        ({"HOME": "home"}, True),
        ({"HOME": "link"}, True),
        ({"HOME": "home", "XDG_CONFIG_HOME": "home/.config", "CALLSHEET_HOME": ""}, True),
        ({"HOME": "project"}, False),
        ({"HOME": "home", "XDG_CONFIG_HOME": "project"}, False),
        ({"HOME": "home", "XDG_DATA_HOME": "project"}, False),
        ({"HOME": "home", "XDG_STATE_HOME": "project"}, False),
        ({"HOME": "home", "CALLSHEET_HOME": "project"}, False),
    ],
)
def test_only_the_place_that_the_system_names_is_trusted(
    tmp_path: Path, variables: dict[str, str], trusted: bool
) -> None:
    """All of it: a ledger from a project could bring an allowance. A trusted place keeps the system's spelling."""
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    environ = {name: value and str(tmp_path / value) for name, value in variables.items()}

    done = subprocess.run(
        [sys.executable, "-P", "-c", FIND, str(tmp_path / "home")],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )

    found, _, config = done.stdout.strip().partition(" ")
    assert found == str(trusted)
    assert (config == str(tmp_path / "home/.config/callsheet")) or not trusted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who has no entry")
def test_without_home_and_password_entry_the_command_ends_in_words() -> None:
    """As in a container that runs under any number: exit code 8, and what to set."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", NO_ACCOUNT],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )

    assert done.returncode == 8
    assert done.stderr.startswith("This user has no home directory")
    assert "Set HOME or CALLSHEET_HOME" in done.stderr
