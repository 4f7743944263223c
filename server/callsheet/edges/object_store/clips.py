"""Keeps a team's clips: as objects in S3-compatible storage, or as files of a single node.

A clip is fetched, proved and drawn in a local directory exactly as in local mode. Only then does it become objects,
each under the hash of its bytes, and the local copy goes. What fails on the way leaves the local copy, so that the
next try fetches nothing again, even if the gateway's link has ended meanwhile. Writing the same object twice, from two
workers as well, changes nothing.

Of such a clip, `path`, `poster` and `contact_sheet` are names of objects: `object:tenants/…/<hash>.mp4`. A name is no
path, so nothing takes it for a file, and no secret. A signed link is one: it is made per request, after the check who
asks, and neither stored nor logged. Credentials are what obstore finds in the environment or gets from the
machine. Its errors quote the server, so none of their text is passed on.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, urlsplit

import anyio
import anyio.to_thread
import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from callsheet.core.clips import OBJECT, ClipLabel, ClipLinks
from callsheet.core.gateway.protocol import USUAL, HttpRequest, OwnWay, Route
from callsheet.core.tasks import Clip
from callsheet.edges.clips.save import Clips
from callsheet.edges.files.files import open_regular
from callsheet.edges.keys.store import SecretKey
from callsheet.edges.traces import CLIENT, span
from callsheet.errors import DownloadProblem, SetupProblem, UnknownThing

LINK_LIFETIME = timedelta(minutes=5)
MOST_RETRIES, RETRY_TIME = 2, timedelta(seconds=20)
"""Within one try. The task is tried again anyway, and a worker should not hang until then."""
READ_BYTES = 1 << 20
MOST_COPIED = {".mp4": 1 << 30, ".jpg": 1 << 25}
"""Bytes of an object that are read: it may have been exchanged for one that fills the disk. No clip that was fetched is
larger, and no picture of one."""

_HEADERS = {".mp4": ("video/mp4", "attachment"), ".jpg": ("image/jpeg", "inline")}
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
ADVICE = "Check the team's storage: its address, its bucket and the credentials of this process."


def open_bucket(url: str) -> S3Store:
    """The storage at `s3://bucket/prefix`; contacts nobody. Raises `SetupProblem`, which does not quote the address."""
    if not _BUCKET.fullmatch(url):
        raise SetupProblem(
            "The address of the team's storage is not like s3://bucket/prefix. Credentials do not belong into it.",
            next_step=ADVICE,
        )
    with _told("The team's storage cannot be set up", SetupProblem):
        return S3Store.from_url(url, retry_config={"max_retries": MOST_RETRIES, "retry_timeout": RETRY_TIME})


class FileClips(Clips):
    """Clips of a single node: in the directory as in local mode. The desk hands them out, so there are no links."""

    async def links(self, clip: Clip) -> ClipLinks | None:
        """None: the clip's paths are files here."""


