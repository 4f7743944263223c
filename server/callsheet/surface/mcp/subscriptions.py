"""Notifies the subscribers of a task when what they can read of it has changed.

There are two ways to subscribe and one watch. Since 2026-07-28 a client listens on a stream of its own; before, it
subscribes to an address and is notified on its connection. The ledger is read only while there are subscribers: at
each change in this process, and every second for changes by other processes. A notification gives only the address.
Numbers are bounded, so that no client can make this a burden. Over HTTP with tokens they are bounded for each person:
one cannot take the streams of the others, and learns nothing of a task that they cannot read.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

import anyio
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.server import require_client_extension
from mcp.server.session import ServerSession
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY, InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)
from mcp_types.version import is_version_at_least

from callsheet.errors import CallsheetError

from .elicitation import NEWER_ERA
from .extensions.tasks import EXTENSION as TASKS
from .lifespan import ServerState
from .resources import TASK

MOST_STREAMS = 64
MOST_ADDRESSES = 256
"""Of one person. A server without tokens has one."""
MOST_IN_ALL = 1024
LONGEST_STREAM_SECONDS = 600.0
"""A stream that a token opened: after that, the client listens again, with a token that is still good."""
RECHECK_SECONDS = 1.0
LONGEST_NOTIFY_SECONDS = 2.0
TASK_PREFIX = TASK.partition("{")[0]
Snapshot = tuple[object, ...] | None

log = logging.getLogger(__name__)


class Subscriber(NamedTuple):
    """An address, and the connection that subscribed to it."""

    session: ServerSession
    uri: str

    def is_same(self, session: ServerSession, uri: str) -> bool:
        """Whether that connection subscribed to that address. Each request has a session object of its own."""
        return uri == self.uri and session.client_params is self.session.client_params


class Subscriptions:
    """The subscribers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.bus = InMemorySubscriptionBus()
        self._serve_stream = ListenHandler(self.bus, max_subscriptions=MOST_IN_ALL)
        self._streams: Counter[str] = Counter()
        self._streamed: Counter[tuple[str, str]] = Counter()
        self._subscribers: list[Subscriber] = []
        self._seen: dict[str, Snapshot] = {}
        self._needed = anyio.Event()
        self.longest_notify_seconds = LONGEST_NOTIFY_SECONDS
        self.longest_stream_seconds = LONGEST_STREAM_SECONDS

    async def listen(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream until the client or `close` ends it."""
        who, uris = _caller(), params.notifications.resource_subscriptions or []
        if who:
            uris = [uri for uri in uris if not uri.startswith(TASK_PREFIX) or self._read(uri) is not None]
            wanted = params.notifications.model_copy(update={"resource_subscriptions": uris})
            params = params.model_copy(update={"notifications": wanted})
        with self._streaming(who, set(uris)), anyio.move_on_after(self.longest_stream_seconds if who else math.inf):
            return await self._serve_stream(ctx, params)
        return SubscriptionsListenResult(_meta={SUBSCRIPTION_ID_META_KEY: ctx.request_id})

    async def subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        """Notify that connection from now on; when there are too many, the oldest is dropped."""
        await self.unsubscribe(ctx, UnsubscribeRequestParams(uri=params.uri))
        self._subscribers = [*self._subscribers[1 - MOST_ADDRESSES :], Subscriber(ctx.session, params.uri)]
        self._watch_for([params.uri])
        return EmptyResult()

    async def unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        """Stop notifying that connection."""
        self._subscribers = [item for item in self._subscribers if not item.is_same(ctx.session, params.uri)]
        return EmptyResult()

    def close(self) -> None:
        """End every stream with its last message."""
        self._serve_stream.close()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Notify subscribers of changes while the block runs."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    @contextmanager
    def _streaming(self, who: str, uris: set[str]) -> Iterator[None]:
        if len(uris | {uri for other, uri in self._streamed if other == who}) > MOST_ADDRESSES:
            raise MCPError(code=INVALID_PARAMS, message=f"A client can listen to at most {MOST_ADDRESSES} addresses.")
        if self._streams[who] >= MOST_STREAMS:
            raise MCPError(code=INTERNAL_ERROR, message=f"At most {MOST_STREAMS} streams can be open.")
        own = Counter((who, uri) for uri in uris)
        self._streamed.update(own)
        self._streams[who] += 1
        try:
            self._watch_for(sorted(uris))
            yield
        finally:
            self._streamed -= own
            self._streams -= Counter([who])

    def _watch_for(self, uris: Sequence[str]) -> None:
        """Remember what can be read now, so that no later change is missed."""
        for uri in uris:
            if uri.startswith(TASK_PREFIX) and uri not in self._seen:
                self._seen[uri] = self._read(uri)
                self._needed.set()

    async def _watch(self) -> None:
        while True:
            while self._seen:
                await self._pause()
                try:
                    await self._notify_changes()
                except Exception:
                    # A failed notification must not end the server.
                    log.exception("subscribers could not be notified of a change")
            self._needed = anyio.Event()
            await self._needed.wait()

    async def _notify_changes(self) -> None:
        watched = {uri for _, uri in self._streamed} | {item.uri for item in self._subscribers}
        self._seen = {uri: seen for uri, seen in self._seen.items() if uri in watched}
        for uri, seen in list(self._seen.items()):
            now = self._read(uri)
            if now != seen:
                self._seen[uri] = now
                await self._notify_subscribers(uri)

    async def _notify_subscribers(self, uri: str) -> None:
        await self.bus.publish(ResourceUpdated(uri))
        for item in [item for item in self._subscribers if item.uri == uri]:
            # A client that does not read, or is gone, must not keep the others waiting.
            if not await _notify(item, self.longest_notify_seconds):
                self._subscribers = [other for other in self._subscribers if other is not item]

    def _read(self, uri: str) -> Snapshot:
        """What a subscriber can read of the task; if the ledger cannot be read, what was read last."""
        try:
            task = self._state.service.find_task(uri.removeprefix(TASK_PREFIX))
        except CallsheetError:
            return self._seen.get(uri)
        if task is None:
            return None
        # Without the polls and the lease: those change all the time.
        known = (task.gateway_task_id, task.said, task.percent, task.charge, task.hints)
        return (task.state, *known, task.problem, task.clip)

    async def _pause(self) -> None:
        try:
            service = self._state.service
        except CallsheetError:
            await anyio.sleep(RECHECK_SECONDS)
        else:
            await service.wait_for_change(RECHECK_SECONDS)


def _caller() -> str:
    """Whom the token of this request is for; empty on a server without tokens."""
    token = get_access_token()
    return (token.subject or "") if token else ""


async def _notify(item: Subscriber, seconds: float) -> bool:
    """Whether it could be notified within that time."""
    with anyio.move_on_after(seconds), suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await item.session.send_resource_updated(item.uri)
        return True
    return False


def register(mcp: MCPServer[ServerState], subscriptions: Subscriptions) -> None:
    """Serve both ways to subscribe. In the older one, only an address that can be read can be subscribed to.

    The SDK serves neither `resources/subscribe` nor bounded streams, so a middleware answers these requests.
    """

    async def serve(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        modern = is_version_at_least(ctx.protocol_version, NEWER_ERA)
        match ctx.method:
            case "initialize":
                return _declare(await call_next(ctx))
            case "subscriptions/listen" if modern:
                listen = SubscriptionsListenRequestParams.model_validate(ctx.params or {})
                if "taskIds" in (listen.notifications.model_extra or {}):
                    # A task is polled; still, only a client that knows tasks may name some.
                    require_client_extension(ctx, TASKS)
                return await subscriptions.listen(ctx, listen)
            case "resources/subscribe" if not modern and ctx.session.client_params is not None:
                wanted = SubscribeRequestParams.model_validate(ctx.params or {})
                await _require_readable(mcp, wanted.uri)
                return await subscriptions.subscribe(ctx, wanted)
            case "resources/unsubscribe" if not modern and ctx.session.client_params is not None:
                unwanted = UnsubscribeRequestParams.model_validate(ctx.params or {})
                return await subscriptions.unsubscribe(ctx, unwanted)
        return await call_next(ctx)

    mcp.middleware.append(serve)


def _declare(result: HandlerResult) -> HandlerResult:
    """The result of `initialize`, with the capability that the SDK does not know of."""
    if isinstance(result, dict):
        result["capabilities"]["resources"]["subscribe"] = True
    return result


async def _require_readable(mcp: MCPServer[ServerState], uri: str) -> None:
    """Raise what reading that resource would raise, as an error of the protocol."""
    try:
        await mcp.read_resource(uri)
    except ResourceError as error:
        code = INVALID_PARAMS if isinstance(error, ResourceNotFoundError) else INTERNAL_ERROR
        raise MCPError(code=code, message=str(error), data={"uri": uri}) from None
