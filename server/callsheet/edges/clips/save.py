"""Saves a finished clip: downloads it, checks that it is whole, measures it, and draws its poster and contact sheet."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from callsheet.core.clips import ClipLabel
from callsheet.core.gateway.protocol import USUAL, HttpRequest, OwnWay, Route
from callsheet.core.security.urls import url_host
from callsheet.core.tasks import Clip
from callsheet.edges.http.client import GatewayHttp, join_url
from callsheet.edges.http.streams import ByteStream, OpenStream
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import SetupProblem

from .boxes import build_tags, why_untagged
from .download import save_clip

if TYPE_CHECKING:
    from .stills import ClipFacts

MAX_DOWNLOADS = 4
MAX_DOWNLOADS_OF_GATEWAY = 3
"""Leaves a place for the other gateways, whatever hosts one gateway's links name."""
MAX_DOWNLOADS_FROM_HOST = 2
"""A slow host keeps its places for long; those of other hosts go on."""


class Clips:
    """Saves the clips of tasks below one directory. One clip at a time is decoded, in a thread."""

    def __init__(self, http: GatewayHttp) -> None:
        self._http = http
        self._downloads = anyio.Semaphore(MAX_DOWNLOADS)
        self._of_gateway = defaultdict[str, anyio.Semaphore](lambda: anyio.Semaphore(MAX_DOWNLOADS_OF_GATEWAY))
        self._from_host = defaultdict[str, anyio.Semaphore](lambda: anyio.Semaphore(MAX_DOWNLOADS_FROM_HOST))
        self._decoding: anyio.CapacityLimiter | None = None

    @asynccontextmanager
    async def local_copy(self, name: str) -> AsyncIterator[Path]:
        """The file of a clip or of one of its pictures: it is here."""
        yield Path(name)

    async def keep(
        self, label: ClipLabel, url: str, *, directory: Path, loopback: str | None, route: Route = USUAL
    ) -> Clip:
        """Fetch the clip at `url` unless it is on disk already, under whatever name, and describe it.

        Raises `LinkGone`, `DownloadProblem`, `GatewayUnreachable`, `SetupProblem`; trying again is always free.
        """
        return await self._keep(label, url, directory, partial(self._http.open_stream, loopback=loopback, route=route))

    async def keep_own(
        self,
        label: ClipLabel,
        content: HttpRequest,
        *,
        directory: Path,
        base_url: str,
        key: SecretKey | None,
        way: OwnWay,
    ) -> Clip:
        """The same for a clip that its gateway hands out itself: only from there, whatever a link says."""

        def open_stream(_: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[ByteStream]:
            return self._http.open_content(content, headers, base_url=base_url, key=key, way=way)

        return await self._keep(label, join_url(base_url, content.path), directory, open_stream)

    async def _keep(self, label: ClipLabel, url: str, directory: Path, open_stream: OpenStream) -> Clip:
        if sys.platform == "win32":
            raise SetupProblem(
                "Saving clips needs Linux or macOS.", next_step="Open the gateway's own page to fetch the clip."
            )
        _make_directory(directory)
        target = await anyio.to_thread.run_sync(_find_target, directory, label)

        async with self._place(label.gateway, url):
            saved = await save_clip(open_stream, url, target, tags=build_tags(label))
        if self._decoding is None:
            self._decoding = anyio.CapacityLimiter(1)
        poster, sheet = target.with_suffix(".poster.jpg"), target.with_suffix(".contact-sheet.jpg")
        facts = await anyio.to_thread.run_sync(_describe, target, poster, sheet, label, limiter=self._decoding)
        return Clip(
            path=str(target),
            size=saved.size,
            sha256=saved.sha256,
            duration_seconds=round(facts.duration_seconds, 3),
            width=facts.width,
            height=facts.height,
            poster=str(poster),
            contact_sheet=str(sheet),
            shape=facts.shape,
            audio=facts.audio,
            brightest=facts.brightest,
            motion=facts.motion,
            note=why_untagged(target) if label.tags else "",
        )

    @asynccontextmanager
    async def _place(self, gateway: str, url: str) -> AsyncIterator[None]:
        """A place to download in. The narrowest is waited for first, so that nobody holds a wider one idle."""
        async with self._from_host[url_host(url) or ""], self._of_gateway[gateway], self._downloads:
            yield


def _find_target(directory: Path, label: ClipLabel) -> Path:
    """The clip's file. One that was finished under another name, by another template or version, is that clip too."""
    target, mark = directory / label.file_name, re.compile(rf"(?<![a-z0-9]){label.short_id}(?![a-z0-9]).*\.mp4\Z")
    if not os.path.lexists(target):
        for found in directory.iterdir():
            if mark.search(found.name) and found.is_file() and not found.is_symlink():
                return found
    return target


def _describe(clip: Path, poster: Path, sheet: Path, label: ClipLabel) -> ClipFacts:
    from .stills import draw_stills

    return draw_stills(clip, poster, sheet, heading=label.prompt, detail=label.details)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SetupProblem(
            f"The directory for clips, {directory}, cannot be created ({type(error).__name__}).",
            next_step="Set another one in the policy file under [save] directory.",
        ) from error
