"""Reading a picture of a clip: a whole JPEG of bounded size, or an error that says what is there instead."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from callsheet.edges.clips.contact_sheet import write_picture
from callsheet.edges.files.files import MAX_PICTURE_BYTES, read_picture
from callsheet.errors import Fate, SetupProblem


def test_a_picture_that_was_drawn_is_read_whole(tmp_path: Path) -> None:
    """What was written is what is read."""
    path = tmp_path / "kite.poster.jpg"
    write_picture(Image.new("RGB", (64, 36), (200, 40, 40)), path)

    assert read_picture(path) == path.read_bytes()


def put_link(path: Path) -> None:
    """A link to a picture."""
    write_picture(Image.new("RGB", (8, 8)), path.with_name("other.jpg"))
    path.symlink_to("other.jpg")


@pytest.mark.parametrize(
    ("put", "expected"),
    [
        (lambda path: None, "cannot be read (No such file or directory)"),
        (put_link, "cannot be read"),
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff" + bytes(MAX_PICTURE_BYTES)), "larger than"),
        (lambda path: path.write_text("[keys]\n"), "is not a JPEG picture"),
        (lambda path: path.write_bytes(b""), "is not a JPEG picture"),
    ],
    ids=["nothing", "link", "directory", "pipe", "large", "text", "empty"],
)
def test_anything_else_is_refused_and_nothing_of_it_is_told(
    tmp_path: Path, put: Callable[[Path], object], expected: str
) -> None:
    """Immediately, also where reading would wait; the message names the path and what it is, and no content."""
    path = tmp_path / "kite.poster.jpg"
    put(path)

    with pytest.raises(SetupProblem) as refused:
        read_picture(path)

    assert str(path) in refused.value.message
    assert expected in refused.value.message
    assert "keys" not in str(refused.value)
    assert refused.value.fate is Fate.CHARGED
