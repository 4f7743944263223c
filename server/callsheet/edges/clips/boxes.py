"""The top-level boxes of an MP4 file (ISO/IEC 14496-12, section 4.2): which there are, and is the last one whole."""

from __future__ import annotations

from io import SEEK_END
from pathlib import Path
from typing import BinaryIO

from callsheet.errors import DownloadProblem

MAX_BOXES = 4096
"""A fragmented clip of 20 s has a few hundred top-level boxes."""


def require_complete(file: BinaryIO) -> None:
    """Refuse a file that does not end with its last box (ISO/IEC 14496-12, section 4.2).

    libav notices missing frames, but not that metadata after them is cut short.
    """
    if _walk_boxes(file)[1] != file.seek(0, SEEK_END):
        raise unreadable("It does not end where its last part should end.")
    file.seek(0)


def read_boxes(path: Path) -> list[tuple[bytes, int]]:
    """Kind and size of each top-level box of a clip; a size of 0 reaches to the end of the file."""
    with path.open("rb") as file:
        return _walk_boxes(file)[0]


def _walk_boxes(file: BinaryIO) -> tuple[list[tuple[bytes, int]], int]:
    """The top-level boxes, and where the last one ends."""
    end, offset, boxes = file.seek(0, SEEK_END), 0, list[tuple[bytes, int]]()
    while offset < end and len(boxes) < MAX_BOXES:
        file.seek(offset)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        boxes.append((head[4:8], size))
        offset = offset + max(size, 8) if size else end
    return boxes, offset


def unreadable(reason: str) -> DownloadProblem:
    """The problem of a clip that is cut or broken."""
    return DownloadProblem(
        f"The clip is not a whole video. {reason}", next_step="Move the file away and ask for the task again."
    )
