"""Saving a finished clip: the conversation with the server that holds it.

Streams a video into a `.part` (`edges.clip_files` keeps the promises about the disk) and holds the
server to what it announced: size, range, encoding, identity. Bytes of an interrupted attempt are
continued only under the same strong ETag (RFC 9110, sections 13.1.5 and 14). Nothing a server sends
becomes part of a file name or of an error message, except its host and its status number.

For `service`; the HTTP side is handed in as `OpenStream`, which has followed and checked redirects
already. An error leaves the task as it is: the clip is paid for, and fetching it again is free.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread

from callsheet.errors import CallsheetError, LinkGone

from .part_file import (
    STRONG_ETAG,
    Identity,
    PartFile,
    SavedFile,
    clip_name,
    disk_problems,
    on_disk,
    open_part,
    problem,
    read_saved,
)

READ_BYTES = 4 << 20
"""What the thread takes from a connection at a time."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,253}")


class BodyRest(Protocol):
    """The rest of a body as it comes from the connection, for a thread that may block."""

    def read_into(self, buffer: memoryview) -> int: ...
    def cut(self) -> None: ...


class ByteStream(Protocol):
    """One HTTP answer whose body is still to come. Header names are lower case.

    After `chunks`, `rest` is what they left, if they left something: a large clip takes the event loop's time and
    three more copies of every byte otherwise. Its `read_into` blocks, and says 0 at the end; `cut` ends it early.
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def host(self) -> str: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    @property
    def rest(self) -> BodyRest | None: ...


OpenStream = Callable[[str, Mapping[str, str]], AbstractAsyncContextManager[ByteStream]]
"""Opens (URL, extra request headers). Redirects are followed and checked inside."""

OnProgress = Callable[[int, int | None], None]
"""Told the bytes that are on disk, and how many there will be when that is known; in any thread."""


async def save_clip(
    open_stream: OpenStream,
    url: str,
    target: Path,
    *,
    max_bytes: int = 1 << 30,
    time_limit_seconds: float = 1800.0,
    on_progress: OnProgress | None = None,
) -> SavedFile:
    """Bring the video at `url` to `target`, or continue an attempt that was interrupted.

    A target that exists is checked and its facts are returned; nothing is fetched. Raises `LinkGone`,
    `DownloadProblem` (what came is not a whole MP4, or another process is at it) and `SetupProblem`
    (the disk); errors of `open_stream` and of its chunks pass through unchanged.
    """
    saved = await on_disk(target, read_saved, target)
    if saved is not None:
        return saved
    part = await on_disk(target, open_part, target)
    try:
        # Only now is the lock ours: whoever held it may have finished in the meantime.
        saved = await on_disk(target, read_saved, target)
        if saved is not None:
            return saved
        with anyio.move_on_after(time_limit_seconds) as clock:
            await _fetch(open_stream, url, part, max_bytes=max_bytes, on_progress=on_progress)
        if clock.cancelled_caught:
            raise problem(f"The download took longer than {time_limit_seconds:g} s and was stopped.")
        return await on_disk(target, part.finish)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(part.close)


async def _fetch(
    open_stream: OpenStream, url: str, part: PartFile, *, max_bytes: int, on_progress: OnProgress | None
) -> None:
    """Fill the part from the server: first the missing rest, if there is a beginning, else everything."""
    source = hashlib.sha256(re.split(r"[?#]", url, maxsplit=1)[0].encode("utf-8", "surrogatepass")).hexdigest()
    for resume in (True, False):
        headers = {"accept-encoding": "identity"}
        if resume:
            if part.identity is None or part.identity.source != source:
                continue
            headers |= {"range": f"bytes={part.size}-", "if-range": part.identity.etag}
        async with open_stream(url, headers) as stream:
            _refuse(stream, resume=resume)
            if stream.status == 200:
                identity = _read_identity(stream.headers, source)
                await on_disk(part.path, part.begin, identity)
                total = _read_length(stream.headers)
            elif _continues(stream, part):
                total = part.identity.total if part.identity else None
            else:
                continue
            await _receive(stream, part, total, max_bytes=max_bytes, on_progress=on_progress)
            return


async def _receive(
    stream: ByteStream, part: PartFile, total: int | None, *, max_bytes: int, on_progress: OnProgress | None
) -> None:
    """Read the body into the part and hold it to the announced size and to the limit."""
    intake = _Intake(part, total, max_bytes, on_progress)
    if total is not None:
        intake.refuse_more_than_allowed(total)
        await on_disk(part.path, part.require_space, total - part.size)
    async for chunk in stream.chunks():
        intake.refuse_more_than_allowed(part.received + len(chunk))
        part.add(chunk)
        if part.is_due:
            await on_disk(part.path, part.flush)
            intake.tell()
    if stream.rest is not None:
        await _drain(stream.rest, intake)
    if total is not None and part.received < total:
        raise problem(f"The download ended after {part.received:,} of {total:,} bytes.")
    await on_disk(part.path, part.flush)
    intake.tell()


async def _drain(rest: BodyRest, intake: _Intake) -> None:
    """Have a thread bring the rest; it has ended when this returns, however it does."""
    failure: CallsheetError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_cut_in_the_end, rest)
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(intake.drain, rest)
        except CallsheetError as error:  # the group would wrap it
            failure = error
        group.cancel_scope.cancel()
    # An end that was asked for is no failure of the connection.
    await anyio.lowlevel.checkpoint_if_cancelled()
    if failure is not None:
        raise failure


async def _cut_in_the_end(rest: BodyRest) -> None:
    """Wait to be cancelled; a thread that still waits for the connection is woken then."""
    try:
        await anyio.sleep_forever()
    finally:
        rest.cut()


@dataclass(frozen=True, slots=True)
class _Intake:
    """The way of a body into its part: what it is held to, and who is told."""

    part: PartFile
    total: int | None
    max_bytes: int
    on_progress: OnProgress | None

    def refuse_more_than_allowed(self, size: int) -> None:
        """Raise, and keep nothing, if that many bytes are over the limit or the announced size."""
        if size > self.max_bytes:
            self.part.identity = None
            raise problem(
                f"The video is larger than the limit of {self.max_bytes:,} bytes.",
                next_step="Raise the download limit in the policy if the clip should be that large.",
            )
        if self.total is not None and size > self.total:
            self.part.identity = None
            raise problem(f"More bytes came than the {self.total:,} that were announced.")

    def tell(self) -> None:
        """Report what is on the disk."""
        if self.on_progress is not None:
            self.on_progress(self.part.size, self.total)

    def drain(self, rest: BodyRest) -> None:
        """Receive, hash and write in turns, from one buffer: the bytes are still in the processor's cache."""
        buffer = memoryview(bytearray(READ_BYTES))
        while count := rest.read_into(buffer):
            self.refuse_more_than_allowed(self.part.received + count)
            before = self.part.size
            with disk_problems(self.part.path):
                self.part.take(buffer[:count])
            if self.part.size > before:
                self.tell()


