"""The three directories of an install, and the variable that moves them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from callsheet.edges.config.policy_file import policy_path
from callsheet.edges.files.paths import (
    Paths,
    Registered,
    default_directories,
    expand_home,
    find_account_home,
    find_paths,
    is_same_or_below,
    load_registered,
    register,
    registered_path,
)
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


def named(home: Path, account: Path | None) -> Paths:
    """The install that `CALLSHEET_HOME` names."""
    return find_paths({"CALLSHEET_HOME": str(home)}, account_home=account)


def test_a_named_home_is_trusted_only_once_it_is_registered(tmp_path: Path) -> None:
    """For that account, in every spelling, and as it was registered: a link could be changed later."""
    account, home, link = tmp_path / "account", tmp_path / "home", tmp_path / "link"
    home.mkdir()
    link.symlink_to(home)
    before = named(home, account)
    register(account, home=before)

    assert not before.trusted
    assert named(home, account).trusted
    assert named(link, account) == Paths(home / "config", home / "data", home / "state", link / "clips", trusted=True)
    assert not named(home, tmp_path / "other").trusted
    assert not named(home, None).trusted
    assert not named(tmp_path / "home2", account).trusted


def test_a_registration_adds_and_is_private(tmp_path: Path) -> None:
    """Homes and addresses; nothing twice."""
    register(tmp_path, home=named(tmp_path / "a", None))
    register(tmp_path, home=named(tmp_path / "a", None), addresses=(("poyo", "https://a.example"),))
    register(tmp_path, addresses=(("poyo", "https://a.example"), ("apixo", "https://b.example")))

    found = load_registered(tmp_path)
    assert len(found.homes) == 1
    assert found.addresses == (("poyo", "https://a.example"), ("apixo", "https://b.example"))
    assert registered_path(tmp_path).parent == default_directories(tmp_path)[0]
    assert registered_path(tmp_path).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("content", "mode"),
    [(b"{", 0o600), (b"[]", 0o600), (b'{"homes": [["a"]], "addresses": []}', 0o600), (None, 0o644)],
)
def test_a_registration_that_cannot_be_used_registers_nothing(tmp_path: Path, content: bytes | None, mode: int) -> None:
    """Damaged, or open to others: the sandbox goes on, live mode does not."""
    register(tmp_path, home=named(tmp_path / "home", None))
    path = registered_path(tmp_path)
    if content is not None:
        path.write_bytes(content)
    path.chmod(mode)

    assert not named(tmp_path / "home", tmp_path).trusted
    with pytest.raises(SetupProblem):
        load_registered(tmp_path)
    assert load_registered(None) == Registered()


def test_an_ancestor_is_known_by_device_and_inode(tmp_path: Path) -> None:
    """A link, like a spelling in other case on some systems, is the same directory."""
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    (tmp_path / "Project").symlink_to(project)

    assert is_same_or_below(project, project)
    assert is_same_or_below(tmp_path / "Project" / "sub" / "missing", project)
    assert not is_same_or_below(tmp_path, project)
    assert is_same_or_below(Path("/nowhere/x"), Path("/nowhere"))
    assert not is_same_or_below(Path("/nowhere2"), Path("/nowhere"))


def test_the_account_is_never_read_from_a_variable() -> None:
    """It is an absolute path, or there is none."""
    home = find_account_home()
    assert home is None or home.is_absolute()
