"""Prompt, model, price and date in a clip's own file: one box behind what the gateway delivered.

The box is a file-level `meta` (ISO/IEC 14496-12, 8.11.1) with the item list that FFmpeg and players read. Every
delivered byte stays where it was, so no index has to be written again and taking the box away gives the clip as
delivered. Only a plain MP4 gets one: behind a fragmented file, or one that is sealed (C2PA), a box could do harm.
"""

from __future__ import annotations

from pathlib import Path

from callsheet import __version__
from callsheet.core.clips import ClipLabel

from .boxes import read_boxes

PLAIN = frozenset({b"ftyp", b"free", b"skip", b"wide", b"mdat", b"moov"})
TITLE_SHOWN = 120


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
    found = [kind for kind, size in read_boxes(path) if kind not in PLAIN or not size]
    return found[0].decode("ascii", "replace") if found else ""


def why_untagged(path: Path) -> str:
    """Why a clip on disk has no box of ours and is exactly as delivered; empty where it has one."""
    if [kind for kind, _ in read_boxes(path)][-1:] == [b"meta"]:
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
