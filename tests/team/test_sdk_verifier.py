"""The verifier behind the bearer middleware of the MCP SDK: 200, 401 and 403, and what the server then knows."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken
from pydantic import AnyHttpUrl
from scripted_provider import ISSUER, RESOURCE, ScriptedProvider, make_key
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse

from callsheet.edges.identity.tokens import TokenRefused
from callsheet.edges.identity.verifier import AccessTokenVerifier, VerifierSettings


class SdkVerifier:
    """A `TokenVerifier` of the SDK. `resource` is set after the audience was checked, and never from the token."""

    def __init__(self, verifier: AccessTokenVerifier) -> None:
        self.verifier = verifier

    async def verify_token(self, token: str) -> AccessToken | None:
        """None is answered with 401; a token that lacks a scope goes on, and the SDK answers 403."""
        try:
            access = await self.verifier.verify(token)
        except TokenRefused as refused:
            if refused.access is None:
                return None
            access = refused.access
        return AccessToken(
            token=token,
            client_id=access.client_id,
            scopes=list(access.scopes),
            expires_at=access.expires_at,
            resource=RESOURCE,
            subject=access.subject,
            claims={"iss": access.issuer, "groups": list(access.groups)},
        )


async def endpoint(scope: Any, receive: Any, send: Any) -> None:
    """Says who asks."""
    user = Request(scope).user
    assert isinstance(user, AuthenticatedUser)
    known = user.access_token
    await JSONResponse([known.subject, known.client_id, known.claims])(scope, receive, send)


async def ask(idp: ScriptedProvider, headers: dict[str, str], **settings: Any) -> httpx2.Response:
    """One request to a server at RESOURCE."""
    verifier = AccessTokenVerifier(idp.provider(), VerifierSettings(**{"audiences": (RESOURCE,), **settings}))
    app = AuthenticationMiddleware(
        RequireAuthMiddleware(endpoint, ["callsheet"]),
        backend=BearerAuthBackend(SdkVerifier(verifier), resource_server_url=AnyHttpUrl(RESOURCE)),
    )
    transport = httpx2.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="https://clips.example.com") as client:
        return await client.get("/mcp", headers=headers)


async def test_a_good_token_reaches_the_endpoint_with_its_person() -> None:
    """Also where its audience is another name of the server, as with Entra."""
    idp = ScriptedProvider()
    for claims, settings in ((idp.claims(), {}), (idp.claims(aud="guid"), {"audiences": ("guid",)})):
        reply = await ask(idp, {"authorization": f"Bearer {idp.token(claims)}"}, **settings)
        assert (reply.status_code, reply.json()) == (200, ["alice", "codex", {"iss": ISSUER, "groups": ["makers"]}])


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"aud": "https://other.example"}, 401, "invalid_token"),
        ({"exp": 1}, 401, "invalid_token"),
        ({"scope": "openid"}, 403, "insufficient_scope"),
        ({"scope": "openid", "aud": None}, 401, "invalid_token"),
    ],
)
async def test_a_refused_token_does_not(change: dict[str, Any], status: int, error: str) -> None:
    """The caller learns the error's name, not the check."""
    idp = ScriptedProvider()
    reply = await ask(idp, {"authorization": f"Bearer {idp.token(idp.claims(**change))}"})
    assert (reply.status_code, reply.json()["error"]) == (status, error)


async def test_no_token_and_a_forged_one_are_401() -> None:
    """A token in the address counts for nothing."""
    idp = ScriptedProvider()
    for headers in ({}, {"authorization": "Basic eA=="}, {"authorization": "Bearer x"}):
        assert (await ask(idp, headers)).status_code == 401
    forged = idp.token(key=make_key("rsa", "other"))
    assert (await ask(idp, {"authorization": f"Bearer {forged}"})).status_code == 401
