"""Keys that are sealed under the passphrase, on the desk: what such a sheet needs, and the tasks that wait for one.

Only the process in which a person typed the passphrase can open such a key, so what is approved here is sent from
here, at once. A passkey proves who somebody is, but opens no key.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, cast

from starlette.responses import Response

from callsheet.core.approval import Means
from callsheet.core.policy import Mode
from callsheet.core.sheet import Sheet, Task
from callsheet.errors import CallsheetError
from callsheet.service import Service, Submission

from .visits import Visit

ANSWER_SECONDS = 10.0
NO_PASSKEY = (
    "This gateway's key is sealed under the approval passphrase. A passkey proves that it is you, but it cannot open"
    " the key, so here the passphrase is needed."
)


class Sealing(Protocol):
    """The use cases around sealed keys."""

    def needs_seal(self, sheet_id: str) -> bool: ...
    def payable(self, sheet_id: str) -> Sheet: ...
    def sending_text(self, sheet_id: str) -> str: ...
    def held(self) -> list[Task]: ...
    def unlock(self, gateway_id: str, passphrase: str, *, by: Means) -> int: ...
    def approve_and_send(
        self, sheet_id: str, *, passphrase: str, by: Means, wait_seconds: float
    ) -> Awaitable[Submission]: ...


def sealing_of(service: Service) -> Sealing | None:
    """Those use cases, None in a program that cannot seal keys."""
    return cast("Sealing", service) if hasattr(service, "needs_seal") else None


def awaits_key(service: Service, sheet: Sheet) -> bool:
    """Whether a sealed key must be opened to send that sheet, which was not sent yet, whatever its state says."""
    sealing = sealing_of(service)
    if sealing is not None:
        return sealing.needs_seal(sheet.id)
    return sheet.mode is Mode.LIVE and service.world.is_sealed(sheet.binding.gateway)


async def approve_and_send(visit: Visit, sheet: Sheet) -> Response:
    """Open the key for this one request, and lead to its task."""
    sealing = sealing_of(visit.office.service)
    assert sealing is not None
    submission = await sealing.approve_and_send(
        sheet.id, passphrase=visit.form.get("passphrase", ""), by=Means.DESK, wait_seconds=ANSWER_SECONDS
    )
    if submission.report is None:
        return visit.go(f"/sheets/{sheet.id}", submission.notice)
    return visit.go(f"/tasks/{submission.report.task.id}", "Approved and handed over to be sent, once.")


def held_keys(service: Service) -> list[dict[str, Any]]:
    """The gateways whose tasks wait for their key to be opened, with how many there are."""
    sealing = sealing_of(service)
    counts: dict[str, int] = {}
    for task in sealing.held() if sealing is not None else ():
        counts[task.gateway] = counts.get(task.gateway, 0) + 1
    return [{"gateway": gateway, "tasks": count} for gateway, count in counts.items()]


async def open_key(visit: Visit) -> Response:
    """Open a key for as long as tasks need it, to ask after them; it pays for nothing."""
    office, gateway = visit.office, visit.named("gateway")
    office.service.world.facts(gateway)
    sealing = sealing_of(office.service)
    passphrase = visit.form.get("passphrase", "")
    try:
        await office.door.check(passphrase)
    except CallsheetError as error:
        visit.session.notices.append(error.message)
        return visit.go("/tasks")
    if sealing is not None:
        sealing.unlock(gateway, passphrase, by=Means.DESK)
    return visit.go("/tasks", f"The key of {gateway} is open, to ask after its tasks; it is forgotten with the last.")


__all__ = ["NO_PASSKEY", "approve_and_send", "awaits_key", "held_keys", "open_key", "sealing_of"]
