"""Running and stopping: tasks are followed while the program runs, and the sandbox is served when it is first needed.

When the program stops, paid requests get a grace, and the background watcher goes on with live tasks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import anyio

from callsheet.core.consent import Mode
from callsheet.core.tasks import OPEN_STATES, Pruned, PruneLimits, SheetState, Task
from callsheet.errors import Action, CallsheetError, NextStep, SetupProblem
from callsheet.service import sealed_keys

from .approval.desk import DeskOnDemand
from .approval.forward import release_all
from .dependencies import Dependencies
from .export import ALL
from .ports import Leases, TaskRunner
from .results import lacks_key, shortest_kept

LOOK_AGAIN_SECONDS = 1.0
"""Another process may have changed something; the ledger is looked at again this often."""


class SandboxServer:
    """Holds one serving sandbox open. `run` belongs into a task group; `url` waits for it."""

    def __init__(self, open_sandbox: Callable[[], AbstractAsyncContextManager[str]]) -> None:
        self._open_sandbox = open_sandbox
        self._wanted: anyio.Event | None = None
        self._ready: anyio.Event | None = None
        self._url = ""
        self._failure: CallsheetError | None = None

    async def url(self) -> str:
        """The sandbox's base URL; starts it on first use. Raises `SetupProblem` when it cannot be served."""
        if self._wanted is None or self._ready is None:
            raise SetupProblem("The sandbox is not running.", next_step="This is a bug in Callsheet; please report it.")
        self._wanted.set()
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self._url

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve from the first call of `url` until cancelled."""
        self._wanted, self._ready = anyio.Event(), anyio.Event()
        self._failure = None
        task_status.started()
        await self._wanted.wait()
        try:
            async with self._open_sandbox() as url:
                self._url = url
                self._ready.set()
                await anyio.sleep_forever()
        except OSError as error:
            self._failure = SetupProblem(
                f"The sandbox could not be served on loopback ({type(error).__name__}).",
                next_step="Check that this program may listen on 127.0.0.1.",
            )
            self._ready.set()
        finally:
            self._wanted = self._ready = None


STOP_GRACE_SECONDS = 8.0
"""Below the 10 s after which most supervisors kill a process that was asked to stop."""

TEND_SECONDS = 2.0
"""As often as a runner adopts tasks, so that a task with a sealed key is held or taken over as fast as any other."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a process holds and serves while it follows tasks."""

    leases: Leases
    sandbox: SandboxServer
    desk: DeskOnDemand


@asynccontextmanager
async def run(
    deps: Dependencies,
    runner: TaskRunner,
    beside: Beside,
    *,
    grace_seconds: Callable[[], float],
) -> AsyncIterator[TaskRunner]:
    """Follow tasks while the block runs. On leaving, paid requests on their way get `grace_seconds` to be answered.

    Raises `SetupProblem` where the lock file that shows this process to be alive cannot be created.
    """
    # Before anything is started, so that an unusable directory is an error here and does not end a run under way.
    beside.leases.hold()
    async with deps.http, anyio.create_task_group() as group:
        await group.start(beside.sandbox.run)
        await group.start(beside.desk.run)
        try:
            async with anyio.create_task_group() as runners:
                runners.start_soon(runner.watch)
                runners.start_soon(_tend, deps, beside.leases)
                runners.start_soon(_keep_fresh, deps)
                try:
                    yield runner
                finally:
                    runner.stop()
                    # Paid requests are shielded. What has not been sent yet must not go out any more.
                    runners.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await _wind_down(deps, grace_seconds())
        finally:
            deps.opened.forget_all()
            # The sandbox outlives the requests that it is to answer.
            group.cancel_scope.cancel()


async def _tend(deps: Dependencies, leases: Leases) -> None:
    """Look after tasks whose key is sealed, and after sheets that were released: see `tend`, `release_all`."""
    while True:
        # The runner reports trouble with the ledger; here it only means later.
        with suppress(CallsheetError):
            sealed_keys.tend(deps, is_alive=leases.is_alive)
            release_all(deps)
        await deps.changes.wait(TEND_SECONDS)


