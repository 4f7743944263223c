"""The top-level boxes of an MP4 file (ISO/IEC 14496-12, section 4.2): is the last one whole, and one of our own.

That one holds prompt, model, price and date, behind what the gateway delivered: a file-level `meta` (section 8.11.1)
with the item list that FFmpeg and players read. Every delivered byte stays where it was, so no index has to be written
again and taking the box away gives the clip as delivered. Only a plain MP4 gets one: behind a fragmented file, or one
that is sealed (C2PA), a box could do harm.
"""

from __future__ import annotations

from io import SEEK_END
from pathlib import Path
from typing import BinaryIO

from callsheet import __version__
from callsheet.core.clips import ClipLabel
from callsheet.errors import DownloadProblem

MAX_BOXES = 4096
"""A fragmented clip of 20 s has a few hundred top-level boxes."""
PLAIN = frozenset({b"ftyp", b"free", b"skip", b"wide", b"mdat", b"moov"})
TITLE_SHOWN = 120


def require_complete(file: BinaryIO) -> None:
    """Refuse a file that does not end with its last box (ISO/IEC 14496-12, section 4.2).

    libav notices missing frames, but not that metadata after them is cut short.
    """
    if _walk_boxes(file)[1] != file.seek(0, SEEK_END):
        raise unreadable("It does not end where its last part should end.")
    file.seek(0)


def _read_boxes(path: Path) -> list[tuple[bytes, int]]:
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


def build_tags(label: ClipLabel) -> bytes:
    """The box for a clip; empty where the person wants none."""
    items = {
        b"\xa9nam": label.prompt[:TITLE_SHOWN],
        b"desc": label.prompt,
        b"\xa9cmt": f"{label.details} · {label.task_id}",
        b"\xa9day": label.date,
        b"\xa9too": f"Callsheet {__version__}",
    }
    texts = b"".join(_box(kind, _box(b"data", _number(1) + _number(0) + _encode(text))) for kind, text in items.items())
    handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    return _box(b"meta", bytes(4) + handler + _box(b"ilst", texts)) if label.tags else b""


def find_obstacle(path: Path) -> str:
    """The kind of the part of a clip behind which nothing may be added; empty where there is none."""
    found = [kind for kind, size in _read_boxes(path) if kind not in PLAIN or not size]
    return found[0].decode("ascii", "replace") if found else ""


def why_untagged(path: Path) -> str:
    """Why a clip on disk has no box of ours and is exactly as delivered; empty where it has one."""
    if [kind for kind, _ in _read_boxes(path)][-1:] == [b"meta"]:
        return ""
    obstacle = find_obstacle(path)
    why = f"nothing may be added behind its part {obstacle}" if obstacle else "adding them failed"
    return f"Kept exactly as delivered, without prompt and price in the file: {why}."


def _box(kind: bytes, payload: bytes) -> bytes:
    return _number(8 + len(payload)) + kind + payload


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")
