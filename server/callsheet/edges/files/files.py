"""Reads files with suspicion and writes them whole: private files, exports, pictures.

Only regular files are read, never through a symbolic link and never more than a limit. The checks look at the file
that was opened, not at its name. A private file must also belong to the user and be closed to group and others;
Windows has no such modes. Writing leaves the old file or the new one, never a part of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from callsheet.errors import Action, Fate, InvalidRequest, NextStep, SetupProblem

MAX_BYTES = 65_536
MAX_PICTURE_BYTES = 2_097_152
"""Posters and contact sheets of real clips take a quarter of that."""

_JPEG = b"\xff\xd8\xff"
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_PLAIN = _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Follow no link, do not wait for a pipe, translate no line ends: each where the system supports it."""


class NotRegularError(OSError):
    """The path is a directory, a pipe or a device."""


class OutsideError(OSError):
    """The path is in none of the directories that are allowed."""


class TooLargeError(OSError):
    """The file has more bytes than the caller allows."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, and follow no symbolic link. Raises `NotRegularError` and `OSError`."""
    if not _NO_FOLLOW and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return _as_regular(os.open(path, os.O_RDONLY | _PLAIN))


def open_below(path: Path, directories: Iterable[Path]) -> BufferedReader:
    """Open a regular file in one of these directories or below it, and follow no symbolic link on the way from there.

    The directory is found by device and inode, so another spelling of it counts. Of its own names only the first may
    be a link, as of `/tmp` or `/home`: any other could be put there by a project, and lead elsewhere. Raises
    `OutsideError` for a path in none of them, whether the file exists or not, and what `open_regular` raises.
    """
    if os.open not in os.supports_dir_fd or not path.is_absolute() or ".." in path.parts:
        raise OutsideError(errno.EACCES, "it is outside")
    for directory in directories:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            first, *names = (Path(*directory.parts[:2]), *directory.parts[2:])
            root = _descend(os.open(first, os.O_RDONLY | _DIRECTORY), names)
            stack.callback(os.close, root)
            inside = next((parent for parent in path.parents if _is_same(parent, root)), None)
            if inside is not None:
                root = os.dup(root)
                break
    else:
        raise OutsideError(errno.EACCES, "it is outside")
    return _as_regular(_walk(root, path.relative_to(inside).parts))


def _is_same(directory: Path, opened: int) -> bool:
    try:
        return os.path.samestat(directory.stat(), os.fstat(opened))
    except OSError:
        return False


def _walk(directory: int, names: Sequence[str]) -> int:
    """Open the file of that path below a directory, following no link; closes the directory."""
    directory = _descend(directory, names[:-1])
    try:
        return os.open(names[-1], os.O_RDONLY | _PLAIN, dir_fd=directory)
    finally:
        os.close(directory)


def _descend(directory: int, names: Sequence[str]) -> int:
    """Open the directories below a directory one by one, none of them a link; closes all but the last."""
    for name in names:
        try:
            below = os.open(name, os.O_RDONLY | _DIRECTORY | _NO_FOLLOW, dir_fd=directory)
        finally:
            os.close(directory)
        directory = below
    return directory


def _as_regular(handle: int) -> BufferedReader:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegularError(errno.EINVAL, "it is not a regular file")
    return os.fdopen(handle, "rb")


def read_bounded(file: BinaryIO, limit: int) -> bytes:
    """The rest of the file, at most `limit` bytes. Raises `TooLargeError` when there is more."""
    content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLargeError(errno.EFBIG, f"it is larger than {limit} bytes")
    return content


