"""The web application of a team: MCP for agents, the desk for people, callbacks of gateways, and health.

Every replica is the same and keeps nothing: whichever answers the next request can go on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import RequestStateSecurity
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types.methods import SPEC_CLIENT_METHODS, SPEC_CLIENT_NOTIFICATION_METHODS
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callsheet.core.people import PROGRAM
from callsheet.edges.identity.verifier import AccessTokenVerifier
from callsheet.edges.postgres.people import People
from callsheet.edges.traces import SERVER, STATUS, fail, span
from callsheet.service import Service
from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.server import build_mcp_server
from callsheet.surface.mcp.tools import build_tools

from .agents import AgentVerifier, ProviderDown, ViewerMiddleware
from .config import TeamConfig
from .viewer import as_viewer

MOST_BODY_BYTES = 1_048_576
METADATA = "/.well-known/oauth-protected-resource"
HEALTH = ("/healthz", "/readyz")
HTTP_METHODS = ("GET", "HEAD", "POST")
MCP_WORDS = frozenset({
    "MCP", "send", "execute_tool", "tool_error", *SPEC_CLIENT_METHODS, *SPEC_CLIENT_NOTIFICATION_METHODS,
    *(tool.name for tool in build_tools()),
})  # fmt: skip
"""What the MCP SDK's spans may say; a client could name a method or a tool as it likes."""

IsReady = Callable[[], Awaitable[str]]
"""What is missing before requests can be answered; empty when nothing is."""


@dataclass(slots=True)
class Draining:
    """Whether the process is about to end: it still answers, but wants no new requests."""

    since: float | None = None

    def begin(self) -> None:
        """From now on the replica is not ready."""
        self.since = self.since or time.monotonic()


@dataclass(frozen=True, slots=True)
class TeamParts:
    """What the application is built of."""

    config: TeamConfig
    service: Service
    people: People
    verifier: AccessTokenVerifier
    is_ready: IsReady
    draining: Draining
    routes: Sequence[Route]
    desk: ASGIApp


def build_team_app(parts: TeamParts) -> ASGIApp:
    """The whole application."""
    config, state = parts.config, ServerState(lambda: parts.service)
    mcp = build_mcp_server(
        state,
        token_verifier=AgentVerifier(config, parts.people, parts.verifier, now=parts.service.now),
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(config.identity.issuer),
            resource_server_url=AnyHttpUrl(config.mcp_url),
            required_scopes=list(config.identity.scopes),
            validate_token_resource=True,
        ),
        request_state_security=RequestStateSecurity(keys=config.keys()),
    )
    mcp.middleware.insert(0, ViewerMiddleware(parts.people, f"{config.public_url}/"))
    served = mcp.streamable_http_app(
        streamable_http_path="/mcp",
        stateless_http=True,
        max_request_body_size=MOST_BODY_BYTES,
        transport_security=_only(config.public_url),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # What runs beside requests is the program's own.
        with as_viewer(PROGRAM):
            async with served.router.lifespan_context(served):
                yield

    async def metadata(_: Request) -> Response:
        """At the root too, where some clients look. The SDK adds a slash to the issuer, which is another name."""
        known = {"resource": config.mcp_url, "authorization_servers": [config.identity.issuer]}
        return JSONResponse({**known, "scopes_supported": list(config.identity.scopes),
            "bearer_methods_supported": ["header"]})  # fmt: skip

    health = [Route(HEALTH[0], _health), Route(HEALTH[1], _readiness(parts))]
    own = [Route(METADATA, metadata), Route(f"{METADATA}/mcp", metadata), *health, *parts.routes]
    desk = _observe(Starlette(routes=[*own, Mount("/", parts.desk)], lifespan=lifespan))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_mcp = scope["type"] == "http" and scope["path"] == "/mcp"
        await (served if is_mcp else desk)(scope, receive, send)

    return ProviderDown(app)


def _observe(desk: ASGIApp) -> ASGIApp:
    """A span for each request. Its path stays out: it can hold a token, and anybody chooses it."""

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in HEALTH:
            await desk(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in HTTP_METHODS else "_OTHER"
        part = "callback" if scope["path"].startswith("/callbacks/") else "desk"
        with span(f"{method} {part}", SERVER, {"http.request.method": method}) as current:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    current.set_attribute(STATUS, message["status"])
                    if message["status"] >= 500:
                        fail(current, str(message["status"]))
                await send(message)

            await desk(scope, receive, answer)

    return observed


def _only(public_url: str) -> TransportSecuritySettings:
    host = urlsplit(public_url).netloc
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=[host], allowed_origins=[public_url]
    )


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _readiness(parts: TeamParts) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        missing = "the process is about to end" if parts.draining.since else await parts.is_ready()
        return PlainTextResponse(f"{missing or 'ready'}\n", 503 if missing else 200)

    return endpoint
