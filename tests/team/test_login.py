"""Signing in on the desk: what the browser, the cookie and the provider must agree on, and what is refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from scripted_provider import CLIENT_ID, ISSUER, SECRET, ScriptedProvider, make_key

from callsheet.edges.identity.login import (
    LOGOUT_EVENT,
    LoginSettings,
    LogoutNotice,
    RelyingParty,
    SignedIn,
    SignInStart,
    build_cookie_name,
)
from callsheet.edges.identity.provider import OAuthClient, ProviderProblem
from callsheet.edges.identity.tokens import Check, TokenRefused

CALLBACK = "https://clips.example.com/oidc/callback"
OLD_KEY, NEW_KEY = b"o" * 32, b"n" * 32
SETTINGS = LoginSettings(client=OAuthClient(CLIENT_ID, SECRET), redirect_uri=CALLBACK, keys=(NEW_KEY,))


def party(idp: ScriptedProvider, **other: Any) -> RelyingParty:
    """A replica of the desk."""
    return RelyingParty(idp.provider(), replace(SETTINGS, **other))


def query_of(start: SignInStart) -> dict[str, str]:
    """What the browser takes to the provider."""
    return {name: values[0] for name, values in parse_qs(urlsplit(start.url).query).items()}


def answer(idp: ScriptedProvider, start: SignInStart, *, header: Any = None, key: Any = None, **claims: Any) -> Any:
    """The callback of a provider at which alice signed in; `claims` differ in its ID token, None removes one."""
    asked = query_of(start)
    good = idp.claims(aud=CLIENT_ID, scope=None, client_id=None, nonce=asked["nonce"], sid="s1", name="Alice A.")
    told = {name: value for name, value in {**good, **claims}.items() if value is not None}
    idp.id_token = idp.token(told, key=key, **{"typ": "JWT", **(header or {})})
    return {"code": "c1", "state": asked["state"], "iss": ISSUER}


async def refused(desk: RelyingParty, query: dict[str, str], cookie: str | None) -> Check:
    """The check that failed."""
    with pytest.raises(TokenRefused) as caught:
        await desk.finish(query, cookie)
    return caught.value.check


async def test_a_sign_in_asks_with_pkce_state_and_nonce() -> None:
    """Fresh ones each time; the verifier stays in the sealed cookie."""
    idp = ScriptedProvider()
    first, second = [await party(idp).begin(return_to="/tasks?mode=live") for _ in range(2)]
    asked, other = query_of(first), query_of(second)
    assert first.url.startswith(f"{ISSUER}/auth?")
    assert {name: asked[name] for name in ("response_type", "client_id", "redirect_uri", "scope")} == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": CALLBACK,
        "scope": "openid profile",
    }
    assert asked["code_challenge_method"] == "S256"
    assert "max_age" not in asked
    assert all(asked[name] != other[name] for name in ("state", "nonce", "code_challenge"))
    assert first.cookie_name == build_cookie_name(asked["state"]) != second.cookie_name
    assert first.cookie_name.startswith("__Host-")
    assert first.cookie not in repr(first)


async def test_any_replica_finishes_a_sign_in() -> None:
    """The code goes out once, with its verifier, by HTTP Basic; nothing was kept in memory."""
    idp = ScriptedProvider()
    start = await party(idp).begin(return_to="/tasks?mode=live")
    found = await party(idp).finish(answer(idp, start), start.cookie)
    assert found == SignedIn(
        ISSUER, "alice", "Alice A.", ("makers",), "s1", None, int(idp.time), "/tasks?mode=live", str(idp.id_token)
    )
    assert str(idp.id_token) not in repr(found)
    (form,) = idp.forms
    challenge = base64.urlsafe_b64encode(hashlib.sha256(form.pop("code_verifier").encode()).digest()).decode()
    assert challenge.rstrip("=") == query_of(start)["code_challenge"]
    assert form == {"grant_type": "authorization_code", "code": "c1", "redirect_uri": CALLBACK}
    # RFC 6749, 2.3.1: encoded like a form first.
    assert base64.b64decode(idp.authorizations[0].split()[1]) == b"desk+client:a+secret%3A+of%2Fthe+desk"


async def test_the_secret_goes_into_the_form_where_the_provider_wants_it() -> None:
    """client_secret_post, and then no header."""
    idp = ScriptedProvider()
    desk = party(idp, client=OAuthClient(CLIENT_ID, SECRET, in_body=True))
    start = await desk.begin(return_to="/")
    await desk.finish(answer(idp, start), start.cookie)
    assert (idp.forms[0]["client_id"], idp.forms[0]["client_secret"], idp.authorizations) == (CLIENT_ID, SECRET, [""])


async def test_another_key_opens_the_cookie_while_it_is_on_the_list() -> None:
    """The newest seals, older ones still open: a replica with the new list and one with the old list understand."""
    idp = ScriptedProvider()
    start = await party(idp, keys=(OLD_KEY,)).begin(return_to="/")
    assert (await party(idp, keys=(NEW_KEY, OLD_KEY)).finish(answer(idp, start), start.cookie)).subject == "alice"
    assert await refused(party(idp, keys=(NEW_KEY,)), answer(idp, start), start.cookie) is Check.COOKIE
    start = await party(idp, keys=(NEW_KEY, OLD_KEY)).begin(return_to="/")
    assert await refused(party(idp, keys=(OLD_KEY,)), answer(idp, start), start.cookie) is Check.COOKIE


async def test_the_cookie_is_needed_whole_and_in_time() -> None:
    """Another browser has none (login CSRF); a changed one and an old one open nothing, and no code is sent."""
    idp = ScriptedProvider()
    desk = party(idp)
    start = await desk.begin(return_to="/")
    query = answer(idp, start)
    other = await desk.begin(return_to="/")
    changed = start.cookie[:30] + ("A" if start.cookie[30] != "A" else "B") + start.cookie[31:]
    for cookie in (None, "", "x", "é", "=" * 99, start.cookie[:40], changed, start.cookie[::-1]):
        assert await refused(desk, query, cookie) is Check.COOKIE
    assert await refused(desk, query, other.cookie) is Check.STATE
    idp.time += 599
    assert (await desk.finish(answer(idp, start), start.cookie)).subject == "alice"
    idp.forms.clear()
    idp.time += 1
    assert await refused(desk, answer(idp, start), start.cookie) is Check.COOKIE
    assert idp.forms == []


async def test_a_replayed_callback_is_refused_by_the_provider() -> None:
    """The cookie may come again, but its code works once."""
    idp = ScriptedProvider()
    desk = party(idp)
    start = await desk.begin(return_to="/")
    await desk.finish(answer(idp, start), start.cookie)
    idp.replies["/token"] = httpx2.Response(400, json={"error": "invalid_grant", "id_token": idp.id_token})
    assert await refused(desk, answer(idp, start), start.cookie) is Check.CODE


CALLBACKS: dict[str, tuple[Check, dict[str, str | None]]] = {
    "no state": (Check.STATE, {"state": None}),
    "another state": (Check.STATE, {"state": "x"}),
    "a state of other letters": (Check.STATE, {"state": "é\ud800"}),
    "an error": (Check.ANSWER, {"error": "access_denied", "code": None}),
    "an error and a code": (Check.ANSWER, {"error": "access_denied"}),
    "no code": (Check.ANSWER, {"code": None}),
    "an empty code": (Check.ANSWER, {"code": ""}),
    "another issuer (mix-up)": (Check.ISSUER, {"iss": "https://evil.example"}),
    "no issuer though one is announced": (Check.ISSUER, {"iss": None}),
}


@pytest.mark.parametrize("name", CALLBACKS)
async def test_a_callback_that_does_not_fit_sends_no_code(name: str) -> None:
    """The provider's token endpoint is not reached."""
    check, change = CALLBACKS[name]
    idp = ScriptedProvider()
    desk = party(idp)
    start = await desk.begin(return_to="/")
    query = {key: value for key, value in {**answer(idp, start), **change}.items() if value is not None}
    assert await refused(desk, query, start.cookie) is check
    assert idp.forms == []


