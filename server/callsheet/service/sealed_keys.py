"""Sealed keys: who may send, who may read a status, and what waits for a person who knows the passphrase.

A sealed key is opened in the process in which its passphrase was typed, because passing it on would expose it.
There it pays for the one sheet that the person agreed to, and reads the status of tasks under way. When the last of
them has ended it is forgotten. Other processes hold such tasks: their status is not read, they are not lost, and they
say what a person has to do. What the ledger says of an approval does not count here: the permit is in `deps.opened`,
in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import anyio.to_thread

from callsheet.core.consent import DUPLICATE, Mode, sheet_id_for
from callsheet.core.gateway.protocol import Postponed, Route, SubmitOutcome
from callsheet.core.spending import is_fresh
from callsheet.core.tasks import OPEN_STATES, Problem, Sheet, SheetState, Task, TaskState
from callsheet.errors import (
    Action,
    CallsheetError,
    Fate,
    GatewayUnreachable,
    InvalidRequest,
    KeyProblem,
    NextStep,
    NotApproved,
)

from .blockers import require_mode, require_unblocked
from .consent import (
    NEW_SHEET,
    approvable,
    approval_text,
    binding_now,
    changed_since,
    earlier_takes,
    need_sheet,
    render_shown,
    require_unchanged,
)
from .dependencies import KEY_SEALED, Dependencies, card_of
from .ports import SealedKey, SecretKey, build_redactor, open_key
from .results import OPEN_THE_KEY, fate_of, waits_for_key

HELD_SECONDS = 60.0
ALL = -1
SENT_STATES = tuple(OPEN_STATES - {TaskState.WAITING})
NEEDING_KEY = (TaskState.WAITING, TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED)

UNSENT_TEXT = "its key is sealed, and sending needs a person's passphrase"
UNASKED_TEXT = "its key is sealed, so its status is not read until a person opens the key"

IsAlive = Callable[[str | None], bool]


def uses_sealed_key(deps: Dependencies, item: Sheet | Task) -> bool:
    """Whether that sheet or task is live and the key of its gateway is sealed."""
    gateway_id = item.binding.gateway if isinstance(item, Sheet) else item.gateway
    return item.mode is Mode.LIVE and deps.is_sealed(gateway_id)


def is_locked(deps: Dependencies, item: Sheet | Task) -> bool:
    """Whether a sealed key keeps this process from sending that sheet, or from reading the status of that task.

    For a sheet the key must have been opened here for this very sheet; for a task it is enough that it is open.
    """
    if not uses_sealed_key(deps, item):
        return False
    return not (deps.opened.allows(item.id) if isinstance(item, Sheet) else deps.opened.is_open(item.gateway))


def needs_passphrase(deps: Dependencies, sheet_id: str) -> bool:
    """Whether a sealed key must be opened to send that sheet, which was not sent yet."""
    sheet, task = deps.ledger().sheet(sheet_id), _task_of(deps, sheet_id)
    return sheet is not None and uses_sealed_key(deps, sheet) and (task is None or task.state is TaskState.WAITING)


def stays_locked(deps: Dependencies, task: Task) -> bool:
    """Whether an open task goes on only when a person opens its key; a finished clip is fetched without one."""
    return is_locked(deps, task) and task.state is not TaskState.SUCCEEDED


def opens(deps: Dependencies, gateway_id: str, passphrase: str) -> bool:
    """Whether that passphrase opens the gateway's sealed key. Raises `KeyProblem` for a key that cannot be opened."""
    try:
        _open(deps, gateway_id, passphrase)
    except NotApproved:
        return False
    return True


def unlock(
    deps: Dependencies, gateway_id: str, passphrase: str, *, is_alive: IsAlive, wanted: Collection[str] = ()
) -> int:
    """Open a key to follow tasks, and take over those that wait for it, or are `wanted`; how many.

    It is forgotten immediately when no task needs it. Raises `NotApproved`, `KeyProblem`.
    """
    _keep(deps, _open(deps, gateway_id, passphrase))
    taken = take_over(deps, gateway_id, is_alive=is_alive, wanted=wanted)
    forget_idle(deps)
    return taken


