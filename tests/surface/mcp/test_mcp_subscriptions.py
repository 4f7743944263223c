"""Subscribing to tasks: which client gets which change, in both eras, and what a subscriber cannot do to others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from connection import ERAS, UpdateLog, connect, explained, let_time_pass, listening, subscribe, types_in
from mcp import Client
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

from callsheet.core.tasks import TaskEvent
from callsheet.errors import SetupProblem
from callsheet.service import Service
from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.subscriptions import MOST_ADDRESSES, Subscriptions
from workspace import Workspace, accepted, status

LEGACY, MODERN = ERAS


def uri_of(task_id: str) -> str:
    """The address of a task."""
    return f"callsheet://tasks/{task_id}"


async def unsubscribe(client: Client, uri: str) -> None:
    """As a client of the older protocol does."""
    await client.session.send_request(UnsubscribeRequest(params=UnsubscribeRequestParams(uri=uri)), EmptyResult)


async def submitted(client: Client, **changes: Any) -> str:
    """A task that the gateway took on."""
    result = await client.call_tool("submit_video", {"sheet_id": await explained(client, **changes)})
    assert result.structured_content["task_status"] == "queued", result.structured_content
    return str(result.structured_content["task_id"])


def elsewhere(workspace: Workspace, task_id: str, event: TaskEvent) -> None:
    """Something happens to a task in another process on the same home."""
    workspace.service().deps.ledger().advance(task_id, event, now=workspace.clock.now(), changes={})


@pytest.mark.parametrize("era", ERAS)
async def test_a_subscriber_gets_a_change_that_this_process_stores(workspace: Workspace, era: str) -> None:
    """The update holds only the task's address; reading that address gives the details."""
    workspace.go_live()
    workspace.gateway.on_request = lambda request: (
        accepted() if request.method == "POST" else status("running", progress=40)
    )
    service, updates = workspace.service(), UpdateLog()
    async with connect(workspace, era, types_in("0.24"), service=service, on_message=updates.on_message) as client:
        task_id = await submitted(client)
        before = (await client.read_resource(uri_of(task_id))).contents[0].text
        async with listening(client, updates, uri_of(task_id)):
            let_time_pass(workspace, service, 60)
            await updates.until(uri_of(task_id))
            after = (await client.read_resource(uri_of(task_id))).contents[0].text

    assert '"status": "queued"' in before
    assert '"status": "running"' in after
    assert set(updates.received) == {uri_of(task_id)}


@pytest.mark.parametrize("era", ERAS)
async def test_a_subscriber_gets_only_its_own_tasks_also_from_other_processes(workspace: Workspace, era: str) -> None:
    """The ledger is polled; a task without a subscriber is not reported."""
    workspace.go_live()
    workspace.gateway.replies = [accepted("a"), accepted("b")]
    updates = UpdateLog()
    async with connect(workspace, era, types_in("0.24"), on_message=updates.on_message) as client:
        first, second = await submitted(client), await submitted(client, prompt="Another kite.")
        async with listening(client, updates, uri_of(second), "callsheet://catalogue"):
            elsewhere(workspace, first, TaskEvent.SEEN_RUNNING)
            elsewhere(workspace, second, TaskEvent.SEEN_RUNNING)
            await updates.until(uri_of(second))

    assert updates.received == [uri_of(second)]


async def test_a_client_that_unsubscribes_gets_no_more_updates(workspace: Workspace) -> None:
    """For that task; the others continue. Unsubscribing twice does no harm."""
    workspace.go_live()
    workspace.gateway.replies = [accepted("a"), accepted("b")]
    updates = UpdateLog()
    async with connect(workspace, LEGACY, types_in("0.24"), on_message=updates.on_message) as client:
        first, second = await submitted(client), await submitted(client, prompt="Another kite.")
        async with listening(client, updates, uri_of(first), uri_of(first), uri_of(second)):
            await unsubscribe(client, uri_of(first))
            await unsubscribe(client, uri_of(first))
            elsewhere(workspace, first, TaskEvent.SEEN_RUNNING)
            elsewhere(workspace, second, TaskEvent.SEEN_RUNNING)
            await updates.until(uri_of(second))

    assert updates.received == [uri_of(second)]


@pytest.mark.parametrize("uri", ["callsheet://tasks/task_nowhere", "callsheet://nothing", "file:///etc/passwd"])
async def test_what_cannot_be_read_cannot_be_subscribed_to(workspace: Workspace, uri: str) -> None:
    """The same error as reading it gives."""
    async with connect(workspace, LEGACY) as client:
        with pytest.raises(MCPError) as missing:
            await subscribe(client, uri)

    assert missing.value.code == INVALID_PARAMS
    assert missing.value.data == {"uri": uri}