def write_atomically(
    path: Path, content: bytes, *, mode: int = 0o600, before_replacing: Callable[[], None] | None = None
) -> None:
    """Replace the file in one step; a symbolic link is itself replaced. Raises `OSError`.

    `before_replacing` runs when the new content is on the disk and may still stop it with an exception.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _create(partial, content)
        if mode != 0o600:
            partial.chmod(mode)
        if before_replacing is not None:
            before_replacing()
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def read_private(path: Path, *, what: str, most: int = MAX_BYTES) -> bytes | None:
    """The bytes of a private file of at most `most` bytes, None when there is none.

    `what` names the file in messages ("policy file"). Raises `SetupProblem`, which never holds file content.
    """
    try:
        with open_regular(path) as file:
            complaint = find_exposure(os.fstat(file.fileno()), user=current_user())
            if complaint:
                raise _unsafe(path, what, complaint)
            return read_bounded(file, most)
    except FileNotFoundError:
        return None
    except NotRegularError:
        raise _unsafe(path, what, "is not a regular file") from None
    except TooLargeError:
        raise _unsafe(path, what, f"is larger than {most} bytes") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe(path, what, "is a symbolic link") from None
        raise _unusable(path, what, "be read", error) from None


def find_exposure(status: os.stat_result, *, user: int | None) -> str | None:
    """Why a file of that status must not be trusted; None if it may be.

    `user` is the numeric id of the owner it must have. None skips owner and mode, on systems without them.
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
    """The numeric id of the user who runs the program; None on Windows."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def write_private(path: Path, content: bytes, *, what: str, most: int = MAX_BYTES) -> None:
    """Write the file with mode 0600 in a directory of mode 0700, and replace what was there in one step.

    Raises `SetupProblem`, also for more than `most` bytes; the old file, if any, is then still whole.
    """
    try:
        if len(content) > most:
            raise TooLargeError(errno.EFBIG, f"it would be larger than {most} bytes")
        _create_private_directory(path.parent)
        write_atomically(path, content)
    except OSError as error:
        raise _unusable(path, what, "be written", error) from None


def remove_private(path: Path, *, what: str) -> None:
    """Remove the file, if there is one; it stays removed after a power failure. Raises `SetupProblem`."""
    try:
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise _unusable(path, what, "be removed", error) from None


def write_exported(path: Path, content: bytes, *, force: bool) -> None:
    """Write a file that a person asked for, with mode 0600, in a directory that is not changed.

    An existing file is replaced, whole, only with `force`. Raises `InvalidRequest` when there is one, `SetupProblem`
    when the file cannot be written, or is no regular file; nothing has changed then. A symbolic link counts as an
    existing file.
    """
    try:
        if path.exists() and not path.is_file():
            # A directory, a pipe, a device: replacing one would break what others use it for.
            raise NotRegularError(None, "it is not a regular file")
        if force:
            write_atomically(path, content)
        else:
            _create(path, content)
    except FileExistsError:
        raise InvalidRequest(
            f"{path} already exists, so it was not written.", next_step="Name another file, or add --force."
        ) from None
    except OSError as error:
        raise SetupProblem(
            f"{path} cannot be written ({error.strerror or type(error).__name__}).",
            next_step="Name a file in a directory that you own.",
        ) from None


def read_picture(path: Path) -> bytes:
    """The bytes of a JPEG file. Raises `SetupProblem` for anything else: the path alone proves nothing."""
    try:
        with open_regular(path) as file:
            content = read_bounded(file, MAX_PICTURE_BYTES)
    except OSError as error:
        raise _no_picture(path, f"cannot be read ({error.strerror or type(error).__name__})") from None
    if not content.startswith(_JPEG):
        raise _no_picture(path, "is not a JPEG picture")
    return content


def _create(path: Path, content: bytes) -> None:
    """Create a file that did not exist, and leave none when it cannot be written whole."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _create_private_directory(directory: Path) -> None:
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
        next_step=f"Replace it with a regular file of your own and run: chmod 600 {path}",
    )


def _unusable(path: Path, what: str, verb: str, error: OSError) -> SetupProblem:
    reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return SetupProblem(
        f"The {what} {path} cannot {verb} ({reason}).",
        next_step="Check the path, the owner and the free space, then try again.",
    )


def _no_picture(path: Path, complaint: str) -> SetupProblem:
    return SetupProblem(
        f"The picture {path} {complaint}.",
        next_step=NextStep(Action.GET, "The clip itself is not affected."),
        fate=Fate.CHARGED,
    )
