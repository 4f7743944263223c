"""What the processes of a crash case do: set a home up, play one scene, and afterwards live on.

Runs in a process of `crash_process`. Everything goes through `callsheet.compose` and the service, as a
surface would; the answers are plain JSON values. The scene runs on the machine's own clock (moved by a fixed
amount where a task is due only later). Living on may jump ahead in time, whenever nothing is under way.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from callsheet.compose import Surroundings, build_service
from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import OPEN_STATES, RESERVING_STATES, SheetState, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.errors import CallsheetError, PolicyRefusal
from callsheet.service import Draft, Service, polling
from callsheet.service.blockers import spending_now
from callsheet.service.export import clip_label

KEY = "canary-key-51c0ffee9a7e42d3"
SETTLE_SECONDS = 12.0
SWEEP = 2.1

SHOTS = {
    name: Shot.of(f"A {thing} over dunes at dusk, slow pan.", duration_seconds=4)
    for name, thing in (("earlier", "blue heron"), ("shot", "red kite"), ("third", "white gull"))
}


class MovedClock(SystemClock):
    """The machine's clock plus an offset that can be raised."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = offset

    def now(self) -> float:
        """Seconds since the epoch, moved."""
        return time.time() + self.offset

    async def sleep(self, seconds: float) -> None:
        """Time to rest is skipped."""
        self.offset += max(seconds, 0.0)
        await anyio.lowlevel.checkpoint()


@dataclass(frozen=True)
class Order:
    """One process: what it does in which home. `sheet` and `task` are what the preparation left."""

    home: str
    account: str
    act: str
    offset: float = 0.0
    sheet: str = ""
    task: str = ""
    stubborn: bool = False
    """Whether the process lives on after its scene, as it does where a fault does not kill it."""


class Program:
    """One process: a service on a home, and the clock it runs on."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.clock = MovedClock(order.offset)
        environ = {"CALLSHEET_HOME": order.home, "POYO_API_KEY": KEY}
        self.service: Service = build_service(
            Surroundings(environ, Path("/nowhere"), self.clock, account_home=Path(order.account))
        )

    @property
    def deps(self) -> Any:
        """The service's world."""
        return self.service.deps

    def explain(self, shot: str) -> str:
        """The id of the sheet for a shot."""
        explanation = self.service.explain(Draft(shot=SHOTS[shot], gateway="poyo", model="sora-2-official"))
        assert explanation.sheet is not None, explanation.findings
        return explanation.sheet.id

    def approve(self, sheet_id: str) -> None:
        """A person's yes in a terminal."""
        self.service.approve(sheet_id, by=Means.TERMINAL)

    async def submit(self, sheet_id: str) -> str:
        """Submit and wait for the gateway's answer; the task's id."""
        submission = await self.service.submit(sheet_id, wait_seconds=20)
        assert submission.report is not None, submission.status
        return submission.report.task.id

    def state(self, task_id: str) -> TaskState:
        """Where that task is."""
        return self.service.task(task_id).task.state

    async def follow(self, task_id: str, until: Callable[[TaskState], bool]) -> None:
        """Wait, in real time, until the task is where it should be."""
        with anyio.fail_after(SETTLE_SECONDS):
            while not until(self.state(task_id)):
                await self.deps.changes.wait(0.2)

    async def settle(self, watcher: Any) -> None:
        """Let time pass until no task is open any more; it never jumps while something is under way."""
        with anyio.fail_after(SETTLE_SECONDS):
            while True:
                if not self.deps.sending and not watcher.open_tasks():
                    waiting = [task.next_at for task in self.deps.ledger().tasks(states=tuple(OPEN_STATES))]
                    if not waiting:
                        return
                    self.clock.offset += max(min(waiting) - self.clock.now() + 0.01, SWEEP)
                    self.deps.changes.notify()
                await anyio.sleep(0.005)


# --- preparations: what was there before the scene, each built on another one --------------------------


async def _drafted(program: Program) -> dict[str, str]:
    """An earlier clip is saved, the next one explained."""
    async with program.service.running() as watcher:
        earlier = program.explain("earlier")
        program.approve(earlier)
        await program.submit(earlier)
        await program.settle(watcher)
    program.clock.offset = program.order.offset
    return {"sheet": program.explain("shot")}


async def _approved(program: Program) -> dict[str, str]:
    program.approve(program.order.sheet)
    return {}


async def _sent(program: Program) -> dict[str, str]:
    async with program.service.running():
        return {"task": await program.submit(program.order.sheet)}


async def _finished(program: Program) -> dict[str, str]:
    """The gateway has said that the video is ready; it is not fetched yet."""
    async with program.deps.http:
        await polling.run_task(program.deps, program.order.task)
    assert program.state(program.order.task) is TaskState.SUCCEEDED
    return {}


PREPARATIONS: dict[str, Callable[[Program], Awaitable[dict[str, str]]]] = {
    "drafted": _drafted,
    "approved": _approved,
    "queued": _sent,
    "unknown": _sent,
    "succeeded": _finished,
}


# --- scenes: what is interrupted ---------------------------------------------------------------------


async def _explain(program: Program) -> None:
    program.explain("shot")


