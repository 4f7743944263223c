"""Private files are read only when nobody else could have written or read them, and written whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from callsheet.edges.files.files import (
    MAX_BYTES,
    current_user,
    find_exposure,
    read_private,
    write_exported,
    write_private,
)
from callsheet.errors import SetupProblem


def make(path: Path, content: bytes = b"content", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_private_file_is_read_and_a_missing_one_is_none(tmp_path: Path) -> None:
    """Only absence is no answer; everything else is content or a refusal."""
    assert read_private(make(tmp_path / "file"), what="file") == b"content"
    assert read_private(make(tmp_path / "locked", mode=0o400), what="file") == b"content"
    assert read_private(tmp_path / "none", what="file") is None
    assert read_private(tmp_path / "no" / "directory", what="file") is None


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o640, 0o620, 0o610, 0o644, 0o666, 0o777])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """The message names the file, its mode and the command that mends it."""
    path = make(tmp_path / "file", mode=mode)
    with pytest.raises(SetupProblem) as caught:
        read_private(path, what="key file")
    assert f"The key file {path} has mode {mode:04o}" in caught.value.message
    assert f"chmod 600 {path}" in caught.value.next_step.text


def test_no_more_is_written_than_is_read(tmp_path: Path) -> None:
    """A file that could not be read again would shut its owner out; the old one stays."""
    path = make(tmp_path / "file")
    write_private(tmp_path / "most", b"x" * MAX_BYTES, what="file")
    assert len(read_private(tmp_path / "most", what="file") or b"") == MAX_BYTES

    with pytest.raises(SetupProblem):
        write_private(path, b"x" * (MAX_BYTES + 1), what="file")
    assert path.read_bytes() == b"content"


def test_an_export_replaces_no_pipe_and_no_directory(tmp_path: Path) -> None:
    """Nor a device, which only root could replace."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("pipe", "directory"):
        for force in (True, False):
            with pytest.raises(SetupProblem):
                write_exported(tmp_path / name, b"[]", force=force)
    assert (tmp_path / "pipe").is_fifo()
    write_exported(make(tmp_path / "file"), b"[]", force=True)
    assert (tmp_path / "file").read_bytes() == b"[]"


def test_links_directories_and_pipes_are_refused(tmp_path: Path) -> None:
    """A link could be turned elsewhere; a pipe would make the program wait for ever."""
    make(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "directory").mkdir(mode=0o700)
    for name, complaint in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("pipe", "not a regular file"),
        ("directory", "not a regular file"),
    ]:
        with pytest.raises(SetupProblem, match=complaint):
            read_private(tmp_path / name, what="file")


def test_a_file_below_a_file_cannot_be_read(tmp_path: Path) -> None:
    """An error of the system is told by its name alone."""
    make(tmp_path / "file")
    with pytest.raises(SetupProblem, match=r"cannot be read \(ENOTDIR\)"):
        read_private(tmp_path / "file" / "below", what="file")


def test_an_oversized_file_is_refused(tmp_path: Path) -> None:
    """No key or policy is that long."""
    assert read_private(make(tmp_path / "file", b"x" * MAX_BYTES), what="file") == b"x" * MAX_BYTES
    with pytest.raises(SetupProblem, match="larger than"):
        read_private(make(tmp_path / "large", b"x" * (MAX_BYTES + 1)), what="file")


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Owner and mode count where the system has them; kind counts everywhere."""
    status = make(tmp_path / "file").stat()
    directory = tmp_path.stat()
    assert find_exposure(status, user=status.st_uid) is None
    assert find_exposure(status, user=status.st_uid + 1) == "belongs to another user"
    assert find_exposure(status, user=None) is None
    assert find_exposure(directory, user=None) == "is not a regular file"
    assert current_user() == os.geteuid()


def test_writing_makes_a_private_file_in_a_private_directory(tmp_path: Path) -> None:
    """Mode 0600 in 0700 whatever stood there before, and nothing else is left behind."""
    path = tmp_path / "new" / "place" / "file"
    write_private(path, b"one", what="file")
    assert read_private(path, what="file") == b"one"
    path.chmod(0o644)
    path.parent.chmod(0o755)
    write_private(path, b"two", what="file")
    assert read_private(path, what="file") == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_writing_replaces_a_link_and_not_what_it_points_at(tmp_path: Path) -> None:
    """A link planted at the path cannot redirect the content."""
    target = make(tmp_path / "target")
    path = tmp_path / "place" / "file"
    path.parent.mkdir()
    path.symlink_to(target)
    write_private(path, b"secret", what="file")
    assert not path.is_symlink()
    assert target.read_bytes() == b"content"


def test_a_failed_write_leaves_the_old_state_and_no_remains(tmp_path: Path) -> None:
    """Where the file cannot be replaced, the partial one is removed and the reason named."""
    path = tmp_path / "place" / "file"
    (path / "occupied").mkdir(parents=True)
    with pytest.raises(SetupProblem, match="cannot be written"):
        write_private(path, b"secret", what="file")
    assert list(path.parent.iterdir()) == [path]
    make(tmp_path / "plain")
    with pytest.raises(SetupProblem, match=r"cannot be written \(E(NOTDIR|EXIST)\)"):
        write_private(tmp_path / "plain" / "file", b"secret", what="file")
