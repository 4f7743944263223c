"""Judges what a fault left behind from three witnesses: the gateway's log, the ledger's file, the clips.

Shares no code with the program: it reads the database, the files and the raw requests by itself. The ledger is
read from a copy, so that looking at the evidence does not repair it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAP_MICROS = 480_000
UNSENT = {"waiting"}
OPEN = {"waiting", "submitting", "queued", "running", "succeeded"}
KNOWN_ID = {"queued", "running", "succeeded", "saved", "failed", "expired"}
GOOD_ENDS = {"saved", "rejected", "outcome_unknown"}
UNCOUNTED = {"rejected", "abandoned"}
KEY = b"canary-key-51c0ffee9a7e42d3"

Row = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """A home, what the gateway received (all of its time), and the video that every clip must be."""

    home: Path
    receipts: tuple[Any, ...]
    video: bytes


@dataclass(frozen=True)
class Fact:
    """What the recovered program says: its tasks, those there were before it was asked again, its spending."""

    tasks: dict[str, str]
    before: list[str]
    spent_today: str
    third: str


@dataclass(frozen=True)
class _Books:
    sheets: dict[str, Row]
    tasks: list[Row]
    verdict: str


def check_crash(evidence: Evidence) -> list[str]:
    """What must hold at any moment, right after the fault."""
    books = _read_books(evidence.home)
    return [*_check_requests(evidence, books), *_check_rows(evidence, books), *_check_files(evidence, books)]


def check_end(evidence: Evidence, fact: Fact) -> list[str]:
    """What must hold besides, when a fresh process has let everything end."""
    books = _read_books(evidence.home)
    found = check_crash(evidence)
    states = {row["id"]: row["state"] for row in books.tasks}
    if states != fact.tasks:
        found.append(f"the program shows {fact.tasks}, its ledger holds {states}")
    found += [f"task {name} ends as {state}" for name, state in states.items() if state not in GOOD_ENDS]
    found += [f"task {name} was forgotten" for name in fact.before if name not in states]
    said = round(float(fact.spent_today) * 1_000_000)
    counted = _counted(books)
    if said != counted:
        found.append(f"the program counts {said} millionths as spent, its rows add up to {counted}")
    if fact.third == "taken":
        found.append("a third clip was taken although the caps have room for two")
    accepted = {receipt.sheet_id for receipt in evidence.receipts if receipt.task_id}
    for row in books.tasks:
        if row["state"] == "rejected" and row["sheet_id"] in accepted:
            found.append(f"task {row['id']} is called rejected, the gateway accepted it")
    found += _check_leftovers(evidence)
    return found


def _check_requests(evidence: Evidence, books: _Books) -> list[str]:
    """At most one complete paid request for a sheet, and a row that tells of it."""
    found = []
    counts = Counter(receipt.sheet_id for receipt in evidence.receipts)
    found += [f"{count} paid requests for sheet {sheet}" for sheet, count in counts.items() if count > 1]
    tasks = {row["sheet_id"]: row for row in books.tasks}
    for receipt in evidence.receipts:
        sheet, task = books.sheets.get(receipt.sheet_id), tasks.get(receipt.sheet_id)
        if sheet is None or task is None:
            found.append(f"a paid request for sheet {receipt.sheet_id!r} without a task's row")
            continue
        if bytes(sheet["body"]) != receipt.body:
            found.append(f"sheet {receipt.sheet_id} was sent with other bytes than were approved")
        if sheet["approved_at"] is None:
            found.append(f"sheet {receipt.sheet_id} was sent without an approval")
        if task["state"] in UNSENT:
            found.append(f"task {task['id']} was sent and is {task['state']}")
        if task["state"] in KNOWN_ID and task["gateway_task_id"] != receipt.task_id:
            found.append(f"task {task['id']} is {task['state']} as {task['gateway_task_id']}, not {receipt.task_id}")
    return found


def _check_rows(evidence: Evidence, books: _Books) -> list[str]:
    found = [] if books.verdict == "ok" else [f"the ledger's file is damaged: {books.verdict}"]
    counts = Counter(row["sheet_id"] for row in books.tasks)
    found += [f"sheet {sheet} has {count} tasks" for sheet, count in counts.items() if count > 1]
    for sheet_id, sheet in books.sheets.items():
        if (sheet["state"] == "spent") != (sheet_id in counts):
            found.append(f"sheet {sheet_id} is {sheet['state']} and has {counts[sheet_id]} tasks")
    received = {receipt.sheet_id for receipt in evidence.receipts}
    for row in books.tasks:
        if row["state"] in KNOWN_ID and row["gateway_task_id"] is None:
            found.append(f"task {row['id']} is {row['state']} without the gateway's id")
        if row["state"] in KNOWN_ID and row["sheet_id"] not in received:
            found.append(f"task {row['id']} is {row['state']}, the gateway never got it")
    if _counted(books) > CAP_MICROS:
        found.append(f"{_counted(books)} millionths are spent, the cap is {CAP_MICROS}")
    return found


def _check_files(evidence: Evidence, books: _Books) -> list[str]:
    found = []
    directory = evidence.home / "clips"
    for path in sorted(directory.glob("*")) if directory.is_dir() else ():
        data = path.read_bytes()
        # Behind the gateway's bytes there may be a box with the prompt.
        if path.suffix == ".mp4" and not data.startswith(evidence.video):
            found.append(f"{path.name} has its final name and {len(data)} of {len(evidence.video)} bytes")
        if path.suffix == ".jpg" and not _is_temporary(path) and not _is_whole_picture(data):
            found.append(f"{path.name} has its final name and is no whole picture")
    for row in books.tasks:
        if row["state"] != "saved":
            continue
        clip = json.loads(row["clip"])
        path = Path(clip["path"])
        data = path.read_bytes() if path.is_file() else b""
        if (clip["sha256"], clip["size"]) != (hashlib.sha256(data).hexdigest(), len(data)):
            found.append(f"task {row['id']} tells of another video than the gateway's")
        missing = [clip[name] for name in ("path", "poster", "contact_sheet") if not Path(clip[name]).is_file()]
        found += [f"task {row['id']} is saved, but {name} is not there" for name in missing]
    found += [
        f"the key lies in {path.relative_to(evidence.home)}"
        for path in evidence.home.rglob("*")
        if path.is_file() and KEY in path.read_bytes()
    ]
    return found


def _check_leftovers(evidence: Evidence) -> list[str]:
    """Nothing half done may lie about for ever beside the clips."""
    directory = evidence.home / "clips"
    names = [path.name for path in directory.glob("*")] if directory.is_dir() else []
    return [f"{name} was left behind" for name in names if name.endswith((".part", ".note"))]


def _is_temporary(path: Path) -> bool:
    return path.name.startswith((".", "tmp"))


def _is_whole_picture(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")


def _counted(books: _Books) -> int:
    return sum(row["reserve_micros"] for row in books.tasks if row["state"] not in UNCOUNTED)


def _read_books(home: Path) -> _Books:
    source = home / "data"
    with tempfile.TemporaryDirectory() as directory:
        if source.is_dir():
            for path in source.glob("ledger.sqlite3*"):
                shutil.copy(path, directory)
        ledger = Path(directory, "ledger.sqlite3")
        if not ledger.exists():
            return _Books({}, [], "ok")
        db = sqlite3.connect(ledger)
        try:
            db.row_factory = sqlite3.Row
            verdict = str(db.execute("PRAGMA integrity_check").fetchone()[0])
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'task'").fetchone():
                return _Books({}, [], verdict)
            sheets = {row["id"]: dict(row) for row in db.execute("SELECT * FROM sheet")}
            return _Books(sheets, [dict(row) for row in db.execute("SELECT * FROM task")], verdict)
        except sqlite3.DatabaseError as error:
            return _Books({}, [], f"it cannot be read ({error})")
        finally:
            db.close()