async def test_the_issuer_of_a_callback_is_optional_where_it_is_not_announced() -> None:
    """But a wrong one is refused."""
    idp = ScriptedProvider(documents={"authorization_response_iss_parameter_supported": None})
    desk = party(idp)
    start = await desk.begin(return_to="/")
    query = answer(idp, start)
    del query["iss"]
    assert (await desk.finish(query, start.cookie)).subject == "alice"
    assert await refused(desk, {**query, "iss": "https://evil.example"}, start.cookie) is Check.ISSUER


OTHER = make_key("rsa", "other")
TOKENS: dict[str, tuple[Check, dict[str, Any]]] = {
    "another nonce": (Check.NONCE, {"nonce": "x"}),
    "no nonce": (Check.NONCE, {"nonce": None}),
    "nonce in a list": (Check.NONCE, {"nonce": ["x"]}),
    "another audience": (Check.AUDIENCE, {"aud": "other"}),
    "no audience": (Check.AUDIENCE, {"aud": None}),
    "several audiences without azp": (Check.AUTHORIZED_PARTY, {"aud": [CLIENT_ID, "other"]}),
    "several audiences, another azp": (Check.AUTHORIZED_PARTY, {"aud": [CLIENT_ID, "other"], "azp": "other"}),
    "one audience, another azp": (Check.AUTHORIZED_PARTY, {"azp": "other"}),
    "another issuer": (Check.ISSUER, {"iss": "https://evil.example"}),
    "expired": (Check.EXPIRES, {"exp": 1_799_999_000}),
    "no expiry": (Check.EXPIRES, {"exp": None}),
    "issued in the future": (Check.ISSUED, {"iat": 1_800_000_031}),
    "no subject": (Check.SUBJECT, {"sub": None}),
    "subject is a number": (Check.SUBJECT, {"sub": 7}),
    "an access token": (Check.TYPE, {"header": {"typ": "at+jwt"}}),
    "a logout token": (Check.TYPE, {"header": {"typ": "logout+jwt"}}),
    "an algorithm off the list": (Check.ALGORITHM, {"header": {"alg": "RS384"}}),
    "an unknown key": (Check.KEY, {"header": {"kid": "other"}, "key": OTHER}),
    "own key": (Check.SIGNATURE, {"key": OTHER}),
}


