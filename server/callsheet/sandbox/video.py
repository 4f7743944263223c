"""Renders the sandbox's films: real H.264 in a real MP4, of the asked size and the exact length.

PyAV and Pillow are imported when used. Everything here blocks: callers use a worker thread.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from .frames import Scenery

FRAMES_PER_SECOND = 12
LOOK = 1
"""Raised when the picture changes, so that films of an older look are not taken from the cache."""


@dataclass(frozen=True, slots=True)
class Film:
    """What is to be seen: words, size in pixels, length in whole seconds, the slate's title."""

    prompt: str
    width: int
    height: int
    seconds: int
    title: str

    @property
    def digest(self) -> str:
        """The name under which equal films share a file."""
        text = json.dumps([LOOK, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    @property
    def seed(self) -> int:
        """Decides palette and landscape; the same for the same words."""
        return int.from_bytes(hashlib.sha256(self.prompt.encode(errors="replace")).digest()[:8], "big")


class RenderingStopped(Exception):
    """The sandbox is closing: the film was given up between two frames."""


def render_film(path: Path, film: Film, stopped: Callable[[], bool] = lambda: False) -> None:
    """Write the film to `path`, whole or not at all, readable by its owner alone.

    `stopped` is asked before each frame; RenderingStopped when it says yes.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.mp4")
    try:
        temporary.touch(mode=0o600)
        _encode(temporary, film, stopped)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(path: Path, film: Film, stopped: Callable[[], bool]) -> None:
    import av

    make_frame: Any = av.VideoFrame.from_image
    scenery = Scenery(prompt=film.prompt, title=film.title, width=film.width, height=film.height, seed=film.seed)
    frames = film.seconds * FRAMES_PER_SECOND
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["title"] = film.title
        stream = _add_stream(container, film)
        for number in range(frames):
            if stopped():
                raise RenderingStopped
            picture = scenery.draw(share=number / max(1, frames - 1), timecode=timecode(number))
            frame = make_frame(picture)
            frame.pts = number
            frame.time_base = Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _add_stream(container: Any, film: Film) -> Any:
    """H.264 where the build has it, else MPEG-4 part 2, which every FFmpeg has."""
    import av

    h264 = "libx264" in av.codecs_available
    options = {"preset": "ultrafast", "crf": "28", "tune": "zerolatency"} if h264 else {"qscale": "6"}
    stream = container.add_stream("libx264" if h264 else "mpeg4", rate=FRAMES_PER_SECOND, options=options)
    stream.width, stream.height = film.width, film.height
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 2
    return stream


def timecode(frame: int) -> str:
    """Hours, minutes, seconds and frames of a frame number.

    >>> timecode(43)
    '00:00:03:07'
    """
    seconds, rest = divmod(frame, FRAMES_PER_SECOND)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{rest:02}"
