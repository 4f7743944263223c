"""Signs people in on the desk by OpenID Connect: the relying party, without sessions, rows or pages.

State, nonce and PKCE verifier travel in a sealed cookie of ten minutes, so any replica can finish what another one
began. The cookie alone ties a callback to its browser; the code works once, at the provider.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .provider import Metadata, OAuthClient, Provider, ProviderProblem
from .tokens import (
    ALGORITHMS,
    LEEWAY_SECONDS,
    Check,
    TokenRefused,
    read_groups,
    read_seconds,
    read_text,
    read_token,
    require_algorithms,
)

FLOW_SECONDS = 600
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_PURPOSE = b"callsheet sign-in cookie 1"
"""Another number for another content: what an older version sealed then no longer opens."""
_STORED = b"stored ID token"
"""Keeps what is stored and the cookies apart: one does not open as the other."""
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginSettings:
    """`redirect_uri` is the callback's address. `keys` are secrets of 32 bytes, newest first; old ones still open."""

    client: OAuthClient
    redirect_uri: str
    keys: tuple[bytes, ...] = field(repr=False)
    scopes: tuple[str, ...] = ("openid", "profile")
    algorithms: tuple[str, ...] = ALGORITHMS
    subject_claim: str = "sub"
    groups_claim: str = "groups"

    def __post_init__(self) -> None:
        require_algorithms(self.algorithms)
        if not self.keys or any(len(key) != 32 for key in self.keys):
            raise ValueError("each key must have 32 bytes, and one is needed")
        if "openid" not in self.scopes:
            raise ValueError("scopes must contain openid")