@pytest.mark.parametrize("name", TOKENS)
async def test_an_id_token_that_fails_one_check_signs_nobody_in(name: str) -> None:
    """The first check that fails is named."""
    check, change = TOKENS[name]
    idp = ScriptedProvider()
    desk = party(idp)
    start = await desk.begin(return_to="/")
    assert await refused(desk, answer(idp, start, **change), start.cookie) is check


async def test_azp_may_name_the_desk_among_several_audiences() -> None:
    """As OpenID Connect Core 3.1.3.7 has it."""
    idp = ScriptedProvider()
    desk = party(idp)
    start = await desk.begin(return_to="/")
    query = answer(idp, start, aud=["other", CLIENT_ID], azp=CLIENT_ID)
    assert (await desk.finish(query, start.cookie)).subject == "alice"


@pytest.mark.parametrize(
    ("max_age", "age", "accepted"),
    [
        (None, 90_000, True),
        (None, None, True),
        (0, 0, True),
        (0, 30, True),
        (0, 31, False),
        (300, 330, True),
        (300, 331, False),
        (0, None, False),
        (0, "now", False),
    ],
)
async def test_step_up_proves_when_the_person_signed_in(
    max_age: int | None, age: int | str | None, *, accepted: bool
) -> None:
    """An old session at the provider is refused; so is one whose time it does not say. Thirty seconds are leeway."""
    idp = ScriptedProvider()
    desk = party(idp)
    start = await desk.begin(return_to="/", max_age=max_age)
    assert query_of(start).get("max_age") == (None if max_age is None else str(max_age))
    at = int(idp.time) - age if isinstance(age, int) else age
    query = answer(idp, start, auth_time=at)
    if accepted:
        assert (await desk.finish(query, start.cookie)).auth_time == at
    else:
        assert await refused(desk, query, start.cookie) is Check.AUTH_TIME