async def _keep_fresh(deps: Dependencies) -> None:
    # Imported when used: a start is faster without it.
    from .catalogue.refresh import keep_fresh

    await keep_fresh(deps)


async def _wind_down(deps: Dependencies, grace_seconds: float) -> None:
    """Give paid requests that are on their way a bounded time to be answered."""
    deadline = anyio.current_time() + grace_seconds
    while deps.sending and anyio.current_time() < deadline:
        await deps.changes.wait(0.1)
    for scope in list(deps.sending.values()):
        scope.cancel()
    # A cancelled request stores what is known of it before it lets go; that takes no network.
    while deps.sending:
        await deps.changes.wait(0.05)


def hand_over(deps: Dependencies, leases: Leases, *, starts: bool = True) -> NextStep | None:
    """What follows the open tasks of a program that ends, and what to say of it; None where nothing is open.

    If it `starts` one, the background watcher goes on with live tasks that nobody follows. Call it after `run` has been
    left: of several processes that end together, the last one then sees that no other is left. Ledger errors are
    ignored, since the program is exiting.
    """
    try:
        tasks = deps.ledger().tasks(states=tuple(OPEN_STATES), limit=ALL)
        mine = [task for task in tasks if task.owner == deps.runner_id or not leases.is_alive(task.owner)]
        sealed = [task for task in mine if sealed_keys.stays_locked(deps, task)]
        left = [task for task in mine if task not in sealed]
        keyless = [task for task in left if lacks_key(deps, task)]
        who = _follower(deps, leases, [task for task in left if task not in keyless], starts=starts)
        kept = shortest_kept(deps, [task for task in left if task.mode is Mode.LIVE])
    except CallsheetError:
        return None
    texts, action = [], Action.NOTHING
    if left:
        open_ = f"{len(left)} task{'s are' if len(left) > 1 else ' is'} still open"
        them, clips = ("them", "their clips are") if len(left) > 1 else ("it", "its clip is")
        if who:
            texts.append(f"{open_}; {who.format(them)}.")
        elif kept:
            until = f"until {clips} saved. {kept}"
            texts.append(f"{open_}, and nothing follows {them} now. Keep this running {until}")
        else:
            texts.append(f"{open_}; the next start of Callsheet picks {them} up.")
        action = Action.NOTHING if who else Action.WATCH
    if keyless:
        need = "tasks need" if len(keyless) > 1 else "task needs"
        texts.append(f"{len(keyless)} {need} a key that this process does not have: run it where the key is set.")
        action = Action.WATCH
    if sealed:
        wait = "tasks wait" if len(sealed) > 1 else "task waits"
        texts.append(f"{len(sealed)} open {wait} for a sealed key, which needs the passphrase at a terminal.")
        action = Action.WATCH
    return NextStep(action, " ".join(texts)) if texts else None


def _follower(deps: Dependencies, leases: Leases, left: list[Task], *, starts: bool) -> str:
    """What follows these tasks, as the end of a sentence; empty where nothing does. May start the watcher."""
    if not left:
        return ""
    if leases.others_live():
        return "another running Callsheet picks {} up within seconds"
    is_live = any(task.mode is Mode.LIVE for task in left)
    if starts and is_live and deps.policy().background and deps.start_watcher():
        return "a background process follows {} until nothing is open"
    return ""


def prune(deps: Dependencies, limits: PruneLimits, *, dry_run: bool) -> Pruned:
    """Remove old rows, and old kept pictures that no sheet names any more.

    With `dry_run` nothing is removed, and the pictures of sheets that are old are counted too.
    """
    pruned = deps.ledger().prune(limits, dry_run=dry_run)
    left = deps.ledger().sheets(tuple(SheetState), limit=ALL)
    used = {name for sheet in left for name in sheet.shot.own_files if not dry_run or sheet.made_at >= limits.before}
    return replace(pruned, pictures=deps.pictures.prune(used, before=limits.before, dry_run=dry_run))
