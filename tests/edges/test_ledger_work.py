"""How the ledger's work grows with what is in it, counted in steps of SQLite's machine, so that no clock matters."""

from __future__ import annotations

from pathlib import Path

from callsheet.core.consent import Caps
from callsheet.core.spending import SpendTerms
from callsheet.edges.ledger.connection import open_database
from callsheet.edges.ledger.ledger import SqliteLedger
from samples import START, a_task, add_approved

A_TICK = 100
FEW, TIMES = 40, 4


def count_work(directory: Path, tasks: int) -> int:
    """The steps of one check of a trail with that many approved and spent sheets."""
    database = open_database(directory / f"{tasks}.sqlite3")
    ledger = SqliteLedger(directory, connect=lambda _: database)
    for number in range(tasks):
        sheet = add_approved(ledger, f"sheet_{number}", take=number)
        terms = SpendTerms(sheet.binding.digest, Caps(None, None, None, tasks), (START, START))
        ledger.spend(sheet.id, task=a_task(sheet, f"task_{number}"), terms=terms, now=START)
    ticks: list[None] = []
    database.set_progress_handler(lambda: ticks.append(None), A_TICK)
    verdict = ledger.consent.verify()
    database.set_progress_handler(None, A_TICK)
    assert (verdict.broken, verdict.unapproved, verdict.entries) == (None, (), 2 * tasks)
    return len(ticks)


def test_checking_a_trail_takes_time_in_proportion_to_its_length(tmp_path: Path) -> None:
    """Not to its square: each entry is read a fixed number of times."""
    assert count_work(tmp_path, TIMES * FEW) < 2 * TIMES * count_work(tmp_path, FEW)
