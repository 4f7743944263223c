"""Clips on disk: the `.part` that is being filled, the note that vouches for it, the finished file.

Invariants. A clip's final name is absent or belongs to a whole MP4 whose hash is known; a file that is
there already is never written over, and nothing is written through a symbolic link. A `.part` is
locked while it is open. It outlives an interruption only with a note (`<name>.part.note`) that says
which bytes it holds, and is used again only after their hash was computed again.

Everything here blocks: `edges.downloads`, the only caller, does it in threads.
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

from callsheet.errors import DownloadProblem, Fate, SetupProblem

from .mp4 import SNIFF_BYTES, Look, check_boxes, looks_like

if sys.platform != "win32":
    import fcntl

WRITE_BYTES = 512 * 1024
"""Chunks are gathered to this size before they are written."""

WRITEBACK_BYTES = 8 * 1024 * 1024
"""How much may wait in the system's cache before it is sent on to the disk; about twice that stays."""

SPARE_BYTES = 16 * 1024 * 1024
"""Free space that a download leaves alone: the ledger lives on the same disk as a rule."""

STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{0,200}"')

_NOTE = re.compile(
    rf"callsheet-part-1\n({STRONG_ETAG.pattern})\n(\d{{1,15}})\n([0-9a-f]{{64}})\n(\d{{1,15}})\n([0-9a-f]{{64}})\n"
)

_LOOKS: dict[Look, str] = {
    "html": "a web page",
    "json": "a JSON message",
    "xml": "an XML message",
    "webm": "a WebM file",
    "empty": "nothing at all",
    "unknown": "something that is not an MP4 file",
}

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


def clip_name(task_id: str, gateway: str, model: str) -> str:
    """The file name of a task's clip: lower-case letters, digits and dashes, another one for each task id."""
    short = task_id
    if re.fullmatch(r"[a-z0-9-]{1,32}", task_id) is None:
        # Folding to the safe alphabet can make two ids equal; the digest keeps them apart.
        digest = hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        short = f"{_slug(task_id, 12)}-{digest}"
    return f"{_slug(gateway, 24)}-{_slug(model, 48)}-{short}.mp4"


def read_saved(target: Path) -> SavedFile | None:
    """The facts of a clip that is there already, after checking it; None when there is none."""
    try:
        fd = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as clip:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise _unusable(f"{target} is not a plain file; it was left alone.", target)
        report = check_boxes(lambda offset, count: os.pread(fd, count, offset), facts.st_size)
        if report.problem is not None:
            raise _unusable(f"{target} exists and is not a whole MP4; it was left alone. {report.problem}", target)
        return SavedFile(target, facts.st_size, hashlib.file_digest(clip, "sha256").hexdigest())


def open_part(target: Path) -> PartFile:
    """Open and lock the `.part` of a target, never through a link, and adopt what it holds."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = _part_path(target)
    for _ in range(3):  # each turn is lost only to a process that finished or gave up just then
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if _claim(fd, path):
                part = PartFile(fd, target)
                part.adopt_earlier()
                return part
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise problem("Another process keeps taking the download of this clip.")


async def on_disk(path: Path, work: Callable[[*Arguments], Answer], *arguments: *Arguments) -> Answer:
    """Run blocking work on a clip's path in a thread; what the disk says becomes a `SetupProblem`."""
    with disk_problems(path):
        return await anyio.to_thread.run_sync(work, *arguments)


@contextmanager
def disk_problems(path: Path) -> Iterator[None]:
    """Turn what the disk says into a `SetupProblem`."""
    try:
        yield
    except OSError as error:
        raise _disk_problem(error, path) from error


