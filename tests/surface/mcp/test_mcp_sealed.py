"""submit_video and related tools with a sealed key: nothing is sent without the person's passphrase."""

from __future__ import annotations

import sqlite3

import pytest
from connection import ERAS, connect, explained, let_time_pass, refused, text_of, types_in

from callsheet.core.consent import Means
from callsheet.core.tasks import TaskState
from callsheet.edges.keys.passphrase import create_recipe
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.service import Service
from callsheet.service.polling import run_task
from callsheet.service.sealed_keys import permit
from callsheet.service.submission import submit
from samples import CHEAP
from workspace import KEY, Workspace, accepted

PASSPHRASE = "a heron over the reeds"


@pytest.fixture
def sealed(workspace: Workspace) -> Workspace:
    """Live mode with PoYo's key sealed; the same key is still in the environment."""
    workspace.go_live()
    key = SecretKey("poyo", KEY, source="file")
    file = seal_key(key, PASSPHRASE, base_url="https://api.poyo.ai", recipe=create_recipe(CHEAP))
    write_sealed(file, keys_directory=workspace.home / "config" / "keys")
    return workspace


async def sent_elsewhere(workspace: Workspace, sheet_id: str) -> tuple[Service, str]:
    """A person has approved in their terminal, which sent the sheet; that process, and the task."""
    terminal = workspace.service()
    workspace.gateway.replies = [accepted()]
    await permit(terminal.deps, sheet_id, PASSPHRASE)
    terminal.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(terminal.deps, sheet_id).report.task.id
    await run_task(terminal.deps, task_id)
    assert terminal.task(task_id).task.state is TaskState.QUEUED
    return terminal, task_id


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_can_ask_is_not_asked_and_nothing_is_sent(sealed: Workspace, era: str) -> None:
    """An amount typed in the client could not open the key: the command for the person's terminal is named, and why."""
    person = types_in("0.24")
    async with connect(sealed, era, person) as client:
        sheet_id = await explained(client)
        for _ in range(2):
            result = await client.call_tool("submit_video", {"sheet_id": sheet_id})
            answer = result.structured_content
            assert answer["status"] == "approval_needed"
            assert answer["approval_command"].endswith(f"callsheet approve {sheet_id}")
            assert "key is sealed" in answer["why"]
            assert "also sends it" in answer["next_step"]
            assert "sealed" in text_of(result)
        await refused(client, "submit_video", {"sheet_id": sheet_id, "passphrase": PASSPHRASE})

    assert person.asked == []
    assert sealed.gateway.requests == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_row_edited_to_approved_sends_nothing(sealed: Workspace, era: str) -> None:
    """An agent with a shell can write that into the ledger; it buys nothing."""
    async with connect(sealed, era) as client:
        sheet_id = await explained(client)
        with sqlite3.connect(sealed.home / "data" / "ledger.sqlite3") as db:
            edit = "UPDATE sheet SET state = 'approved', approved_by = 'terminal', approved_at = ? WHERE id = ?"
            assert db.execute(edit, (sealed.clock.time, sheet_id)).rowcount == 1
        db.close()
        result = await client.call_tool("submit_video", {"sheet_id": sheet_id})
        listed = await client.call_tool("list_tasks", {})

    assert result.structured_content["status"] == "approval_needed"
    assert listed.structured_content["tasks"] == []
    assert sealed.gateway.requests == []


@pytest.mark.parametrize("era", ERAS)
async def test_after_the_persons_terminal_sent_it_the_agent_gets_the_task_and_learns_that_it_is_held(
    sealed: Workspace, era: str
) -> None:
    """The terminal is gone; this server holds the task, asks nothing, and says who can go on."""
    service = sealed.service()
    async with connect(sealed, era, service=service) as client:
        sheet_id = await explained(client)
        _, task_id = await sent_elsewhere(sealed, sheet_id)
        again = await client.call_tool("submit_video", {"sheet_id": sheet_id})
        asked = len(sealed.gateway.requests)
        let_time_pass(sealed, service, 3600)
        held = await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 1})
        listed = await client.call_tool("list_tasks", {"only_open": True})

    assert (again.structured_content["status"], again.structured_content["task_id"]) == ("already_accepted", task_id)
    assert held.structured_content["status"] == "queued"
    assert "its key is sealed" in held.structured_content["summary"]
    assert "callsheet watch" in held.structured_content["next_step"]
    assert "1 of them waits for a sealed key" in listed.structured_content["next_step"]
    assert len(sealed.gateway.requests) == asked
    assert len(sealed.gateway.paid) == 1
