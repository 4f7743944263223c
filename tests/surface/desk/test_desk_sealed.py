"""Sealed keys on the desk: the passphrase opens one, for one request, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from desk_client import PASSPHRASE, Desk, open_desk, seen, set_passphrase

from callsheet.core.consent import Means
from callsheet.core.tasks import SheetEvent, TaskState
from callsheet.edges.keys.passphrase import create_recipe
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from samples import CHEAP
from workspace import KEY, Workspace, accepted, draft


@asynccontextmanager
async def sealed_desk(workspace: Workspace) -> AsyncIterator[Desk]:
    """The desk of an install in live mode whose key for PoYo is sealed, with its runner."""

    workspace.write_policy('mode = "live"\n')
    set_passphrase(workspace.home)
    address, key = "https://api.poyo.ai", SecretKey("poyo", KEY, source="file")
    sealed = seal_key(key, PASSPHRASE, base_url=address, recipe=create_recipe(CHEAP))
    write_sealed(sealed, keys_directory=workspace.home / "config" / "keys")
    desk = open_desk(workspace)
    async with desk.client, desk.service.running():
        yield desk


async def test_what_is_approved_on_the_desk_is_sent_from_there_immediately(workspace: Workspace) -> None:
    """The person gets to its task; the gateway got one request, with the key."""
    workspace.gateway.replies = [accepted()]
    async with sealed_desk(workspace) as desk:
        token = await desk.sign_in()
        sheet_id = draft(desk.service)
        page = seen(await desk.read(f"/sheets/{sheet_id}"))
        answer = await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE, amount="0.24")
        sheet = desk.service.deps.ledger().sheet(sheet_id)

    assert "A passkey cannot open it" in page
    assert sheet is not None
    assert answer.headers["location"] == f"/tasks/{sheet.task_id}"
    assert sheet.approved_by is Means.DESK
    assert [request.headers["authorization"] for request in workspace.gateway.paid] == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "form", [{}, {"passphrase": "wrong passphrase"}, {"passkey": '{"nonce": "", "credential": {}}'}]
)
async def test_without_the_passphrase_nothing_is_sent(workspace: Workspace, form: dict[str, str]) -> None:
    """Neither by a session, nor by a passkey."""
    async with sealed_desk(workspace) as desk:
        token = await desk.sign_in()
        sheet_id = draft(desk.service)
        answer = await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, amount="0.24", **form)

    assert answer.status_code == 403
    assert not workspace.gateway.requests


async def test_an_approval_that_somebody_wrote_into_the_ledger_still_asks_the_person(workspace: Workspace) -> None:
    """The page goes on to offer the passphrase; only that sends it."""
    workspace.gateway.replies = [accepted()]
    async with sealed_desk(workspace) as desk:
        token = await desk.sign_in()
        sheet_id = draft(desk.service)
        ledger = desk.service.deps.ledger()
        ledger.move_sheet(sheet_id, SheetEvent.APPROVED, now=workspace.clock.now(), by=Means.TERMINAL)

        page = await desk.read(f"/sheets/{sheet_id}")
        assert 'name="passphrase"' in page
        home = await desk.read("/")
        assert "Read and approve" in home
        assert "<title>(1)" in home
        assert "Approved, not submitted yet" not in home
        assert not workspace.gateway.requests
        answer = await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE, amount="0.24")

    assert answer.status_code == 303
    assert len(workspace.gateway.paid) == 1


async def test_an_allowance_offers_no_model_of_a_sealed_key(workspace: Workspace) -> None:
    """And one that names it is refused before a passphrase is checked."""
    async with sealed_desk(workspace) as desk:
        token = await desk.sign_in()
        page = await desk.read("/allowances")
        terms = {"models": "poyo/sora-2-official", "clips": "3", "up_to": "1.00", "seconds": "3600"}
        answer = await desk.post("/allowances", csrf=token, passphrase="wrong passphrase", **terms)

    assert "an allowance cannot cover it" in seen(page)
    assert 'value="apidot/sora-2-official"' in page
    assert 'value="poyo/' not in page
    assert "is sealed, so it is opened for one clip at a time" in seen(answer.text)
    assert desk.state.passphrase_check.wrong == 0


async def test_tasks_that_wait_for_a_sealed_key_can_be_followed_again(workspace: Workspace) -> None:
    """After a restart the desk says that they wait; the passphrase opens the key, and a wrong one does not."""
    workspace.gateway.replies = [accepted()]
    async with sealed_desk(workspace) as desk:
        token = await desk.sign_in()
        sheet_id = draft(desk.service)
        await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE, amount="0.24")
    task_id = desk.service.tasks()[0].task.id

    again = open_desk(workspace)
    async with again.client, again.service.running():
        token = await again.sign_in()
        assert "1 task waits for the sealed key of poyo." in seen(await again.read("/tasks"))
        assert "1 waits for the sealed key of poyo" in seen(await again.read("/"))
        assert 'href="/tasks">Open the key' in await again.read(f"/tasks/{task_id}")
        wrong = await again.post("/keys/poyo/open", csrf=token, passphrase="wrong passphrase")
        assert "That is not the approval passphrase." in seen(await again.read("/tasks"))
        right = await again.post("/keys/poyo/open", csrf=token, passphrase=PASSPHRASE)
        page = seen(await again.read("/tasks"))

    assert (wrong.status_code, right.status_code) == (303, 303)
    assert "The key of poyo is open until its tasks have ended" in page
    assert "waits for the sealed key" not in page
    assert again.service.task(task_id).task.state is TaskState.QUEUED
    assert again.service.audit(limit=1)[0].action == "key_opened"
