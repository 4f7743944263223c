"""Whether an outcome is the right one for its row, and how both are printed."""

from __future__ import annotations

from .fault_table import Row, Verdict
from .fault_trial import Outcome

HEADING = f"{'fault':<46} {'concluded':<16} {'an hour later':<16} {'complete':>8} {'reserved':>8}  problem"


def judge(row: Row, outcome: Outcome) -> list[str]:
    """Everything that is wrong; empty when the row is right."""
    verdict = row.verdict
    if row.or_not_sent and outcome.first == "waiting":
        verdict = Verdict.NOT_SENT
    at_first = int(row.complete)
    again = int(verdict.sent_again and row.heals)
    expected = {
        "first": verdict.first,
        "last": verdict.last if row.heals else verdict.first,
        "complete_at_first": at_first,
        "complete": at_first + again,
        "elsewhere": 0,
        "same_bytes": True,
        "reserved": verdict is not Verdict.REJECTED,
    }
    wrong = [
        f"{name}: {getattr(outcome, name)!r} instead of {value!r}"
        for name, value in expected.items()
        if getattr(outcome, name) != value
    ]
    if outcome.waited < row.not_before:
        wrong.append(f"sent again after {outcome.waited} s, not before {row.not_before} s")
    return wrong


def line(row: Row, outcome: Outcome) -> str:
    """One line of the table."""
    reserved = "stands" if outcome.reserved else "released"
    return (
        f"{row.name:<46} {outcome.first:<16} {outcome.last:<16} {outcome.complete:>8} {reserved:>8}  {outcome.problem}"
    )