@pytest.mark.parametrize("era", [LEGACY, "auto"])
async def test_that_tasks_can_be_subscribed_to_is_declared(workspace: Workspace, era: str) -> None:
    """So that a client need not try."""
    async with connect(workspace, era) as client:
        declared = client.server_capabilities.resources

    assert declared is not None
    assert declared.subscribe is True


async def test_streams_listen_to_so_many_addresses_and_no_more(workspace: Workspace) -> None:
    """All together: each is looked at again and again. One that is listened to already is no further one."""
    uris = [uri_of(f"task_{number}") for number in range(MOST_ADDRESSES + 1)]
    async with connect(workspace, MODERN) as client:
        async with client.listen(resource_subscriptions=uris[1:]) as stream:
            assert len(stream.honored.resource_subscriptions or ()) == MOST_ADDRESSES
            async with client.listen(resource_subscriptions=uris[1:9]):
                pass
            with pytest.raises(MCPError, match=f"at most {MOST_ADDRESSES} addresses"):
                async with client.listen(resource_subscriptions=uris[:1]):
                    pass
        async with client.listen(resource_subscriptions=uris[:1]):
            pass


Send = Callable[[str], Awaitable[None]]


def connection(send: Send) -> Any:
    """A context as a request of the older protocol brings it, with a connection that sends like that."""
    session = SimpleNamespace(client_params=object(), send_resource_updated=send)
    return SimpleNamespace(session=cast("ServerSession", session))


async def gone(_: str) -> None:
    """A connection that was closed."""
    raise anyio.ClosedResourceError


async def deaf(_: str) -> None:
    """A connection whose client reads nothing any more."""
    await anyio.sleep_forever()


@pytest.mark.parametrize("other", [gone, deaf])
async def test_a_client_that_is_gone_or_does_not_read_is_forgotten(workspace: Workspace, other: Send) -> None:
    """The others still get the change, and it is not tried a second time."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    service, updates = workspace.service(), UpdateLog()
    async with connect(workspace, LEGACY, types_in("0.24"), service=service) as client:
        task_id = await submitted(client)
    tried: list[str] = []

    async def send_in_vain(uri: str) -> None:
        tried.append(uri)
        await other(uri)

    async def send(uri: str) -> None:
        updates.record(uri)

    params = SubscribeRequestParams(uri=uri_of(task_id))
    subscriptions = Subscriptions(ServerState(lambda: service))
    subscriptions.longest_notify_seconds = 0.05
    async with subscriptions.watching():
        await subscriptions.subscribe(connection(send_in_vain), params)
        await subscriptions.subscribe(connection(send), params)
        for event in (TaskEvent.SEEN_RUNNING, TaskEvent.SEEN_FAILED):
            updates.received.clear()
            elsewhere(workspace, task_id, event)
            service.deps.changes.notify()
            await updates.until(uri_of(task_id))

    assert tried == [uri_of(task_id)]


async def test_the_oldest_subscription_ends_when_there_are_too_many(workspace: Workspace) -> None:
    """A client that never unsubscribes uses bounded memory."""
    workspace.go_live()
    workspace.gateway.replies = [accepted("a"), accepted("b")]
    service, updates = workspace.service(), UpdateLog()
    async with connect(workspace, LEGACY, types_in("0.24"), service=service) as client:
        first, second = await submitted(client), await submitted(client, prompt="Another kite.")

    async def send(uri: str) -> None:
        updates.record(uri)

    subscriptions, mine = Subscriptions(ServerState(lambda: service)), connection(send)
    async with subscriptions.watching():
        for uri in (uri_of(first), uri_of(second), *(uri_of(f"task_{n}") for n in range(MOST_ADDRESSES - 1))):
            await subscriptions.subscribe(mine, SubscribeRequestParams(uri=uri))
        elsewhere(workspace, first, TaskEvent.SEEN_RUNNING)
        elsewhere(workspace, second, TaskEvent.SEEN_RUNNING)
        await updates.until(uri_of(second))

    assert updates.received == [uri_of(second)]


async def test_an_install_that_cannot_be_used_does_not_end_the_watch(workspace: Workspace) -> None:
    """Once it can, the subscriber is notified that there is something to read."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    service, updates, corrected = workspace.service(), UpdateLog(), anyio.Event()
    async with connect(workspace, LEGACY, types_in("0.24"), service=service) as client:
        task_id = await submitted(client)

    def make_service() -> Service:
        if not corrected.is_set():
            raise SetupProblem("The policy cannot be read.", next_step="Mend it.")
        return service

    async def send(uri: str) -> None:
        updates.record(uri)

    subscriptions = Subscriptions(ServerState(make_service))
    async with subscriptions.watching():
        await subscriptions.subscribe(connection(send), SubscribeRequestParams(uri=uri_of(task_id)))
        await anyio.wait_all_tasks_blocked()
        assert updates.received == []
        corrected.set()
        await updates.until(uri_of(task_id))
