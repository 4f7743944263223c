# ruff: noqa: T201 - a table is printed, that is what it is for
"""Damage after a kill: a flipped bit and a cut in each file of the ledger, at every frame and page.

    make crashtest                                  everything
    PYTHONPATH=tests python tests/crash/crash_damage.py waiting   some moments only

A moment is the install's files as a killed process leaves them: copied while it still runs. Each case damages one file
of a fresh copy, starts the program on it, and does what an agent would: look, explain, submit, let everything end. No
person approves anything again. The gateway counts. No request may be paid twice or without an approval in force, and
what was paid before must be found in the ledger, or the program says in its own words that it cannot be.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import httpx2

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import OPEN_STATES, SheetState, TaskState
from callsheet.errors import CallsheetError, LedgerProblem
from callsheet.service import Draft, Service
from callsheet.service.polling import run_task
from callsheet.service.submission import ATTEMPT_SECONDS, submit
from workspace import KEY, NOT_FOUND, Workspace, accepted, make_workspace, reply

AT_ONCE = 2
PAGE, FRAME_HEAD, LOG_HEAD = 4096, 24, 32
LEDGER, LOG, SHARED, MARK = "data/ledger.sqlite3", "data/ledger.sqlite3-wal", "data/ledger.sqlite3-shm", "mark"
EARLIER, SHOT = (Shot.of(f"A {thing} over dunes, at dusk.", duration_seconds=4) for thing in ("heron", "kite"))
PARTS = ("data", "state")
FLIP, CUT, GONE = "flip", "cut", "gone"
PAGE_OFFSETS = (0, 3, 9, 200, 1500, 2700, 3600, 4000, 4090)
"""Of the page's header, its list of cells, its free middle, and its rows, which grow from the end."""
FRAME_OFFSETS = (0, 7, 8, 16, FRAME_HEAD + 5, FRAME_HEAD + 2000, FRAME_HEAD + 4000)
TURNS = 4


@dataclass(frozen=True)
class Moment:
    """The files of an install that was killed: what it had paid for, and whether a person's yes was in force."""

    name: str
    home: Path
    time: float
    sheet: str
    paid: tuple[str, ...]
    approved: bool


@dataclass(frozen=True)
class Damage:
    """One change to one file: a bit at that place flipped, the file cut there, or gone."""

    moment: str
    file: str
    kind: str
    at: int

    def __str__(self) -> str:
        return f"{self.moment}: {self.kind} at byte {self.at} of {self.file}"


@dataclass
class Verdict:
    """What became of a case."""

    damage: Damage
    end: str = ""
    violations: list[str] = field(default_factory=list)


class CountingGateway:
    """PoYo that accepts everything and remembers for which sheet it was paid."""

    def __init__(self, paid: Sequence[str] = (), keep: Callable[[], object] = lambda: None) -> None:
        self.paid = list(paid)
        self._keep = keep

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            self.paid.append(request.headers["idempotency-key"].removeprefix("callsheet-"))
            self._keep()
            return accepted(f"job-{len(self.paid)}")
        if "/status/" in request.url.path:
            name = request.url.path.rsplit("/", 1)[1]
            return reply({"code": 200, "data": {"task_id": name, "status": "running", "files": []}})
        return NOT_FOUND


# --- the moments -----------------------------------------------------------------------------------------


def make_moments(directory: Path, wanted: Iterable[str] = ()) -> list[Moment]:
    """Each moment's files, kept below that directory."""
    return [asyncio.run(MOMENTS[name](name, directory)) for name in wanted or MOMENTS]


async def _begin(name: str, directory: Path) -> tuple[Workspace, Service, str]:
    """An install with an earlier paid clip, and a second one that a person has just approved."""
    workspace = make_workspace(directory / name)
    workspace.go_live()
    service = workspace.service()
    workspace.gateway.on_request = CountingGateway()
    await _run(service, _submit(service, _approve(service, EARLIER)))
    return workspace, service, _approve(service, SHOT)


def _approve(service: Service, shot: Shot) -> str:
    explained = service.explain(Draft(shot=shot, gateway="poyo", model="sora-2-official"))
    assert explained.sheet is not None
    service.approve(explained.sheet.id, by=Means.TERMINAL)
    return explained.sheet.id


def _submit(service: Service, sheet_id: str) -> str:
    report = submit(service.deps, sheet_id).report
    assert report is not None
    return report.task.id


async def _run(service: Service, task_id: str) -> None:
    await run_task(service.deps, task_id)


def _keep(workspace: Workspace, name: str, sheet: str, *, paid_now: bool = False, approved: bool = True) -> Moment:
    """The files as they are at this moment, with the program still running."""
    kept = workspace.home.with_name("kept")
    for part in PARTS:
        shutil.copytree(workspace.home / part, kept / part)
    earlier = next(s.id for s in workspace.service().sheets([SheetState.SPENT]) if s.id != sheet)
    return Moment(name, kept, workspace.clock.time, sheet, (earlier, *([sheet] if paid_now else [])), approved)


