"""Verifies access tokens of agents: a signed token (RFC 9068) by the provider's keys, an opaque one by introspection.

A token without audience is refused. One that is bound to a key (`cnf`) is refused too, because nothing here checks
that key. What is refused is said as a `TokenRefused`; the web server tells the caller less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .provider import OAuthClient, Provider, ProviderProblem
from .tokens import (
    ALGORITHMS,
    Access,
    Check,
    TokenRefused,
    check_claims,
    read_groups,
    read_seconds,
    read_text,
    read_token,
    read_words,
    require_algorithms,
    require_length,
)

INTROSPECTION_SECONDS = 30
INTROSPECTION_ENTRIES = 1000
UNKNOWN_SECONDS = 10
MOST_UNKNOWN = 300
"""In each of these windows: anybody can make up tokens, and each one that is not known to be good is a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierSettings:
    """What a token must have. `audiences` is usually the address of the MCP endpoint.

    `require_type=False` is for providers that mark an access token like any other (Entra, Keycloak). Only its scope
    then tells it from an ID token, so at least one scope is needed.
    """

    audiences: tuple[str, ...]
    scopes: tuple[str, ...] = ("callsheet",)
    algorithms: tuple[str, ...] = ALGORITHMS
    require_type: bool = True
    subject_claim: str = "sub"
    groups_claim: str = "groups"
    allowed_clients: tuple[str, ...] = ()
    introspection: OAuthClient | None = None

    def __post_init__(self) -> None:
        require_algorithms(self.algorithms)
        if not self.audiences or not all(self.audiences):
            raise ValueError("audiences must name at least one audience")
        if not self.require_type and not self.scopes:
            raise ValueError("scopes must name at least one scope if the type of a token is not checked")


_Answers = dict[bytes, tuple[float, dict[str, Any]]]
"""What the provider said of tokens, by their hash, and until when that is believed."""


class AccessTokenVerifier:
    """Verifies tokens of one provider. Safe to share between requests."""

    def __init__(self, provider: Provider, settings: VerifierSettings) -> None:
        self._provider, self._settings = provider, settings
        # Apart, so that made-up tokens drive out no good one.
        self._active: _Answers = {}
        self._inactive: _Answers = {}
        self._window, self._unknown = 0, 0

    async def verify(self, token: str) -> Access:
        """What the token proves. Raises `TokenRefused`, and `ProviderProblem` where the provider must be asked."""
        settings, provider = self._settings, self._provider
        if settings.introspection is not None and token.count(".") != 2:
            claims = {"iss": provider.issuer, **await self._introspect(token, settings.introspection)}
            check_claims(claims, provider, settings.audiences)
        else:
            types = ("at+jwt",) if settings.require_type else ("at+jwt", "jwt", "")
            claims = await read_token(
                token, provider, algorithms=settings.algorithms, types=types, audiences=settings.audiences
            )
        return self._decide(claims)

    def _decide(self, claims: Mapping[str, Any]) -> Access:
        settings = self._settings
        if claims.get("cnf") is not None:
            raise TokenRefused(Check.BOUND)
        client = read_text(claims, "client_id") or read_text(claims, "azp")
        subject = read_text(claims, settings.subject_claim)
        # A client that signed in as itself is no person, and could choose the name of one.
        if not subject or subject == client:
            raise TokenRefused(Check.SUBJECT, subject)
        if settings.allowed_clients and client not in settings.allowed_clients:
            raise TokenRefused(Check.CLIENT, client)
        scopes = read_words(claims, "scope") or read_words(claims, "scp")
        groups = read_groups(claims, settings.groups_claim)
        issued_at = read_seconds(claims, "iat") or 0
        access = Access(self._provider.issuer, subject, client, scopes, groups, int(claims["exp"]), issued_at)
        missing = [scope for scope in settings.scopes if scope not in scopes]
        if missing:
            raise TokenRefused(Check.SCOPE, " ".join(missing), access=access)
        return access

    async def _introspect(self, token: str, client: OAuthClient) -> dict[str, Any]:
        """What the provider says of an opaque token (RFC 7662), at most 30 seconds ago."""
        require_length(token)
        digest, now = hashlib.sha256(token.encode("utf-8", "replace")).digest(), self._provider.now()
        until, claims = self._active.get(digest) or self._inactive.get(digest, (0.0, {}))
        if now >= until:
            if digest not in self._active:
                self._count_unknown(now)
            endpoint = (await self._provider.load()).introspection_endpoint
            form = {"token": token, "token_type_hint": "access_token"}
            status, claims = await self._provider.post(endpoint, form, client)
            if status != 200:
                raise ProviderProblem(f"The identity provider answered an introspection with {status}.")
            self._active.pop(digest, None)
            self._inactive.pop(digest, None)
            answers = self._active if claims.get("active") is True else self._inactive
            while len(answers) >= INTROSPECTION_ENTRIES:
                del answers[next(iter(answers))]
            answers[digest] = (now + INTROSPECTION_SECONDS, claims)
        if claims.get("active") is not True:
            raise TokenRefused(Check.ACTIVE)
        if str(claims.get("token_type", "bearer")).lower() != "bearer":
            raise TokenRefused(Check.TYPE, claims.get("token_type"))
        return claims

    def _count_unknown(self, now: float) -> None:
        """Raises `ProviderProblem` where too many were asked about: whether this one is good stays open."""
        window = int(now // UNKNOWN_SECONDS)
        if window != self._window:
            self._window, self._unknown = window, 0
        self._unknown += 1
        if self._unknown > MOST_UNKNOWN:
            raise ProviderProblem("The identity provider is not asked about so many unknown tokens at a time.")
