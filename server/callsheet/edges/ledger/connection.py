"""Opens the ledger's file with the guarantees that the ledger promises.

A file on a network or shared file system is refused: SQLite's write-ahead log needs shared memory and reliable locks.
A file with an older schema is copied before it is changed; one with a newer schema is left unchanged. The schema is an
append-only list of migrations; the length of the list is the version. A migration can call `exact_text`, which writes
a number as the rest of the program does; SQL's own cast rounds to 15 digits.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from callsheet.errors import Action, LedgerProblem, NextStep

from .rows import MalformedRow

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE sheet (
            id TEXT PRIMARY KEY,
            shot_digest TEXT NOT NULL,
            take INTEGER NOT NULL,
            state TEXT NOT NULL,
            binding TEXT NOT NULL,
            shot TEXT NOT NULL,
            price TEXT NOT NULL,
            body BLOB NOT NULL,
            reserve_micros INTEGER,
            shown TEXT NOT NULL,
            made_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            approved_by TEXT,
            approved_at REAL,
            UNIQUE (shot_digest, take)
        ) STRICT
        """,
        """
        CREATE TABLE task (
            id TEXT PRIMARY KEY,
            sheet_id TEXT NOT NULL UNIQUE REFERENCES sheet (id),
            mode TEXT NOT NULL,
            gateway TEXT NOT NULL,
            model TEXT NOT NULL,
            state TEXT NOT NULL,
            reserve_micros INTEGER NOT NULL,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL,
            next_at REAL NOT NULL,
            owner TEXT,
            attempt TEXT,
            attempts INTEGER NOT NULL,
            deadline REAL,
            gateway_task_id TEXT,
            accepted_at REAL,
            said TEXT NOT NULL,
            percent INTEGER,
            polls INTEGER NOT NULL,
            failures INTEGER NOT NULL,
            finished_at REAL,
            result_url TEXT,
            charge TEXT,
            balance_before TEXT,
            hints TEXT NOT NULL,
            problem TEXT,
            clip TEXT
        ) STRICT
        """,
        "CREATE INDEX task_due ON task (owner, state, next_at)",
        "CREATE INDEX task_by_gateway_id ON task (gateway, gateway_task_id)",
        "CREATE TABLE pace (account TEXT PRIMARY KEY, next_free REAL NOT NULL) STRICT",
        """
        CREATE TABLE event (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            subject TEXT NOT NULL,
            kind TEXT NOT NULL,
            detail TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX event_by_subject ON event (subject, seq)",
    ),
    (
        """
        CREATE TABLE allowance (
            id TEXT PRIMARY KEY,
            mode TEXT NOT NULL,
            models TEXT NOT NULL,
            clips INTEGER NOT NULL,
            up_to_micros INTEGER NOT NULL,
            made_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            policy TEXT NOT NULL,
            made_by TEXT NOT NULL,
            revoked_at REAL,
            used_clips INTEGER NOT NULL DEFAULT 0,
            used_micros INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """,
        """
        CREATE TABLE audit (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            subject TEXT NOT NULL,
            detail TEXT NOT NULL,
            previous TEXT NOT NULL,
            hash TEXT NOT NULL
        ) STRICT
        """,
        "CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'append-only'); END",
        "CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'append-only'); END",
        # Replacing a row fires neither of the two above.
        """
        CREATE TRIGGER audit_is_added_to BEFORE INSERT ON audit WHEN new.seq <= (SELECT max(seq) FROM audit)
        BEGIN SELECT raise(ABORT, 'append-only'); END
        """,
        "ALTER TABLE sheet ADD COLUMN allowance TEXT",
        # Older sheets: their expiry was not yet part of what an approval is bound to.
        "UPDATE sheet SET binding = json_set(binding, '$.expires', exact_text(expires_at))",
    ),
    (
        "ALTER TABLE sheet ADD COLUMN forward_at REAL",
        "CREATE INDEX sheet_forward ON sheet (state) WHERE forward_at IS NOT NULL",
    ),
)


Migrations = tuple[tuple[str, ...], ...]

BUSY_TIMEOUT_SECONDS = 10.0
MOUNT_SECONDS = 5.0
MOUNTS = Path("/proc/self/mounts")
SHARED_FILE_SYSTEMS = frozenset(
    {
        "9p", "acfs", "afp", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "dbfs", "drvfs", "fhgfs", "gfs",
        "gfs2", "glusterfs", "gpfs", "lustre", "moosefs", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs",
        "prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "webdav",
    }
)  # fmt: skip
"""Of networks, clusters and virtual machines: another computer may have the file open."""
LOCAL_FUSE = frozenset({"fuse.bindfs", "fuse.ecryptfs", "fuse.encfs", "fuse.exfat", "fuse.fuse-overlayfs",
    "fuse.gocryptfs", "fuse.lxcfs", "fuse.mergerfs", "fuse.ntfs", "fuse.ntfs-3g", "fuse.unionfs", "fuse.vaultfs",
    "fuse.zfs"})  # fmt: skip
"""Every other kind of `fuse.` counts as shared: sshfs, rclone, s3fs, cephfs, osxfs, vmhgfs and those to come."""
MACOS_MOUNT = re.compile(r"^.* on (?P<point>/.*) \((?P<kind>[^,)]+)(?P<options>[^)]*)\)$")


class SqliteConnection(sqlite3.Connection):
    """The connection to one file."""

    @property
    def name(self) -> str:
        """A name for the file that a copy in another place does not have."""
        path = os.path.realpath(self.execute("PRAGMA database_list").fetchone()["file"])
        return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def count_audited(self) -> int:
        """By SQLite's own count of a table with AUTOINCREMENT."""
        written = self.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
        return int(written[0]) if written else 0


def open_database(path: Path, *, migrations: Migrations = MIGRATIONS) -> SqliteConnection:
    """Open the file, check it and migrate its schema; in write-ahead mode. Raises `sqlite3.Error` and `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    require_local_disk(path.parent)
    if not path.exists():
        path.touch(mode=0o600)
    db = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_SECONDS,
        factory=SqliteConnection,
    )
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
    """Refuse a directory on a shared file system. Where the system does not list its mounts, assume a local one."""
    target = directory.resolve()
    found = ("", "")
    for mount, kind in _mounts_macos() if sys.platform == "darwin" else _read_mounts(mounts):
        if target.is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    if is_shared(found[1]):
        raise LedgerProblem(
            f"The ledger's directory {directory} is on a network or shared file system ({found[1]}).",
            next_step="Set CALLSHEET_HOME to a directory on a local disk.",
        )


def is_shared(kind: str) -> bool:
    """Whether another computer, or the host of this virtual machine, may have a file of that file system open."""
    return kind in SHARED_FILE_SYSTEMS or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)


def _read_mounts(mounts: Path) -> list[tuple[str, str]]:
    """Mount points and kinds, as Linux lists them."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, point, kind, *_ = [*line.split(" "), "", "", ""]
        # White space in a mount point is written as octal escapes.
        found.append((re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point), kind))
    return found


def _mounts_macos() -> list[tuple[str, str]]:
    try:
        done = subprocess.run(["/sbin/mount"], capture_output=True, check=False, timeout=MOUNT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_macos_mounts(done.stdout.decode("utf-8", "replace"))


def parse_macos_mounts(text: str) -> list[tuple[str, str]]:
    """Mount points and kinds, as `/sbin/mount` of macOS prints them. A volume that is not `local` counts as `nfs`."""
    found = []
    for line in text.splitlines():
        if match := MACOS_MOUNT.match(line):
            is_local = "local" in match["options"].replace(",", " ").split()
            found.append((match["point"], match["kind"] if is_local or is_shared(match["kind"]) else "nfs"))
    return found


def _require_intact(db: sqlite3.Connection) -> None:
    """Find a damaged page, or an index that disagrees with its table, before money depends on it."""
    verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
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


def ledger_problem(path: Path, error: sqlite3.Error | OSError | MalformedRow) -> LedgerProblem:
    """The error for each way in which the file can fail."""
    reason = f"unable to open ({type(error).__name__})" if isinstance(error, OSError) else str(error)
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