async def _approved(name: str, directory: Path) -> Moment:
    workspace, _service, sheet = await _begin(name, directory)
    return _keep(workspace, name, sheet)


async def _declined(name: str, directory: Path) -> Moment:
    """A person took the yes back."""
    workspace, service, sheet = await _begin(name, directory)
    service.decline(sheet)
    return _keep(workspace, name, sheet, approved=False)


async def _waiting(name: str, directory: Path) -> Moment:
    workspace, service, sheet = await _begin(name, directory)
    _submit(service, sheet)
    return _keep(workspace, name, sheet)


async def _sending(name: str, directory: Path) -> Moment:
    """The gateway has the request, and its answer never comes."""
    workspace, service, sheet = await _begin(name, directory)
    kept: list[Moment] = []
    keep = lambda: kept.append(_keep(workspace, name, sheet, paid_now=True))  # noqa: E731 - one line
    workspace.gateway.on_request = CountingGateway(["earlier"], keep)
    await _run(service, _submit(service, sheet))
    return kept[0]


async def _queued(name: str, directory: Path) -> Moment:
    workspace, service, sheet = await _begin(name, directory)
    task = _submit(service, sheet)
    await _run(service, task)
    workspace.clock.time += 600
    await _run(service, task)
    return _keep(workspace, name, sheet, paid_now=True)


async def _unknown(name: str, directory: Path) -> Moment:
    workspace, service, sheet = await _begin(name, directory)
    workspace.gateway.on_request = lambda _: reply({"code": 500}, 500)
    await _run(service, _submit(service, sheet))
    return _keep(workspace, name, sheet, paid_now=True)


MOMENTS = {
    "approved": _approved,
    "declined": _declined,
    "waiting": _waiting,
    "sending": _sending,
    "queued": _queued,
    "unknown": _unknown,
}


# --- the damage ------------------------------------------------------------------------------------------


def plan(moment: Moment) -> list[Damage]:
    """Every frame of the log, every page of the ledger, places all over the index and the mark."""
    return [
        Damage(moment.name, file, kind, at)
        for file in (LEDGER, LOG, SHARED, MARK)
        for kind, at in _places(file, _locate(moment.home, file).stat().st_size)
    ]


