"""Renders the videos of finished tasks, each once and in a worker thread, and keeps them in the store."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from callsheet.sandbox.fakes.tasks import SandboxTask

from .faults import strip_tags
from .store import Store
from .video import RenderingStopped, Video, render_video

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
    facts = ("CALLSHEET SANDBOX", f"{task.gateway}/{task.model}", f"{task.seconds} s", f"{task.width}x{task.height}")
    title = " \u00b7 ".join(facts)
    prompt = strip_tags(task.prompt) or "(no prompt)"
    return Video(prompt=prompt, width=task.width, height=task.height, seconds=task.seconds, title=title)


def digest_file(path: Path) -> str:
    """The digest of a file's bytes, for its ETag."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]
