"""The ledger's file: private, local, whole, and of the right version, or it is refused."""

from __future__ import annotations

import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from callsheet.core.tasks import Sheet, SheetState
from callsheet.edges.ledger import connection
from callsheet.edges.ledger.ledger import SqliteLedger
from callsheet.errors import Action, LedgerProblem
from samples import START, add_approved


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    """An empty ledger in a directory of its own."""
    return SqliteLedger(tmp_path / "data" / "ledger.sqlite3")


@pytest.fixture
def sheet(ledger: SqliteLedger) -> Sheet:
    """An approved sheet in it."""
    return add_approved(ledger)


def test_the_file_is_private(ledger: SqliteLedger) -> None:
    """No other user of the machine reads prompts or links."""
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700


def test_a_file_that_is_no_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    """With the advice to keep it."""
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"this is not a database, but it is long enough to look like one" * 40)

    with pytest.raises(LedgerProblem, match="not a database") as caught:
        SqliteLedger(path)
    assert "keep it" in caught.value.next_step.text
    assert path.read_bytes().startswith(b"this is not")


def test_a_newer_schema_is_refused(ledger: SqliteLedger) -> None:
    """An old program does not guess at new columns."""
    with sqlite3.connect(ledger.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(LedgerProblem, match="newer version"):
        SqliteLedger(ledger.path)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The place of the ledger is part of the message."""
    (tmp_path / "data").write_text("a file where a directory should be")

    with pytest.raises(LedgerProblem, match="data"):
        SqliteLedger(tmp_path / "data" / "ledger.sqlite3")


def test_a_full_disk_refuses_and_keeps_what_was_stored(ledger: SqliteLedger, sheet: Sheet) -> None:
    """A page limit instead of a full disk: SQLite reports both the same way."""
    database = connection.open_database(ledger.path)
    ledger = SqliteLedger(ledger.path, connect=lambda _: database)
    database.execute("PRAGMA max_page_count = 1")

    with pytest.raises(LedgerProblem, match="full"):  # noqa: PT012 - which row fills it is not known
        for number in range(2000):
            ledger.add_sheet(replace(sheet, id=f"s{number}", take=number + 2, shown="x" * 4000), now=START)
    assert SqliteLedger(ledger.path).sheet(sheet.id) == sheet


WAYS_TO_FAIL = {
    "database or disk is full": "Free some disk space",
    "attempt to write a readonly database": "Make the directory writable",
    "database disk image is malformed": "Move the file",
    "file is not a database": "Move the file",
    "database is locked": "Another process is using the ledger",
}


@pytest.mark.parametrize("reason", WAYS_TO_FAIL)
def test_each_way_in_which_the_file_fails_has_its_own_next_step(tmp_path: Path, reason: str) -> None:
    """A person reads which file it is, why it fails and what to do."""
    found = connection.ledger_problem(tmp_path, sqlite3.OperationalError(reason))

    assert found.next_step.text.startswith(WAYS_TO_FAIL[reason])
    assert str(tmp_path) in found.message
    assert reason in found.message


def test_a_failure_of_no_known_kind_leads_to_the_check_of_the_install(tmp_path: Path) -> None:
    """The same for an error of the system: it is told by its type alone."""
    unknown = connection.ledger_problem(tmp_path, sqlite3.OperationalError("disk I/O error"))
    refused = connection.ledger_problem(tmp_path, PermissionError("a path that is nobody's business"))

    assert (unknown.next_step.action, "disk I/O error" in unknown.message) == (Action.DOCTOR, True)
    assert "unable to open (PermissionError)" in refused.message
    assert "nobody" not in refused.message


def test_a_trail_to_which_others_add_while_it_is_checked_is_not_called_broken(tmp_path: Path) -> None:
    """Another process writes an entry between any two looks of the one that checks."""
    path = tmp_path / "ledger.sqlite3"
    database = connection.open_database(path)
    mine, others = SqliteLedger(path, connect=lambda _: database), SqliteLedger(path)
    mine.consent.record("key_sealed", "poyo", actor="terminal", now=START)
    written: list[None] = []

    def meddle(statement: str) -> None:
        if statement.startswith("SELECT * FROM audit ORDER BY seq"):
            written.append(others.consent.record("key_sealed", "apixo", actor="terminal", now=START + 1))

    database.set_trace_callback(meddle)
    verdict = mine.consent.verify()
    database.set_trace_callback(None)

    assert (len(written), verdict.broken, verdict.entries) == (1, None, 1)
    assert (mine.consent.verify().broken, mine.consent.verify().entries) == (None, 2)


def test_an_old_schema_is_copied_before_it_is_changed(ledger: SqliteLedger, sheet: Sheet, tmp_path: Path) -> None:
    """And the copy is a whole ledger of its own."""
    old = tmp_path / "old.sqlite3"
    with sqlite3.connect(ledger.path) as db:
        db.execute("VACUUM INTO ?", (str(old),))
    db.close()
    later = (*connection.MIGRATIONS, ("CREATE TABLE later (x TEXT) STRICT",))

    database = connection.open_database(old, migrations=later)
    tables = {row["name"] for row in database.execute("SELECT name FROM sqlite_master")}
    database.close()

    assert "later" in tables
    backup = old.with_name(f"old.sqlite3.before-version-{len(later)}")
    assert SqliteLedger(backup).sheet(sheet.id) == sheet
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


class Announced(tuple[tuple[str, ...], ...]):
    """Migrations that tell when their number is looked at for the first time: the version has been read."""

    def __new__(cls, _: threading.Event) -> Announced:
        return super().__new__(cls, connection.MIGRATIONS)

    def __init__(self, looked_at: threading.Event) -> None:
        self.looked_at = looked_at

    def __len__(self) -> int:
        self.looked_at.set()
        return super().__len__()


def test_a_schema_that_another_process_makes_at_the_same_moment_is_taken_as_it_is(tmp_path: Path) -> None:
    """Who waited for the other one finds nothing left to do."""
    path, has_read = tmp_path / "ledger.sqlite3", threading.Event()
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor() as pool:
        other.execute("PRAGMA journal_mode = wal")
        other.create_function("exact_text", 1, str)
        other.execute("BEGIN IMMEDIATE")
        opening = pool.submit(connection.open_database, path, migrations=Announced(has_read))
        assert has_read.wait(timeout=10)
        for statement in (statement for statements in connection.MIGRATIONS for statement in statements):
            other.execute(statement)
        other.execute(f"PRAGMA user_version = {len(connection.MIGRATIONS)}")
        other.execute("COMMIT")
        opening.result().close()

    ledger = SqliteLedger(path)
    assert ledger.sheets([SheetState.DRAFTED]) == []
    ledger.close()


def test_a_copy_that_was_cut_short_is_not_taken_for_one(ledger: SqliteLedger, sheet: Sheet, tmp_path: Path) -> None:
    """A full disk, or a program that was ended: the next start makes a whole copy before it changes anything."""
    for number in range(400):
        ledger.add_sheet(replace(sheet, id=f"s{number}", take=number + 2, shown="x" * 4000), now=START)
    version = len(connection.MIGRATIONS)
    old, later = tmp_path / "old.sqlite3", (*connection.MIGRATIONS, ("CREATE TABLE later (x TEXT) STRICT",))
    backup = tmp_path / f"old.sqlite3.before-version-{version + 1}"
    with closing(sqlite3.connect(ledger.path)) as db:
        db.execute("VACUUM INTO ?", (str(old),))
    with closing(sqlite3.connect(old)) as db:
        db.set_progress_handler(lambda: True, 1000)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            connection.back_up(db, old, version)
    assert list(tmp_path.glob("*before*")) == []

    connection.open_database(old, migrations=later).close()

    with closing(sqlite3.connect(backup)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        assert db.execute("SELECT count(*) FROM sheet").fetchone() == (401,)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_a_damaged_page_is_found_at_the_start(ledger: SqliteLedger, sheet: Sheet) -> None:
    """Before anything is read from it or sent because of it."""
    ledger.close()
    content = bytearray(ledger.path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    ledger.path.write_bytes(content)

    with pytest.raises(LedgerProblem, match="malformed"):
        SqliteLedger(ledger.path)


def test_an_index_that_disagrees_with_its_table_is_found_at_the_start(ledger: SqliteLedger, sheet: Sheet) -> None:
    """Through it, a sheet would have no task, or a task no sheet."""
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_sheet_1'"
        [root] = db.execute(query).fetchone()
    content = bytearray(ledger.path.read_bytes())
    place = content.index(sheet.id.encode(), (root - 1) * 4096, root * 4096)
    content[place] ^= 1
    ledger.path.write_bytes(content)

    with pytest.raises(LedgerProblem, match="malformed"):
        SqliteLedger(ledger.path)


SHARED = (
    *("9p", "afpfs", "ceph", "cifs", "drvfs", "gpfs", "lustre", "nfs4", "ocfs2", "prl_fs", "smbfs"),
    *("vboxsf", "virtiofs", "fuse.cephfs", "fuse.glusterfs", "fuse.grpcfuse", "fuse.osxfs", "fuse.portal"),
    *("fuse.sshfs", "fuse.vmhgfs-fuse"),
)
LOCAL = ("apfs", "btrfs", "ext4", "fuseblk", "fuse.gocryptfs", "fuse.fuse-overlayfs", "overlay", "tmpfs", "xfs", "zfs")
MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect)
//me@nas._smb._tcp.local/a, b on /Volumes/a, b (smbfs, nodev, nosuid, mounted by me)
server:/x on /Volumes/work (1) (nfs, nodev, nosuid, mounted by me)
thing on /Volumes/odd (thingfs, nodev)
"""


def test_volumes_of_macos_are_shared_unless_they_are_local() -> None:
    """Each line of `/sbin/mount` has the mount point and, in brackets, the kind and whether it is local."""
    found = connection.parse_macos_mounts(MACOS)
    assert [(point, connection.is_shared(kind)) for point, kind in found] == [
        ("/", False),
        ("/System/Volumes/Data", False),
        ("/Volumes/a, b", True),
        ("/Volumes/work (1)", True),
        ("/Volumes/odd", True),
    ]


@pytest.mark.parametrize(("kind", "refused"), [*((kind, True) for kind in SHARED), *((kind, False) for kind in LOCAL)])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str, refused: bool) -> None:
    """The innermost mount decides; spaces in its name are escaped."""
    home = tmp_path / "my home" / "data"
    home.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    escaped = str(home.parent).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {escaped} {kind} rw 0 0\n", encoding="utf-8")

    if refused:
        with pytest.raises(LedgerProblem, match="network or shared file system"):
            connection.require_local_disk(home, mounts=mounts)
    else:
        connection.require_local_disk(home, mounts=mounts)
        connection.require_local_disk(home, mounts=tmp_path / "none")
