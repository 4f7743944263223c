"""The verifier and the sign-in against `oidc-provider`, a certified OpenID provider, over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from real_provider import REDIRECT, RealProvider, open_browser

from callsheet.edges.identity.login import LoginSettings, RelyingParty, SignedIn
from callsheet.edges.identity.provider import OAuthClient, Provider
from callsheet.edges.identity.tokens import Check, TokenRefused
from callsheet.edges.identity.verifier import AccessTokenVerifier, VerifierSettings

RESOURCE = "https://clips.example.com/mcp"
OPAQUE = f"{RESOURCE}/opaque"
SIGNED_OUT = "http://127.0.0.1:9/signed-out"

pytestmark = pytest.mark.slow


def verifier(real: RealProvider, **settings: Any) -> AccessTokenVerifier:
    """Of a server at RESOURCE."""
    provider = Provider(real.issuer, now=time.time)
    return AccessTokenVerifier(provider, VerifierSettings(**{"audiences": (RESOURCE,), **settings}))


def introspecting(real: RealProvider, **settings: Any) -> AccessTokenVerifier:
    """With a client of its own."""
    client = real.register()
    own = OAuthClient(client["client_id"], client["client_secret"])
    return verifier(real, audiences=(OPAQUE,), introspection=own, **settings)


def desk(real: RealProvider, *, in_body: bool = False, **metadata: Any) -> RelyingParty:
    """A desk that is registered there."""
    method = "client_secret_post" if in_body else "client_secret_basic"
    client = real.register(token_endpoint_auth_method=method, post_logout_redirect_uris=[SIGNED_OUT], **metadata)
    own = OAuthClient(client["client_id"], client["client_secret"], in_body=in_body)
    settings = LoginSettings(client=own, redirect_uri=REDIRECT, keys=(b"k" * 32,))
    return RelyingParty(Provider(real.issuer, now=time.time), settings)


async def sign_in(
    real: RealProvider, party: RelyingParty, name: str, browser: httpx2.Client, *, max_age: int | None = None
) -> SignedIn:
    """As a person does it."""
    start = await party.begin(return_to="/tasks", max_age=max_age)
    return await party.finish(real.sign_in(start.url, name, browser=browser), start.cookie)


async def check_of(checked: AccessTokenVerifier, token: str) -> Check:
    """Which check refuses that token."""
    with pytest.raises(TokenRefused) as caught:
        await checked.verify(token)
    return caught.value.check


async def test_a_token_for_the_resource_says_who_and_via_which_client(real_provider: RealProvider) -> None:
    """A JWT with the type of RFC 9068."""
    tokens = real_provider.get_tokens("bob", resource=RESOURCE)
    found = await verifier(real_provider).verify(tokens["access_token"])
    assert (found.issuer, found.subject, found.client_id) == (real_provider.issuer, "bob", tokens["client_id"])
    assert (found.scopes, found.groups) == (("callsheet",), ("makers", "deciders"))
    assert 200 < found.expires_at - time.time() < 400


async def test_what_it_issues_for_other_ends_is_refused(real_provider: RealProvider) -> None:
    """ID token, other resource, no resource, no scope, another client."""
    tokens = real_provider.get_tokens("alice", resource=RESOURCE)
    checked = verifier(real_provider)
    assert await check_of(checked, tokens["id_token"]) is Check.TYPE
    other = real_provider.get_tokens("alice", resource="https://other.example.com/mcp")
    assert await check_of(checked, other["access_token"]) is Check.AUDIENCE
    userinfo = real_provider.get_tokens("alice", resource=None, scope="openid")
    assert await check_of(checked, userinfo["access_token"]) is Check.FORM
    scopeless = real_provider.get_tokens("alice", resource=RESOURCE, scope="openid")
    assert await check_of(checked, scopeless["access_token"]) is Check.SCOPE
    strict = verifier(real_provider, allowed_clients=("somebody",))
    assert await check_of(strict, tokens["access_token"]) is Check.CLIENT


async def test_an_id_token_is_refused_where_types_are_not_checked_and_its_audience_fits(
    real_provider: RealProvider,
) -> None:
    """As with Entra, whose access tokens have the client's id as their audience."""
    tokens = real_provider.get_tokens("alice", resource=RESOURCE)
    lax = verifier(real_provider, require_type=False, audiences=(tokens["client_id"],))
    assert await check_of(lax, tokens["id_token"]) is Check.SCOPE


async def test_a_client_that_signs_in_as_itself_is_no_person(real_provider: RealProvider) -> None:
    """The client credentials grant, which anybody can use who may register."""
    client = real_provider.register(grant_types=["client_credentials"], redirect_uris=[], response_types=[])
    own = (client["client_id"], client["client_secret"])
    with open_browser() as browser:
        form = {"grant_type": "client_credentials", "resource": RESOURCE, "scope": "callsheet"}
        token = browser.post(f"{real_provider.issuer}/token", data=form, auth=own).json()["access_token"]
    assert await check_of(verifier(real_provider), token) is Check.SUBJECT


