"""One process of a race: `python -m team.racer migrate|spend DSN TENANT [SHEET…]`. Waits for a line, then races.

Prints how many migrations it applied, or for each sheet whether it could be spent.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from threading import Thread

from callsheet.core.consent import Caps
from callsheet.core.spending import SpendTerms
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.schema import migrate
from callsheet.errors import PolicyRefusal
from samples import START, a_task

ROOM_FOR_FIVE = Caps(per_day=Decimal("1.20"), per_month=None)
"""A task of the samples reserves 0.24."""


def spend(ledger: SqlLedger, sheet_id: str, results: list[str]) -> None:
    """Try to spend that sheet under a cap with room for five."""
    sheet = ledger.sheet(sheet_id)
    assert sheet is not None
    terms = SpendTerms(sheet.binding.digest, ROOM_FOR_FIVE, (START - 1000, START - 1000))
    try:
        ledger.spend(sheet_id, task=a_task(sheet, f"task_{sheet_id}"), terms=terms, now=START)
        results.append("spent")
    except PolicyRefusal:
        results.append("refused")


def main(kind: str, dsn: str, tenant: str, *sheets: str) -> None:
    """Get ready, wait, race."""
    database = PostgresDatabase(dsn, tenant=tenant)
    ledger = SqlLedger(database)
    if kind == "spend":
        ledger.sheet("nothing")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    if kind == "migrate":
        sys.stdout.write(f"{migrate(database)}\n")
    else:
        results: list[str] = []
        threads = [Thread(target=spend, args=(ledger, sheet, results)) for sheet in sheets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sys.stdout.write("".join(f"{result}\n" for result in results))
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
