"""A pytest plugin that tries changes: `pytest -p mutants.trials --plan FILE --verdicts FILE`.

pytest collects the tests once. For each change in the plan, this process forks; the copy switches the change on and
runs the tests that reach the changed function until one fails: first the test that noticed this change the last time,
then those that noticed other changes of the same function or module, then the quickest. A test that fails must pass
without the change. A verdict is stored immediately, so what was stopped goes on where it was.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import Phase, settings
from mutmut.mutation.trampoline import set_mutant_under_test

from .verdicts import Outcome, Verdict, Verdicts

STATS = Path("mutmut-stats.json")
"""Which tests reach which function, and how long they take; mutmut writes it where the tests run."""
MEMORY = Path("/dev/shm")
"""Temporary files in memory, where there is such a place: the ledgers of tests wait for the disk half of their time."""
LIMITS = {signal.ITIMER_PROF: 15, signal.ITIMER_REAL: 120}
"""A test hangs when it computes, or only takes, so many seconds longer than `TIMES` what it should."""
TIMES = 20
EXITS = {
    0: Outcome.SURVIVED,
    1: Outcome.NOTICED,
    -signal.SIGPROF: Outcome.TIME_LIMIT,
    -signal.SIGALRM: Outcome.TIME_LIMIT,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plan", type=Path, help="the changes to try and the digest of the tree, as JSON")
    parser.addoption("--verdicts", type=Path, help="the file of the verdicts")


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """A failing example is enough: hypothesis neither looks for a smaller one nor keeps it."""
    settings.register_profile(
        "trials", settings.default, phases=(Phase.explicit, Phase.generate), database=None, report_multiple_bugs=False
    )
    settings.load_profile("trials")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Try the changes instead of running the tests; nothing is tried when the tests could not be collected."""
    if session.testsfailed:
        return None
    options = session.config.option
    plan = json.loads(options.plan.read_text(encoding="utf-8"))
    Trials(session, Verdicts(options.verdicts, plan["tree"])).run(plan["changes"])
    return True


@dataclass(frozen=True)
class Trial:
    """A change that another process is trying."""

    name: str
    scratch: Path
    """The temporary files of its tests, and the name of the one that runs."""
    began: float = field(default_factory=time.monotonic)
    found: Verdict | None = None
    """That a test noticed the change: this process runs that test alone, without the change."""

    @property
    def current(self) -> Path:
        return self.scratch / "test"


class Trials:
    """The changes that are tried now, and what is known about tests."""

    def __init__(self, session: pytest.Session, verdicts: Verdicts) -> None:
        stats = json.loads(STATS.read_text(encoding="utf-8"))
        self._session = session
        self._verdicts = verdicts
        self._items = {item.nodeid: item for item in session.items}
        self._reaching: dict[str, list[str]] = stats["tests_by_mangled_function_name"]
        self._seconds: dict[str, float] = stats["duration_by_test"]
        self._noticed: Counter[tuple[str, str]] = Counter()
        self._sound: set[str] = set()
        self._running: dict[int, Trial] = {}
        for name, test in verdicts.earlier.items():
            self._count(name, test)

    def run(self, names: list[str]) -> None:
        """Try these changes, as many at a time as there are processors."""
        gc.collect()
        gc.freeze()
        with self._cleared():
            for done, name in enumerate(names):
                while len(self._running) >= (os.cpu_count() or 1):
                    self._wait()
                if done and done % 20 == 0:
                    survived = len([found for found in self._verdicts.by_name.values() if not found.outcome.is_noticed])
                    print(f"{done} of {len(names)} tried, {survived} survive", file=sys.stderr, flush=True)
                self._start(name)
            while self._running:
                self._wait()

    def _start(self, name: str) -> None:
        if tests := self._order(name):
            self._fork(Trial(name, make_scratch()), tests)
        else:
            self._verdicts.record(name, Verdict(Outcome.UNREACHED))

    def _order(self, name: str) -> list[str]:
        """The tests that reach the function, the likeliest to fail first, then the quickest."""
        function, module = _places(name)
        earlier = self._verdicts.earlier.get(name)
        return sorted(
            (test for test in self._reaching.get(function, ()) if test in self._items),
            key=lambda test: (
                test != earlier,
                -self._noticed[function, test],
                -self._noticed[module, test],
                self._seconds[test],
            ),
        )

    def _count(self, name: str, test: str) -> None:
        self._noticed.update((place, test) for place in _places(name))

    def _fork(self, trial: Trial, tests: list[str]) -> None:
        pid = os.fork()
        if pid == 0:
            self._try(trial, tests)
        self._running[pid] = trial

    def _try(self, trial: Trial, tests: list[str]) -> NoReturn:
        """In the copy of the process: run the tests until one fails; the exit code is the verdict."""
        code = 2
        try:
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(trial.scratch)
            set_mutant_under_test("" if trial.found else trial.name)
            items = [self._items[test] for test in tests]
            for item, following in zip_longest(items, items[1:]):
                trial.current.write_text(item.nodeid, encoding="utf-8")
                for timer, limit in LIMITS.items():
                    signal.setitimer(timer, limit + TIMES * self._seconds[item.nodeid])
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self._session.testsfailed:
                    code = 1
                    break
            else:
                code = 0
        finally:
            os._exit(code)

    def _wait(self) -> None:
        """Wait for a process to end, and store the verdict once the test that noticed the change passes without it."""
        pid, status = os.wait()
        trial = self._running.pop(pid)
        outcome = EXITS.get(os.waitstatus_to_exitcode(status), Outcome.BROKEN)
        test = trial.current.read_text(encoding="utf-8") if outcome.is_noticed else ""
        shutil.rmtree(trial.scratch, ignore_errors=True)
        verdict = trial.found or Verdict(outcome, test, round(time.monotonic() - trial.began, 2))
        if trial.found and outcome is not Outcome.SURVIVED:
            print(f"{trial.found.test} fails without a change too, and is left out.", file=sys.stderr, flush=True)
            self._items.pop(trial.found.test, None)
            self._start(trial.name)
        elif verdict.outcome.is_noticed and not trial.found and verdict.test not in self._sound:
            self._fork(Trial(trial.name, make_scratch(), found=verdict), [verdict.test])
        else:
            if verdict.test:
                self._sound.add(verdict.test)
                self._count(trial.name, verdict.test)
            self._verdicts.record(trial.name, verdict)

    @contextmanager
    def _cleared(self) -> Iterator[None]:
        """Nothing keeps running, and no temporary file stays, when the user stops it."""
        try:
            yield
        finally:
            for pid, trial in self._running.items():
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                shutil.rmtree(trial.scratch, ignore_errors=True)


def make_scratch() -> Path:
    """A new folder for temporary files; the caller removes it."""
    return Path(tempfile.mkdtemp(prefix="m", dir=MEMORY if MEMORY.is_dir() else None))


def _places(name: str) -> tuple[str, str]:
    """The function that a change is in, and its module."""
    function = name.rpartition("__mutmut_")[0]
    return function, function.rpartition(".")[0]
