"""Files that belong to one person: how they are read with suspicion and written whole.

A file is read only if it is a regular file, no symbolic link, owned by the user, and closed to group
and others; the checks look at the file that was opened, not at its name. Windows has no such modes, so there
only kind and size are checked. Writing leaves the old file or the new one, never a part of it. For the
edges that keep keys, policy and verifier; nobody else calls.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from callsheet.errors import SetupProblem

MAX_BYTES = 65_536
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_PLAIN = _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Follow no link, wait for no pipe, translate no line ends, each where the system knows it."""


def read_private(path: Path, *, what: str) -> bytes | None:
    """The bytes of a private file, None when there is none.

    `what` names the file in messages ("policy file"). Raises `SetupProblem`, which never holds file content.
    """
    if not _NO_FOLLOW and path.is_symlink():
        raise _unsafe(path, what, "is a symbolic link")
    try:
        handle = os.open(path, os.O_RDONLY | _PLAIN)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe(path, what, "is a symbolic link") from None
        raise _unusable(path, what, "be read", error) from None
    status = os.fstat(handle)
    complaint = find_exposure(status, user=current_user())
    if status.st_size > MAX_BYTES:
        complaint = complaint or f"is larger than {MAX_BYTES} bytes"
    if complaint:
        os.close(handle)
        raise _unsafe(path, what, complaint)
    with os.fdopen(handle, "rb") as file:
        try:
            return file.read(MAX_BYTES)
        except OSError as error:
            raise _unusable(path, what, "be read", error) from None


def find_exposure(status: os.stat_result, *, user: int | None) -> str | None:
    """What makes a file of that status unfit to be trusted, None when nothing does.

    `user` is the numeric owner it must have; None skips owner and mode, where the system has neither.
    """
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if user is None:
        return None
    if status.st_uid != user:
        return "belongs to another user"
    mode = stat.S_IMODE(status.st_mode)
    return f"has mode {mode:04o}, which is open to others" if mode & 0o077 else None


def current_user() -> int | None:
    """The numeric id of the user that runs the program; None on Windows."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def write_private(path: Path, content: bytes, *, what: str) -> None:
    """Put the file there with mode 0600 in a directory of mode 0700, replacing what was there at once.

    Raises `SetupProblem`; the old file, if any, is then still whole.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _make_private_directory(path.parent)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise _unusable(path, what, "be written", error) from None


def remove_private(path: Path, *, what: str) -> None:
    """Remove the file, if there is one; it stays gone after a loss of power. Raises `SetupProblem`."""
    try:
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise _unusable(path, what, "be removed", error) from None


def _make_private_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if current_user() is not None and stat.S_IMODE(directory.stat().st_mode) & 0o077:
        directory.chmod(0o700)


def _sync_directory(directory: Path) -> None:
    # Some systems cannot open or sync a directory; the file itself is synced by then.
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unsafe(path: Path, what: str, complaint: str) -> SetupProblem:
    return SetupProblem(
        f"The {what} {path} {complaint}, so it is not used.",
        next_step=f"Make it a regular file of your own and run: chmod 600 {path}",
    )


def _unusable(path: Path, what: str, verb: str, error: OSError) -> SetupProblem:
    reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return SetupProblem(
        f"The {what} {path} cannot {verb} ({reason}).",
        next_step="Check the path, the owner and the free space, then try again.",
    )


__all__ = ["MAX_BYTES", "current_user", "find_exposure", "read_private", "remove_private", "write_private"]
