"""Reads signed tokens (JWT): form, algorithm, type, key, signature, then the claims that all kinds have in common.

A refusal names the check that failed and, where it is no secret, what was found. It never repeats the token. The
issuer is compared before a key is looked up, so that a foreign token fetches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from joserfc import jws
from joserfc.errors import ClaimError, InvalidKeyIdError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from callsheet.core.security.redaction import clean
from callsheet.errors import CallerError

from .provider import Provider

ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
ASYMMETRIC = frozenset({*ALGORITHMS, "RS384", "RS512", "ES384", "ES512", "PS384", "PS512", "Ed25519"})
LEEWAY_SECONDS = 30
MAX_TOKEN = 1 << 14
"""Characters of a token; a person in hundreds of groups has one of some 8,000."""
MAX_HEADER = 1 << 12
"""Some providers put a certificate into it."""


class Check(StrEnum):
    """What is checked; claims have their own names."""

    FORM = "form"
    ALGORITHM = "alg"
    TYPE = "typ"
    KEY = "kid"
    SIGNATURE = "signature"
    ISSUER = "iss"
    AUDIENCE = "aud"
    EXPIRES = "exp"
    NOT_BEFORE = "nbf"
    ISSUED = "iat"
    TOKEN_ID = "jti"  # noqa: S105 - the name of a claim
    SUBJECT = "sub"
    CLIENT = "client"
    BOUND = "cnf"
    ACTIVE = "active"
    SCOPE = "scope"
    COOKIE = "cookie"
    STATE = "state"
    ANSWER = "answer"
    CODE = "code"
    NONCE = "nonce"
    AUTHORIZED_PARTY = "azp"
    AUTH_TIME = "auth_time"
    EVENT = "events"


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token proves. A person is `(issuer, subject)`; times are in seconds since the epoch.

    `issued_at` is 0 where the token does not say.
    """

    issuer: str
    subject: str
    client_id: str
    scopes: tuple[str, ...]
    groups: tuple[str, ...]
    expires_at: int
    issued_at: int


class TokenRefused(CallerError):
    """A token or a sign-in failed `check`. `access` is set if only a scope is missing, which HTTP answers with 403."""

    code = "token_refused"

    def __init__(self, check: Check, found: object = "", *, access: Access | None = None) -> None:
        self.check, self.found, self.access = check, clean(found, limit=200), access
        shown = f" ({self.found})" if self.found else ""
        super().__init__(
            f"The token or the sign-in was refused at the check `{check.value}`{shown}.",
            next_step="Sign in again. If that does not help, an administrator can compare the provider's settings.",
        )


class _Algorithms(jws.JWSRegistry):
    """Exactly the algorithms of the list: joserfc takes an empty list for its own recommendation."""

    max_header_length = MAX_HEADER

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


def require_algorithms(algorithms: Collection[str]) -> None:
    """Raises `ValueError` unless these are names of algorithms with a public key, at least one."""
    if not algorithms or not ASYMMETRIC.issuperset(algorithms):
        raise ValueError(f"algorithms must be some of {', '.join(sorted(ASYMMETRIC))}")


def require_length(token: str) -> None:
    """Raises `TokenRefused` for a token that is too long to be looked at."""
    if len(token) > MAX_TOKEN:
        raise TokenRefused(Check.FORM, "too long")


async def read_token(
    token: str,
    provider: Provider,
    *,
    algorithms: Collection[str],
    types: Collection[str],
    audiences: Collection[str],
) -> dict[str, Any]:
    """The claims of a token that the provider signed for one of these audiences.

    `types` are in lower case, "" for none. Raises `TokenRefused` and `ProviderProblem`.
    """
    registry = _Algorithms(algorithms=tuple(algorithms), strict_check_header=False)
    parts, claims = _parse(token, registry)
    header = parts.headers()
    if header["alg"] not in algorithms:
        raise TokenRefused(Check.ALGORITHM, header["alg"])
    if header.get("typ", "").lower().removeprefix("application/") not in types:
        raise TokenRefused(Check.TYPE, header.get("typ"))
    if claims.get("iss") != provider.issuer:
        raise TokenRefused(Check.ISSUER, claims.get("iss"))
    try:
        _check_signature(parts, (await provider.load()).keys, registry)
    except TokenRefused as refused:
        if refused.check is not Check.KEY:
            raise
        _check_signature(parts, (await provider.load(newer=True)).keys, registry)
    check_claims(claims, provider, audiences)
    return claims


def _parse(token: str, registry: jws.JWSRegistry) -> tuple[jws.CompactSignature, dict[str, Any]]:
    require_length(token)
    try:
        parts = jws.extract_compact(token.encode("ascii"), registry=registry)
        registry.check_header(parts.headers())
        claims = json.loads(parts.payload or b"")
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        raise TokenRefused(Check.FORM) from None
    if not isinstance(claims, dict):
        raise TokenRefused(Check.FORM)
    return parts, claims


def _check_signature(parts: jws.CompactSignature, keys: KeySet, registry: jws.JWSRegistry) -> None:
    try:
        if jws.validate_compact(parts, keys, registry=registry):
            return
    except InvalidKeyIdError:
        raise TokenRefused(Check.KEY, parts.headers().get("kid")) from None
    except (JoseError, ValueError, TypeError):
        pass
    raise TokenRefused(Check.SIGNATURE)


def check_claims(claims: dict[str, Any], provider: Provider, audiences: Collection[str]) -> None:
    """Issuer, audience and times; issuer, audience and expiry must be there. Raises `TokenRefused`."""
    if not audiences:
        raise ValueError("an audience is needed")
    registry = JWTClaimsRegistry(
        now=int(provider.now()),
        leeway=LEEWAY_SECONDS,
        iss={"essential": True, "value": provider.issuer},
        aud={"essential": True, "values": list(audiences)},
        exp={"essential": True},
    )
    try:
        registry.validate(claims)
    except ClaimError as error:
        # Several missing ones are named with commas.
        check = Check(error.claim.split(",", 1)[0])
        raise TokenRefused(check, claims.get(check.value)) from None


def read_text(claims: Mapping[str, Any], name: str) -> str:
    """A claim that is a printable text of at most 255 characters; else empty. A database refuses some others."""
    value = claims.get(name)
    return value if isinstance(value, str) and len(value) <= 255 and value.isprintable() else ""


def read_seconds(claims: Mapping[str, Any], name: str) -> int | None:
    """A claim that is a whole number of seconds."""
    value = claims.get(name)
    return value if type(value) is int else None


def read_words(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A claim that is a list of texts, or one text with spaces."""
    value = claims.get(name)
    return _texts(value.split() if isinstance(value, str) else value)


def read_groups(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A claim that is a list of texts, or one of them: in the name of a group a space is no border.

    `realm_access.roles` is found inside `realm_access`.
    """
    value: Any = claims.get(name)
    if value is None:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    return _texts([value] if isinstance(value, str) else value)


def _texts(found: Any) -> tuple[str, ...]:
    listed = found if isinstance(found, list) else ()
    return tuple(word for word in listed if isinstance(word, str) and word.isprintable())