async def permit(deps: Dependencies, sheet_id: str, passphrase: str) -> Sheet:
    """Open the key for one paid request of that sheet in its present state. Raises what prevents it.

    The sheet's id is derived from everything that is bound, so what was shown under this id is what is sent, whatever
    was written into the ledger meanwhile.
    """
    gateway_id = sendable(deps, sheet_id).binding.gateway
    opened = await anyio.to_thread.run_sync(_open, deps, gateway_id, passphrase)
    # Opening takes its time; what holds now counts.
    sheet = sendable(deps, sheet_id)
    digest = binding_now(deps, sheet).digest
    if build_redactor([opened[0]]).finds(sheet.body.decode("utf-8", "replace")):
        raise InvalidRequest(
            "The payload contains the gateway key, which was sealed when the payload was drafted.",
            next_step=NextStep(
                Action.DECLINE,
                "Decline the sheet and draft it again without the key. Replace the key: the payload's author knows it.",
                target=sheet.id,
            ),
        )
    _keep(deps, opened)
    deps.opened.allow(gateway_id, sheet.id, digest=digest)
    return sheet


def claim_for_sending(deps: Dependencies, sheet_id: str) -> None:
    """Make the task of a sheet with a permit this process's own, to be sent immediately.

    Where another process was faster and is sending it, this permit is taken back.
    """
    task, now = _task_of(deps, sheet_id), deps.clock.now()
    if task is None or task.state is not TaskState.WAITING:
        withdraw(deps, sheet_id)
    elif deps.opened.allows(sheet_id):
        deps.ledger().touch(task.id, now=now, changes={"owner": deps.runner_id, "next_at": now, "problem": None})
        deps.changes.notify()


def take_unfollowed(deps: Dependencies, task: Task, *, is_alive: IsAlive) -> None:
    """Take over a task whose process ended before it could send it, unless its key is sealed."""
    if task.state is TaskState.WAITING and not is_alive(task.owner) and not uses_sealed_key(deps, task):
        deps.ledger().touch(task.id, now=deps.clock.now(), changes={"owner": deps.runner_id})
        deps.changes.notify()


def approval_texts(deps: Dependencies, sheet: Sheet) -> tuple[str, str]:
    """Why a sheet was not sent, and what follows its approval."""
    if not is_locked(deps, sheet):
        return "Not approved yet: nothing was sent.", "The approval sends it. Submit the sheet again to get its task."
    return (
        "Nothing was sent: the key is sealed, so only a person can have it sent.",
        "The approval also sends it and saves the clip. Submit the sheet again after that to get its task.",
    )


def withdraw(deps: Dependencies, sheet_id: str) -> None:
    """Take back a permit that was not used."""
    deps.opened.settle(sheet_id)
    forget_idle(deps)


def tend(deps: Dependencies, *, is_alive: IsAlive) -> None:
    """Of tasks whose key is sealed: take over what waits for a key that is open here, hold what is this process's own.

    They are held immediately, before they are next due, so that a person who looks sees what to do. A key whose last
    task ended elsewhere is forgotten, and with it every permit for what another process has sent.
    """
    for facts in deps.catalogue().gateways:
        if not deps.is_sealed(facts.id):
            continue
        if deps.opened.is_open(facts.id):
            take_over(deps, facts.id, is_alive=is_alive)
            continue
        for task in _open_tasks(deps, facts.id):
            if task.owner == deps.runner_id and not waits_for_key(task) and task.state is not TaskState.SUCCEEDED:
                hold_unsent(deps, task) if task.state is TaskState.WAITING else hold_unasked(deps, task)
    forget_idle(deps)


def take_over(deps: Dependencies, gateway_id: str, *, is_alive: IsAlive, wanted: Collection[str] = ()) -> int:
    """Make tasks that wait for that gateway's key, or whose process is gone, this process's own; how many.

    What waits to be sent is taken only with a permit. Tasks that another process is following stay there.
    """
    now, taken = deps.clock.now(), 0
    for task in _open_tasks(deps, gateway_id):
        if task.state is TaskState.WAITING and not deps.opened.allows(task.sheet_id):
            continue
        asked = waits_for_key(task) or (task.id in wanted and task.owner != deps.runner_id)
        if asked or (task.owner != deps.runner_id and not is_alive(task.owner)):
            changes = {"owner": deps.runner_id, "next_at": now, "problem": None}
            deps.ledger().touch(task.id, now=now, changes=changes)
            taken += 1
    if taken:
        deps.changes.notify()
    return taken


