"""Opening the desk from a client: only if the client declared it, and its answer approves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from connection import ERAS, Person, connect, explained
from mcp.types import ElicitResult

from callsheet.core.consent import Means
from callsheet.service import ANSWER_SECONDS, Service, Submission
from workspace import Workspace, accepted

DESK = "http://localhost:4711/"
WENT = ElicitResult(action="accept")


def with_desk(workspace: Workspace) -> Service:
    """A service of an install whose person has the desk open and asks for the passphrase each time."""
    workspace.go_live('[approval]\nfloor = "passphrase"\n')
    service = workspace.service()
    service.deps = replace(service.deps, desk_url=lambda: DESK)
    return service


@pytest.mark.parametrize("era", ERAS)
async def test_the_client_opens_the_desk_and_an_approval_there_counts(workspace: Workspace, era: str) -> None:
    """The page's address names the sheet and holds no secret; the approval is found in the ledger."""
    service = with_desk(workspace)
    workspace.gateway.replies = [accepted()]
    person = Person(WENT)
    async with connect(workspace, era, person, service=service) as client:
        sheet_id = await explained(client)
        person.before_answering = lambda: service.approve(sheet_id, by=Means.PASSKEY)
        result = await client.call_tool("submit_video", {"sheet_id": sheet_id})

    [params] = person.asked
    assert params.mode == "url"
    assert params.url == f"{DESK}sheets/{sheet_id}"
    assert result.structured_content["status"] == "accepted"
    assert len(workspace.gateway.paid) == 1
    assert workspace.service().deps.ledger().sheet(sheet_id).approved_by is Means.PASSKEY


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_opening_the_desk_approves_nothing(workspace: Workspace, era: str, action: str) -> None:
    """Whatever the client answers, only the ledger says whether the person agreed."""
    service = with_desk(workspace)
    submit = service.submit_together

    async def no_wait(sheet_ids: Sequence[str], **_: object) -> list[Submission]:
        return await submit(sheet_ids, wait_seconds=0)

    service.submit_together = no_wait  # type: ignore[method-assign,assignment]
    person = Person(ElicitResult(action=action))
    async with connect(workspace, era, person, service=service) as client:
        sheet_id = await explained(client)
        result = await client.call_tool("submit_video", {"sheet_id": sheet_id})

    answer = result.structured_content
    assert answer["status"] == "approval_needed"
    assert answer["money"] == "Nothing was sent; no money was spent."
    assert f"callsheet approve {sheet_id}`" in answer["next_step"]
    assert f"{DESK}sheets/{sheet_id}" in answer["next_step"]
    assert workspace.gateway.requests == []


async def test_a_call_that_opens_the_desk_answers_before_clients_time_out(workspace: Workspace) -> None:
    """The wait for the person and the wait for the gateway together are shorter than 60 s."""
    service = with_desk(workspace)
    workspace.gateway.replies = [accepted()]
    submit, waits = service.submit_together, []

    async def approve_then(sheet_ids: Sequence[str], *, wait_seconds: float, **_: object) -> list[Submission]:
        waits.append(wait_seconds + ANSWER_SECONDS)
        if wait_seconds:
            service.approve(sheet_ids[0], by=Means.PASSKEY)
        return await submit(sheet_ids, wait_seconds=wait_seconds)

    service.submit_together = approve_then  # type: ignore[method-assign,assignment]
    async with connect(workspace, ERAS[-1], Person(WENT), service=service) as client:
        result = await client.call_tool("submit_video", {"sheet_id": await explained(client)})

    assert result.structured_content["status"] == "accepted"
    assert ANSWER_SECONDS < waits[-1] < 60.0


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_cannot_open_pages_gets_command_and_address(workspace: Workspace, era: str) -> None:
    """The desk's address stands beside the command."""
    service = with_desk(workspace)
    async with connect(workspace, era, service=service) as client:
        sheet_id = await explained(client)
        answer = (await client.call_tool("submit_video", {"sheet_id": sheet_id})).structured_content

    assert answer["status"] == "approval_needed"
    assert f"{DESK}sheets/{sheet_id}" in answer["next_step"]
    assert workspace.gateway.requests == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_closed_desk_is_never_opened(workspace: Workspace, era: str) -> None:
    """And above the floor the form is not shown either: it would not do."""
    workspace.go_live('[approval]\npassphrase_from = "0.24"\n')
    person = Person(WENT)
    async with connect(workspace, era, person) as client:
        sheet_id = await explained(client)
        answer = (await client.call_tool("submit_video", {"sheet_id": sheet_id})).structured_content

    assert person.asked == []
    assert answer["status"] == "approval_needed"
    assert "http" not in answer["next_step"]
    assert workspace.gateway.requests == []
