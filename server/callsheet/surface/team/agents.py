"""Who an agent acts for: its token, checked on each request, and the viewer of the calls it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_REQUEST
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from callsheet.core.people import Person, Viewer, find_role
from callsheet.edges.identity.agent_tokens import hash_agent_token
from callsheet.edges.identity.provider import ProviderProblem
from callsheet.edges.identity.tokens import Access, TokenRefused
from callsheet.edges.identity.verifier import AccessTokenVerifier
from callsheet.edges.postgres.database import allow_waiting
from callsheet.edges.postgres.people import People
from callsheet.surface.next_steps import in_team

from .config import TeamConfig
from .viewer import as_viewer

PERSON = "callsheet_person"
SEEN_SECONDS = 300.0
"""How old the stored word of the provider may become before a request writes it again."""


class AgentVerifier:
    """The SDK's `TokenVerifier`: tokens of the provider and the team's own. None is answered with 401.

    A token that lacks a scope goes on, and the SDK answers 403. `ProviderProblem` passes: nobody was refused.
    """

    def __init__(
        self, config: TeamConfig, people: People, verifier: AccessTokenVerifier, *, now: Callable[[], float]
    ) -> None:
        self._config, self._people, self._verifier, self._now = config, people, verifier, now

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token as the SDK knows it, with the id of its person."""
        await allow_waiting()
        own = hash_agent_token(token)
        if own is not None:
            return self._read_own(own)
        try:
            access = await self._verifier.verify(token)
        except TokenRefused as refused:
            if refused.access is None:
                return None
            access = refused.access
        person = self.let_in(access)
        if person is None:
            return None
        return self._build(person, access.client_id, list(access.scopes), access.expires_at)

    def let_in(self, access: Access) -> Person | None:
        """The person of a good token; None for one without a role, or one who is cut off."""
        role = find_role(access.groups, self._config.roles.by_role())
        if role is None:
            self._people.end_access(access.issuer, access.subject)
            return None
        now, team = self._now(), self._config.team_of(access.groups)
        person = self._people.find_by_subject(access.issuer, access.subject)
        if person is None or (person.role, person.team) != (role, team) or now - person.seen_at > SEEN_SECONDS:
            name = person.name if person else access.subject
            person = self._people.sign_in(access.issuer, access.subject, name=name, team=team, role=role, now=now)
        return person if person.disabled_at is None else None

    def _read_own(self, digest: str) -> AccessToken | None:
        found = self._people.find_agent_token(digest, now=self._now())
        if found is None:
            return None
        person, name = found
        return self._build(person, name, list(self._config.identity.scopes), None)

    def _build(self, person: Person, agent: str, scopes: list[str], expires_at: int | None) -> AccessToken:
        return AccessToken(
            token="",
            client_id=agent,
            scopes=scopes,
            expires_at=expires_at,
            resource=self._config.mcp_url,
            subject=person.subject,
            claims={PERSON: person.id},
        )


class ViewerMiddleware:
    """Each MCP request acts for the person of its token, who may have been cut off since it was checked."""

    def __init__(self, people: People, desk_url: str) -> None:
        self._people = people
        self._desk_url = desk_url

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass the request on."""
        await allow_waiting()
        token = get_access_token()
        person = self._people.find(str((token.claims or {}).get(PERSON))) if token else None
        if token is None or person is None or person.disabled_at is not None:
            raise MCPError(code=INVALID_REQUEST, message="Access has ended: sign in again, or ask an admin.")
        with as_viewer(Viewer(person, token.client_id)), in_team(self._desk_url):
            return await call_next(ctx)


class ProviderDown:
    """Answers 503 where the identity provider could not be asked: the token may be right."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ProviderProblem as problem:
            body = {"error": "temporarily_unavailable", "error_description": problem.message}
            await JSONResponse(body, 503, {"retry-after": "10"})(scope, receive, send)
