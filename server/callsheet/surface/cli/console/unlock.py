"""Opening sealed keys for tasks under way: who is asked, and what is opened once somebody follows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from callsheet.core.consent.approval import Means
from callsheet.core.tasks.models import Task
from callsheet.core.tasks.states import TaskState
from callsheet.errors import CallsheetError, NotApproved
from callsheet.surface.next_steps import for_person

from .send import agree_to_sheet
from .session import Session
from .terminal import TRIES, Person, meet_person, somebody_types
from .wording import joined


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a person gave: passphrases by gateway, the tasks to follow, and the sheets to send now, by gateway."""

    passphrases: dict[str, str] = field(default_factory=dict, repr=False)
    tasks: tuple[str, ...] = ()
    sheets: dict[str, str] = field(default_factory=dict)


def ask_for_keys(session: Session, task_ids: list[str]) -> Agreed:
    """Ask for the passphrase if one of these tasks waits for a sealed key and somebody is there to type it.

    Tasks under way are then followed. One that was never sent is shown again, and sent if its amount is typed: what
    the ledger calls approved is no reason to spend.
    """
    held = [task for task in session.service.held() if task.id in task_ids]
    agreed = Agreed(tasks=tuple(task.id for task in held))
    if not held or not somebody_types():
        return agreed
    gateways = list(dict.fromkeys(task.gateway for task in held))
    with meet_person(session.program.environ, session.redactor.text, purpose="open a sealed key") as person:
        many = len(held) > 1
        person.say(f"{len(held)} open task{'s need' if many else ' needs'} a sealed key ({joined(gateways)}).")
        known: list[str] = []
        for gateway in gateways:
            passphrase = _ask(session, person, gateway, known)
            if passphrase is not None:
                agreed.passphrases[gateway] = passphrase
                known.append(passphrase)
        unsent = [task for task in held if task.state is TaskState.WAITING and task.gateway in agreed.passphrases]
        for task in unsent:
            if _agrees(session, person, task):
                agreed.sheets[task.sheet_id] = task.gateway
    return agreed


async def open_keys(session: Session, agreed: Agreed) -> None:
    """Open what the person gave the passphrase for, and send what they agreed to. Needs the watcher."""
    for gateway, passphrase in agreed.passphrases.items():
        session.service.unlock(gateway, passphrase, wanted=agreed.tasks)
    for sheet_id, gateway in agreed.sheets.items():
        passphrase = agreed.passphrases[gateway]
        try:
            await session.service.approve_and_send(sheet_id, passphrase=passphrase, by=Means.TERMINAL, wait_seconds=0)
        except CallsheetError as error:
            # The others are followed all the same; this one still waits, and says so.
            session.screen.note(error.message, style="yellow")


def _ask(session: Session, person: Person, gateway: str, known: list[str]) -> str | None:
    """The passphrase that opens that gateway's key; None to leave its tasks as they are."""
    try:
        for passphrase in known:
            if session.service.opens(gateway, passphrase):
                return passphrase
        for _ in range(TRIES):
            typed = person.ask_secret(f"Approval passphrase, to open the key for {gateway} (Enter: not now)")
            if not typed:
                return None
            if session.service.opens(gateway, typed):
                return typed
            person.say("That is not the passphrase.", style="yellow")
    except CallsheetError as error:
        person.say(f"{error.message} {for_person(error.next_step)}", style="yellow")
        return None
    raise NotApproved(
        f"The approval passphrase was wrong {TRIES} times.",
        next_step="Somebody who knows the passphrase runs the same command again.",
    )


def _agrees(session: Session, person: Person, task: Task) -> bool:
    try:
        agree_to_sheet(session, person, task.sheet_id)
    except CallsheetError as error:
        person.say(f"{error.message} Task {task.id} is not sent.", style="yellow")
        return False
    return True


__all__ = ["Agreed", "ask_for_keys", "open_keys"]
