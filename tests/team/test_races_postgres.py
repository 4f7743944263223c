"""Processes that do the same at the same moment, on one PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import pytest

from callsheet.core.tasks import SheetState
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.schema import MIGRATIONS, read_version
from samples import add_approved

TESTS = Path(__file__).parent.parent


def race(kind: str, dsn: str, tenant: str, entries: list[list[str]]) -> list[str]:
    """Start a process for each entry, let all go together, and return the lines that they print."""
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "team.racer", kind, dsn, tenant, *entry],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for entry in entries
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    lines: list[str] = []
    for racer in racers:
        printed, _ = racer.communicate(timeout=120)
        assert racer.returncode == 0
        lines += printed.split()
    return lines


@pytest.mark.slow
def test_twelve_spends_of_four_processes_on_a_cap_with_room_for_five(dsn: str, tenant: str) -> None:
    """Exactly five, and an audit trail without gaps that knows them."""
    database = PostgresDatabase(dsn, tenant=tenant)
    ledger = SqlLedger(database)
    sheets = [add_approved(ledger, f"sheet_{number}").id for number in range(12)]

    results = race("spend", dsn, tenant, [sheets[start : start + 3] for start in range(0, 12, 3)])

    entries = ledger.consent.entries(limit=100)
    verdict = ledger.consent.verify()
    states = Counter(ledger.sheet(sheet).state for sheet in sheets)
    database.close()
    assert Counter(results) == {"spent": 5, "refused": 7}
    assert states == {SheetState.SPENT: 5, SheetState.APPROVED: 7}
    assert sorted(entry.seq for entry in entries) == list(range(1, 12 + 5 + 1))
    assert Counter(entry.action for entry in entries)["spent"] == 5
    assert (verdict.broken, verdict.unapproved) == (None, ())


@pytest.mark.slow
def test_five_migrators_apply_each_migration_once(dsn: str) -> None:
    """One of them does it all, or they share it."""
    tenant = f"t{uuid.uuid4().hex[:16]}"

    applied = [int(line) for line in race("migrate", dsn, tenant, [[]] * 5)]

    database = PostgresDatabase(dsn, tenant=tenant)
    with database.reading() as db:
        version = read_version(db)
        names = db.execute("SELECT name FROM tenant").fetchall()
    database.close()
    assert sum(applied) == version == len(MIGRATIONS)
    assert len(names) == 1
