"""What the desktop's own programs are given: one argument, no key, and nothing that is no clip."""

from __future__ import annotations

from pathlib import Path

import pytest

from callsheet.edges.process.desktop import find_opener, open_clip, show_in_folder
from callsheet.errors import UnknownThing
from cases import cases
from workspace import KEY

ENVIRON = {"POYO_API_KEY": KEY, "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": "/run"}


@pytest.fixture
def opener(tmp_path: Path) -> str:
    """A program that writes down what it was given, into `found` beside it."""
    program = tmp_path / "opener"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/found\nenv >> {tmp_path}/found\n')
    program.chmod(0o700)
    return str(program)


@pytest.mark.process
def test_what_opens_a_clip_gets_its_path_and_no_key(opener: str, tmp_path: Path) -> None:
    """One argument, a small environment; the folder of it alone where it is only shown."""
    clip = tmp_path / "a b;c.mp4"
    clip.write_bytes(b"x")

    assert open_clip(opener, clip, ENVIRON)
    text = (tmp_path / "found").read_text()
    assert text.startswith(f"{clip}|")
    assert "XDG_RUNTIME_DIR=/run" in text
    assert KEY not in text

    assert show_in_folder(opener, clip, ENVIRON)
    assert (tmp_path / "found").read_text().startswith(f"{tmp_path}|")
    assert not open_clip(str(tmp_path / "nothing"), clip, ENVIRON)


@cases("name", ["relative.mp4", "/etc/passwd", "/nowhere/a.mp4", "-R.mp4", "/tmp/\0.mp4", "a link to a clip"])
def test_only_a_clip_that_is_there_is_opened_or_shown(tmp_path: Path, name: str) -> None:
    """The path comes from a file that other programs of the user can write. Nothing is started."""
    path = Path(name)
    if name == "a link to a clip":
        clip, path = tmp_path / "a.mp4", tmp_path / "b.mp4"
        clip.touch()
        path.unlink(missing_ok=True)
        path.symlink_to(clip)

    for use in (open_clip, show_in_folder):
        with pytest.raises(UnknownThing):
            use("/nowhere/opener", path, ENVIRON)


def test_without_a_screen_there_is_nothing_to_open_with() -> None:
    """On a server, and on a system that is not known here."""
    assert find_opener({"HOME": "/"}, platform="linux") is None
    assert find_opener({"DISPLAY": ":0"}, platform="plan9") is None
