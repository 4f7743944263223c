"""Keys that are sealed under the passphrase, on the desk: what such a sheet needs, and the tasks that wait for one.

Only the process in which a person typed the passphrase can open such a key, so what is approved here is sent from
here, at once. A passkey proves who somebody is, but opens no key.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from callsheet.core.consent.approval import Means
from callsheet.core.tasks.models import Sheet
from callsheet.core.tasks.states import TaskState
from callsheet.errors import CallsheetError
from callsheet.service import Service

from .requests import Visit

ANSWER_SECONDS = 0.5
"""Only to see a refusal at once; the task's page follows it, and a desk that is closed cuts off who waits here."""
NO_PASSKEY = (
    "This gateway's key is sealed under the approval passphrase. A passkey proves that it is you, but it cannot open"
    " the key, so here the passphrase is needed."
)


async def approve_and_send(visit: Visit, sheet: Sheet) -> Response:
    """Open the key for this one request, and lead to its task."""
    submission = await visit.office.service.approve_and_send(
        sheet.id, passphrase=visit.form.get("passphrase", ""), by=Means.DESK, wait_seconds=ANSWER_SECONDS
    )
    if submission.report is None:
        return visit.go(f"/sheets/{sheet.id}", submission.notice)
    return visit.go(f"/tasks/{submission.report.task.id}", "Approved and handed over to be sent, once.")


def held_keys(service: Service) -> list[dict[str, Any]]:
    """The gateways whose tasks wait to be asked after, with how many there are; what was not sent is a sheet's."""
    counts: dict[str, int] = {}
    for task in service.held():
        if task.state is TaskState.WAITING:
            continue
        counts[task.gateway] = counts.get(task.gateway, 0) + 1
    return [{"gateway": gateway, "tasks": count} for gateway, count in counts.items()]


async def open_key(visit: Visit) -> Response:
    """Open a key for as long as tasks need it, to ask after them; it pays for nothing."""
    office, gateway = visit.office, visit.named("gateway")
    office.service.facts(gateway)
    passphrase = visit.form.get("passphrase", "")
    try:
        await office.door.check(passphrase)
    except CallsheetError as error:
        visit.session.notices.append(error.message)
        return visit.go("/tasks")
    office.service.unlock(gateway, passphrase, by=Means.DESK)
    return visit.go("/tasks", f"The key of {gateway} is open, to ask after its tasks; it is forgotten with the last.")


__all__ = ["NO_PASSKEY", "approve_and_send", "held_keys", "open_key"]
