"""Opens the ledger's file with the guarantees that the ledger promises, or explains why it cannot be used.

A file on a network file system is refused: SQLite's write-ahead log needs shared memory and reliable locks. A file with
an older schema is copied before it is changed; one with a newer schema is left unchanged.
"""

from __future__ import annotations

import secrets
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from callsheet.errors import Action, LedgerProblem, NextStep

from .migrations import MIGRATIONS

Migrations = tuple[tuple[str, ...], ...]

BUSY_TIMEOUT_SECONDS = 10.0
MOUNTS = Path("/proc/self/mounts")
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.davfs2", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs",
        "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs",
    }
)  # fmt: skip


def open_database(path: Path, *, migrations: Migrations = MIGRATIONS) -> sqlite3.Connection:
    """Open the file, check it and migrate its schema; in write-ahead mode. Raises `sqlite3.Error` and `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    require_local_disk(path.parent)
    if not path.exists():
        path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS)
    db.row_factory = sqlite3.Row
    try:
        # Switching to WAL needs exclusive access and ignores the busy timeout, so it is done only once.
        if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            db.execute("PRAGMA journal_mode = wal")
        db.execute("PRAGMA synchronous = FULL")
        if sys.platform == "darwin":
            db.execute("PRAGMA fullfsync = 1")
        db.execute("PRAGMA foreign_keys = ON")
        _require_intact(db)
        _migrate(db, path, migrations)
    except BaseException:
        db.close()
        raise
    return db


def require_local_disk(directory: Path, *, mounts: Path = MOUNTS) -> None:
    """Refuse a directory on a network file system. Where the system does not list its mounts, assume a local one."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    target = directory.resolve()
    found = ("", "")
    for line in lines:
        _, point, kind, *_ = [*line.split(" "), "", "", ""]
        # Spaces in a mount point are written as octal escapes.
        mount = point.replace("\\040", " ")
        if target.is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    if found[1] in NETWORK_FILE_SYSTEMS:
        raise LedgerProblem(
            f"The ledger's directory {directory} is on a network file system ({found[1]}).",
            next_step="Set CALLSHEET_HOME to a directory on a local disk.",
        )


def _require_intact(db: sqlite3.Connection) -> None:
    """Find a damaged page before money depends on it."""
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError("database disk image is malformed (found by its own check)")


def _migrate(db: sqlite3.Connection, path: Path, migrations: Migrations) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == len(migrations):
        return
    if 0 < version < len(migrations):
        back_up(db, path, version)
    db.create_function("exact_text", 1, str, deterministic=True)
    db.execute("BEGIN IMMEDIATE")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        db.execute("ROLLBACK")
        raise sqlite3.DatabaseError("the file was written by a newer version of Callsheet")
    for statements in migrations[version:]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(migrations)}")
    db.execute("COMMIT")


def back_up(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Copy the file once for each old version. A copy gets its name only when it is complete."""
    copy = path.with_name(f"{path.name}.before-version-{version + 1}")
    if copy.exists():
        return
    partial = copy.with_name(f".{copy.name}.{secrets.token_hex(8)}")
    try:
        partial.touch(mode=0o600, exist_ok=False)
        db.execute("VACUUM INTO ?", (str(partial),))
        if _version_of(partial) == version:
            partial.replace(copy)
    finally:
        partial.unlink(missing_ok=True)


def _version_of(path: Path) -> int:
    """The schema's version in a copy: another process may have migrated the file during the copying."""
    with closing(sqlite3.connect(path)) as db:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def ledger_problem(path: Path, error: sqlite3.Error | OSError) -> LedgerProblem:
    """The error for each way in which the file can fail."""
    reason = str(error) if isinstance(error, sqlite3.Error) else f"unable to open ({type(error).__name__})"
    message = f"The ledger {path} cannot be used: {reason}."
    if "full" in reason:
        step = "Free some disk space, then try again. Everything stored so far is still there."
    elif "readonly" in reason or "unable to open" in reason:
        step = "Make the directory writable, or set CALLSHEET_HOME to a writable one."
    elif "malformed" in reason or "not a database" in reason:
        step = "Move the file to another place (keep it: it contains your task ids) and try again, or restore a copy."
    elif "locked" in reason:
        step = "Another process is using the ledger. Try again in a moment."
    else:
        return LedgerProblem(message, next_step=NextStep(Action.DOCTOR))
    return LedgerProblem(message, next_step=step)
