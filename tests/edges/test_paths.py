"""The three directories of an install, and the variable that moves them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from callsheet.edges.config.policy_file import policy_path
from callsheet.edges.files.paths import expand_home, find_paths
from callsheet.errors import SetupProblem


def test_a_named_home_holds_all_directories(tmp_path: Path) -> None:
    """`CALLSHEET_HOME` moves configuration, data and state below one directory and creates nothing."""
    paths = find_paths({"CALLSHEET_HOME": f" {tmp_path / 'home'} "}, account_home=None)
    assert paths.config == tmp_path / "home" / "config"
    assert paths.data == tmp_path / "home" / "data"
    assert paths.state == tmp_path / "home" / "state"
    assert paths.clips == tmp_path / "home" / "clips"
    assert policy_path({"CALLSHEET_HOME": str(tmp_path)}) == tmp_path / "config" / "policy.toml"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["", "  ", "${CALLSHEET_HOME}", "${user_config.home}"])
def test_what_a_client_left_empty_or_unexpanded_counts_as_not_set(value: str) -> None:
    """Clients pass empty text or the literal placeholder for a setting without a value."""
    assert find_paths({"CALLSHEET_HOME": value}, account_home=None) == find_paths({}, account_home=None)


def test_without_a_home_the_directories_are_the_systems_own() -> None:
    """Three absolute paths of the user, each with the program's name in it."""
    paths = find_paths({}, account_home=None)
    for path in (paths.config, paths.data, paths.state, paths.clips):
        assert path.is_absolute()
        assert "callsheet" in {part.lower() for part in path.parts}


@pytest.mark.parametrize("value", ["demo", "./demo", "../demo", "~nobody-of-that-name/x"])
def test_a_home_that_depends_on_the_working_directory_is_refused(value: str) -> None:
    """A relative home would be another install in every directory."""
    with pytest.raises(SetupProblem, match="CALLSHEET_HOME"):
        find_paths({"CALLSHEET_HOME": value}, account_home=None)


def test_a_tilde_is_expanded() -> None:
    """People write `~/Videos`, and not every client expands it."""
    assert expand_home("~/Videos") == Path.home() / "Videos"
    assert expand_home("/a/\x00b") is None