def _refuse(stream: ByteStream, *, resume: bool) -> None:
    """Raise unless the answer is the video, a part of it that was asked for, or a reason to start over."""
    host = stream.host if _HOST.fullmatch(stream.host) else "The download host"
    if stream.status in (403, 404, 410):
        raise LinkGone(
            f"The link to the video is no longer valid: {host} answered {stream.status}.",
            next_step="Ask for the task again: that fetches a fresh link from the gateway, if it still has one.",
        )
    if stream.status == 416 and resume:
        return
    if stream.status != 200 and not (stream.status == 206 and resume):
        raise problem(f"{host} answered {stream.status} instead of the video.")
    if stream.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise problem(f"{host} sent the video in a content encoding, although none was asked for.")


def _continues(stream: ByteStream, part: PartFile) -> bool:
    """Whether a 206 carries exactly the bytes that the part lacks."""
    match = _CONTENT_RANGE.fullmatch(stream.headers.get("content-range", ""))
    if stream.status != 206 or match is None or part.identity is None:
        return False
    total = part.identity.total
    if [int(match[n]) for n in (1, 2, 3)] != [part.size, total - 1, total]:
        return False
    if stream.headers.get("etag", part.identity.etag) != part.identity.etag:
        return False
    return _read_length(stream.headers) in (None, total - part.size)


def _read_length(headers: Mapping[str, str]) -> int | None:
    """The announced size; None when the server does not say."""
    text = headers.get("content-length")
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,15}", text) is None:
        raise problem("The server announced a size that is not a number.")
    return int(text)


def _read_identity(headers: Mapping[str, str], source: str) -> Identity | None:
    """What a later attempt may rely on; None without a strong ETag and a size."""
    etag, total = headers.get("etag", ""), _read_length(headers)
    if total is None or STRONG_ETAG.fullmatch(etag) is None:
        return None
    return Identity(etag, total, source)


__all__ = ["BodyRest", "ByteStream", "OnProgress", "OpenStream", "SavedFile", "clip_name", "save_clip"]
