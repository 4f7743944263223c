"""Renders the sandbox's videos: real H.264 in a real MP4, of the requested size and the exact length.

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

from .frames import FrameRenderer

FRAMES_PER_SECOND = 12
LOOK = 2
"""Increase it when the frames change, so that videos of an older look are not taken from the cache."""


@dataclass(frozen=True, slots=True)
class Video:
    """What a video shows: the prompt, the size in pixels, the length in whole seconds, the title."""

    prompt: str
    width: int
    height: int
    seconds: int
    title: str

    @property
    def digest(self) -> str:
        """The name under which equal videos share a file."""
        text = json.dumps([LOOK, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    @property
    def seed(self) -> int:
        """Decides the colours; the same for the same prompt."""
        return int.from_bytes(hashlib.sha256(self.prompt.encode(errors="replace")).digest()[:8], "big")


class RenderingStopped(Exception):
    """The sandbox is closing: the rendering was stopped between two frames."""


def render_video(path: Path, video: Video, stopped: Callable[[], bool] = lambda: False) -> None:
    """Write the video to `path`, complete or not at all, readable only by its owner.

    `stopped` is asked before each frame. Raises RenderingStopped when it says yes.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.mp4")
    try:
        temporary.touch(mode=0o600)
        _encode(temporary, video, stopped)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(path: Path, video: Video, stopped: Callable[[], bool]) -> None:
    import av

    build_frame: Any = av.VideoFrame.from_image
    renderer = FrameRenderer(
        prompt=video.prompt, title=video.title, width=video.width, height=video.height, seed=video.seed
    )
    frames = video.seconds * FRAMES_PER_SECOND
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["title"] = video.title
        stream = _add_stream(container, video)
        for number in range(frames):
            if stopped():
                raise RenderingStopped
            clock = format_clock(number // FRAMES_PER_SECOND, video.seconds)
            frame = build_frame(renderer.draw(share=number / max(1, frames - 1), clock=clock))
            frame.pts = number
            frame.time_base = Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _add_stream(container: Any, video: Video) -> Any:
    """H.264 where the build has it, else MPEG-4 part 2, which every FFmpeg has."""
    import av

    h264 = "libx264" in av.codecs_available
    options = {"preset": "ultrafast", "crf": "28", "tune": "zerolatency"} if h264 else {"qscale": "6"}
    stream = container.add_stream("libx264" if h264 else "mpeg4", rate=FRAMES_PER_SECOND, options=options)
    stream.width, stream.height = video.width, video.height
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 2
    return stream


def format_clock(second: int, seconds: int) -> str:
    """The second that is shown, and how many there are.

    >>> format_clock(3, 8)
    '0:03 / 0:08'
    """
    return " / ".join(f"{value // 60}:{value % 60:02}" for value in (second, seconds))