def locked_tasks(deps: Dependencies, *, is_alive: IsAlive) -> list[Task]:
    """Open tasks that wait for a sealed key, or will, since no process that might have it open follows them."""
    tasks = [
        task for gateway_id in _sealed_gateways(deps) for task in _open_tasks(deps, gateway_id) if is_locked(deps, task)
    ]
    return [
        task
        for task in tasks
        if waits_for_key(task) or (_is_nobodys(deps, task, is_alive) and stays_locked(deps, task))
    ]


def _is_nobodys(deps: Dependencies, task: Task, is_alive: IsAlive) -> bool:
    """Whether no other process, which may have the key open, follows the task."""
    return task.owner == deps.runner_id or not is_alive(task.owner)


def unsent_sheets(deps: Dependencies, *, is_alive: IsAlive) -> list[Sheet]:
    """Sheets of sealed keys that only a person can have sent: called approved in the ledger, or spent and not sent."""
    now, ledger = deps.clock.now(), deps.ledger()
    found = [sheet for sheet in ledger.sheets([SheetState.APPROVED]) if is_fresh(sheet, now)]
    for gateway_id in _sealed_gateways(deps):
        for task in _open_tasks(deps, gateway_id, states=(TaskState.WAITING,)):
            sheet = ledger.sheet(task.sheet_id)
            if sheet is not None and (waits_for_key(task) or _is_nobodys(deps, task, is_alive)):
                found.append(sheet)
    return [sheet for sheet in found if is_locked(deps, sheet)]


def _sealed_gateways(deps: Dependencies) -> list[str]:
    return [facts.id for facts in deps.catalogue().gateways if deps.is_sealed(facts.id)]


def hold_unsent(deps: Dependencies, task: Task) -> Task:
    """Keep a task that nobody may pay for in this process; nothing was sent."""
    return _hold(deps, task, Problem(KEY_SEALED, UNSENT_TEXT, Fate.NOTHING_SENT.value))


def hold_unasked(deps: Dependencies, task: Task) -> Task:
    """Keep a task under way that this process cannot ask after."""
    return _hold(deps, task, Problem(KEY_SEALED, UNASKED_TEXT, Fate.CHARGED.value))


async def reach_to_pay(deps: Dependencies, task: Task, sheet: Sheet) -> tuple[str, SecretKey | None, Route]:
    """Base URL, key and route for a task's paid request. A sealed key is handed out once, for the sheet it is open for.

    The route is that of the approval, whatever happened to the policy since.
    """
    facts = deps.facts(task.gateway)
    if not uses_sealed_key(deps, sheet):
        base_url, key, route = await deps.reach(task.mode, facts)
    else:
        (_, route), digest = deps.live_way(facts), binding_now(deps, sheet).digest
        base_url = sheet.binding.base_url
        where = route.destination(base_url)
        key = deps.opened.take(task.gateway, sheet.id, digest=digest, base_url=where)
        if key is None:
            raise KeyProblem(f"Not sent: {UNSENT_TEXT}.", next_step=OPEN_THE_KEY, code=KEY_SEALED)
    if task.mode is Mode.LIVE:
        base_url = sheet.binding.base_url
        if route.mark != sheet.binding.route:
            raise KeyProblem("Not sent: the way to the server has changed.", next_step=NEW_SHEET)
    return base_url, key, route


def settle_permit(deps: Dependencies, sheet: Sheet, outcome: SubmitOutcome | CallsheetError) -> None:
    """After a paid request: the permit holds on only if the request surely bought nothing and may be tried again."""
    if isinstance(outcome, GatewayUnreachable | Postponed):
        deps.opened.give_back(sheet.id)
    else:
        deps.opened.settle(sheet.id)


