"""The identity provider over HTTP: what it says of itself, its keys, and forms that are posted to it.

The issuer's address comes from the server's configuration, so its host may be private. Addresses that the provider
names itself are held to more: https (plain http only if the issuer is on loopback too), and on another host only
public addresses, unless the configuration names that host. Redirects are refused, replies bounded, the environment's
proxies and certificates ignored.

One reading, ten minutes old at most, serves all. An unknown key causes another one at most every 30 seconds. While
the provider is down, the last reading stays in use.
"""

from __future__ import annotations

import json
import ssl
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import anyio
import httpx2
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, KeySet

from callsheet.core.gateway.protocol import USUAL
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import is_loopback
from callsheet.edges.http.public_addresses import Resolver, find_public_addresses, resolve
from callsheet.edges.http.trust import build_context, explain_failure
from callsheet.errors import ExternalError

CACHE_SECONDS = 600
RETRY_SECONDS = 30
FIRST_RETRY_SECONDS = 2
"""While there is no reading to fall back on: short, so that a server that starts with its provider is soon ready."""
TOTAL_SECONDS = 10.0
MAX_REPLY_BYTES = 1 << 18
MAX_KEYS = 64
ISSUER_SHOWN = 120
_FAILURES = (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ValueError, RecursionError)


class ProviderProblem(ExternalError):
    """The identity provider cannot be reached, or what it says of itself cannot be used. Nobody was refused."""

    code = "identity_provider"
    default_retry = "after(30)"

    def __init__(self, message: str) -> None:
        super().__init__(message, next_step="Try again later. If that does not help, check the identity settings.")


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """How the server proves to the provider who it is: by HTTP Basic, or with `in_body` by two fields of the form."""

    client_id: str
    secret: str = field(repr=False)
    in_body: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the provider says of itself. An endpoint that it does not have, or that may not be used, is empty."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    introspection_endpoint: str
    end_session_endpoint: str
    announces_issuer: bool
    """Whether its callbacks carry `iss` (RFC 9207)."""
    keys: KeySet


