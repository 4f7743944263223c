"""The outermost structure of an MP4: enough to tell a whole video from a piece of one.

Pure and bounded: it reads a few bytes per box through a function it is given, never the media
itself, and answers with a value whatever the bytes are. A file passes when `ftyp` comes first, one
`moov` and some `mdat` have content, and the boxes tile the file to its last byte (ISO/IEC 14496-12,
section 4.2). What it cannot see is damage inside a box; `edges.media` decodes for that.

For `edges.downloads`, before a clip gets its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MAX_BOXES = 4096
"""A fragmented clip of 20 s has a few hundred boxes; more than this is not a clip."""

SNIFF_BYTES = 512
"""How much of a file `looks_like` wants to see."""

Look = Literal["mp4", "html", "json", "xml", "webm", "empty", "unknown"]


@dataclass(frozen=True, slots=True)
class Box:
    """One top-level box: its four-letter type, where it begins and how many bytes it has, header included."""

    kind: str
    offset: int
    header: int
    size: int


@dataclass(frozen=True, slots=True)
class BoxReport:
    """The boxes found, and the first thing that is wrong with them; None means a whole MP4."""

    boxes: tuple[Box, ...]
    problem: str | None


class _Malformed(Exception):
    """Carries the complaint out of the walk; never leaves this module."""


def check_boxes(read_at: Callable[[int, int], bytes], size: int) -> BoxReport:
    """Walk the top-level boxes of a file of `size` bytes and judge them.

    `read_at(offset, count)` returns the bytes at that place, fewer only at the end of the file; what
    it raises passes through. Nothing else is raised.
    """
    boxes: list[Box] = []
    try:
        _walk(read_at, size, boxes)
    except _Malformed as complaint:
        return BoxReport(tuple(boxes), str(complaint))
    return BoxReport(tuple(boxes), _check_kinds(boxes))


def looks_like(first_bytes: bytes) -> Look:
    """What a file is by its first bytes (up to `SNIFF_BYTES`), so that an error can name it."""
    if not first_bytes:
        return "empty"
    if first_bytes[4:8] == b"ftyp":
        return "mp4"
    if first_bytes.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    text = first_bytes[:SNIFF_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not text:
        return "unknown"
    if text.startswith((b"{", b"[")):
        return "json"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--")):
        return "html"
    if text.startswith((b"<?xml", b"<!doctype")) or (text[:1] == b"<" and text[1:2].isalpha()):
        return "xml"
    return "unknown"


def _walk(read_at: Callable[[int, int], bytes], size: int, boxes: list[Box]) -> None:
    """Append box after box until the end of the file is reached exactly; those before a complaint stay."""
    if size <= 0:
        raise _Malformed("It is empty.")
    offset = 0
    while offset < size:
        if len(boxes) == MAX_BOXES:
            raise _Malformed(f"It has more than {MAX_BOXES} boxes.")
        box = _read_box(read_at, offset, size)
        if not boxes and box.kind != "ftyp":
            raise _Malformed(f"It begins with a {box.kind!r} box, not with 'ftyp'.")
        boxes.append(box)
        offset += box.size


def _read_box(read_at: Callable[[int, int], bytes], offset: int, size: int) -> Box:
    head = read_at(offset, 16)
    if len(head) < 8 or size - offset < 8:
        raise _Malformed(f"It ends inside a box header, at byte {offset}.")
    kind = _read_kind(head[4:8], offset)
    header, box_size = 8, int.from_bytes(head[:4], "big")
    if box_size == 0:  # the box reaches to the end of the file, so it is the last one
        box_size = size - offset
    elif box_size == 1:
        if len(head) < 16:
            raise _Malformed(f"It ends inside a box header, at byte {offset}.")
        header, box_size = 16, int.from_bytes(head[8:16], "big")
    if box_size < header:
        raise _Malformed(f"The {kind!r} box at byte {offset} says it has {box_size} bytes, less than its own header.")
    if box_size > size - offset:
        missing = box_size - (size - offset)
        raise _Malformed(f"The {kind!r} box at byte {offset} reaches {missing} bytes beyond the end of the file.")
    return Box(kind, offset, header, box_size)


def _read_kind(raw: bytes, offset: int) -> str:
    """A box type is four printable ASCII characters; anything else is data where a box should begin."""
    if not all(0x20 <= byte <= 0x7E for byte in raw):
        raise _Malformed(f"At byte {offset} there is data that is not an MP4 box.")
    return raw.decode("ascii")


def _check_kinds(boxes: list[Box]) -> str | None:
    """Judge the set of boxes: one `ftyp`, one `moov`, and media that is not empty."""
    for kind in ("ftyp", "moov"):
        count = sum(box.kind == kind for box in boxes)
        if count > 1:
            return f"It has {count} {kind!r} boxes, as if several files had been joined."
    for kind, meaning in (("moov", "its index"), ("mdat", "its pictures and sound")):
        if not any(box.kind == kind and box.size > box.header for box in boxes):
            return f"The {kind!r} box with {meaning} is missing or empty."
    return None


__all__ = ["MAX_BOXES", "SNIFF_BYTES", "Box", "BoxReport", "Look", "check_boxes", "looks_like"]
