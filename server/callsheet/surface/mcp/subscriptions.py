"""Whoever subscribed to a task hears when what can be read of it has changed.

There are two manners and one watch. Since 2026-07-28 a client listens on a stream of its own, which the SDK serves
from a bus; before, it subscribes to an address and hears on its connection. The ledger is looked at only while
somebody wants it: at each change in this process, and every second for those of other processes. Only the address
is told, never what changed. Numbers are bounded, so that nobody can make this a burden.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from callsheet.errors import CallsheetError

from .lifespan import Backstage
from .resources import TASK

if TYPE_CHECKING:
    from .server import CallsheetServer

MOST_STREAMS = 64
MOST_ADDRESSES = 256
LOOK_AGAIN_SECONDS = 1.0
LONGEST_TELLING_SECONDS = 2.0
TASK_PREFIX = TASK.partition("{")[0]
Look = tuple[object, ...] | None

log = logging.getLogger(__name__)


class Subscriber(NamedTuple):
    """An address, and the connection that wants to hear of it."""

    session: ServerSession
    uri: str

    def is_same(self, session: ServerSession, uri: str) -> bool:
        """Whether that connection subscribed to that address. Each request has a session object of its own."""
        return uri == self.uri and session.client_params is self.session.client_params


class Subscriptions:
    """Who wants to hear of what, on one server."""

    def __init__(self, backstage: Backstage) -> None:
        self._backstage = backstage
        self.bus = InMemorySubscriptionBus()
        self._serve_stream = ListenHandler(self.bus, max_subscriptions=MOST_STREAMS)
        self._streamed: Counter[str] = Counter()
        self._subscribers: list[Subscriber] = []
        self._told: dict[str, Look] = {}
        self._wanted = anyio.Event()
        self.longest_telling_seconds = LONGEST_TELLING_SECONDS

    async def listen(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream, until the client or `close` ends it."""
        with self._streaming(set(params.notifications.resource_subscriptions or ())):
            return await self._serve_stream(ctx, params)

    async def subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        """Tell that connection from now on; where there are too many, the oldest gives way."""
        await self.unsubscribe(ctx, UnsubscribeRequestParams(uri=params.uri))
        self._subscribers = [*self._subscribers[1 - MOST_ADDRESSES :], Subscriber(ctx.session, params.uri)]
        self._watch_for([params.uri])
        return EmptyResult()

    async def unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        """Tell that connection no more."""
        self._subscribers = [item for item in self._subscribers if not item.is_same(ctx.session, params.uri)]
        return EmptyResult()

    def close(self) -> None:
        """End every stream in good order."""
        self._serve_stream.close()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Tell subscribers of changes while the block runs."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    @contextmanager
    def _streaming(self, uris: set[str]) -> Iterator[None]:
        if len(uris | self._streamed.keys()) > MOST_ADDRESSES:
            raise MCPError(code=INVALID_PARAMS, message=f"At most {MOST_ADDRESSES} addresses can be listened to.")
        self._streamed.update(uris)
        try:
            self._watch_for(sorted(uris))
            yield
        finally:
            self._streamed -= Counter(uris)

    def _watch_for(self, uris: Sequence[str]) -> None:
        """Remember what could be read at this moment, so that no change is missed from here on."""
        for uri in uris:
            if uri.startswith(TASK_PREFIX) and uri not in self._told:
                self._told[uri] = self._look(uri)
                self._wanted.set()

    async def _watch(self) -> None:
        while True:
            while self._told:
                await self._pause()
                try:
                    await self._tell_changes()
                except Exception:
                    # What cannot be told must not end the server.
                    log.exception("subscribers could not be told of a change")
            self._wanted = anyio.Event()
            await self._wanted.wait()

    async def _tell_changes(self) -> None:
        watched = self._streamed.keys() | {item.uri for item in self._subscribers}
        self._told = {uri: told for uri, told in self._told.items() if uri in watched}
        for uri, told in list(self._told.items()):
            now = self._look(uri)
            if now != told:
                self._told[uri] = now
                await self._tell(uri)

    async def _tell(self, uri: str) -> None:
        await self.bus.publish(ResourceUpdated(uri))
        for item in [item for item in self._subscribers if item.uri == uri]:
            # A client that does not read must not keep the others waiting; nor must one that is gone.
            if not await _notify(item, self.longest_telling_seconds):
                self._subscribers = [other for other in self._subscribers if other is not item]

    def _look(self, uri: str) -> Look:
        """What of that task is worth telling; where the ledger cannot be read, what was read last."""
        try:
            task = self._backstage.service.find_task(uri.removeprefix(TASK_PREFIX))
        except CallsheetError:
            return self._told.get(uri)
        if task is None:
            return None
        # Not when it is asked after again, how often it was, and by whom: that changes all the time.
        known = (task.gateway_task_id, task.said, task.percent, task.charge, task.hints)
        return (task.state, *known, task.problem, task.clip)

    async def _pause(self) -> None:
        try:
            service = self._backstage.service
        except CallsheetError:
            await anyio.sleep(LOOK_AGAIN_SECONDS)
        else:
            await service.wait_for_change(LOOK_AGAIN_SECONDS)


async def _notify(item: Subscriber, seconds: float) -> bool:
    """Whether it could be told within that time."""
    with anyio.move_on_after(seconds), suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await item.session.send_resource_updated(item.uri)
        return True
    return False


def add_subscriptions(server: CallsheetServer) -> None:
    """Serve both manners. An address that cannot be read cannot be subscribed to in the older one."""
    subscriptions = server.subscriptions

    async def subscribe(ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        await server.require_readable(params.uri)
        return await subscriptions.subscribe(ctx, params)

    server.serve_method("subscriptions/listen", SubscriptionsListenRequestParams, subscriptions.listen)
    server.serve_method("resources/subscribe", SubscribeRequestParams, subscribe)
    server.serve_method("resources/unsubscribe", UnsubscribeRequestParams, subscriptions.unsubscribe)
