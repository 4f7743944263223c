"""The mark of what was sent, in the state directory: another file in another directory than the ledger.

It is whole and on disk before the first byte of each live paid request, after the claim is in the ledger's main file.
So it is ahead only of a ledger that lost something. Each ledger has a mark of its own; the sandbox has none. A lock
lets one process at a time compare and write, so that no process takes back what another has just written.

What is missing in a ledger stays refused until a person accepts it at a terminal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from callsheet.core.consent import Mode
from callsheet.core.sent import MarkedTask, Sent, SentRequest, build_mark, read_mark
from callsheet.core.tasks import ClaimedTask
from callsheet.edges.files.files import read_private, remove_private, write_private
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.errors import Action, LedgerOlder, NextStep, SetupProblem

from .locks import try_lock, unusable

LOCK_FILE = "sent.lock"
LOCK_SECONDS = 10.0
"""As long as a call waits for the ledger. A mark takes milliseconds."""
MOST_NAMED = 5

_WHAT = "mark of what was sent"


class FileMark:
    """The marks in one directory, compared with one ledger. Opens the ledger only for a live request."""

    def __init__(self, directory: Path, ledger: Callable[[], SqlLedger]) -> None:
        self._directory = directory
        self._ledger = ledger

    def record(self, claimed: ClaimedTask) -> MarkedTask:
        """Put a live claim into the ledger's main file, and then the mark on disk.

        Raises `LedgerOlder`, `LedgerProblem` and `SetupProblem`; nothing may be sent then.
        """
        if claimed.task.mode is Mode.LIVE:
            self._ledger().sent.empty_log()
            with self._locked():
                self.require_current()
                self._write(self._ledger().sent.read(claimed.task.id))
        return MarkedTask(claimed)

    def require_current(self) -> None:
        """Raise `LedgerOlder` if the ledger lacks something of what its marks name, or a mark is damaged."""
        marks, damaged = self._read_all()
        behind = [missing for mark in self._own(marks) if (missing := self._ledger().sent.missing(mark)) is not None]
        if behind:
            raise _older(self._ledger().path, sorted({request.sheet_id for found in behind for request in found}))
        if damaged:
            raise LedgerOlder(
                f"The {_WHAT} {damaged[0]} is damaged, so the ledger may be older than what was sent.",
                next_step=NextStep(Action.ACCEPT_LEDGER, "First compare with the gateway's own task list."),
            )

    def forgotten(self) -> tuple[SentRequest, ...]:
        """What the marks name and the ledger lacks; each may have been charged for."""
        found: dict[str, SentRequest] = {}
        for mark in self._own(self._read_all()[0]):
            found |= {request.task_id: request for request in self._ledger().sent.missing(mark) or ()}
        return tuple(found.values())

    def accept_ledger(self, *, now: float) -> tuple[SentRequest, ...]:
        """Go on with this ledger: what it forgot comes back as unknown, and the mark is written again."""
        with self._locked():
            forgotten = self.forgotten()
            self._ledger().sent.readmit(forgotten, now=now)
            self._ledger().sent.empty_log()
            marks, damaged = self._read_all()
            written = self._write(self._ledger().sent.read())
            for path in {*damaged, *self._own(marks).values()} - {written}:
                remove_private(path, what=_WHAT)
        return forgotten

    def _read_all(self) -> tuple[dict[Sent, Path], list[Path]]:
        """All marks, whosever they are, and those that are damaged."""
        marks, damaged = {}, []
        try:
            paths = sorted(self._directory.glob("*.json"))
        except OSError as error:
            raise unusable(self._directory, error) from None
        for path in paths:
            try:
                marks[read_mark(read_private(path, what=_WHAT) or b"")] = path
            except (ValueError, RecursionError):
                damaged.append(path)
        return marks, damaged

    def _own(self, marks: dict[Sent, Path]) -> dict[Sent, Path]:
        """Those of them that are about this ledger."""
        if not marks:
            return {}
        mine = self._ledger().sent.read()
        return {mark: path for mark, path in marks.items() if mark.is_about(mine)}

    def _write(self, sent: Sent) -> Path:
        path = self._directory / f"{hashlib.sha256(sent.path.encode()).hexdigest()[:16]}.json"
        write_private(path, build_mark(sent), what=_WHAT)
        return path

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with try_lock(self._directory / LOCK_FILE, seconds=LOCK_SECONDS) as is_mine:
            if not is_mine:
                raise SetupProblem(
                    f"Another process holds {self._directory / LOCK_FILE}.", next_step="Try again in a moment."
                )
            yield


def _older(path: Path, sheets: list[str]) -> LedgerOlder:
    named = ", ".join(sheets[:MOST_NAMED]) + (f" and {len(sheets) - MOST_NAMED} more" if sheets[MOST_NAMED:] else "")
    what = f"It lacks the requests for {named}; their outcome is unknown." if sheets else "Some of its end is missing."
    return LedgerOlder(
        f"The ledger {path} is older than what was sent. {what}",
        next_step=NextStep(Action.ACCEPT_LEDGER, "First look at the gateway's own task list."),
        unknown=tuple(sheets),
    )
