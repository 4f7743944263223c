"""What a gateway answered is on the disk when the ledger's call returns: each commit, and how far it goes.

SQLite says nothing about a sync that was left out. The level of `PRAGMA synchronous` at each commit decides it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
import pytest

from callsheet.core.consent import Caps, Means
from callsheet.core.spending import Slots, SpendTerms
from callsheet.core.tasks import PruneLimits, SheetEvent, TaskEvent
from callsheet.edges.ledger.connection import open_database
from callsheet.edges.ledger.ledger import SqliteLedger
from callsheet.service.polling import run_task
from callsheet.service.submission import submit
from samples import START, a_sheet, a_task, add_approved
from workspace import Workspace, accepted, draft, reply

FULL = 2
LEVELS = {"NORMAL": 1, "FULL": FULL}


@dataclass
class Commits:
    """Watches a connection: the level at each commit, with the statements of its transaction."""

    level: int = 0
    seen: list[tuple[int, str]] = field(default_factory=list)
    current: list[str] = field(default_factory=list)

    def connect(self, path: Path) -> sqlite3.Connection:
        """Open the database as the program does, and watch it."""
        database = open_database(path)
        self.level = database.execute("PRAGMA synchronous").fetchone()[0]
        database.set_trace_callback(self.note)
        return database

    def note(self, statement: str) -> None:
        """One statement that the connection runs."""
        if found := re.fullmatch(r"PRAGMA synchronous = (\w+)", statement):
            self.level = LEVELS[found[1]]
        if statement.startswith("BEGIN"):
            self.current = []
        self.current.append(statement)
        if statement == "COMMIT":
            self.seen.append((self.level, "\n".join(self.current)))

    def levels_of(self, word: str) -> list[int]:
        """The levels of the commits that stored something with that word."""
        return [level for level, statements in self.seen if word in statements]


LASTING: dict[str, Callable[[SqliteLedger], object]] = {
    "a person's no": lambda ledger: ledger.move_sheet("other", SheetEvent.DECLINED, now=START, by=Means.TERMINAL),
    "claim": lambda ledger: ledger.claim("t1", attempt="a", deadline=START + 9, now=START, slots=Slots(5, 5)),
    "advance": lambda ledger: ledger.advance("t1", TaskEvent.RESOLVED_LOST, now=START, changes={}),
    "touch": lambda ledger: ledger.touch("t1", now=START, changes={"hints": "x"}),
    "adopt": lambda ledger: ledger.adopt("me", "you"),
    "record": lambda ledger: ledger.consent.record("key_sealed", "poyo", actor="terminal", now=START),
    "prune": lambda ledger: ledger.prune(PruneLimits(START, START, START)),
    "spend": lambda ledger: ledger.spend(
        "other", task=a_task(a_sheet("other"), "t2"), terms=terms(a_sheet("other").binding.digest), now=START
    ),
    "readmit": lambda ledger: ledger.sent.readmit((), now=START),
}


def terms(digest: str) -> SpendTerms:
    """Terms without limits."""
    return SpendTerms(digest, Caps(), (START - 1000, START - 1000))


@pytest.mark.parametrize("call", LASTING)
def test_what_is_stored_for_good_waits_for_the_disk(tmp_path: Path, call: str) -> None:
    """Also after a draft, whose own commit need not."""
    commits = Commits()
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", connect=commits.connect)
    assert commits.level == FULL
    sheet = add_approved(ledger)
    ledger.spend(sheet.id, task=a_task(sheet), terms=terms(sheet.binding.digest), now=START)
    add_approved(ledger, "other")
    ledger.add_sheet(a_sheet("draft"), now=START)
    commits.seen.clear()

    LASTING[call](ledger)

    assert [level for level, _ in commits.seen] == [FULL]


ANSWERS: dict[str, tuple[object, str]] = {
    "accepted": (accepted(), "accepted"),
    "refused": (reply({"code": 400, "error": {"type": "bad", "message": "no"}}, 400), "refused"),
    "unclear": (reply({"code": 500}, 500), "answer_lost"),
    "lost": (httpx2.ReadError("reset"), "answer_lost"),
    "never sent": (httpx2.ConnectError("refused"), "not_sent"),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_is_on_the_disk_when_it_is_stored(workspace: Workspace, answer: str) -> None:
    """Whatever it is: a power failure a moment later must not undo it."""
    workspace.go_live()
    service = workspace.service()
    service.deps.ledger()
    commits = Commits()
    ledger = SqliteLedger(workspace.ledger_file, connect=commits.connect)
    deps = replace(service.deps, ledger=lambda: ledger)
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    given, event = ANSWERS[answer]
    workspace.gateway.replies = [given]
    report = submit(deps, sheet_id).report
    assert report is not None

    await run_task(deps, report.task.id)

    assert [entry["kind"] for entry in ledger.history(report.task.id)] == ["created", "claimed", event]
    assert commits.levels_of(f"'{event}'") == [FULL]