class Provider:
    """One identity provider. `now` is in seconds since the epoch; `transport` replaces the network, names included."""

    def __init__(
        self,
        issuer: str,
        *,
        now: Callable[[], float],
        trusted_hosts: Collection[str] = (),
        transport: httpx2.MockTransport | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.issuer, self.now = issuer, now
        if "?" in issuer or not self._may_use(issuer):
            raise ValueError("the issuer must be an https address without query, or http on loopback")
        self._trusted = {httpx2.URL(issuer).host, *(host.lower() for host in trusted_hosts)}
        self._transport, self._tls = transport, tls
        self._resolver = resolver or (resolve if transport is None else None)
        self._lock = anyio.Lock()
        self._known: Metadata | None = None
        self._tried = self._due = float("-inf")

    async def load(self, *, newer: bool = False) -> Metadata:
        """The last reading, or another if it is due; `newer` asks for one because a key is unknown.

        Raises `ProviderProblem` if there has never been one.
        """
        known = self._known
        if known and (not self._is_due(newer) or (self._lock.locked() and not newer)):
            return known
        async with self._lock:
            if self._is_due(newer):
                await self._renew()
        if self._known is None:
            raise ProviderProblem("The identity provider could not be read a moment ago.")
        return self._known

    async def post(self, url: str, form: Mapping[str, str], client: OAuthClient) -> tuple[int, dict[str, Any]]:
        """Post a form once, as that client: status and reply. Raises `ProviderProblem`."""
        own = {"client_id": client.client_id, "client_secret": client.secret} if client.in_body else {}
        # RFC 6749, 2.3.1: both are encoded like a form first.
        basic = httpx2.BasicAuth(quote_plus(client.client_id), quote_plus(client.secret))
        status, body = await self._request("POST", url, data={**form, **own}, auth=None if own else basic)
        if status >= 500 or status == 429:
            raise ProviderProblem(f"The identity provider answered {status}.")
        return status, body

    def _may_use(self, url: str) -> bool:
        """Whether it is https without user and fragment, or plain http on loopback where the issuer is there too."""
        try:
            parts = httpx2.URL(url)
        except httpx2.InvalidURL:
            return False
        known = parts.scheme == "https" or (is_loopback(self.issuer) and is_loopback(url))
        return known and bool(parts.host) and not (parts.userinfo or parts.fragment)

    def _is_due(self, newer: bool) -> bool:
        return self.now() >= (min(self._due, self._tried + RETRY_SECONDS) if newer else self._due)

    async def _renew(self) -> None:
        self._tried = self.now()
        self._due = self._tried + (RETRY_SECONDS if self._known else FIRST_RETRY_SECONDS)
        try:
            self._known = await self._read()
        except ProviderProblem:
            if self._known is None:
                raise
        else:
            self._due = self._tried + CACHE_SECONDS

    async def _read(self) -> Metadata:
        found = await self._get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            named = clean(str(found.get("issuer")), limit=ISSUER_SHOWN)
            raise ProviderProblem(
                f"The identity provider names another issuer ({named}) than the one that is configured ({self.issuer})."
            )
        texts = {name: value for name, value in found.items() if isinstance(value, str) and self._may_use(value)}
        return Metadata(
            issuer=self.issuer,
            authorization_endpoint=texts.get("authorization_endpoint", ""),
            token_endpoint=texts.get("token_endpoint", ""),
            introspection_endpoint=texts.get("introspection_endpoint", ""),
            end_session_endpoint=texts.get("end_session_endpoint", ""),
            announces_issuer=found.get("authorization_response_iss_parameter_supported") is True,
            keys=_build_keys(await self._get(texts.get("jwks_uri", ""))),
        )

    async def _get(self, url: str) -> dict[str, Any]:
        status, body = await self._request("GET", url)
        if status != 200:
            raise ProviderProblem(f"The identity provider answered {status} at {url}.")
        return body

    async def _request(
        self, method: str, url: str, *, data: Mapping[str, str] | None = None, auth: httpx2.Auth | None = None
    ) -> tuple[int, dict[str, Any]]:
        if not self._may_use(url):
            raise ProviderProblem("The identity provider lacks an address that is needed, or it may not be used.")
        try:
            with anyio.fail_after(TOTAL_SECONDS):
                async with self._client() as client:
                    return await self._receive(client, client.build_request(method, url, data=data), auth)
        except _FAILURES as error:
            raise ProviderProblem(f"{url} could not be read ({explain_failure(error)}).") from None

    async def _receive(
        self, client: httpx2.AsyncClient, request: httpx2.Request, auth: httpx2.Auth | None
    ) -> tuple[int, dict[str, Any]]:
        if self._resolver is not None and request.url.host not in self._trusted:
            # The connection goes to the address that was checked; name and certificate stay those of the URL.
            address = (await find_public_addresses(request.url, self._resolver))[0]
            request.extensions["sni_hostname"] = request.url.raw_host.decode("ascii")
            request.url = request.url.copy_with(host=address)
        response = await client.send(request, stream=True, auth=auth)
        try:
            body = bytearray()
            if response.headers.get("content-encoding", "identity") != "identity":
                raise httpx2.DecodingError("a small compressed reply can be large, and none was asked for")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_REPLY_BYTES:
                    raise httpx2.DecodingError("the reply is too large")
        finally:
            await response.aclose()
        found = json.loads(bytes(body)) if response.status_code < 500 else {}
        if not isinstance(found, dict):
            raise httpx2.DecodingError("the reply is no object")
        return response.status_code, found

    def _client(self) -> httpx2.AsyncClient:
        if self._tls is None and self._transport is None:
            self._tls = build_context(USUAL)
        return httpx2.AsyncClient(
            transport=self._transport,
            verify=self._tls or True,
            headers={"accept": "application/json", "accept-encoding": "identity"},
            timeout=TOTAL_SECONDS,
            follow_redirects=False,
            trust_env=False,
        )


def _build_keys(found: Mapping[str, Any]) -> KeySet:
    """The public keys for signatures; what is too short, secret or not understood is left out."""
    keys = []
    listed = found.get("keys")
    for data in listed[:MAX_KEYS] if isinstance(listed, list) else ():
        try:
            with warnings.catch_warnings(action="error", category=SecurityWarning):
                key = JWKRegistry.import_key(data)
        except (JoseError, SecurityWarning, ValueError, TypeError, KeyError):
            continue
        if key.key_type != "oct" and key.get("use", "sig") == "sig":
            keys.append(key)
    if not keys:
        raise ProviderProblem("The identity provider publishes no key that can be used.")
    return KeySet(keys)
