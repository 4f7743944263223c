"""Saves a finished clip: the conversation with the server that holds it.

Streams a video into a `.part` file (`part_file` guards the disk) and holds the server to what it announced: size,
range, encoding, identity. A server that is too slow is given up, like one whose connection broke. An interrupted
download continues only under the same strong ETag (RFC 9110, sections 13.1.5 and 14). Nothing that a server sends
becomes part of a file name or an error message, except its host and its status number.

The HTTP side is passed in as `OpenStream`, which follows and checks redirects. After an error the task is unchanged:
the clip is paid for, and fetching it again is free.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from callsheet.edges.http.streams import ByteStream, OpenStream
from callsheet.errors import Action, LinkGone, NextStep

from .part_file import (
    STRONG_ETAG,
    Identity,
    PartFile,
    SavedFile,
    disk_errors,
    download_problem,
    on_disk,
    open_part,
    read_saved,
)

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,253}")


LEAST_BYTES_PER_SECOND = 8192
"""A slower host could not send a clip of 15 MB within the time limit, and would only hold a place."""

OnProgress = Callable[[int, int | None], None]
"""Gets the bytes that are on disk, and the total if it is known. Called from the thread that writes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one download may take: bytes, seconds in all, and seconds below `LEAST_BYTES_PER_SECOND`."""

    max_bytes: int = 1 << 30
    seconds: float = 1800.0
    slow_seconds: float = 30.0


async def save_clip(
    open_stream: OpenStream,
    url: str,
    target: Path,
    *,
    limits: Limits = Limits(),
    on_progress: OnProgress | None = None,
    tags: bytes = b"",
) -> SavedFile:
    """Download the video at `url` to `target`, or continue an interrupted download. `tags` are added behind it.

    If the target exists, it is checked and its facts are returned; nothing is fetched. Raises `LinkGone`,
    `DownloadProblem` (the file is not a complete video, or another process is downloading it) and `SetupProblem`
    (the disk). Errors of `open_stream` and of its chunks pass through unchanged.
    """
    saved = await on_disk(target, read_saved, target)
    if saved is not None:
        return saved
    part = await on_disk(target, open_part, target)
    try:
        # The lock is ours only now: another process may have finished the clip while it held the lock.
        saved = await on_disk(target, read_saved, target)
        if saved is not None:
            return saved
        with anyio.move_on_after(limits.seconds) as clock:
            await _fetch(open_stream, url, part, limits=limits, on_progress=on_progress)
        if clock.cancelled_caught:
            raise download_problem(f"The download took longer than {limits.seconds:g} s and was stopped.")
        return await on_disk(target, part.finish, tags)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(part.close)


async def _fetch(
    open_stream: OpenStream, url: str, part: PartFile, *, limits: Limits, on_progress: OnProgress | None
) -> None:
    """Fill the part from the server: only the missing bytes if it has some already, else everything."""
    source = hashlib.sha256(re.split(r"[?#]", url, maxsplit=1)[0].encode("utf-8", "surrogatepass")).hexdigest()
    for resume in (True, False):
        headers = {"accept-encoding": "identity"}
        if resume:
            if part.identity is None or part.identity.source != source:
                continue
            headers |= {"range": f"bytes={part.size}-", "if-range": part.identity.etag}
        async with open_stream(url, headers) as stream:
            _require_video(stream, resume=resume)
            if stream.status == 200:
                identity = _read_identity(stream.headers, source)
                await on_disk(part.path, part.begin, identity)
                total = _read_length(stream.headers)
            elif _continues(stream, part):
                total = part.identity.total if part.identity else None
            else:
                continue
            if total is not None:
                _require_allowed(total, part, total, limits.max_bytes)
                await on_disk(part.path, part.require_space, total - part.size)
            receive = partial(_receive, stream, part, total, limits=limits, on_progress=on_progress)
            await _run_until_stopped(receive, stream.stop)
            return


async def _run_until_stopped(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run `work` in a thread, and call `stop` when the caller is cancelled. The thread has ended when this returns."""
    failure: Exception | None = None

    async def stop_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stop()

    async with anyio.create_task_group() as group:
        group.start_soon(stop_when_cancelled)
        try:
            await anyio.to_thread.run_sync(work)
        except Exception as error:
            failure = error
        group.cancel_scope.cancel()
    await anyio.lowlevel.checkpoint_if_cancelled()  # what `stop` caused is not the download's own failure
    if failure is not None:
        raise failure


