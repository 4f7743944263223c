"""Tasks of the protocol: a client that declared them is given one for what is under way, and polls it to its end."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
import pytest
from connection import ERAS, connect, explained, types_in
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim, advertise
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, Request, Result
from pydantic import ConfigDict
from test_mcp_get_task import CLIP
from test_mcp_together import quoted

from callsheet.compose import Surroundings, build_service
from callsheet.core.tasks import Problem, TaskEvent
from callsheet.edges.clock import SystemClock
from workspace import KEY, Workspace, accepted, account_of, reply

TASKS = "io.modelcontextprotocol/tasks"
NEWER = ERAS[1]


class Given(Result):
    """The task that a call was answered with."""

    model_config = ConfigDict(extra="allow")

    result_type: Literal["task"] = "task"


class TaskRequest(Request[dict[str, Any], str]):
    """One of the three requests about a task."""

    method: str
    params: dict[str, Any]
    name_param = "taskId"


class Detailed(Result):
    """What is said of a task, as it came."""

    model_config = ConfigDict(extra="allow")


async def ask(session: ClientSession, method: str, task_id: str, **more: Any) -> dict[str, Any]:
    """The whole result of one request about a task."""
    request = TaskRequest(method=method, params={"taskId": task_id, **more})
    found = await session.send_request(request, Detailed)
    return {name: value for name, value in found.model_dump(by_alias=True).items() if value is not None}


class Polling(ClientExtension):
    """A client that polls a task it is given until it ends, and records what it was told."""

    identifier = TASKS

    def __init__(self, *, follows: bool = True) -> None:
        self._follows = follows
        self.given: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []

    def claims(self) -> list[ResultClaim[Given]]:
        return [ResultClaim(result_type="task", model=Given, resolve=self._follow)]

    async def _follow(self, given: Given, context: ClaimContext) -> CallToolResult:
        self.given.append(given.model_dump(by_alias=True))
        while self._follows:
            found = await ask(context.session, "tasks/get", self.given[-1]["taskId"])
            self.told.append(found)
            if found["status"] != "working":
                return CallToolResult.model_validate(found.get("result", {"content": []}))
            await anyio.sleep(0.05)
        return CallToolResult(content=[], is_error=True)


@asynccontextmanager
async def rehearsing(workspace: Workspace, polling: Polling) -> AsyncIterator[Client]:
    """A client that knows tasks, of a server whose sandbox is real and fast."""
    workspace.write_policy("[sandbox]\nspeed = 60\n")
    surroundings = Surroundings(
        environ=workspace.environ,
        working_directory=Path("/nowhere"),
        clock=SystemClock(),
        account_home=account_of(workspace.home),
    )
    async with connect(workspace, NEWER, service=build_service(surroundings), extensions=[polling]) as client:
        yield client


@pytest.mark.network
async def test_a_client_that_knows_tasks_follows_two_clips_to_the_result_of_its_call(workspace: Workspace) -> None:
    """One task for the whole call. The result says what `submit_video` would, with the clips and their pictures."""
    polling = Polling()
    async with rehearsing(workspace, polling) as client:
        result = await client.call_tool("submit_video", await quoted(client, {}, {"prompt": "A blue kite."}))

    [given], answer = polling.given, result.structured_content
    assert given["resultType"] == "task"
    assert given["status"] == "working"
    assert not {"result", "error", "inputRequests", "requestState"} & {key for key in given if given[key] is not None}
    assert given["taskId"] == ".".join(row["task_id"] for row in answer["tasks"])
    assert all(len(row["task_id"]) >= len("task_") + 16 for row in answer["tasks"])
    assert {found["resultType"] for found in polling.told} == {"complete"}
    assert polling.told[-1]["status"] == "completed"
    assert (polling.told[-1]["pollIntervalMs"], given["ttlMs"]) == (2_000, None)
    assert not result.is_error
    assert all(os.path.isfile(row["clip_path"]) for row in answer["tasks"])  # noqa: ASYNC240, PTH113
    assert "view_clip" in answer["next_step"]
    assert [block.type for block in result.content] == ["text", "resource_link", "resource_link"]


@pytest.mark.parametrize(("era", "names"), [("legacy", [TASKS]), (NEWER, []), (NEWER, ["io.modelcontextprotocol/ui"])])
async def test_any_other_client_sees_what_it_saw_before(workspace: Workspace, era: str, names: list[str]) -> None:
    """No task, and none can be asked for. In the older era tasks were another thing."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    extensions = [advertise(name) for name in names]
    async with connect(workspace, era, types_in("0.24"), extensions=extensions) as client:
        sheet_id = await explained(client)
        answer = (await client.call_tool("submit_video", {"sheet_id": sheet_id})).structured_content
        codes = []
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            with pytest.raises(MCPError) as refusal:
                await ask(client.session, method, answer["task_id"], inputResponses={})
            codes.append(refusal.value.code)

    assert (answer["status"], answer["task_status"]) == ("accepted", "queued")
    assert set(codes) == {-32601 if era == "legacy" else -32021}
    assert workspace.service().task(answer["task_id"]).task.state == "queued"


