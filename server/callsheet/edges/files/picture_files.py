"""Reads a picture that was drawn of a clip, for those who cannot open files: whole, bounded, and a picture indeed.

The path comes from the ledger, which is no proof of what lies there, so what was opened is looked at, not its name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from callsheet.errors import Fate, SetupProblem

MOST_PICTURE_BYTES = 2_097_152
"""Posters and contact sheets of real clips take a quarter of that."""

_JPEG = b"\xff\xd8\xff"
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_picture(path: Path) -> bytes:
    """The bytes of a JPEG file; raises `SetupProblem` for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | _PLAIN)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _unusable(path, "is not a regular file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                content = file.read(MOST_PICTURE_BYTES + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror or type(error).__name__})") from None
    if len(content) > MOST_PICTURE_BYTES:
        raise _unusable(path, f"is larger than {MOST_PICTURE_BYTES} bytes")
    if not content.startswith(_JPEG):
        raise _unusable(path, "is not a JPEG picture")
    return content


def _unusable(path: Path, complaint: str) -> SetupProblem:
    return SetupProblem(
        f"The picture {path} {complaint}.",
        next_step="The clip itself is not touched by this; get_task tells where it lies.",
        fate=Fate.CHARGED,
    )


__all__ = ["MOST_PICTURE_BYTES", "read_picture"]
