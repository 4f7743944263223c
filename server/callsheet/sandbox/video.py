"""Renders the sandbox's videos, real H.264 in a real MP4, each once and in a worker thread, and stores them.

PyAV and Pillow are imported when used. `render_video` blocks.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import os
import secrets
import threading
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from callsheet.sandbox.fakes.tasks import SandboxTask

from .faults import strip_tags
from .frames import FrameRenderer
from .store import Store

FRAMES_PER_SECOND = 12
SAMPLES_PER_SECOND, BLOCK, WAVES, LOUDNESS = 16_000, 1024, 28, 0.02
"""A quiet tone of 437.5 Hz. Whole waves fit into a block, so that one block is the whole tone, again and again."""
LOOK = 3
"""Increase it when the frames change, so that videos of an older look are not taken from the cache."""


@dataclass(frozen=True, slots=True)
class Video:
    """What a video shows: the prompt, the size in pixels, the length in whole seconds, the title, and if it sounds."""

    prompt: str
    width: int
    height: int
    seconds: int
    title: str
    audio: bool = False

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
        if video.audio:
            _add_tone(container, video.seconds)
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


def _add_tone(container: Any, seconds: int) -> None:
    """A quiet tone of exactly that length: AAC, which every FFmpeg has."""
    import av

    stream = container.add_stream("aac", rate=SAMPLES_PER_SECOND, layout="mono", bit_rate=32_000)
    wave = array("f", (LOUDNESS * math.sin(math.tau * WAVES * number / BLOCK) for number in range(BLOCK))).tobytes()
    for start in range(0, seconds * SAMPLES_PER_SECOND, BLOCK):
        frame = av.AudioFrame("fltp", "mono", min(BLOCK, seconds * SAMPLES_PER_SECOND - start))
        (plane,) = frame.planes
        plane.update(wave[: plane.buffer_size].ljust(plane.buffer_size, b"\0"))
        frame.sample_rate, frame.pts = SAMPLES_PER_SECOND, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def format_clock(second: int, seconds: int) -> str:
    """The second that is shown, and how many there are.

    >>> format_clock(3, 8)
    '0:03 / 0:08'
    """
    return " / ".join(f"{value // 60}:{value % 60:02}" for value in (second, seconds))


logger = logging.getLogger(__name__)

Render = Callable[[Path, Video, Callable[[], bool]], None]


class VideoCache:
    """The videos of one store. Renders one at a time, so that a rehearsal does not occupy the machine."""

    def __init__(self, store: Store, render: Render = render_video) -> None:
        self._store = store
        self._render = render
        self._rendering: dict[str, asyncio.Task[Path]] = {}
        self._turn = asyncio.Semaphore(1)
        self._stopped = threading.Event()

    def start(self, task: SandboxTask) -> None:
        """Start to render the video if it does not exist; returns immediately."""
        video = video_of(task)
        path = self._store.videos / f"{video.digest}.mp4"
        if not path.exists():
            self._begin(video, path)

    async def fetch(self, task: SandboxTask) -> Path:
        """The video's file, rendered if needed. Raises RenderingStopped when the sandbox closes meanwhile."""
        video = video_of(task)
        path = self._store.videos / f"{video.digest}.mp4"
        if path.exists():
            with suppress(FileNotFoundError):
                os.utime(path)
            return path
        # Shielded: a caller that disconnects does not stop a rendering that the next caller needs.
        return await asyncio.shield(self._begin(video, path))

    async def close(self) -> None:
        """Stop all renderings; they start again when the video is next requested."""
        self._stopped.set()
        await asyncio.gather(*self._rendering.values(), return_exceptions=True)

    def _begin(self, video: Video, path: Path) -> asyncio.Task[Path]:
        running = self._rendering.get(video.digest)
        if running is None:
            running = asyncio.create_task(self._render_and_prune(video, path))
            self._rendering[video.digest] = running
            running.add_done_callback(lambda done: self._ended(video.digest, done))
        return running

    def _ended(self, digest: str, done: asyncio.Task[Path]) -> None:
        self._rendering.pop(digest, None)
        problem = None if done.cancelled() else done.exception()
        if problem is not None and not isinstance(problem, RenderingStopped):
            logger.warning("A sandbox video could not be rendered: %s", problem)

    async def _render_and_prune(self, video: Video, path: Path) -> Path:
        async with self._turn:
            await asyncio.to_thread(self._render, path, video, self._stopped.is_set)
            await asyncio.to_thread(self._store.prune_videos)
        return path


def video_of(task: SandboxTask) -> Video:
    """What a task's video shows."""
    seconds, width, height, audio = task.seconds, task.width, task.height, task.audio
    if "other-clip" in task.faults:
        seconds, width, height, audio = max(1, seconds // 2), height, width, False
    facts = ("CALLSHEET SANDBOX", f"{task.gateway}/{task.model}", f"{seconds} s", f"{width}x{height}")
    title = " \u00b7 ".join(facts)
    prompt = strip_tags(task.prompt) or "(no prompt)"
    return Video(prompt=prompt, width=width, height=height, seconds=seconds, title=title, audio=audio)


def digest_file(path: Path) -> str:
    """The digest of a file's bytes, for its ETag."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]
