"""Uploads the person's own files of an approved sheet, and puts their links into the body that is sent.

A file leaves only for a task that may still be sent: spent on its sheet, with an approval in the audit trail. The link
is kept in this process and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection

from callsheet.core.consent import Mode
from callsheet.core.gateway.protocol import Uploader
from callsheet.core.payload.form import JSON, content_type, data_url, place_files
from callsheet.core.payload.own_files import place_links
from callsheet.core.security.urls import is_public_link
from callsheet.core.shot import OWN_FILE_SCHEME
from callsheet.core.tasks import ClaimedTask, Sheet, SheetState, Task, TaskState
from callsheet.errors import Action, CallsheetError, GatewayUnreachable, InvalidRequest, NextStep, NotApproved

from .consent import need_sheet, read_shot, upload_address
from .dependencies import Dependencies, card_of


def is_waiting(deps: Dependencies, task: Task) -> bool:
    """Whether the task still waits to be sent; another process, or a person, may have moved it on."""
    found = deps.ledger().task(task.id)
    return found is not None and found.state is TaskState.WAITING


def _need_sendable(deps: Dependencies, task: Task) -> Sheet:
    """The sheet, if the paid request of that task may follow: what the claim will ask, asked first. `NotApproved`."""
    sheet = need_sheet(deps, task.sheet_id)
    is_spent = sheet.state is SheetState.SPENT and sheet.task_id == task.id and is_waiting(deps, task)
    if not is_spent or (task.mode is Mode.LIVE and deps.ledger().consent.consent_to(sheet) is None):
        raise NotApproved(
            f"Nothing shows that a person approved sheet {sheet.id} for this task.",
            next_step=NextStep(Action.SUBMIT, "A person has to approve it first.", target=sheet.id),
        )
    return sheet


async def upload_file(deps: Dependencies, task: Task, name: str, *, others: Collection[str]) -> str:
    """The link that the gateway gives for a file. The file is read again and must be the one that was agreed to.

    `others` are the links of the shot's other files: two files never have the same.
    """
    gateway, facts = deps.gateway(task.gateway), deps.facts(task.gateway)
    if not isinstance(gateway, Uploader):
        raise InvalidRequest("The gateway takes no files.", next_step=NextStep(Action.EXPLAIN))
    sheet = _need_sendable(deps, task)
    content = deps.pictures.read(name)
    base_url, key, route = await deps.reach(task.mode, facts)
    if task.mode is Mode.LIVE:
        base_url = upload_address(facts, sheet.binding.base_url)
    # The file's own name may be private; this one says nothing but its content.
    digest, _, ending = name.removeprefix(OWN_FILE_SCHEME).partition(".")
    reply = await deps.http.post_file(
        gateway.build_upload(f"{digest[:32]}.{ending}", content), base_url=base_url, key=key, route=route
    )
    link = gateway.read_upload(reply)
    loopback = await deps.loopback_origin(task.mode, facts)
    usable = link is not None and link not in others and is_public_link(link, loopback=loopback)
    if link is None or not usable or deps.holds_key(key, link):
        what = f"HTTP {reply.status}" if link is None else "its answer has no usable link"
        raise GatewayUnreachable(f"The gateway did not take the picture ({what}).", next_step=NextStep(Action.WAIT))
    return link


def with_links(deps: Dependencies, claimed: ClaimedTask) -> bytes:
    """The approved body with the sheet's files in place of their names; those exact bytes where there is none.

    A file is its link, or for an endpoint the file itself, which is read again and must be the one that was agreed to.
    """
    card, links, frozen = card_of(deps, claimed.task), deps.uploaded.get(claimed.task.id, {}), claimed.sheet.body
    names = read_shot(deps, card, frozen).own_files
    if not names:
        return frozen
    try:
        if deps.facts(card.gateway).own:
            contents = {name: deps.pictures.read(name) for name in names}
            if content_type(frozen) != JSON:
                return place_files(frozen, contents)
            links = {name: data_url(name, content) for name, content in contents.items()}
        body = place_links(card, frozen, {name: links[name] for name in names})
    except (CallsheetError, KeyError, ValueError) as error:
        raise GatewayUnreachable("The files of the shot, or their links, are missing.", next_step=NextStep()) from error
    if read_shot(deps, card, body).own_files:
        raise GatewayUnreachable("A file of the shot has no link.", next_step=NextStep())
    return body
