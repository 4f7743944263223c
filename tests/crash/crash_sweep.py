# ruff: noqa: T201 - a table is printed, that is what it is for
"""The sweep: every scene, every fault, every call that matters; a table of what was tried and what broke.

    make crashtest                       everything
    python tests/crash/crash_sweep.py submit   some scenes only

Exits with 1 when an invariant was violated, with 2 when strace cannot be used here.
"""

from __future__ import annotations

import queue
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crash_runner import CALLS, SETTINGS, STRACE, WRITING_CALLS, Case, CrashHarness, Outcome, StraceProblem
from crash_video import write_video

AT_ONCE = 2
KILL = "kill"
FULL, FULL_FROM_HERE, BROKEN, INTERRUPTED = "ENOSPC", "ENOSPC+", "EIO", "EINTR"
FAULTS = (KILL, FULL, FULL_FROM_HERE, BROKEN, INTERRUPTED)

# A disk that stays full fails every later call of the kind; opening for reading is not among them.
STAYING = ("pwrite64", "write", "fsync", "fdatasync", "ftruncate", "mkdir")
CHANGING_CALLS = (
    *WRITING_CALLS,
    "connect",
    "sendto",
    "sendmsg",
    "link",
    "linkat",
    "symlink",
    "rmdir",
    "fchmod",
    "chmod",
)
INTERRUPTIBLE = ("pwrite64", "write", "fsync", "fdatasync", "openat")


@dataclass
class Tally:
    """One cell of the table."""

    points: int = 0
    missed: int = 0
    refused: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[Case, str, str]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a case; one whose fault was never reached proves only that the scene ends without it."""
        if outcome.struck:
            self.points += 1
        else:
            self.missed += 1
        self.refused += bool(outcome.refused)
        self.ends.update(outcome.ends.values())
        self.violations += [(outcome.case, outcome.struck, text) for text in outcome.violations]


def plan_scene(harness: CrashHarness, scene: str) -> list[Case]:
    """Every case of a scene: the calls of an undisturbed run that touch this install's files or the gateway.

    A killed process leaves files and a half-heard gateway behind and nothing else, its locks included. So of the
    calls that change neither (locking, closing, opening to read, receiving), the first one after a change is enough.
    """
    found: list[Case] = []
    counts: Counter[tuple[str, str]] = Counter()
    changed = True
    for thread, call, line in harness.log_calls(scene):
        counts[thread, call] += 1
        if thread == "writer" and not re.search(r"<[^>]*\.part>", line):
            raise RuntimeError(f"{scene} makes a call in a thread that is not followed: {line}")
        if not _matters(line, harness.home):
            continue
        changes = call in CHANGING_CALLS or "O_CREAT" in line
        faults = [KILL] if changes or changed else []
        changed = changes
        if str(harness.home) in line:
            faults += [fault for fault in FAULTS[1:] if _can_fail(call, line, fault)]
        found += [Case(scene, fault, thread, call, counts[thread, call]) for fault in faults]
    # One more of each: the number of calls differs from run to run, and the sweep ends where none is left.
    beyond = [item for item in counts.items() if item[0][1] in CHANGING_CALLS]
    found += [Case(scene, KILL, thread, call, count + 1) for (thread, call), count in beyond]
    return sorted(found, key=lambda case: FAULTS.index(case.fault))


def _matters(line: str, home: Path) -> bool:
    return str(home) in line or "TCP:" in line or "AF_INET" in line


def _can_fail(call: str, line: str, fault: str) -> bool:
    """Whether a disk can answer that call like this: full where something is written or made, broken anywhere."""
    if fault == INTERRUPTED:
        return call in INTERRUPTIBLE
    if fault == FULL_FROM_HERE:
        return call in STAYING
    if call == "openat":
        return fault == BROKEN or "O_CREAT" in line
    return call in WRITING_CALLS


ORDER = (
    ("the claim is synced", ("fdatasync", "fsync"), r"ledger\.sqlite3-wal>"),
    ("the main file is synced", ("fdatasync", "fsync"), r"ledger\.sqlite3>"),
    ("the log is emptied", ("ftruncate",), r"ledger\.sqlite3-wal>, 0\)"),
    ("the mark is synced", ("fsync",), r"/sent/\.[^>]*>"),
    ("the mark has its name", ("rename", "renameat", "renameat2"), r"/sent/.*/sent/"),
    ("its directory is synced", ("fsync",), r"/sent>"),
)
"""What happens, in this order and with nothing written to the ledger between, before the gateway hears anything."""


def check_order(harness: CrashHarness) -> list[str]:
    """In one submission, the claim and then the mark are on disk before the paid request's connection is made."""
    done, behind = 0, ""
    for _, call, line in harness.log_calls("submit"):
        if call == "pwrite64" and "ledger.sqlite3-wal>" in line:
            done = 0
        elif done < len(ORDER) and call in ORDER[done][1] and re.search(ORDER[done][2], line):
            done += 1
        elif call == "connect" and f"htons({harness.gateway.port})" in line:
            # The last one counts: the balance is read before the claim.
            behind = f"before {ORDER[done][0]}: {line}" if done < len(ORDER) else ""
        elif call == "sendto" and '"POST ' in line:
            return [behind] if behind else [] if done == len(ORDER) else [f"before {ORDER[done][0]}: {line}"]
    return ["no paid request was seen"]


