"""Writes a file that a person asked for, at the place they named: readable by them alone, and never half of it.

Unlike `edges.private_files` it leaves the directory as it is, for that belongs to the person. For the surfaces.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from callsheet.errors import InvalidRequest, SetupProblem


def write_exported(path: Path, content: bytes, *, force: bool) -> None:
    """Write the file with mode 0600. What is there already is replaced, whole, only with `force`.

    Raises `InvalidRequest` when something is there, `SetupProblem` when it cannot be written; what was there is
    then as it was. A symbolic link counts as something, and is replaced itself.
    """
    target = path.with_name(f".{path.name}.{secrets.token_hex(8)}") if force else path
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a directory")
        _create(target, content)
        if force:
            _put_in_place(target, path)
    except FileExistsError:
        raise InvalidRequest(
            f"{path} exists already, so it was not written.", next_step="Name another file, or add --force."
        ) from None
    except OSError as error:
        raise SetupProblem(
            f"{path} cannot be written ({error.strerror or type(error).__name__}).",
            next_step="Name a file in a directory that is yours.",
        ) from None


def _create(path: Path, content: bytes) -> None:
    """Make a file that was not there; leave none when it cannot be written whole."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _put_in_place(partial: Path, path: Path) -> None:
    try:
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