class ObjectClips:
    """Clips of one tenant as objects. `clips` fetches them, into the `directory` that it is called with."""

    def __init__(self, clips: Clips, store: S3Store, *, tenant: str) -> None:
        if not _TENANT.fullmatch(tenant):
            raise SetupProblem("The tenant's name cannot name a folder of clips.", next_step="Use a-z, 0-9, - and _.")
        self._clips = clips
        self._store = store
        self._tasks = f"tenants/{tenant}/tasks"
        self._name = re.compile(rf"{OBJECT}({self._tasks}/task_[a-z0-9-]{{1,32}}/[0-9a-f]{{64}}\.(?:mp4|jpg))")

    async def keep(
        self, label: ClipLabel, url: str, *, directory: Path, loopback: str | None, route: Route = USUAL
    ) -> Clip:
        """As `Clips.keep`; also raises `DownloadProblem` if the storage does not take it. Trying again is free."""
        clip = await self._clips.keep(label, url, directory=directory, loopback=loopback, route=route)
        return await self._move(clip, label)

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
        """The same for a clip that its gateway hands out itself."""
        clip = await self._clips.keep_own(label, content, directory=directory, base_url=base_url, key=key, way=way)
        return await self._move(clip, label)

    async def links(self, clip: Clip) -> ClipLinks | None:
        """Links of five minutes to the objects of a clip. Raises `UnknownThing` unless all are this tenant's."""
        paths = [self._object(name) for name in (clip.path, clip.poster, clip.contact_sheet)]
        with _told("The team's storage gives no link", SetupProblem):
            return ClipLinks(*await obstore.sign_async(self._store, "GET", paths, LINK_LIFETIME))

    async def check(self) -> None:
        """Put something small, as a clip will be. Raises `SetupProblem`."""
        with _told("The team's storage took nothing", SetupProblem):
            await obstore.put_async(self._store, f"{self._tasks}/probe", b"Callsheet can write here.\n")

    def link_origin(self) -> str:
        """Scheme and host of all these links, for pages that say what they load. Raises `SetupProblem`."""
        with _told("The team's storage gives no link", SetupProblem):
            link = urlsplit(obstore.sign(self._store, "GET", self._tasks, LINK_LIFETIME))
        return f"{link.scheme}://{link.netloc}"

    @asynccontextmanager
    async def local_copy(self, name: str) -> AsyncIterator[Path]:
        """A copy of an object, proved by its name, while the block runs. Raises `UnknownThing`, `DownloadProblem`."""
        path, digest, size = self._object(name), hashlib.sha256(), 0
        with TemporaryDirectory(prefix="callsheet-clip-") as directory:
            copy = Path(directory) / path.rpartition("/")[2]
            told = _told("The clip cannot be read from the team's storage", DownloadProblem)
            with told, span("object get", CLIENT):
                found = await obstore.get_async(self._store, path)
                async with await anyio.open_file(copy, "xb") as file:
                    async for chunk in found.stream(min_chunk_size=READ_BYTES):
                        size += len(chunk)
                        if size > MOST_COPIED[copy.suffix]:
                            break
                        digest.update(chunk)
                        await file.write(chunk)
            if digest.hexdigest() != copy.stem:
                raise DownloadProblem("What the team's storage holds is not what was put there.", next_step=ADVICE)
            yield copy

    def _object(self, name: str) -> str:
        match = self._name.fullmatch(name)
        if match is None:
            raise UnknownThing("That is no clip in this team's storage.", next_step="Open the task to see its clip.")
        return match[1]

    async def _move(self, clip: Clip, label: ClipLabel) -> Clip:
        """Put the clip and its pictures, then remove the local files."""
        files = [Path(name) for name in (clip.path, clip.poster, clip.contact_sheet)]
        poster, sheet = [await self._put(file, label) for file in files[1:]]
        video = await self._put(files[0], label, sha256=clip.sha256)
        await anyio.to_thread.run_sync(_remove, files)
        return replace(clip, path=video, poster=poster, contact_sheet=sheet)

    async def _put(self, file: Path, label: ClipLabel, *, sha256: str = "") -> str:
        """Put one file and look that it is there; its name."""
        kind, shown = _HEADERS[file.suffix]
        headers = {
            "Content-Type": kind,
            "Content-Disposition": f"{shown}; filename*=UTF-8''{quote(file.name, safe='')}",
        }
        told = _told("The clip is whole, and the team's storage did not take it", DownloadProblem)
        with told, span("object put", CLIENT):
            digest, size = await anyio.to_thread.run_sync(_measure, file)
            path = f"{self._tasks}/task_{label.short_id}/{digest}{file.suffix}"
            put = await obstore.put_async(self._store, path, file, attributes=headers)
            found = await obstore.head_async(self._store, path)
        if digest != (sha256 or digest) or (found["size"], found["e_tag"]) != (size, put["e_tag"]):
            raise DownloadProblem("The clip is whole, and its copy in the team's storage is not.", next_step=ADVICE)
        return OBJECT + path


def _measure(file: Path) -> tuple[str, int]:
    with open_regular(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest(), os.fstat(content.fileno()).st_size


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


@contextmanager
def _told(what: str, problem: type[DownloadProblem | SetupProblem]) -> Iterator[None]:
    """Raise what goes wrong as that problem, in our own words. obstore's text quotes the server's answer."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise problem(f"{what} ({_reason(error)}).", next_step=ADVICE) from None


def _reason(error: Exception) -> str:
    match error:
        case PermissionDeniedError() | UnauthenticatedError():
            return "it refused the credentials"
        case FileNotFoundError():
            return "the bucket, the object or the file is not there"
        case _:
            return f"unreachable, or it failed: {type(error).__name__}"


__all__ = ["FileClips", "ObjectClips", "open_bucket"]
