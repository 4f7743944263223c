"""Clips on disk: the `.part` file of a download, the note that describes it, the finished file.

Invariants. A clip's final name is absent or belongs to a whole MP4 whose hash is known. An existing file is never
overwritten, and nothing is written through a symbolic link. A `.part` is locked while it is open. It survives an
interruption only with a note (`<name>.part.note`) that says which bytes it holds. Those bytes are used only after
their hash has been computed again.

Everything here blocks: `download`, the only caller, runs it in threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio.to_thread

from callsheet.edges.files.files import NotRegularError, open_regular
from callsheet.errors import DownloadProblem, Fate, SetupProblem

from .boxes import find_obstacle
from .stills import UnsupportedClip, inspect_clip

if sys.platform != "win32":
    import fcntl

WRITE_BYTES = 512 * 1024
"""Chunks are gathered to this size before they are written."""

WRITEBACK_BYTES = 8 * 1024 * 1024
"""How much may wait in the system's cache before it goes to the disk. The cache holds about twice that."""

SPARE_BYTES = 16 * 1024 * 1024
"""How much free space a download leaves, because the ledger is usually on the same disk."""

STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{0,200}"')

_NOTE = re.compile(
    rf"callsheet-part-1\n({STRONG_ETAG.pattern})\n(\d{{1,15}})\n([0-9a-f]{{64}})\n(\d{{1,15}})\n([0-9a-f]{{64}})\n"
)

SNIFF_BYTES = 512
"""How much of a file is read to name what the server sent instead of a video."""

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A whole clip on disk; `sha256` is in lower-case hex."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Which bytes a `.part` holds: a strong ETag, the full size, and a digest of the link without its query."""

    etag: str
    total: int
    source: str


def name_other_content(start: bytes) -> str | None:
    """What a file is, by its first bytes, if it is not an MP4; None for an MP4."""
    if start[4:8] == b"ftyp":
        return None
    if not start:
        return "nothing at all"
    if start.startswith(b"\x1a\x45\xdf\xa3"):
        return "a WebM file"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"{", b"[")):
        return "a JSON message"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--")):
        return "a web page"
    if text.startswith((b"<?xml", b"<!doctype")) or (text[:1] == b"<" and text[1:2].isalpha()):
        return "an XML message"
    return "something that is not an MP4 file"


def read_saved(target: Path) -> SavedFile | None:
    """Check a clip that exists already and return its facts; None when there is none."""
    try:
        with open_regular(target) as clip:
            _require_whole(target)
            return SavedFile(target, os.fstat(clip.fileno()).st_size, hashlib.file_digest(clip, "sha256").hexdigest())
    except FileNotFoundError:
        return None
    except NotRegularError:
        raise _unusable(f"{target} is not a regular file; it was left unchanged.", target) from None
    except DownloadProblem as error:
        message = f"{target} exists and is not a complete video; it was left unchanged. {error.message}"
        raise _unusable(message, target) from None


def _require_whole(path: Path) -> None:
    """Raise `DownloadProblem` if part of the clip is missing. An undecodable whole clip is kept: it is paid for."""
    with suppress(UnsupportedClip):
        inspect_clip(path)


