"""Turns finished tasks into files: renders a film once, in a worker thread, and keeps it in the store."""

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
from .video import Film, RenderingStopped, render_film

logger = logging.getLogger(__name__)

Render = Callable[[Path, Film, Callable[[], bool]], None]


class Projector:
    """Films of one store. One rendering at a time: a rehearsal must not take the machine."""

    def __init__(self, store: Store, render: Render = render_film) -> None:
        self._store = store
        self._render = render
        self._rendering: dict[str, asyncio.Task[Path]] = {}
        self._turn = asyncio.Semaphore(1)
        self._stopped = threading.Event()

    def start(self, task: SandboxTask) -> None:
        """See to it that the film exists soon; returns at once."""
        film = film_of(task)
        path = self._store.films / f"{film.digest}.mp4"
        if not path.exists():
            self._begin(film, path)

    async def fetch(self, task: SandboxTask) -> Path:
        """The film's file, rendered first if need be; RenderingStopped when the sandbox closes meanwhile."""
        film = film_of(task)
        path = self._store.films / f"{film.digest}.mp4"
        if path.exists():
            with suppress(FileNotFoundError):
                os.utime(path)
            return path
        # Shielded: a caller that hangs up does not stop a film that the next caller needs.
        return await asyncio.shield(self._begin(film, path))

    async def close(self) -> None:
        """Give up the renderings that were begun; they are begun anew when a film is next asked for."""
        self._stopped.set()
        await asyncio.gather(*self._rendering.values(), return_exceptions=True)

    def _begin(self, film: Film, path: Path) -> asyncio.Task[Path]:
        running = self._rendering.get(film.digest)
        if running is None:
            running = asyncio.create_task(self._make(film, path))
            self._rendering[film.digest] = running
            running.add_done_callback(lambda done: self._ended(film.digest, done))
        return running

    def _ended(self, digest: str, done: asyncio.Task[Path]) -> None:
        self._rendering.pop(digest, None)
        problem = None if done.cancelled() else done.exception()
        if problem is not None and not isinstance(problem, RenderingStopped):
            logger.warning("A sandbox film could not be rendered: %s", problem)

    async def _make(self, film: Film, path: Path) -> Path:
        async with self._turn:
            await asyncio.to_thread(self._render, path, film, self._stopped.is_set)
            await asyncio.to_thread(self._store.prune_films)
        return path


def film_of(task: SandboxTask) -> Film:
    """What a task's film shows."""
    facts = ("CALLSHEET SANDBOX", f"{task.gateway}/{task.model}", f"{task.seconds} s", f"{task.width}x{task.height}")
    title = " \u00b7 ".join(facts)
    words = strip_tags(task.prompt) or "(no words)"
    return Film(prompt=words, width=task.width, height=task.height, seconds=task.seconds, title=title)


def digest_file(path: Path) -> str:
    """The name of a file's bytes, for its ETag."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]
