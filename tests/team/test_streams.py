"""Listening to tasks with a token: each person has their own streams, and learns nothing of what they cannot read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from connection import ERAS, connect, explained, types_in
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.shared.exceptions import MCPError
from mcp.types import SubscriptionsListenRequestParams, SubscriptionsListenResult

from callsheet.service import Service
from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.subscriptions import MOST_STREAMS, Subscriptions
from workspace import Workspace, accepted


class Listener:
    """One stream after another on the same server. `honored` has the addresses that each was told it listens to."""

    def __init__(self, service: Service) -> None:
        self.subscriptions = Subscriptions(ServerState(lambda: service))
        self.honored: list[list[str]] = []

    async def listen(self, who: str, *uris: str) -> SubscriptionsListenResult:
        """As that person's agent, until the stream ends."""
        auth_context_var.set(AuthenticatedUser(AccessToken(token="", client_id="codex", scopes=[], subject=who)))
        asked = {"notifications": {"resourceSubscriptions": list(uris)}, "_meta": {}}
        session = SimpleNamespace(send_notification=self._send)
        context: Any = SimpleNamespace(session=session, request_id=len(self.honored))
        return await self.subscriptions.listen(context, SubscriptionsListenRequestParams.model_validate(asked))

    async def _send(self, notification: Any, *, related_request_id: object) -> None:
        self.honored.append(notification.params.notifications.resource_subscriptions or [])


async def test_one_person_does_not_take_the_streams_of_the_others(workspace: Workspace) -> None:
    """Nor does the next of their own agents get one more, before one ends."""
    listener = Listener(workspace.service())
    async with anyio.create_task_group() as group:
        for _ in range(MOST_STREAMS):
            group.start_soon(listener.listen, "ann")
        while len(listener.honored) < MOST_STREAMS:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(MCPError):
            await listener.listen("ann")
        group.start_soon(listener.listen, "ben")
        while len(listener.honored) <= MOST_STREAMS:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    listener.subscriptions.longest_stream_seconds = 0
    assert isinstance(await listener.listen("ann"), SubscriptionsListenResult)


async def test_nothing_is_told_of_a_task_that_cannot_be_read(workspace: Workspace) -> None:
    """Not even when it changes. The server says which of the addresses it honors."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    service = workspace.service()
    async with connect(workspace, ERAS[0], types_in("0.24"), service=service) as client:
        made = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
    own = f"callsheet://tasks/{made.structured_content['task_id']}"
    listener = Listener(service)
    listener.subscriptions.longest_stream_seconds = 0.2
    await listener.listen("ann", own, "callsheet://tasks/task_of_another", "callsheet://catalogue")
    assert listener.honored == [[own, "callsheet://catalogue"]]