@pytest.mark.parametrize("path", ["", "tasks", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb"])
async def test_a_sign_in_returns_to_the_desk_only(path: str) -> None:
    """No open redirect, whoever built the link."""
    with pytest.raises(ValueError, match="path"):
        await party(ScriptedProvider()).begin(return_to=path)


@pytest.mark.parametrize(
    "change", [{"keys": ()}, {"keys": (b"short",)}, {"scopes": ("profile",)}, {"algorithms": ("HS256",)}]
)
def test_settings_that_would_protect_nothing_are_refused(change: dict[str, Any]) -> None:
    """Before anybody signs in."""
    with pytest.raises(ValueError, match=r"key|openid|algorithms"):
        replace(SETTINGS, **change)
    assert NEW_KEY.decode() not in repr(SETTINGS)
    assert SECRET not in repr(SETTINGS)


async def test_a_provider_that_is_down_signs_nobody_in_and_refuses_nobody() -> None:
    """At the token endpoint too."""
    idp = ScriptedProvider()
    desk = party(idp)
    start = await desk.begin(return_to="/")
    query = answer(idp, start)
    for status in (429, 503):
        idp.replies["/token"] = httpx2.Response(status, json={})
        with pytest.raises(ProviderProblem):
            await desk.finish(query, start.cookie)
    idp.down = True
    with pytest.raises(ProviderProblem):
        await desk.finish(query, start.cookie)
    with pytest.raises(ProviderProblem):
        await party(idp).begin(return_to="/")


@pytest.mark.parametrize("address", [None, "http://id.example.com/auth", "javascript:alert(1)", "/auth", ["https://x"]])
async def test_the_browser_is_sent_to_safe_addresses_only(address: Any) -> None:
    """Whatever the provider names."""
    idp = ScriptedProvider(documents={"authorization_endpoint": address, "end_session_endpoint": address})
    with pytest.raises(ProviderProblem):
        await party(idp).begin(return_to="/")
    assert await party(idp).build_logout_url(return_to="https://clips.example.com/signed-out") is None


async def test_signing_out_leads_to_the_provider_where_it_has_a_page_for_it() -> None:
    """Google has none."""
    idp = ScriptedProvider()
    url = await party(idp).build_logout_url(return_to="https://clips.example.com/signed-out", id_token="a.b.c")
    assert url is not None
    assert url.startswith(f"{ISSUER}/end?")
    assert parse_qs(urlsplit(url).query) == {
        "client_id": [CLIENT_ID],
        "post_logout_redirect_uri": ["https://clips.example.com/signed-out"],
        "id_token_hint": ["a.b.c"],
    }
    idp.documents["end_session_endpoint"] = None
    assert await party(idp).build_logout_url(return_to="https://clips.example.com/signed-out") is None


def logout_claims(idp: ScriptedProvider, **other: Any) -> dict[str, Any]:
    """Those of a good logout token."""
    return idp.claims(
        **{"aud": CLIENT_ID, "scope": None, "client_id": None, "sid": "s1", "events": {LOGOUT_EVENT: {}}, **other}
    )


@pytest.mark.parametrize("typ", ["logout+jwt", "application/logout+jwt", "JWT", None])
async def test_a_logout_token_says_whose_sessions_ended(typ: str | None) -> None:
    """The caller remembers its `jti`, so a replay is the caller's to refuse."""
    idp = ScriptedProvider()
    notice = await party(idp).check_logout_token(idp.token(logout_claims(idp), typ=typ))
    assert notice == LogoutNotice(ISSUER, "alice", "s1", "t1", int(idp.time) + 330)


@pytest.mark.parametrize(("subject", "sid"), [("alice", ""), ("", "s1")])
async def test_a_logout_token_names_a_person_or_a_session(subject: str, sid: str) -> None:
    """One is enough."""
    idp = ScriptedProvider()
    token = idp.token(logout_claims(idp, sub=subject or None, sid=sid or None), typ="logout+jwt")
    notice = await party(idp).check_logout_token(token)
    assert (notice.subject, notice.sid) == (subject, sid)


LOGOUTS: dict[str, tuple[Check, Callable[[ScriptedProvider], str]]] = {
    "no token": (Check.FORM, lambda _: "x"),
    "own key": (Check.SIGNATURE, lambda idp: idp.token(logout_claims(idp), key=OTHER, typ="logout+jwt")),
    "an access token": (Check.TYPE, lambda idp: idp.token(logout_claims(idp))),
    "an ID token": (Check.EVENT, lambda idp: idp.token(logout_claims(idp, events=None, nonce="n"), typ="JWT")),
    "another event": (Check.EVENT, lambda idp: idp.token(logout_claims(idp, events={"x": {}}), typ="JWT")),
    "the event as a text": (Check.EVENT, lambda idp: idp.token(logout_claims(idp, events=LOGOUT_EVENT), typ="JWT")),
    "the event without object": (
        Check.EVENT,
        lambda idp: idp.token(logout_claims(idp, events={LOGOUT_EVENT: None}), typ="JWT"),
    ),
    "a nonce": (Check.NONCE, lambda idp: idp.token(logout_claims(idp, nonce="n"), typ="logout+jwt")),
    "no sid and no sub": (
        Check.SUBJECT,
        lambda idp: idp.token(logout_claims(idp, sid=None, sub=None), typ="logout+jwt"),
    ),
    "no jti": (Check.TOKEN_ID, lambda idp: idp.token(logout_claims(idp, jti=None), typ="logout+jwt")),
    "jti is a number": (Check.TOKEN_ID, lambda idp: idp.token(logout_claims(idp, jti=7), typ="logout+jwt")),
    "no iat": (Check.ISSUED, lambda idp: idp.token(logout_claims(idp, iat=None), typ="logout+jwt")),
    "expired": (Check.EXPIRES, lambda idp: idp.token(logout_claims(idp, exp=int(idp.time) - 31), typ="logout+jwt")),
    "no expiry": (Check.EXPIRES, lambda idp: idp.token(logout_claims(idp, exp=None), typ="logout+jwt")),
    "another audience": (Check.AUDIENCE, lambda idp: idp.token(logout_claims(idp, aud="x"), typ="logout+jwt")),
    "another issuer": (Check.ISSUER, lambda idp: idp.token(logout_claims(idp, iss="https://x"), typ="logout+jwt")),
}


@pytest.mark.parametrize("name", LOGOUTS)
async def test_a_forged_logout_token_ends_no_session(name: str) -> None:
    """Anybody may post to that address."""
    check, build = LOGOUTS[name]
    idp = ScriptedProvider()
    with pytest.raises(TokenRefused) as caught:
        await party(idp).check_logout_token(build(idp))
    assert caught.value.check is check
