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
            # One that lacks a scope may be for another purpose, as an ID token is: it changes nothing.
            return self._build(refused.access, None) if refused.access else None
        person = self.let_in(access)
        return self._build(access, person) if person else None

    def let_in(self, access: Access) -> Person | None:
        """The person of a good token; None for one without a role, or one who is cut off.

        A token only says what held when it was issued. What the provider has said since, to another token or at a
        sign-in, is not overruled: an older token that says otherwise is refused, and its agent gets a newer one.
        """
        role, team = find_role(access.groups, self._config.roles.by_role()), self._config.team_of(access.groups)
        now, said_at = self._now(), access.issued_at
        person = self._people.find_by_subject(access.issuer, access.subject)
        is_newer = person is None or said_at > person.said_at
        if role is None:
            if is_newer:
                self._people.end_access(access.issuer, access.subject, said_at=said_at)
            return None
        is_other = person is None or (person.role, person.team) != (role, team)
        if is_newer and (person is None or is_other or now - person.seen_at > SEEN_SECONDS):
            name = person.name if person else access.subject
            person = self._people.sign_in(
                access.issuer, access.subject, name=name, team=team, role=role, now=now, said_at=said_at
            )
        elif is_other:
            return None
        return person if person and person.disabled_at is None else None

    def _read_own(self, digest: str) -> AccessToken | None:
        found = self._people.find_agent_token(digest, now=self._now())
        if found is None:
            return None
        person, name = found
        # The row says when it ends.
        known = Access(person.issuer, person.subject, name, self._config.identity.scopes, (), expires_at=0, issued_at=0)
        return self._build(known, person)

    def _build(self, access: Access, person: Person | None) -> AccessToken:
        return AccessToken(
            token="",
            client_id=access.client_id,
            scopes=list(access.scopes),
            expires_at=access.expires_at or None,
            resource=self._config.mcp_url,
            subject=access.subject,
            claims={PERSON: person.id} if person else {},
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