def open_part(target: Path) -> PartFile:
    """Open and lock the `.part` of a target, never through a link, and adopt the bytes it holds."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = _part_path(target)
    for _ in range(3):  # an attempt fails only if another process finished or gave up at that moment
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if _lock(fd, path):
                part = PartFile(fd, target)
                part.adopt_earlier()
                return part
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise download_problem("Other processes keep starting the download of this clip.")


async def on_disk(path: Path, work: Callable[[*Arguments], Answer], *arguments: *Arguments) -> Answer:
    """Run blocking work on a clip's path in a thread. An error of the disk becomes a `SetupProblem`."""
    with disk_errors(path):
        return await anyio.to_thread.run_sync(work, *arguments)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of the disk into a `SetupProblem`."""
    try:
        yield
    except OSError as error:
        raise _disk_problem(error, path) from error


class PartFile:
    """The open, locked `.part` file. Methods that touch the disk block: run them in a thread, one at a time.

    Only `add` and `take` may run during a `write`.
    """

    def __init__(self, fd: int, target: Path) -> None:
        self.path = _part_path(target)
        self.size = 0
        self.received = 0
        self.identity: Identity | None = None
        self._fd = fd
        self._target = target
        self._note_path = target.with_name(f"{target.name}.part.note")
        self._digest = hashlib.sha256()
        self._pending = bytearray()
        self._flushed_bytes = 0
        self._finished = False

    @property
    def is_due(self) -> bool:
        """Whether enough has been gathered for a write."""
        return len(self._pending) >= WRITE_BYTES

    def add(self, chunk: bytes) -> None:
        """Gather a chunk in memory."""
        self._pending += chunk
        self.received += len(chunk)

    def adopt_earlier(self) -> None:
        """Keep what an interrupted attempt left, if the hash in its note matches."""
        match = _NOTE.fullmatch(_read_note(self._note_path))
        if match is None:
            return
        size, digest = int(match[4]), hashlib.sha256()
        if not 0 < size < int(match[2]) or size > os.fstat(self._fd).st_size:
            return
        for offset in range(0, size, WRITE_BYTES):
            digest.update(os.pread(self._fd, min(WRITE_BYTES, size - offset), offset))
        if digest.hexdigest() == match[5]:
            self.identity = Identity(match[1], int(match[2]), match[3])
            self.size, self.received, self._digest = size, size, digest

    def begin(self, identity: Identity | None) -> None:
        """Start with an empty file. The note goes first, because it describes the bytes that are dropped."""
        self._note_path.unlink(missing_ok=True)
        os.ftruncate(self._fd, 0)
        self.identity, self.size, self.received = identity, 0, 0
        self._digest, self._flushed_bytes = hashlib.sha256(), 0
        self._pending.clear()

    def require_space(self, missing: int) -> None:
        """Refuse a download that does not fit on the disk."""
        free = shutil.disk_usage(self.path.parent).free
        if missing + SPARE_BYTES > free:
            raise SetupProblem(
                f"The clip needs {missing:,} bytes, and {self.path.parent} has {free:,} free.",
                next_step="Free some space or choose another directory for clips, then ask for the task again.",
                fate=Fate.CHARGED,
                retry="after(30)",
            )

    def take(self) -> bytearray:
        """Hand over what was gathered, for `write`."""
        data, self._pending = self._pending, bytearray()
        return data

    def write(self, gathered: bytearray) -> None:
        """Append a block to the file. The first bytes must look like an MP4."""
        if self.size == 0:
            other = name_other_content(bytes(gathered[:SNIFF_BYTES]))
            if other is not None:
                self.identity = None
                raise download_problem(f"The link returned {other} instead of a video.")
        data = memoryview(gathered)
        while data:
            written = os.pwrite(self._fd, data, self.size)
            self._digest.update(data[:written])
            self.size += written
            data = data[written:]
        if sys.platform == "linux" and self.size - self._flushed_bytes >= WRITEBACK_BYTES:
            # Linux starts to write the new bytes, so the fsync at the end has little to do. It also drops the bytes
            # that are on the disk already, so a clip never fills the cache.
            os.posix_fadvise(self._fd, 0, self.size, os.POSIX_FADV_DONTNEED)
            self._flushed_bytes = self.size

    def finish(self, tags: bytes = b"") -> SavedFile:
        """Check the clip, add its tags, make the bytes durable and give the file its name."""
        os.ftruncate(self._fd, self.size)
        try:
            _require_whole(self.path)
        except DownloadProblem as error:
            self.identity = None
            raise download_problem(f"The download was discarded. {error.message}") from error
        self._append(tags)
        os.fsync(self._fd)
        self.path.replace(self._target)
        self._finished = True
        directory = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._note_path.unlink(missing_ok=True)
        return SavedFile(self._target, self.size, self._digest.hexdigest())

    def _append(self, tags: bytes) -> None:
        """Put a box behind the delivered bytes. If anything is in the way, the file stays exactly as delivered."""
        delivered, digest = self.size, self._digest.copy()
        try:
            if tags and not find_obstacle(self.path):
                self.write(bytearray(tags))
                _require_whole(self.path)
        except (OSError, DownloadProblem):
            os.ftruncate(self._fd, delivered)
            self.size, self._digest = delivered, digest

    def close(self) -> None:
        """Close the file. An unfinished one stays only if a later attempt can continue it."""
        try:
            if not self._finished and not self._keep():
                # A file that cannot be removed has no note, so leaving it is harmless.
                with suppress(OSError):
                    self._note_path.unlink(missing_ok=True)
                    self.path.unlink(missing_ok=True)
        finally:
            os.close(self._fd)

    def _keep(self) -> bool:
        """Make the bytes durable and write the note that describes them; False if that is not possible."""
        try:
            # After a failed write, the bytes gathered later do not follow those in the file.
            if self.identity is not None and self._pending and self.size + len(self._pending) == self.received:
                self.write(self.take())
            if self.identity is None or not 0 < self.size < self.identity.total:
                return False
            os.fsync(self._fd)
            known = self.identity
            lines = ("callsheet-part-1", known.etag, known.total, known.source, self.size, self._digest.hexdigest())
            _write_note(self._note_path, "".join(f"{line}\n" for line in lines))
        except (OSError, DownloadProblem):
            return False  # the attempt that ends here reports its own error
        return True


def _lock(fd: int, path: Path) -> bool:
    """Lock the open file; False when its name belongs to another file now."""
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        raise _unusable(f"{path} was not created by Callsheet; nothing was written to it.", path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise download_problem(
            "Another process is downloading this clip.", next_step="Ask again in a moment."
        ) from None
    os.fchmod(fd, 0o600)
    try:
        named = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (facts.st_dev, facts.st_ino)


def _read_note(path: Path) -> str:
    """The note beside a part; empty when there is none that can be read."""
    try:
        with open_regular(path) as note:
            return note.read(1024).decode("ascii", "replace")
    except (OSError, NotRegularError):
        return ""  # without a note the download starts over, which is always safe


def _write_note(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as note:
        note.write(text.encode("ascii"))


def _disk_problem(error: OSError, path: Path) -> SetupProblem:
    what, step = {
        errno.ENOSPC: ("the disk is full", "Free some space"),
        errno.EDQUOT: ("the disk quota is used up", "Free some space"),
        errno.EROFS: ("the file system is read-only", "Choose a directory for clips that can be written"),
        errno.EACCES: ("permission was denied", "Make the directory writable, or choose another one for clips"),
        errno.EPERM: ("permission was denied", "Make the directory writable, or choose another one for clips"),
        errno.ELOOP: ("there is a symbolic link at the file's path", "Remove the link"),
    }.get(
        error.errno or 0,
        (f"the system reported: {error.strerror or type(error).__name__}", "Check the directory for clips"),
    )
    return SetupProblem(
        f"The clip could not be written in {path.parent}: {what}.",
        next_step=f"{step}, then ask for the task again. Fetching the clip is free.",
        fate=Fate.CHARGED,
        retry="after(30)",
    )


def _unusable(message: str, path: Path) -> SetupProblem:
    step = f"Move {path.name} away and ask for the task again."
    return SetupProblem(message, next_step=step, fate=Fate.CHARGED, retry="after(30)")


def download_problem(
    message: str, *, next_step: str = "Ask for the task again: fetching the clip is free."
) -> DownloadProblem:
    """The error of a download that can be tried again."""
    return DownloadProblem(message, next_step=next_step)


def _part_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


__all__ = [
    "STRONG_ETAG",
    "WRITE_BYTES",
    "Identity",
    "PartFile",
    "SavedFile",
    "disk_errors",
    "download_problem",
    "name_other_content",
    "on_disk",
    "open_part",
    "read_saved",
]