def _places(file: str, size: int) -> Iterator[tuple[str, int]]:
    yield CUT, 0
    yield GONE, 0
    if file == LOG:
        yield from ((FLIP, at) for at in (0, 16, 24) if at < size)
        for start in range(LOG_HEAD, size, FRAME_HEAD + PAGE):
            yield from (
                (FLIP, start + at) for at in (0, 7, 8, 16, FRAME_HEAD + 5, FRAME_HEAD + 2000, FRAME_HEAD + 4000)
            )
            yield from ((CUT, start + at) for at in (0, 12, FRAME_HEAD + 2000))
    elif file == LEDGER:
        for start in range(0, size, PAGE):
            yield from ((FLIP, start + at) for at in PAGE_OFFSETS)
            yield from ((CUT, start + at) for at in (0, 2000) if start + at)
    else:
        steps = 40 if file == MARK else 12
        for at in range(1, size, max(1, size // steps)):
            yield from ((FLIP, at), (CUT, at))


def _locate(home: Path, file: str) -> Path:
    if file != MARK:
        return home / file
    [mark] = (home / "state" / "sent").glob("*.json")
    return mark


def _strike(home: Path, damage: Damage) -> None:
    path = _locate(home, damage.file)
    content = bytearray(path.read_bytes())
    if damage.kind == GONE:
        path.unlink()
        return
    if damage.kind == FLIP:
        content[damage.at] ^= 1 << damage.at % 8
    path.write_bytes(content if damage.kind == FLIP else content[: damage.at])


# --- a case ----------------------------------------------------------------------------------------------


def run_case(moment: Moment, damage: Damage) -> Verdict:
    """Damage a copy in the place of the original, live on, and judge."""
    # The same place as before: the mark and the registration know the ledger by its path.
    home = moment.home.with_name("home")
    for part in PARTS:
        shutil.rmtree(home / part)
        shutil.copytree(moment.home / part, home / part)
    _strike(home, damage)
    workspace = make_workspace(moment.home.parent)
    workspace.environ["POYO_API_KEY"] = KEY
    workspace.clock.time, workspace.clock.tokens = moment.time + 5, 1000
    gateway = CountingGateway(moment.paid)
    workspace.gateway.on_request = gateway
    life = Life(workspace)
    asyncio.run(life.live_on(moment))
    return Verdict(damage, life.end, [*life.mistakes, *judge(moment, gateway.paid, life)])


class Life:
    """A new process on the damaged files, and what it tells an agent who wants everything again."""

    def __init__(self, workspace: Workspace) -> None:
        self._service = workspace.service()
        self._clock = workspace.clock
        self.told: list[CallsheetError] = []
        self.mistakes: list[str] = []
        self.tasks: dict[str, TaskState] = {}

    @property
    def end(self) -> str:
        """The case in one word: refused with what code, or gone on."""
        codes = [error.error_code for error in self.told if isinstance(error, LedgerProblem)]
        return codes[-1] if codes else "goes on"

    async def live_on(self, moment: Moment) -> None:
        """Look, explain, submit; let everything end; look again."""
        await self._try(self._look)
        for shot in (SHOT, EARLIER):
            await self._try(lambda shot=shot: self._ask(shot))
        for sheet_id in (moment.sheet, *moment.paid):
            await self._try(lambda sheet_id=sheet_id: submit(self._service.deps, sheet_id))
        for _ in range(TURNS):
            await self._try(self._follow)
            self._clock.time += ATTEMPT_SECONDS + 60
        await self._try(self._look)

    async def _try(self, act: Callable[[], object]) -> None:
        """A refusal in the program's own words is an answer; anything else is a mistake in the program."""
        try:
            found = act()
            if asyncio.iscoroutine(found):
                await found
        except CallsheetError as error:
            self.told.append(error)
        except Exception as error:
            self.mistakes.append("".join(traceback.format_exception(error))[-1500:])

    def _look(self) -> None:
        self.tasks = {report.task.sheet_id: report.task.state for report in self._service.tasks(limit=100)}

    def _ask(self, shot: Shot) -> None:
        explained = self._service.explain(Draft(shot=shot, gateway="poyo", model="sora-2-official"))
        self.told += [blocker.error for blocker in explained.blocked]
        if explained.sheet is not None:
            submit(self._service.deps, explained.sheet.id)

    async def _follow(self) -> None:
        for task in self._service.deps.ledger().tasks(states=tuple(OPEN_STATES)):
            await self._try(lambda task=task: run_task(self._service.deps, task.id))


def judge(moment: Moment, paid: Sequence[str], life: Life) -> list[str]:
    """What must not be: a second payment, one without a yes, a paid clip that nothing tells of."""
    found = [f"{count} paid requests for {sheet}" for sheet, count in Counter(paid).items() if count > 1]
    wanted = {*moment.paid, *([moment.sheet] if moment.approved else [])}
    found += [f"{sheet} was paid for without an approval" for sheet in set(paid) - wanted]
    is_told = any(isinstance(error, LedgerProblem) for error in life.told)
    for sheet in set(paid):
        state = life.tasks.get(sheet)
        if state is None and not is_told:
            found.append(f"{sheet} was paid for, and nothing tells of it")
        if state in (TaskState.WAITING, TaskState.REJECTED, TaskState.ABANDONED) and not is_told:
            found.append(f"{sheet} was paid for and is {state}")
    return found


# --- the sweep -------------------------------------------------------------------------------------------


def run_share(directory: str, names: Sequence[str], number: int, of: int, most: int | None = None) -> list[Verdict]:
    """Every so-many-th case, on files made for this process alone; of all of them at most that many, spread evenly."""
    place = Path(directory, str(number))
    verdicts = []
    for moment in make_moments(place, names):
        cases = plan(moment)
        step = 1 if most is None else max(1, len(cases) // most)
        verdicts += [run_case(moment, damage) for damage in cases[number :: step * of]]
    return verdicts


@contextmanager
def a_directory() -> Iterator[str]:
    """In memory where that is possible: syncing is then quick."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="damage-", dir=memory if memory.is_dir() else None) as name:
        yield name


def main() -> int:
    """Run what was asked for and print the table; 1 when something was violated."""
    names = [name for name in MOMENTS if name in sys.argv[1:]] or list(MOMENTS)
    started = time.monotonic()
    with a_directory() as directory, ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as pool:
        shares = [pool.submit(run_share, directory, names, number, AT_ONCE) for number in range(AT_ONCE)]
        verdicts = [verdict for share in shares for verdict in share.result()]
    table = Counter((v.damage.moment, Path(v.damage.file).name, v.damage.kind, v.end) for v in verdicts)
    for (moment, file, kind, end), count in sorted(table.items()):
        print(f"{moment:<10}{file:<21}{kind:<5}{count:>6}  {end}")
    broken = [verdict for verdict in verdicts if verdict.violations]
    for verdict in broken:
        print(f"\n{verdict.damage}\n  " + "\n  ".join(verdict.violations))
    print(f"\n{len(verdicts)} cases, {len(broken)} violations, {time.monotonic() - started:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