class PartFile:
    """The open, locked `.part` file. All that touch the disk block: run them in a thread, one at a time."""

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
        self._sent_on = 0
        self._finished = False

    @property
    def is_due(self) -> bool:
        """Whether enough has been gathered for a write."""
        return len(self._pending) >= WRITE_BYTES

    def add(self, chunk: bytes | memoryview) -> None:
        """Gather a chunk in memory."""
        self._pending += chunk
        self.received += len(chunk)

    def adopt_earlier(self) -> None:
        """Take over what an interrupted attempt left, if a note vouches for it byte by byte."""
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
        """Start from nothing; the note goes first, since it vouches for bytes that end here."""
        self._note_path.unlink(missing_ok=True)
        os.ftruncate(self._fd, 0)
        self.identity, self.size, self.received = identity, 0, 0
        self._digest, self._sent_on = hashlib.sha256(), 0
        self._pending.clear()

    def require_space(self, missing: int) -> None:
        """Refuse a download for which the disk has no room."""
        free = shutil.disk_usage(self.path.parent).free
        if missing + SPARE_BYTES > free:
            raise SetupProblem(
                f"The clip needs {missing:,} bytes and {self.path.parent} has {free:,} free.",
                next_step="Free some space, or choose another directory for clips; then ask again.",
                fate=Fate.CHARGED,
                retry="after(30)",
            )

    def take(self, data: memoryview) -> None:
        """Write a piece at once if it is large, else with those that follow it."""
        if not self._pending and len(data) >= WRITE_BYTES:
            self.received += len(data)
            self._write(data)
            return
        self.add(data)
        if self.is_due:
            self.flush()

    def flush(self) -> None:
        """Write all that was gathered."""
        data, self._pending = self._pending, bytearray()
        self._write(memoryview(data))

    def _write(self, data: memoryview) -> None:
        """Put a block behind what is there. The first bytes must look like an MP4."""
        if self.size == 0:
            look = looks_like(bytes(data[:SNIFF_BYTES]))
            if look != "mp4":
                self.identity = None
                raise problem(f"The link returned {_LOOKS[look]} instead of a video.")
        while data:
            written = os.pwrite(self._fd, data, self.size)
            self._digest.update(data[:written])
            self.size += written
            data = data[written:]
        if sys.platform == "linux" and self.size - self._sent_on >= WRITEBACK_BYTES:
            # Linux begins to write out what is new, so that the fsync at the end finds little left to do, and lets go
            # of what is on the disk by now, so that a clip takes no more of the cache than this.
            os.posix_fadvise(self._fd, 0, self.size, os.POSIX_FADV_DONTNEED)
            self._sent_on = self.size

    def finish(self) -> SavedFile:
        """Check the boxes, make the bytes durable and give the file its name."""
        os.ftruncate(self._fd, self.size)
        report = check_boxes(lambda offset, count: os.pread(self._fd, count, offset), self.size)
        if report.problem is not None:
            self.identity = None
            raise problem(f"What was downloaded is not a whole MP4. {report.problem}")
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

    def close(self) -> None:
        """Let go of the file; an unfinished one stays only if a later attempt can use it."""
        try:
            if not self._finished and not self._keep():
                # A file that cannot be removed is not vouched for either, so leaving it is harmless.
                with suppress(OSError):
                    self._note_path.unlink(missing_ok=True)
                    self.path.unlink(missing_ok=True)
        finally:
            os.close(self._fd)

    def _keep(self) -> bool:
        """Make what came durable and write the note that vouches for it; False if that is not possible."""
        try:
            if self.identity is not None and self._pending:
                self.flush()
            if self.identity is None or not 0 < self.size < self.identity.total:
                return False
            os.fsync(self._fd)
            about = self.identity
            lines = ("callsheet-part-1", about.etag, about.total, about.source, self.size, self._digest.hexdigest())
            _write_note(self._note_path, "".join(f"{line}\n" for line in lines))
        except (OSError, DownloadProblem):
            return False  # the attempt that ends here has an error of its own to report
        return True


def _claim(fd: int, path: Path) -> bool:
    """Lock the open file; False when its name has moved on to another file meanwhile."""
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        raise _unusable(f"{path} is not a file of this program's own; nothing was written to it.", path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise problem("Another process is downloading this clip.", next_step="Ask again in a moment.") from None
    os.fchmod(fd, 0o600)
    try:
        named = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (facts.st_dev, facts.st_ino)


def _read_note(path: Path) -> str:
    """The note beside a part; empty when there is none that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""  # without a note the download starts over, which is always right
    with os.fdopen(fd, "rb") as note:
        return note.read(1024).decode("ascii", "replace")


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
        errno.ELOOP: ("a symbolic link stands where the file belongs", "Remove the link"),
    }.get(
        error.errno or 0,
        (f"the system said: {error.strerror or type(error).__name__}", "Check the directory for clips"),
    )
    return SetupProblem(
        f"The clip could not be written in {path.parent}: {what}.",
        next_step=f"{step}; then ask for the task again. Fetching the clip is free.",
        fate=Fate.CHARGED,
        retry="after(30)",
    )


def _unusable(message: str, path: Path) -> SetupProblem:
    step = f"Move {path.name} away and ask again."
    return SetupProblem(message, next_step=step, fate=Fate.CHARGED, retry="after(30)")


def problem(message: str, *, next_step: str = "Ask for the task again: fetching the clip is free.") -> DownloadProblem:
    return DownloadProblem(message, next_step=next_step)


def _part_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _slug(text: str, length: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-") or "x"


__all__ = [
    "STRONG_ETAG",
    "WRITE_BYTES",
    "Identity",
    "PartFile",
    "SavedFile",
    "clip_name",
    "disk_problems",
    "on_disk",
    "open_part",
    "problem",
    "read_saved",
]