@asynccontextmanager
async def given_task(workspace: Workspace, reply_to_it: httpx2.Response) -> AsyncIterator[tuple[Client, str]]:
    """A live task of a client that knows tasks but does not follow it, and its id."""
    workspace.go_live()
    workspace.gateway.replies = [reply_to_it]
    polling = Polling(follows=False)
    async with connect(workspace, NEWER, types_in("0.24"), extensions=[polling]) as client:
        await client.call_tool("submit_video", await quoted(client, {}))
        yield client, polling.given[0]["taskId"]


SLOW_DOWN = reply({"code": 429, "error": {"message": "slow down", "type": "rate"}}, 429)
E = TaskEvent
# How the gateway answers, what happens then, the status in the protocol, and whether its result is an error.
STATES = {
    "waiting": (SLOW_DOWN, [], "working", None),
    "submitting": (SLOW_DOWN, [E.CLAIMED], "working", None),
    "queued": (accepted(), [], "working", None),
    "running": (accepted(), [E.SEEN_RUNNING], "working", None),
    "succeeded": (accepted(), [E.SEEN_FINISHED], "working", None),
    "saved": (accepted(), [E.SEEN_FINISHED, E.CLIP_SAVED], "completed", False),
    "failed": (accepted(), [E.SEEN_FAILED], "completed", True),
    "rejected": (SLOW_DOWN, [E.CLAIMED, E.REFUSED], "completed", True),
    "expired": (accepted(), [E.SEEN_FINISHED, E.LINK_GONE], "completed", True),
    "outcome_unknown": (SLOW_DOWN, [E.CLAIMED, E.ANSWER_LOST], "completed", True),
    "abandoned": (accepted(), [E.RESOLVED_LOST], "completed", True),
}

WITH: dict[TaskEvent, dict[str, Any]] = {
    E.CLAIMED: {"attempt": "attempt-1", "deadline": 2_000_000_000.0},
    E.SEEN_FINISHED: {"result_url": "https://x.test/a.mp4"},
    E.CLIP_SAVED: {"clip": CLIP},
}


def happen(workspace: Workspace, task_id: str, events: list[TaskEvent]) -> None:
    """These happen to a task, as another process on the same home would store it."""
    ledger, now = workspace.service().deps.ledger(), workspace.clock.now()
    for event in events:
        more = WITH.get(event, {})
        ledger.advance(task_id, event, now=now, changes={**more, "next_at": now + 600})


@pytest.mark.parametrize("state", STATES)
async def test_each_state_has_its_status_and_says_what_became_of_the_money(workspace: Workspace, state: str) -> None:
    """`failed` is for errors of the protocol: a clip that failed is a result that is an error, with all its words."""
    first, events, expected, is_error = STATES[state]
    async with given_task(workspace, first) as (client, task_id):
        happen(workspace, task_id, events)
        found = await ask(client.session, "tasks/get", task_id)
        answer = (await client.call_tool("get_task", {"task_id": task_id})).structured_content

    assert answer["status"] == state
    assert (found["status"], found["taskId"], found["resultType"]) == (expected, task_id, "complete")
    assert answer["money"] in found["statusMessage"]
    assert ("result" in found) == (is_error is not None)
    if is_error is not None:
        result = found["result"]
        assert result.get("isError", False) is is_error
        assert result["structuredContent"]["task_status"] == state
        assert result["structuredContent"]["next_step"] == answer["next_step"]


