"""Unlocking sealed keys for open tasks: asks the person first, and unlocks once the runner follows the tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from callsheet.core.consent import Means
from callsheet.core.tasks import Task, TaskState
from callsheet.errors import CallsheetError
from callsheet.surface.next_steps import for_person
from callsheet.surface.text import join_words

from .prompts import wrong_passphrase
from .send import confirm_sheet
from .session import Session
from .terminal import TRIES, Terminal, is_interactive


@dataclass(frozen=True, slots=True)
class Unlocks:
    """What the person gave: passphrases by gateway, the tasks to follow, and the sheets to send now, by gateway."""

    passphrases: dict[str, str] = field(default_factory=dict, repr=False)
    tasks: tuple[str, ...] = ()
    sheets: dict[str, str] = field(default_factory=dict)


def ask_to_unlock(session: Session, task_ids: list[str]) -> Unlocks:
    """Ask for the passphrase if one of these tasks waits for a sealed key and a person is at the terminal.

    Tasks under way are then followed. A task that was never sent is shown again and sent only if its amount is typed:
    an approval in the ledger is not enough to spend money.
    """
    held = [task for task in session.service.held() if task.id in task_ids]
    unlocks = Unlocks(tasks=tuple(task.id for task in held))
    if not held or not is_interactive():
        return unlocks
    gateways = list(dict.fromkeys(task.gateway for task in held))
    with session.open_terminal("unlock a sealed key") as terminal:
        tasks = "1 open task needs" if len(held) == 1 else f"{len(held)} open tasks need"
        terminal.write(f"{tasks} a sealed key ({join_words(gateways)}).")
        for gateway in gateways:
            passphrase = _ask(session, terminal, gateway, [*unlocks.passphrases.values()])
            if passphrase is not None:
                unlocks.passphrases[gateway] = passphrase
        for task in held:
            unsent = task.state is TaskState.WAITING and task.gateway in unlocks.passphrases
            if unsent and _confirms(session, terminal, task):
                unlocks.sheets[task.sheet_id] = task.gateway
    return unlocks


async def unlock_and_send(session: Session, unlocks: Unlocks) -> None:
    """Unlock the keys whose passphrase was typed, and send what the person agreed to. Needs the runner."""
    for gateway, passphrase in unlocks.passphrases.items():
        session.service.unlock(gateway, passphrase, wanted=unlocks.tasks)
    for sheet_id, gateway in unlocks.sheets.items():
        passphrase = unlocks.passphrases[gateway]
        try:
            await session.service.approve_and_send(sheet_id, passphrase=passphrase, by=Means.TERMINAL, wait_seconds=0)
        except CallsheetError as error:
            # The other tasks are still followed; this one keeps waiting, and its status says so.
            session.output.write_note(error.message, style="yellow")


def _ask(session: Session, terminal: Terminal, gateway: str, known: list[str]) -> str | None:
    """The passphrase that unlocks that gateway's key; None to leave its tasks waiting."""
    try:
        for passphrase in known:
            if session.service.opens(gateway, passphrase):
                return passphrase
        for _ in range(TRIES):
            typed = terminal.ask_secret(f"Approval passphrase, to unlock the key for {gateway} (Enter: not now)")
            if not typed:
                return None
            if session.service.count_try(partial(session.service.opens, gateway, typed)):
                return typed
            terminal.write("That is not the passphrase.", style="yellow")
    except CallsheetError as error:
        terminal.write(f"{error.message} {for_person(error.next_step)}", style="yellow")
        return None
    raise wrong_passphrase()


def _confirms(session: Session, terminal: Terminal, task: Task) -> bool:
    try:
        confirm_sheet(session, terminal, task.sheet_id)
    except CallsheetError as error:
        terminal.write(f"{error.message} Task {task.id} is not sent.", style="yellow")
        return False
    return True
