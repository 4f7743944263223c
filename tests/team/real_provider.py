"""What a test does at the real provider: registers clients, signs people in without a screen, gets tokens.

The provider is tests/servers/oidc/provider.mjs. Any name signs in there: alice is in the group `makers`, bob also in
`deciders`, carol in `owners`.

python real_provider.py ISSUER NAME URL   is the browser that a client opens: it signs in, and lands at the client.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2

REDIRECT = "http://127.0.0.1:9/callback"
"""Nobody listens there: the test reads where the browser was sent."""
_PROMPT = re.compile(r'name="prompt" value="(\w+)"')
_ACTION = re.compile(r'action="([^"]+)"')
_FIELD = re.compile(r'name="(\w+)" value="([^"]*)"')


def open_browser() -> httpx2.Client:
    """A browser without a screen, with cookies of its own, that follows no redirect."""
    return httpx2.Client(trust_env=False, follow_redirects=False, timeout=30)


@dataclass(frozen=True)
class RealProvider:
    """The running provider."""

    issuer: str

    def register(self, **metadata: Any) -> dict[str, Any]:
        """A client, by dynamic registration (RFC 7591)."""
        with open_browser() as browser:
            asked = {"redirect_uris": [REDIRECT], "grant_types": ["authorization_code", "refresh_token"], **metadata}
            reply = browser.post(f"{self.issuer}/reg", json={"response_types": ["code"], **asked})
        assert reply.status_code == 201, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def sign_in(self, url: str, name: str, *, browser: httpx2.Client) -> dict[str, str]:
        """Open an authorization URL, answer the provider's forms as that person; the query of the callback."""
        return dict(parse_qsl(urlsplit(self.land(url, name, browser=browser)).query))

    def land(self, url: str, name: str, *, browser: httpx2.Client) -> str:
        """The same; the whole address of the callback."""
        return self.browse(browser, url, lambda prompt: {"login": name, "password": "x"} if prompt == "login" else {})

    def browse(self, browser: httpx2.Client, url: str, fill: Callable[[str], dict[str, str]]) -> str:
        """Follow redirects and submit forms at the provider until one leads elsewhere; that address."""
        reply = browser.get(url)
        for _ in range(20):
            if reply.is_redirect:
                url = urljoin(str(reply.url), reply.headers["location"])
                if not url.startswith(f"{self.issuer}/"):
                    return url
                reply = browser.get(url)
                continue
            assert reply.status_code == 200, reply.text
            prompt, action = _PROMPT.search(reply.text), _ACTION.search(reply.text)
            assert action is not None, reply.text
            fields = dict(_FIELD.findall(reply.text)) | fill(prompt[1] if prompt else "")
            reply = browser.post(urljoin(str(reply.url), action[1]), data=fields)
        raise AssertionError("the provider keeps asking")

    def get_tokens(
        self, name: str, *, resource: str | None, scope: str = "openid callsheet", names_it_again: bool = True
    ) -> dict[str, Any]:
        """What an agent gets that signs in as a public client with PKCE, for a resource (RFC 8707)."""
        client = self.register(token_endpoint_auth_method="none")["client_id"]
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        about = {"client_id": client, "redirect_uri": REDIRECT}
        resources = {} if resource is None else {"resource": resource}
        asked = {"response_type": "code", "scope": scope, "state": "s", "prompt": "consent", **about, **resources}
        proof = {"code_challenge": challenge, "code_challenge_method": "S256"}
        with open_browser() as browser:
            url = f"{self.issuer}/auth?{urlencode(asked | proof)}"
            code = self.sign_in(url, name, browser=browser)["code"]
            form = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier, **about}
            reply = browser.post(f"{self.issuer}/token", data=form | (resources if names_it_again else {}))
        assert reply.status_code == 200, reply.text
        return {**reply.json(), "client_id": client}

    def refresh(self, tokens: dict[str, Any]) -> dict[str, Any]:
        """What the refresh token gives."""
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        with open_browser() as browser:
            reply = browser.post(f"{self.issuer}/token", data={**form, "client_id": tokens["client_id"]})
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def revoke(self, tokens: dict[str, Any]) -> None:
        """Withdraw the grant by its refresh token, or without one the access token (RFC 7009)."""
        with open_browser() as browser:
            form = {"token": tokens.get("refresh_token", tokens["access_token"]), "client_id": tokens["client_id"]}
            assert browser.post(f"{self.issuer}/token/revocation", data=form).status_code == 200


if __name__ == "__main__":
    with open_browser() as own:
        own.get(RealProvider(sys.argv[1]).land(sys.argv[3], sys.argv[2], browser=own)).raise_for_status()