async def test_what_was_not_sent_is_cancelled_and_nothing_of_it_is_sent(workspace: Workspace) -> None:
    """The same use case as `cancel`; twice is as good as once."""
    async with given_task(workspace, SLOW_DOWN) as (client, task_id):
        acks = [await ask(client.session, "tasks/cancel", task_id) for _ in range(2)]
        found = await ask(client.session, "tasks/get", task_id)

    assert [set(ack) - {"_meta"} for ack in acks] == [{"resultType"}] * 2
    assert (found["status"], "result" in found) == ("cancelled", False)
    assert workspace.service().task(task_id).task.state == "abandoned"
    assert len(workspace.gateway.paid) == 1


async def test_what_was_sent_goes_on_after_a_cancel_and_no_input_changes_it(workspace: Workspace) -> None:
    """Both are acknowledged, as the specification demands; what a client sends approves nothing."""
    async with given_task(workspace, accepted()) as (client, task_id):
        approval = {"approve": {"action": "accept", "content": {"amount_usd": "0.24"}}}
        acks = [
            await ask(client.session, "tasks/cancel", task_id),
            await ask(client.session, "tasks/update", task_id, inputResponses=approval),
        ]
        found = await ask(client.session, "tasks/get", task_id)

    assert [set(ack) - {"_meta"} for ack in acks] == [{"resultType"}] * 2
    assert found["status"] == "working"
    assert len(workspace.gateway.paid) == 1


async def test_a_task_is_found_by_another_process_and_nothing_else_is(workspace: Workspace) -> None:
    """It is the ledger's own. A sheet, a name that does not exist and too many at once are no task."""
    async with given_task(workspace, accepted()) as (_, task_id):
        sheet_id = workspace.service().task(task_id).task.sheet_id
    async with connect(workspace, NEWER, extensions=[advertise(TASKS)]) as client:
        found = await ask(client.session, "tasks/get", task_id)
        codes = []
        for name in ("task_nowhere", sheet_id, "", f"{task_id}.", ".".join([task_id] * 7), "x" * 500):
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                with pytest.raises(MCPError) as refusal:
                    await ask(client.session, method, name, inputResponses={})
                codes.append(refusal.value.code)

    assert found["taskId"] == task_id
    assert set(codes) == {-32602}


async def test_what_needs_a_person_stays_the_answer_of_the_tool(workspace: Workspace) -> None:
    """It says where to approve, which a task could not."""
    workspace.go_live()
    polling = Polling(follows=False)
    async with connect(workspace, NEWER, extensions=[polling]) as client:
        arguments = {**await quoted(client, {}), "wait_seconds": 0}
        answer = (await client.call_tool("submit_video", arguments)).structured_content

    assert answer["status"] == "approval_needed"
    assert answer["approval_command"]
    assert polling.given == []
    assert workspace.gateway.requests == []


async def test_a_key_in_a_gateways_words_does_not_leave_through_a_task(workspace: Workspace) -> None:
    """Every answer about a task passes the same redaction as a tool's."""
    async with given_task(workspace, accepted()) as (client, task_id):
        ledger, now = workspace.service().deps.ledger(), workspace.clock.now()
        problem = Problem(code="failed", message="it failed", said=f"your key {KEY} is bad", fate="unknown")
        ledger.advance(task_id, TaskEvent.SEEN_FAILED, now=now, changes={"problem": problem})
        found = await ask(client.session, "tasks/get", task_id)

    assert found["result"]["structuredContent"]["untrusted_gateway_message"].startswith("your key ")
    assert KEY not in json.dumps(found)


@pytest.mark.parametrize("names", [[], [TASKS]])
async def test_only_a_client_that_knows_tasks_may_listen_to_some_and_none_is_promised(
    workspace: Workspace, names: list[str]
) -> None:
    """A task is polled. The acknowledgement of the stream names only what will be told."""
    filters = {"taskId": "", "notifications": {"taskIds": ["task_nowhere"], "toolsListChanged": True}}
    async with connect(workspace, NEWER, extensions=[advertise(name) for name in names]) as client:
        request = TaskRequest(method="subscriptions/listen", params=filters)
        with anyio.move_on_after(1) as waiting:
            with pytest.raises(MCPError) as refusal:
                await client.session.send_request(request, Detailed)
            assert refusal.value.code == -32021
            assert refusal.value.data["requiredCapabilities"] == {"extensions": {TASKS: {}}}

    assert waiting.cancelled_caught == bool(names)
