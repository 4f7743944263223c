"""An identity provider that a test scripts: its keys, its documents, its answers and its time."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from callsheet.edges.identity.provider import Provider

ISSUER = "https://id.example.com/realm"
RESOURCE = "https://clips.example.com/mcp"
CLIENT_ID = "desk client"
SECRET = "a secret: of/the desk"
KINDS = {"RS256": "rsa", "PS256": "rsa", "ES256": "ec", "EdDSA": "okp"}
Header = Mapping[str, Any]


@cache
def make_key(kind: str, kid: str) -> Key:
    """A private key; the same one for the same name."""
    parameters: Any = {"kid": kid}
    if kind == "rsa":
        return RSAKey.generate_key(2048, parameters)
    return ECKey.generate_key("P-256", parameters) if kind == "ec" else OKPKey.generate_key("Ed25519", parameters)


def sign(claims: Any, key: Key, header: Header) -> str:
    """A signed token, whatever is in it."""
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jws.serialize_compact(dict(header), body, key, registry=EveryAlgorithm(strict_check_header=False))


class EveryAlgorithm(jws.JWSRegistry):
    """Signs with any algorithm and any header, those included that nobody should use."""

    def check_header(self, header: Any) -> None:
        """Nothing is checked."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


def encode(value: Any) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def sign_confused(claims: Any, key: Key) -> str:
    """HS256 with the text of the public key as the shared secret, which a careless verifier accepts."""
    signed = f"{encode({'alg': 'HS256', 'typ': 'at+jwt', 'kid': key.kid})}.{encode(claims)}"
    secret = key.as_pem(private=False)  # type: ignore[union-attr]
    signature = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@dataclass
class ScriptedProvider:
    """Answers like an OpenID provider over a scripted transport. `asked` lists every path that was requested."""

    time: float = 1_800_000_000.0
    documents: dict[str, Any] = field(default_factory=dict)
    """What differs in the discovery document."""
    keys: list[Key] = field(default_factory=lambda: [make_key("rsa", "one"), make_key("ec", "e"), make_key("okp", "o")])
    key_set: Any = None
    introspection: Any = None
    id_token: Any = None
    down: bool = False
    replies: dict[str, httpx2.Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def now(self) -> float:
        """The test's time."""
        return self.time

    def provider(self, **options: Any) -> Provider:
        """The program's view of it."""
        return Provider(ISSUER, now=self.now, transport=httpx2.MockTransport(self.answer), **options)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """One reply."""
        path = urlsplit(str(request.url)).path
        self.asked.append(path.removeprefix("/realm"))
        if self.down:
            raise httpx2.ConnectError("down")
        if request.method == "POST":
            self.forms.append({name: values[0] for name, values in parse_qs(request.content.decode()).items()})
            self.authorizations.append(request.headers.get("authorization", ""))
        found = self.replies.get(self.asked[-1])
        return found or httpx2.Response(200, json=self.document(self.asked[-1]))

    def document(self, path: str) -> Any:
        """What the path answers when nothing goes wrong."""
        if path in {"/jwks", "/moved"}:
            return self.key_set or {"keys": [key.as_dict(private=False) for key in self.keys]}
        if path == "/introspect":
            return self.introspection
        if path == "/token":
            return {"access_token": "opaque", "token_type": "Bearer", "id_token": self.id_token}
        return {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/jwks",
            "authorization_endpoint": f"{ISSUER}/auth",
            "token_endpoint": f"{ISSUER}/token",
            "introspection_endpoint": f"{ISSUER}/introspect",
            "end_session_endpoint": f"{ISSUER}/end",
            "authorization_response_iss_parameter_supported": True,
            **self.documents,
        }

    def claims(self, **other: Any) -> dict[str, Any]:
        """Those of a good access token; None removes one."""
        good = {
            "iss": ISSUER,
            "aud": RESOURCE,
            "sub": "alice",
            "client_id": "codex",
            "scope": "callsheet offline_access",
            "groups": ["makers"],
            "iat": int(self.time),
            "exp": int(self.time) + 300,
            "jti": "t1",
        }
        return {name: value for name, value in {**good, **other}.items() if value is not None}

    def token(self, claims: Any = None, *, key: Key | None = None, **header: Any) -> str:
        """An access token, by default a good one."""
        known = {"alg": "RS256", "typ": "at+jwt", "kid": "one", **header}
        shown = {name: value for name, value in known.items() if value is not None}
        return sign(self.claims() if claims is None else claims, key or self.keys[0], shown)