def forget_idle(deps: Dependencies) -> None:
    """Forget the opened keys for which this process has nothing left to do."""
    for gateway_id in deps.opened.gateways():
        for sheet_id in deps.opened.permitted(gateway_id):
            task = _task_of(deps, sheet_id)
            if task is not None and task.state not in (TaskState.WAITING, TaskState.SUBMITTING):
                deps.opened.settle(sheet_id)
        # What waits without a permit has no use for the key.
        mine = any(task.owner == deps.runner_id for task in _open_tasks(deps, gateway_id, states=SENT_STATES))
        if not mine and not deps.opened.permitted(gateway_id):
            deps.opened.forget(gateway_id)
            # Built again, so that the redactor no longer holds this key either.
            deps.redactor()


def sending_text(deps: Dependencies, sheet_id: str) -> str:
    """What the person is shown who is about to have a sheet sent, rendered now; raises as `sendable`."""
    sheet = sendable(deps, sheet_id)
    if sheet.task_id is None:
        return approval_text(deps, sheet_id)
    earlier = earlier_takes(deps, sheet.binding)
    if not earlier.startswith(DUPLICATE):
        earlier = f"Approved before and not sent yet: task {sheet.task_id}."
    return render_shown(deps, card_of(deps, sheet), sheet.binding, body=sheet.body, price=sheet.price, earlier=earlier)


def sendable(deps: Dependencies, sheet_id: str) -> Sheet:
    """The sheet, if its key is sealed and a person could have it sent now: not spent yet, or spent and not sent.

    It must be unchanged, and its id must match what it is bound to. Raises `NotApproved`, `PolicyRefusal`,
    `KeyProblem`, `InvalidRequest`.
    """
    sheet = need_sheet(deps, sheet_id)
    require_mode(deps.policy(), sheet)
    if not uses_sealed_key(deps, sheet):
        raise KeyProblem(
            f"The key for {sheet.binding.gateway} is not sealed.",
            next_step=NextStep(Action.APPROVE, "It needs no sealed key.", target=sheet.id, home=deps.home),
        )
    task = _task_of(deps, sheet_id)
    if task is None:
        sheet = approvable(deps, sheet_id)
    elif task.state is not TaskState.WAITING:
        raise InvalidRequest(
            f"Sheet {sheet_id} was already sent, as task {task.id}.",
            next_step=NextStep(Action.GET, target=task.id),
            fate=fate_of(task),
        )
    else:
        require_unblocked(deps, sheet)
    changed = changed_since(deps, sheet)
    if not changed and sheet_id_for(sheet.binding.digest) != sheet.id:
        changed = ("all of it",)
    require_unchanged(sheet, changed)
    return sheet


def _task_of(deps: Dependencies, sheet_id: str) -> Task | None:
    sheet = deps.ledger().sheet(sheet_id)
    return deps.ledger().task(sheet.task_id) if sheet is not None and sheet.task_id is not None else None


def _open_tasks(deps: Dependencies, gateway_id: str, *, states: tuple[TaskState, ...] = NEEDING_KEY) -> list[Task]:
    tasks = deps.ledger().tasks(states=states, limit=ALL)
    return [task for task in tasks if task.mode is Mode.LIVE and task.gateway == gateway_id]


def _open(deps: Dependencies, gateway_id: str, passphrase: str) -> tuple[SecretKey, SealedKey]:
    sealed = deps.sealed_key(gateway_id)
    if sealed is None:
        raise KeyProblem(f"The key for {gateway_id} is not sealed.", next_step=NextStep(Action.LIST_KEYS))
    return open_key(sealed, passphrase, base_url=deps.destination(deps.facts(gateway_id))), sealed


def _keep(deps: Dependencies, opened: tuple[SecretKey, SealedKey]) -> None:
    key, sealed = opened
    deps.opened.keep(key, base_url=sealed.base_url)


def _hold(deps: Dependencies, task: Task, problem: Problem) -> Task:
    now = deps.clock.now()
    changes = {"problem": problem, "next_at": now + HELD_SECONDS}
    held = deps.ledger().touch(task.id, now=now, changes=changes, lasting=False)
    deps.changes.notify()
    return held
