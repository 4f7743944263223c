"""get_task: waiting with progress, the saved clip, and what a failed status read does not change."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest
from connection import ERAS, connect, explained, let_time_pass, refused, text_of, types_in

from callsheet.core.tasks import Clip, TaskEvent
from workspace import Workspace, accepted, status

CLIP = Clip(
    path="/clips/kite über den Dünen.mp4",
    size=123_456,
    sha256="ab" * 32,
    duration_seconds=4.0,
    width=1280,
    height=720,
    poster="/clips/kite.poster.jpg",
    contact_sheet="/clips/kite.contact-sheet.jpg",
)


def save(workspace: Workspace, task_id: str, clip: Clip = CLIP) -> None:
    """The clip of an accepted task arrives, as another process on the same home would store it."""
    ledger, now = workspace.service().deps.ledger(), workspace.clock.now()
    ledger.advance(task_id, TaskEvent.SEEN_FINISHED, now=now, changes={"result_url": "https://x.test/a.mp4"})
    ledger.advance(task_id, TaskEvent.CLIP_SAVED, now=now, changes={"clip": clip, "next_at": now})


@pytest.mark.parametrize("era", ERAS)
async def test_a_saved_clip_is_described_and_linked_and_never_sent(workspace: Workspace, era: str) -> None:
    """Path, pictures, size, digest and shape; links for clients that can open files."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    async with connect(workspace, era, types_in("0.24")) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        task_id = submitted.structured_content["task_id"]
        save(workspace, task_id)
        result = await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 45, "details": True})
        listed = await client.call_tool("list_tasks", {})

    answer = result.structured_content
    assert answer["status"] == "saved"
    assert answer["clip_path"] == CLIP.path
    assert answer["contact_sheet_path"] == CLIP.contact_sheet
    assert (answer["size_bytes"], answer["sha256"]) == (CLIP.size, CLIP.sha256)
    assert (answer["duration_seconds"], answer["width"], answer["height"]) == (4.0, 1280, 720)
    assert answer["gateway_task_id"] == "task-unified-1-abc"
    links = [block for block in result.content if block.type == "resource_link"]
    assert [(link.mime_type, link.uri) for link in links] == [
        ("image/jpeg", f"callsheet://tasks/{task_id}/contact-sheet")
    ]
    assert {block.type for block in result.content} == {"text", "resource_link"}
    assert CLIP.path in text_of(result)
    assert listed.structured_content["tasks"][0]["task_id"] == task_id
    assert f'view_clip with task_id="{task_id}"' in answer["next_step"]
    assert "findings" not in answer


async def test_a_clip_that_is_not_as_ordered_says_what_differs(workspace: Workspace) -> None:
    """As findings of the task, and by name in the list; the task is saved all the same."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    async with connect(workspace, ERAS[0], types_in("0.24")) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        task_id = submitted.structured_content["task_id"]
        save(workspace, task_id, replace(CLIP, duration_seconds=2.0, brightest=3, motion=0))
        answer = (await client.call_tool("get_task", {"task_ids": [task_id]})).structured_content
        listed = (await client.call_tool("list_tasks", {})).structured_content

    assert answer["status"] == "saved"
    assert [(item["severity"], item["field"]) for item in answer["findings"]] == [
        ("warning", "duration_seconds"),
        ("warning", "picture"),
    ]
    assert listed["tasks"][0]["differs"] == "length, picture"


@pytest.mark.parametrize("era", ERAS)
async def test_waiting_reports_progress_that_only_rises(workspace: Workspace, era: str) -> None:
    """The gateway's percent where it has one, with a sentence, until the task is where it ends."""
    workspace.go_live()
    percents = iter([10, 40, 30, 80])

    def play(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return accepted()
        percent = next(percents, None)
        if percent is None:
            return status("failed", error_message="the dunes were too hot")
        return status("running", progress=percent)

    workspace.gateway.on_request = play
    received: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        received.append((progress, total, message))
        # Each report lets the next status read come due.
        let_time_pass(workspace, service, 60)

    service = workspace.service()
    async with connect(workspace, era, types_in("0.24"), service=service) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        result = await client.call_tool(
            "get_task",
            {"task_id": submitted.structured_content["task_id"], "wait_seconds": 30},
            progress_callback=on_progress,
        )

    values = [progress for progress, _, _ in received]
    assert len(values) >= 3
    assert values == sorted(set(values))
    assert all(total == 100 and 0 <= progress <= 100 for progress, total, _ in received)
    assert any("Generating 40 %" in (message or "") for _, _, message in received)
    assert result.structured_content["status"] == "failed"
    assert "the dunes were too hot" in result.structured_content["untrusted_gateway_message"]
    assert "dunes" not in result.structured_content["summary"]
    assert 'untrusted_gateway_message: "the dunes were too hot"' in text_of(result)


async def test_a_status_read_that_fails_is_no_error_of_the_task(workspace: Workspace) -> None:
    """The job runs on at the gateway, so the answer says where it was seen last, and what could not be read."""
    workspace.go_live()
    workspace.gateway.on_request = lambda request: (
        accepted() if request.method == "POST" else httpx2.Response(503, content=b"<html>busy")
    )
    service = workspace.service()
    async with connect(workspace, "legacy", types_in("0.24"), service=service) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        let_time_pass(workspace, service, 60)
        result = await client.call_tool(
            "get_task", {"task_id": submitted.structured_content["task_id"], "wait_seconds": 1.2}
        )

    assert not result.is_error
    assert result.structured_content["status"] == "queued"
    assert "could not be read" in result.structured_content["summary"]
    assert result.structured_content["money"] == "The gateway accepted the job and may have charged for it."


async def test_a_wait_longer_than_client_timeouts_is_shortened_with_a_note(workspace: Workspace) -> None:
    """Clients drop calls after a minute, so nothing waits longer than 45 s."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    async with connect(workspace, "legacy", types_in("0.24")) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        task_id = submitted.structured_content["task_id"]
        save(workspace, task_id)
        result = await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 600})

    assert result.structured_content["next_step"].startswith("45 s is the longest wait.")


async def test_an_unknown_task_is_refused_immediately(workspace: Workspace) -> None:
    """Waiting would not make it appear."""
    async with connect(workspace, "legacy") as client:
        text = await refused(client, "get_task", {"task_id": "task_nowhere", "wait_seconds": 45})

    assert "There is no task with that id." in text
    assert "list_tasks" in text


async def test_an_unknown_outcome_is_listed_first_and_warns_of_a_second_charge(workspace: Workspace) -> None:
    """The next take of that very shot says so in its first line, and is held until a person resolves the task."""
    workspace.go_live()
    workspace.gateway.replies = [httpx2.ReadTimeout("no answer")]
    async with connect(workspace, "legacy", types_in("0.24")) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        listed = await client.call_tool("list_tasks", {"only_open": True})
        again = await client.call_tool(
            "explain_payload",
            {
                "prompt": "A red kite over dunes at dusk, slow pan, warm light.",
                "duration_seconds": 4,
                "gateway": "poyo",
                "model": "sora-2-official",
            },
        )

    answer = submitted.structured_content
    assert answer["task_status"] == "outcome_unknown"
    assert "callsheet resolve" in answer["next_step"]
    assert listed.structured_content["tasks"][0]["status"] == "outcome_unknown"
    assert text_of(again).startswith("POSSIBLE DUPLICATE CHARGE")
    assert again.structured_content["status"] == "held"
    assert f"callsheet resolve {answer['task_id']}" in again.structured_content["next_step"]
    assert again.structured_content["summary"].startswith("POSSIBLE DUPLICATE CHARGE")