def sample(cases: Sequence[Case], count: int) -> list[Case]:
    """That many cases, evenly spread."""
    return [cases[(2 * number + 1) * len(cases) // (2 * count)] for number in range(count)]


@contextmanager
def open_harnesses(harnesses: int) -> Iterator[list[CrashHarness]]:
    """A directory with that many harnesses. In memory where that is possible: syncing is then quick."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="crash-", dir=memory if memory.is_dir() else None) as name:
        directory = Path(name)
        video = write_video(directory / "video.mp4")
        made: list[CrashHarness] = []
        try:
            for number in range(harnesses):
                place = directory / str(number)
                place.mkdir()
                made.append(CrashHarness(place, video))
            yield made
        finally:
            for harness in made:
                harness.close()


def run_cases(harnesses: Sequence[CrashHarness], cases: Iterable[Case]) -> list[Outcome]:
    """Run all cases, each harness one at a time; where a group's last one still strikes, it goes on."""
    todo: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in cases:
        todo.put(case)
    outcomes: list[Outcome] = []
    failures: list[Exception] = []

    def work(harness: CrashHarness) -> None:
        while not failures:
            try:
                outcomes.append(harness.run(todo.get_nowait()))
            except queue.Empty:
                return
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(harness,)) for harness in harnesses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return outcomes


def run_sweep(scenes: Sequence[str]) -> int:
    """Everything; prints the table. The exit code."""
    table: dict[tuple[str, str], Tally] = {}
    started = time.monotonic()
    with open_harnesses(AT_ONCE) as harnesses:
        disorder = check_order(harnesses[0])
        print(f"order of sync and send: {'; '.join(disorder) or 'ok'}", flush=True)
        for scene in scenes:
            cases = plan_scene(harnesses[0], scene)
            while cases:
                outcomes = run_cases(harnesses, cases)
                for outcome in outcomes:
                    table.setdefault((scene, outcome.case.fault), Tally()).add(outcome)
                cases = _go_on(cases, outcomes)
            _print_row(scene, table, time.monotonic() - started)
    violations = [item for tally in table.values() for item in tally.violations]
    points = sum(tally.points for tally in table.values())
    print(f"\n{points} points, {len(violations)} violations, {time.monotonic() - started:.0f} s")
    return 1 if violations or disorder else 0


def _go_on(cases: Sequence[Case], outcomes: Sequence[Outcome]) -> list[Case]:
    """The next case of each group of kills whose last one was still reached."""
    last: dict[tuple[str, str], int] = {}
    for case in cases:
        if case.fault == KILL:
            last[case.thread, case.call] = max(case.number, last.get((case.thread, case.call), 0))
    return [
        Case(item.case.scene, KILL, item.case.thread, item.case.call, item.case.number + 1)
        for item in outcomes
        if item.struck and item.case.fault == KILL and last[item.case.thread, item.case.call] == item.case.number
    ]


def _print_row(scene: str, table: dict[tuple[str, str], Tally], seconds: float) -> None:
    print(f"\n{scene}  ({seconds:.0f} s)")
    print(f"  {'fault':<9}{'points':>7}{'missed':>8}{'refused':>9}{'violations':>12}   tasks end as")
    for fault in FAULTS:
        tally = table.get((scene, fault))
        if tally is not None:
            ends = ", ".join(f"{count} {state}" for state, count in sorted(tally.ends.items()))
            print(
                f"  {fault:<9}{tally.points:>7}{tally.missed:>8}{tally.refused:>9}{len(tally.violations):>12}   {ends}",
                flush=True,
            )
    for fault in FAULTS:
        for case, struck, text in table.get((scene, fault), Tally()).violations:
            print(f"\n  {case}\n    {struck}\n    {text}", flush=True)


def main() -> int:
    """Run what was asked for."""
    if shutil.which(STRACE) is None:
        print("strace is not installed")
        return 2
    scenes = [name for name in SETTINGS if name in sys.argv[1:]] or list(SETTINGS)
    try:
        return run_sweep(scenes)
    except StraceProblem as error:
        print(f"strace cannot attach: {error}")
        return 2


__all__ = ["CALLS", "check_order", "plan_scene", "run_cases", "sample", "open_harnesses"]

if __name__ == "__main__":
    raise SystemExit(main())