async def _approve(program: Program) -> None:
    program.approve(program.order.sheet)


async def _submit(program: Program) -> None:
    async with program.service.running():
        await program.submit(program.order.sheet)


async def _poll(program: Program) -> None:
    polls = program.service.task(program.order.task).task.polls
    async with program.service.running():
        with anyio.fail_after(SETTLE_SECONDS):
            while program.service.task(program.order.task).task.polls == polls:
                await program.deps.changes.wait(0.2)


async def _download(program: Program) -> None:
    async with program.service.running():
        await program.follow(program.order.task, lambda state: state not in OPEN_STATES)


async def _stop(program: Program) -> None:
    """The program is told to stop in the middle of a download."""
    async with program.service.running():
        task = program.service.task(program.order.task).task
        clip = clip_label(program.deps, task).file_name
        with anyio.fail_after(SETTLE_SECONDS):
            while not _size(Path(program.order.home, "clips", f"{clip}.part")):  # noqa: ASYNC110 - a file sets no event
                await anyio.sleep(0.01)


def _size(path: Path) -> int:
    """How much is in a file so far; the fault that is meant for the program may strike this look, too."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def _resolve(program: Program) -> None:
    program.service.resolve(program.order.task, accepted_as="job-2")


SCENES: dict[str, Callable[[Program], Awaitable[None]]] = {
    "explain": _explain,
    "approve": _approve,
    "submit": _submit,
    "refused": _submit,
    "poll": _poll,
    "download": _download,
    "stop": _stop,
    "resolve": _resolve,
}


async def play(program: Program) -> dict[str, Any]:
    """Play the scene; a stubborn process afterwards does what it can, for a while, and then stops properly."""
    told: dict[str, Any] = {"refused": "", "raw": ""}
    # The watcher survives a mistake in one task and says so at this level; here that counts as a mistake.
    logging.getLogger("callsheet").addHandler(_Tell(told))
    try:
        # Real time: a process that waits five seconds for a disk is stopped before it has waited.
        with anyio.move_on_after(1.5) if program.order.stubborn else anyio.CancelScope():
            await SCENES[program.order.act](program)
    except Exception as error:
        _tell(told, error)
    if program.order.stubborn and not told["refused"]:
        try:
            async with program.service.running() as watcher:
                with anyio.move_on_after(0.5):
                    await program.settle(watcher)
        except Exception as error:
            _tell(told, error)
    return told


class _Tell(logging.Handler):
    """Takes the program's error messages down."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(logging.ERROR)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        """Note a message."""
        self._told["raw"] += f"{record.name}: {record.getMessage()}\n"


def _tell(told: dict[str, Any], error: BaseException) -> None:
    """A refusal in the program's own words is an answer; anything else is a mistake in the program."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            _tell(told, inner)
    elif isinstance(error, CallsheetError):
        told["refused"] = f"{error.error_code}: {error}"
        told["fate"] = error.fate.value
    elif isinstance(error, TimeoutError):
        told["refused"] = told["refused"] or "timeout"
    else:
        told["raw"] += "".join(traceback.format_exception(error))[-3000:]


# --- afterwards: a fresh process -----------------------------------------------------------------------


async def recover(program: Program) -> dict[str, Any]:
    """Start again, let everything end, then do once more what was asked for, as an agent would."""
    service, act = program.service, program.order.act
    async with service.running() as watcher:
        await program.settle(watcher)
        before = [item.task.id for item in service.tasks(limit=100)]
        if act in ("explain", "approve", "submit", "refused"):
            sheet = program.order.sheet or program.explain("shot")
            stored = program.deps.ledger().sheet(sheet)
            if stored.state in (SheetState.DRAFTED, SheetState.AWAITING_APPROVAL):
                program.approve(sheet)
            await program.submit(sheet)
        if act == "resolve":
            with suppress(CallsheetError):
                await _resolve(program)
        await program.settle(watcher)
        third = await _try_third(program)
    tasks = {item.task.id: item.task.state.value for item in service.tasks(limit=100)}
    spending = spending_now(program.deps, program.deps.policy().mode)
    return {"before": before, "tasks": tasks, "spent_today": str(spending.today), "third": third}


async def _try_third(program: Program) -> str:
    """The caps have room for two clips: a third one must be refused."""
    counted = [item for item in program.service.tasks(limit=100) if item.task.state in RESERVING_STATES]
    if len(counted) < 2:
        return "not tried"
    sheet = program.explain("third")
    try:
        program.approve(sheet)
        await program.submit(sheet)
    except PolicyRefusal:
        return "refused"
    return "taken"


# --- the process ---------------------------------------------------------------------------------------


async def perform(order: Order, ready: Callable[[int], None]) -> dict[str, Any]:
    """Do what the order says. `ready` is told the worker thread's id and returns when the scene may begin."""
    program = Program(order)
    act, _, upto = order.act.partition(":")
    if act == "prepare":
        return dict(await PREPARATIONS[upto](program))
    if act == "recover":
        return await recover(Program(Order(order.home, order.account, upto, order.offset, order.sheet, order.task)))
    import threading

    ready(await anyio.to_thread.run_sync(threading.get_native_id))
    return await play(program)