async def test_an_opaque_token_is_introspected_until_it_is_revoked(real_provider: RealProvider) -> None:
    """A fresh verifier has no cache, so it sees the revocation immediately."""
    tokens = real_provider.get_tokens("carol", resource=OPAQUE)
    assert "." not in tokens["access_token"]
    found = await introspecting(real_provider).verify(tokens["access_token"])
    assert (found.subject, found.client_id, found.groups) == ("carol", tokens["client_id"], ("owners",))
    real_provider.revoke(tokens)
    assert await check_of(introspecting(real_provider), tokens["access_token"]) is Check.ACTIVE


async def test_opaque_tokens_for_other_ends_are_refused(real_provider: RealProvider) -> None:
    """A refresh token is active too, and a token for the provider's own page of the person."""
    scope = "openid callsheet offline_access"
    tokens = real_provider.get_tokens("carol", resource=OPAQUE, scope=scope)
    checked = introspecting(real_provider)
    assert await check_of(checked, tokens["refresh_token"]) is Check.AUDIENCE
    userinfo = real_provider.get_tokens("carol", resource=None, scope="openid")
    assert await check_of(checked, userinfo["access_token"]) is Check.AUDIENCE
    assert await check_of(checked, "made-up") is Check.ACTIVE


@pytest.mark.parametrize("in_body", [False, True])
async def test_a_person_signs_in(real_provider: RealProvider, *, in_body: bool) -> None:
    """By both ways for the desk to prove who it is."""
    with open_browser() as browser:
        found = await sign_in(real_provider, desk(real_provider, in_body=in_body), "bob", browser)
    assert (found.issuer, found.subject, found.name) == (real_provider.issuer, "bob", "bob of the tests")
    assert (found.groups, found.return_to) == (("makers", "deciders"), "/tasks")


async def test_a_callback_works_once_and_in_its_own_browser(real_provider: RealProvider) -> None:
    """A replay fails at the provider; another browser has another cookie or none (login CSRF)."""
    party = desk(real_provider)
    with open_browser() as browser:
        start = await party.begin(return_to="/")
        query = real_provider.sign_in(start.url, "alice", browser=browser)
    other = await party.begin(return_to="/")
    for cookie, check in ((None, Check.COOKIE), (other.cookie, Check.STATE)):
        with pytest.raises(TokenRefused) as caught:
            await party.finish(query, cookie)
        assert caught.value.check is check
    assert query["iss"] == real_provider.issuer
    await party.finish(query, start.cookie)
    with pytest.raises(TokenRefused) as caught:
        await party.finish(query, start.cookie)
    assert (caught.value.check, caught.value.found) == (Check.CODE, "invalid_grant")


async def test_step_up_makes_the_person_sign_in_again(real_provider: RealProvider) -> None:
    """The provider's session is not enough, and the time of the sign-in says so."""
    party = desk(real_provider)
    with open_browser() as browser:
        first = await sign_in(real_provider, party, "alice", browser)
        assert first.auth_time is None
        fresh = await sign_in(real_provider, party, "alice", browser, max_age=0)
    assert fresh.auth_time is not None
    assert abs(fresh.auth_time - time.time()) < 30


class BackChannel(BaseHTTPRequestHandler):
    """The desk's address for logout tokens."""

    received: Queue[str] = Queue()

    def do_POST(self) -> None:
        """Keep the token."""
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.received.put(parse_qs(body)["logout_token"][0])
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def back_channel() -> Iterator[str]:
    """Where logout tokens arrive."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BackChannel) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/oidc/back-channel"
        server.shutdown()


async def test_signing_out_at_the_provider_ends_the_session_by_back_channel(
    real_provider: RealProvider, back_channel: str
) -> None:
    """The browser comes back to the desk, and a token of the provider's server names the session."""
    party = desk(real_provider, backchannel_logout_uri=back_channel, backchannel_logout_session_required=True)
    with open_browser() as browser:
        found = await sign_in(real_provider, party, "alice", browser)
        url = await party.build_logout_url(return_to=SIGNED_OUT, id_token=found.id_token)
        assert url is not None
        landed = real_provider.browse(browser, url, lambda _: {"logout": "yes"})
    assert landed.split("?")[0] == SIGNED_OUT
    token = BackChannel.received.get(timeout=30)
    notice = await party.check_logout_token(token)
    assert (notice.issuer, notice.sid) == (real_provider.issuer, found.sid)
    assert found.sid
    assert notice.jti
    assert notice.expires_at > time.time()
    for forged, check in ((found.id_token, Check.EVENT), (f"{token[:-4]}AAAA", Check.SIGNATURE)):
        with pytest.raises(TokenRefused) as caught:
            await party.check_logout_token(forged)
        assert caught.value.check is check
    with pytest.raises(TokenRefused) as caught:
        await desk(real_provider).check_logout_token(token)
    assert caught.value.check is Check.AUDIENCE


async def test_the_address_of_the_sign_in_is_the_providers(real_provider: RealProvider) -> None:
    """From its own discovery document."""
    start = await desk(real_provider).begin(return_to="/")
    assert urlsplit(start.url)._replace(query="").geturl() == f"{real_provider.issuer}/auth"