def _receive(
    stream: ByteStream, part: PartFile, total: int | None, *, limits: Limits, on_progress: OnProgress | None
) -> None:
    """Read the body into the part and hold it to the announced size and to the limit.

    A second thread hashes and writes one batch while this one reads the next.
    """

    def write(batch: bytearray) -> None:
        with disk_errors(part.path):
            part.write(batch)
        if on_progress is not None:
            on_progress(part.size, total)

    with ThreadPoolExecutor(1, thread_name_prefix="clip-writer") as writer:
        writing = None
        for chunk in _require_speed(stream.chunks(), limits.slow_seconds):
            _require_allowed(part.received + len(chunk), part, total, limits.max_bytes)
            part.add(chunk)
            if part.is_due:
                if writing is not None:
                    writing.result()
                writing = writer.submit(write, part.take())
        if writing is not None:
            writing.result()
    if total is not None and part.received < total:
        raise download_problem(f"The download ended after {part.received:,} of {total:,} bytes.")
    write(part.take())


def _require_speed(chunks: Iterator[bytes], window_seconds: float) -> Iterator[bytes]:
    """The chunks, until the server was too slow for a whole window. Only the time spent waiting for it counts."""
    waited, came, began = 0.0, 0, time.monotonic()
    for chunk in chunks:
        waited += time.monotonic() - began
        came += len(chunk)
        if waited >= window_seconds:
            if came < LEAST_BYTES_PER_SECOND * waited:
                raise download_problem(
                    f"The server sent less than {LEAST_BYTES_PER_SECOND:,} bytes a second for {window_seconds:g} s,"
                    " so the download was stopped."
                )
            waited, came = 0.0, 0
        yield chunk
        began = time.monotonic()


def _require_allowed(size: int, part: PartFile, total: int | None, max_bytes: int) -> None:
    """Raise, and keep nothing, if that many bytes are over the limit or the announced size."""
    if size > max_bytes:
        part.identity = None
        raise download_problem(
            f"The video is larger than the limit of {max_bytes:,} bytes.",
            next_step="Look at the clip on the gateway's own page.",
        )
    if total is not None and size > total:
        part.identity = None
        raise download_problem(f"The server announced {total:,} bytes and sent more.")


def _require_video(stream: ByteStream, *, resume: bool) -> None:
    """Raise unless the response is the video, a requested part of it, or a reason to start over."""
    host = stream.host if _HOST.fullmatch(stream.host) else "The download host"
    if stream.status in (403, 404, 410):
        raise LinkGone(
            f"The link to the video is no longer valid: {host} answered {stream.status}.",
            next_step=NextStep(Action.GET, "The gateway may still have a new link."),
        )
    if stream.status == 416 and resume:
        return
    if stream.status != 200 and not (stream.status == 206 and resume):
        raise download_problem(f"{host} answered {stream.status} instead of the video.")
    if stream.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise download_problem(f"{host} sent the video in a content encoding that was not requested.")


def _continues(stream: ByteStream, part: PartFile) -> bool:
    """Whether a 206 carries exactly the bytes that are missing from the part."""
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
    """The announced size; None when the server does not announce one."""
    text = headers.get("content-length")
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,15}", text) is None:
        raise download_problem("The server announced a size that is not a number.")
    return int(text)


def _read_identity(headers: Mapping[str, str], source: str) -> Identity | None:
    """What identifies the bytes to a later attempt; None without a strong ETag and a size."""
    etag, total = headers.get("etag", ""), _read_length(headers)
    if total is None or STRONG_ETAG.fullmatch(etag) is None:
        return None
    return Identity(etag, total, source)


__all__ = ["Limits", "OnProgress", "SavedFile", "save_clip"]