@dataclass(frozen=True, slots=True)
class SignInStart:
    """Where the browser goes, and the cookie that it must bring back within ten minutes."""

    url: str
    cookie_name: str
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person, `(issuer, subject)`; `name` is for display only. `return_to` is what the start was given.

    `issued_at` is when the provider said so, by its clock, as an access token has it.
    """

    issuer: str
    subject: str
    name: str
    groups: tuple[str, ...]
    sid: str
    auth_time: int | None
    issued_at: int
    return_to: str
    id_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogoutNotice:
    """The provider ended these sessions: one by `sid`, or all of `subject`. The caller refuses a `jti` it has seen and
    remembers it until `expires_at`."""

    issuer: str
    subject: str
    sid: str
    jti: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Flow:
    """What the cookie holds."""

    state: str
    nonce: str
    verifier: str
    return_to: str
    started: int
    max_age: int | None


def build_cookie_name(state: str) -> str:
    """The name of the cookie of one sign-in, so that two tabs do not disturb each other. For `Secure` and path `/`."""
    return f"__Host-callsheet-sign-in-{hashlib.sha256(state.encode('utf-8', 'replace')).hexdigest()[:16]}"


class RelyingParty:
    """Signs people in at one provider."""

    def __init__(self, provider: Provider, settings: LoginSettings) -> None:
        self._provider, self._settings = provider, settings
        # The same secrets serve other purposes too.
        self._ciphers = [AESGCM(hmac.digest(key, _PURPOSE, "sha256")) for key in settings.keys]

    async def begin(self, *, return_to: str, max_age: int | None = None) -> SignInStart:
        """Start a sign-in. `max_age` is the age in seconds that it may have, 0 for now; `return_to` is a path."""
        if not return_to.startswith("/") or return_to[1:2] in {"/", "\\"} or not return_to.isprintable():
            raise ValueError("a sign-in returns to a path of the desk")
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        flow = _Flow(state, nonce, verifier, return_to, int(self._provider.now()), max_age)
        asked = {
            "response_type": "code",
            "client_id": self._settings.client.client_id,
            "redirect_uri": self._settings.redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _encode(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
            **({} if max_age is None else {"max_age": str(max_age)}),
        }
        endpoint = (await self._provider.load()).authorization_endpoint
        if not endpoint:
            raise ProviderProblem("The identity provider names no address at which people sign in.")
        return SignInStart(
            _join(endpoint, asked), build_cookie_name(state), self._encrypt(json.dumps(asdict(flow)), None)
        )

    async def finish(self, answer: Mapping[str, str], cookie: str | None) -> SignedIn:
        """End a sign-in with the callback's query. Raises `TokenRefused` and `ProviderProblem`."""
        flow = self._open(cookie)
        if not _same(answer.get("state", ""), flow.state):
            raise TokenRefused(Check.STATE)
        metadata = await self._provider.load()
        if answer.get("iss", None if metadata.announces_issuer else metadata.issuer) != metadata.issuer:
            raise TokenRefused(Check.ISSUER, answer.get("iss"))
        if "error" in answer or not answer.get("code"):
            raise TokenRefused(Check.ANSWER, answer.get("error"))
        id_token = await self._redeem(metadata, answer["code"], flow)
        claims = await self._read(id_token, ("jwt", ""))
        self._check_id_token(claims, flow)
        return SignedIn(
            issuer=metadata.issuer,
            subject=read_text(claims, self._settings.subject_claim),
            name=read_text(claims, "name") or read_text(claims, "preferred_username"),
            groups=read_groups(claims, self._settings.groups_claim),
            sid=read_text(claims, "sid"),
            auth_time=read_seconds(claims, "auth_time"),
            issued_at=read_seconds(claims, "iat") or int(self._provider.now()),
            return_to=flow.return_to,
            id_token=id_token,
        )

    async def build_logout_url(self, *, return_to: str, id_token: str = "") -> str | None:
        """Where the browser goes to sign out at the provider too; None if it offers that nowhere."""
        endpoint = (await self._provider.load()).end_session_endpoint
        asked = {"client_id": self._settings.client.client_id, "post_logout_redirect_uri": return_to}
        return _join(endpoint, {**asked, **({"id_token_hint": id_token} if id_token else {})}) if endpoint else None

    async def check_logout_token(self, token: str) -> LogoutNotice:
        """What the provider says it ended (OpenID Connect Back-Channel Logout 1.0). Raises `TokenRefused`."""
        claims = await self._read(token, ("logout+jwt", "jwt", ""))
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
            raise TokenRefused(Check.EVENT)
        if "nonce" in claims:
            raise TokenRefused(Check.NONCE)
        if read_seconds(claims, "iat") is None:
            raise TokenRefused(Check.ISSUED)
        subject, sid = read_text(claims, self._settings.subject_claim), read_text(claims, "sid")
        if not subject and not sid:
            raise TokenRefused(Check.SUBJECT)
        if not read_text(claims, "jti"):
            raise TokenRefused(Check.TOKEN_ID)
        return LogoutNotice(self._provider.issuer, subject, sid, claims["jti"], int(claims["exp"]) + LEEWAY_SECONDS)

    async def _redeem(self, metadata: Metadata, code: str, flow: _Flow) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._settings.redirect_uri,
            "code_verifier": flow.verifier,
        }
        status, body = await self._provider.post(metadata.token_endpoint, form, self._settings.client)
        id_token = body.get("id_token")
        if status != 200 or not isinstance(id_token, str):
            raise TokenRefused(Check.CODE, body.get("error"))
        return id_token

    async def _read(self, token: str, types: tuple[str, ...]) -> dict[str, Any]:
        settings = self._settings
        audiences = (settings.client.client_id,)
        return await read_token(token, self._provider, algorithms=settings.algorithms, types=types, audiences=audiences)

    def _check_id_token(self, claims: Mapping[str, Any], flow: _Flow) -> None:
        if not _same(read_text(claims, "nonce"), flow.nonce):
            raise TokenRefused(Check.NONCE)
        own = self._settings.client.client_id
        if claims.get("azp", own if claims["aud"] in (own, [own]) else None) != own:
            raise TokenRefused(Check.AUTHORIZED_PARTY, claims.get("azp"))
        if not read_text(claims, self._settings.subject_claim):
            raise TokenRefused(Check.SUBJECT)
        if flow.max_age is not None:
            at = read_seconds(claims, "auth_time")
            if at is None or at + flow.max_age + LEEWAY_SECONDS < flow.started:
                raise TokenRefused(Check.AUTH_TIME, at)

    def seal_id_token(self, id_token: str) -> str:
        """An ID token as it may be stored until its person signs out."""
        return self._encrypt(id_token, _STORED)

    def open_id_token(self, sealed: str) -> str:
        """The ID token again; empty if a key that it was sealed with is gone."""
        return self._decrypt(sealed, _STORED) or ""

    def _open(self, cookie: str | None) -> _Flow:
        flow = self._decrypt(cookie or "", None)
        if flow is None:
            raise TokenRefused(Check.COOKIE)
        found = _Flow(**json.loads(flow))
        if not -LEEWAY_SECONDS <= self._provider.now() - found.started < FLOW_SECONDS:
            raise TokenRefused(Check.COOKIE)
        return found

    def _encrypt(self, text: str, purpose: bytes | None) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _encode(nonce + self._ciphers[0].encrypt(nonce, text.encode(), purpose))

    def _decrypt(self, text: str, purpose: bytes | None) -> str | None:
        try:
            sealed = base64.b64decode(text.encode("ascii") + b"==", altchars=b"-_")
        except ValueError:
            return None
        for cipher in self._ciphers if len(sealed) > _NONCE_BYTES else ():
            with suppress(InvalidTag):
                return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose).decode()
        return None


def _join(endpoint: str, asked: Mapping[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8"))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
