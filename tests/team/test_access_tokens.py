"""What an access token must have. Each row is one check that fails, and nothing else about the token is wrong."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey
from scripted_provider import ISSUER, KINDS, RESOURCE, ScriptedProvider, encode, make_key, sign_confused

from callsheet.edges.identity.provider import OAuthClient, Provider, ProviderProblem
from callsheet.edges.identity.tokens import Access, Check, TokenRefused
from callsheet.edges.identity.verifier import AccessTokenVerifier, VerifierSettings

ENTRA = VerifierSettings(audiences=(RESOURCE,), require_type=False)
INTROSPECTING = VerifierSettings(audiences=(RESOURCE,), introspection=OAuthClient("rs", "s3cret"))
OPAQUE = "an-opaque-token"


def verifier(idp: ScriptedProvider, settings: VerifierSettings | None = None, **other: Any) -> AccessTokenVerifier:
    """Of a server at RESOURCE."""
    return AccessTokenVerifier(idp.provider(), settings or VerifierSettings(audiences=(RESOURCE,), **other))


async def refused(checked: AccessTokenVerifier, token: str) -> TokenRefused:
    """The refusal of that token, which does not repeat it."""
    with pytest.raises(TokenRefused) as caught:
        await checked.verify(token)
    shown = f"{caught.value} {caught.value.found} {caught.value!r}"
    assert not any(part in shown for part in token.split(".") if len(part) > 12)
    return caught.value


@pytest.mark.parametrize("algorithm", KINDS)
async def test_a_good_token_says_who_and_via_which_client(algorithm: str) -> None:
    """By each algorithm of the default list."""
    idp = ScriptedProvider()
    key = next(key for key in idp.keys if key.kid == {"rsa": "one", "ec": "e", "okp": "o"}[KINDS[algorithm]])
    found = await verifier(idp).verify(idp.token(key=key, alg=algorithm, kid=key.kid))
    now = int(idp.time)
    assert found == Access(ISSUER, "alice", "codex", ("callsheet", "offline_access"), ("makers",), now + 300, now)


GOOD: dict[str, tuple[Callable[[ScriptedProvider], str], dict[str, Any]]] = {
    "application/at+jwt": (lambda idp: idp.token(typ="application/AT+JWT"), {}),
    "several audiences": (lambda idp: idp.token(idp.claims(aud=["https://other.example", RESOURCE])), {}),
    "the second audience of the settings": (
        lambda idp: idp.token(idp.claims(aud="guid")),
        {"audiences": ("a", "guid")},
    ),
    "expired within the leeway": (lambda idp: idp.token(idp.claims(exp=int(idp.time) - 29)), {}),
    "not yet valid within the leeway": (lambda idp: idp.token(idp.claims(nbf=int(idp.time) + 30)), {}),
    "an unknown header": (lambda idp: idp.token(x_vendor="1"), {}),
    "scp, as a text": (lambda idp: idp.token(idp.claims(scope=None, scp="callsheet offline_access")), {}),
    "scp, as a list": (lambda idp: idp.token(idp.claims(scope=None, scp=["callsheet", "offline_access"])), {}),
    "azp for client_id": (lambda idp: idp.token(idp.claims(client_id=None, azp="codex")), {}),
    "an allowed client": (lambda idp: idp.token(), {"allowed_clients": ("x", "codex")}),
    "typ JWT where that is allowed": (lambda idp: idp.token(typ="JWT"), {"require_type": False}),
    "no typ where that is allowed": (lambda idp: idp.token(typ=None), {"require_type": False}),
    "another subject claim": (lambda idp: idp.token(idp.claims(sub="x", oid="alice")), {"subject_claim": "oid"}),
    "groups of which one cannot be stored": (lambda idp: idp.token(idp.claims(groups=["makers", "a\x00", 7])), {}),
    "groups inside a claim": (
        lambda idp: idp.token(idp.claims(groups=None, realm_access={"roles": ["makers"]})),
        {"groups_claim": "realm_access.roles"},
    ),
    "groups in a claim with dots": (
        lambda idp: idp.token(idp.claims(groups=None, **{"https://x.example/groups": ["makers"]})),
        {"groups_claim": "https://x.example/groups"},
    ),
}


@pytest.mark.parametrize("name", GOOD)
async def test_what_providers_do_differently_is_accepted(name: str) -> None:
    """Entra, Keycloak, Okta and Auth0 put the same facts into other claims."""
    build, settings = GOOD[name]
    idp = ScriptedProvider()
    checked = AccessTokenVerifier(idp.provider(), VerifierSettings(**{"audiences": (RESOURCE,), **settings}))
    found = await checked.verify(build(idp))
    assert (found.subject, found.client_id, found.groups) == ("alice", "codex", ("makers",))


@pytest.mark.parametrize("groups", ["owners of nothing", ["owners of nothing"]])
async def test_a_space_in_the_name_of_a_group_makes_no_other_group(groups: Any) -> None:
    """Also where a provider gives a single one as a text: who is in `owners of nothing` is not in `owners`."""
    idp = ScriptedProvider()
    checked = AccessTokenVerifier(idp.provider(), VerifierSettings(audiences=(RESOURCE,)))
    assert (await checked.verify(idp.token(idp.claims(groups=groups)))).groups == ("owners of nothing",)


def tampered(idp: ScriptedProvider) -> str:
    """Somebody else's name under the old signature."""
    header, _, signature = idp.token().split(".")
    return f"{header}.{encode(idp.claims(sub='bob'))}.{signature}"


def unsigned(idp: ScriptedProvider, alg: str) -> str:
    """No signature at all."""
    return f"{encode({'alg': alg, 'typ': 'at+jwt', 'kid': 'one'})}.{encode(idp.claims())}."


OTHER = make_key("rsa", "other")
BAD: dict[str, tuple[Check, Callable[[ScriptedProvider], str]]] = {
    "empty": (Check.FORM, lambda _: ""),
    "no token": (Check.FORM, lambda _: "hello"),
    "two parts": (Check.FORM, lambda idp: idp.token().rsplit(".", 1)[0]),
    "encrypted": (Check.FORM, lambda _: "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0....AAAA"),
    "not ASCII": (Check.FORM, lambda idp: idp.token() + "é"),
    "too long": (Check.FORM, lambda idp: idp.token(idp.claims(groups=["g" * 20_000]))),
    "header is a list": (Check.FORM, lambda idp: f"{encode(['alg'])}.{encode(idp.claims())}.AAAA"),
    "header without alg": (Check.FORM, lambda idp: f"{encode({'typ': 'at+jwt'})}.{encode(idp.claims())}.AAAA"),
    "alg is a list": (Check.FORM, lambda idp: f"{encode({'alg': ['RS256']})}.{encode(idp.claims())}.AAAA"),
    "claims are a list": (Check.FORM, lambda idp: idp.token([1])),
    "claims are nested without end": (Check.FORM, lambda idp: idp.token(b"[" * 9_000)),
    "a critical header that nobody knows": (Check.FORM, lambda idp: idp.token(crit=["x"], x=1)),
    "alg none": (Check.ALGORITHM, lambda idp: unsigned(idp, "none")),
    "alg None": (Check.ALGORITHM, lambda idp: unsigned(idp, "None")),
    "alg HS256 over the public key": (Check.ALGORITHM, lambda idp: sign_confused(idp.claims(), idp.keys[0])),
    "alg off the list": (Check.ALGORITHM, lambda idp: idp.token(alg="RS512")),
    "alg unknown": (Check.ALGORITHM, lambda idp: unsigned(idp, "XX999")),
    "an ID token": (Check.TYPE, lambda idp: idp.token(typ="JWT")),
    "no typ": (Check.TYPE, lambda idp: idp.token(typ=None)),
    "a logout token": (Check.TYPE, lambda idp: idp.token(typ="logout+jwt")),
    "another issuer": (Check.ISSUER, lambda idp: idp.token(idp.claims(iss="https://evil.example"), key=OTHER)),
    "the issuer with a slash": (Check.ISSUER, lambda idp: idp.token(idp.claims(iss=f"{ISSUER}/"))),
    "no issuer": (Check.ISSUER, lambda idp: idp.token(idp.claims(iss=None))),
    "issuer in a list": (Check.ISSUER, lambda idp: idp.token(idp.claims(iss=[ISSUER]))),
    "own key, own kid": (Check.KEY, lambda idp: idp.token(key=OTHER, kid="other")),
    "no kid among several keys": (Check.KEY, lambda idp: idp.token(kid=None)),
    "a key of another kind": (Check.SIGNATURE, lambda idp: idp.token(kid="e")),
    "own key, their kid": (Check.SIGNATURE, lambda idp: idp.token(key=OTHER)),
    "own key in the header": (
        Check.SIGNATURE,
        lambda idp: idp.token(key=OTHER, jwk=OTHER.as_dict(private=False), jku="https://evil.example/jwks"),
    ),
    "tampered": (Check.SIGNATURE, tampered),
    "unsigned": (Check.SIGNATURE, lambda idp: unsigned(idp, "RS256")),
    "another audience": (Check.AUDIENCE, lambda idp: idp.token(idp.claims(aud="https://other.example/mcp"))),
    "the audience with a path more": (Check.AUDIENCE, lambda idp: idp.token(idp.claims(aud=f"{RESOURCE}/x"))),
    "no audience": (Check.AUDIENCE, lambda idp: idp.token(idp.claims(aud=None))),
    "an empty list of audiences": (Check.AUDIENCE, lambda idp: idp.token(idp.claims(aud=[]))),
    "audience is a number": (Check.AUDIENCE, lambda idp: idp.token(idp.claims(aud=1))),
    "expired": (Check.EXPIRES, lambda idp: idp.token(idp.claims(exp=int(idp.time) - 31))),
    "no expiry": (Check.EXPIRES, lambda idp: idp.token(idp.claims(exp=None))),
    "expiry is a text": (Check.EXPIRES, lambda idp: idp.token(idp.claims(exp="2099"))),
    "expiry is no number": (Check.EXPIRES, lambda idp: idp.token(idp.claims(exp=float("nan")))),
    "expiry is true": (Check.EXPIRES, lambda idp: idp.token(idp.claims(exp=True))),
    "not yet valid": (Check.NOT_BEFORE, lambda idp: idp.token(idp.claims(nbf=int(idp.time) + 31))),
    "issued in the future": (Check.ISSUED, lambda idp: idp.token(idp.claims(iat=int(idp.time) + 31))),
    "no subject": (Check.SUBJECT, lambda idp: idp.token(idp.claims(sub=None))),
    "an empty subject": (Check.SUBJECT, lambda idp: idp.token(idp.claims(sub=""))),
    "a subject without end": (Check.SUBJECT, lambda idp: idp.token(idp.claims(sub="s" * 256))),
    "a subject that no database takes": (Check.SUBJECT, lambda idp: idp.token(idp.claims(sub="a\x00b"))),
    "a subject of half a character": (Check.SUBJECT, lambda idp: idp.token(idp.claims(sub="\ud800"))),
    "a client as itself": (Check.SUBJECT, lambda idp: idp.token(idp.claims(sub="codex"))),
    "bound to a key": (Check.BOUND, lambda idp: idp.token(idp.claims(cnf={"jkt": "x"}))),
    "no scope": (Check.SCOPE, lambda idp: idp.token(idp.claims(scope=None))),
    "another scope": (Check.SCOPE, lambda idp: idp.token(idp.claims(scope="callsheet.read openid"))),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_token_that_fails_one_check_is_refused_by_that_name(name: str) -> None:
    """The first check that fails is named."""
    check, build = BAD[name]
    idp = ScriptedProvider()
    assert (await refused(verifier(idp), build(idp))).check is check


async def test_a_foreign_client_is_refused_where_clients_are_listed() -> None:
    """One without a name is foreign too."""
    idp = ScriptedProvider()
    checked = verifier(idp, allowed_clients=("claude-code",))
    for claims in (idp.claims(), idp.claims(client_id=None)):
        assert (await refused(checked, idp.token(claims))).check is Check.CLIENT


async def test_only_a_missing_scope_still_says_who_it_is() -> None:
    """So that HTTP can answer 403 instead of 401. Any other refusal says nothing of a person."""
    idp = ScriptedProvider()
    missing = await refused(verifier(idp), idp.token(idp.claims(scope="openid")))
    assert missing.access is not None
    assert (missing.access.subject, missing.access.scopes) == ("alice", ("openid",))
    assert (await refused(verifier(idp), idp.token(idp.claims(scope="openid", aud="x")))).access is None


async def test_an_id_token_is_refused_even_where_types_are_not_checked() -> None:
    """It has no scope, whatever its audience is; a logout token keeps its type."""
    idp = ScriptedProvider()
    id_token = idp.claims(scope=None, client_id=None, azp="codex", nonce="n", at_hash="h")
    assert (await refused(verifier(idp, ENTRA), idp.token(id_token, typ="JWT"))).check is Check.SCOPE
    assert (await refused(verifier(idp, ENTRA), idp.token(typ="logout+jwt"))).check is Check.TYPE


@pytest.mark.parametrize(
    "settings",
    [
        {"audiences": ()},
        {"audiences": ("",)},
        {"algorithms": ()},
        {"algorithms": ("HS256",)},
        {"algorithms": ("RS256", "none")},
        {"require_type": False, "scopes": ()},
    ],
)
def test_settings_that_would_check_nothing_are_refused(settings: dict[str, Any]) -> None:
    """A library may take an empty list for its own choice."""
    with pytest.raises(ValueError, match=r"audiences|algorithms|scopes"):
        VerifierSettings(**{"audiences": (RESOURCE,), **settings})


@given(
    st.text(max_size=80)
    | st.tuples(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=9)).map(
        lambda parts: ".".join(base64.urlsafe_b64encode(part).decode() for part in parts)
    )
)
async def test_no_text_brings_the_reader_out_of_step(text: str) -> None:
    """Whatever comes is refused, never an error of another kind."""
    with pytest.raises(TokenRefused):
        await verifier(ScriptedProvider()).verify(text)


async def test_keys_are_fetched_once_in_ten_minutes() -> None:
    """Discovery and keys, however many tokens come; a foreign issuer's token fetches nothing."""
    idp = ScriptedProvider()
    checked = verifier(idp)
    await refused(checked, idp.token(idp.claims(iss="https://evil.example")))
    assert idp.asked == []
    for _ in range(3):
        await checked.verify(idp.token())
        idp.time += 199
    assert idp.asked == ["/.well-known/openid-configuration", "/jwks"]
    idp.time += 4
    await checked.verify(idp.token())
    assert len(idp.asked) == 4


async def test_a_new_key_is_found_and_unknown_ones_ask_every_thirty_seconds_at_most() -> None:
    """Rotation works at once; a flood of invented keys reaches the provider twice a minute."""
    idp = ScriptedProvider()
    checked, new = verifier(idp), make_key("rsa", "new")
    await checked.verify(idp.token())
    for _ in range(5):
        assert (await refused(checked, idp.token(key=OTHER, kid="other"))).check is Check.KEY
    assert len(idp.asked) == 2
    idp.time += 30
    idp.keys = [new]
    assert (await checked.verify(idp.token(key=new, kid="new"))).subject == "alice"
    assert len(idp.asked) == 4


async def test_a_key_that_was_withdrawn_no_longer_counts() -> None:
    """After the next reading."""
    idp = ScriptedProvider()
    checked, old = verifier(idp), idp.token()
    await checked.verify(old)
    idp.keys = [make_key("rsa", "new"), make_key("ec", "e")]
    idp.time += 600
    assert (await refused(checked, idp.token(key=make_key("rsa", "one")))).check is Check.KEY


async def test_old_keys_serve_while_the_provider_is_down() -> None:
    """It is asked again every 30 seconds, and nobody is refused for it."""
    idp = ScriptedProvider()
    checked = verifier(idp)
    await checked.verify(idp.token())
    idp.down = True
    for _ in range(4):
        idp.time += 600
        await checked.verify(idp.token())
        await checked.verify(idp.token())
    assert len(idp.asked) == 6
    idp.time += 30
    await checked.verify(idp.token())
    assert len(idp.asked) == 7


async def test_without_any_keys_it_is_the_provider_that_failed() -> None:
    """Not a refusal; and it is asked again two seconds later."""
    idp = ScriptedProvider(down=True)
    checked = verifier(idp)
    for _ in range(3):
        with pytest.raises(ProviderProblem):
            await checked.verify(idp.token())
    assert len(idp.asked) == 1
    idp.down, idp.time = False, idp.time + 2
    await checked.verify(idp.token())


PUBLIC = make_key("rsa", "one").as_dict(private=False)
PACKED = httpx2.Response(
    200, content=gzip.compress(json.dumps({"keys": [PUBLIC]}).encode()), headers={"content-encoding": "gzip"}
)
WEAK = {"kty": "RSA", "n": base64.urlsafe_b64encode(b"\xff" * 64).rstrip(b"=").decode(), "e": "AQAB", "kid": "one"}
UNUSABLE: dict[str, dict[str, Any]] = {
    "another issuer": {"documents": {"issuer": "https://evil.example"}},
    "no keys' address": {"documents": {"jwks_uri": None}},
    "keys without encryption": {"documents": {"jwks_uri": "http://id.example.com/jwks"}},
    "keys on loopback": {"documents": {"jwks_uri": "http://127.0.0.1/jwks"}},
    "keys behind a password": {"documents": {"jwks_uri": "https://a:b@id.example.com/jwks"}},
    "no keys": {"key_set": {"keys": []}, "keys": []},
    "a shared secret": {"key_set": {"keys": [{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "kid": "one"}]}},
    "a key for encryption": {"key_set": {"keys": [{**PUBLIC, "use": "enc"}]}},
    "a short key": {"key_set": {"keys": [WEAK]}},
    "no list": {"key_set": {"keys": "x"}},
    "redirected": {"replies": {"/jwks": httpx2.Response(302, headers={"location": f"{ISSUER}/moved"})}},
    "too large": {"replies": {"/jwks": httpx2.Response(200, json={"keys": [PUBLIC], "x": " " * 300_000})}},
    "compressed": {"replies": {"/jwks": PACKED}},
    "not JSON": {"replies": {"/jwks": httpx2.Response(200, content=b"<html>")}},
    "nested without end": {"replies": {"/jwks": httpx2.Response(200, content=b"[" * 100_000)}},
    "a list": {"replies": {"/jwks": httpx2.Response(200, content=b"[]")}},
    "an error": {"replies": {"/jwks": httpx2.Response(500)}},
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_a_provider_whose_documents_cannot_be_used_is_named_as_that(name: str) -> None:
    """Nothing is followed to another place, and no token is refused for it."""
    idp = ScriptedProvider(**UNUSABLE[name])
    with pytest.raises(ProviderProblem):
        await verifier(idp).verify(idp.token(key=make_key("rsa", "one")))


@pytest.mark.parametrize(
    "issuer",
    ["http://id.example.com", "https://id.example.com?x=1", "https://u:p@id.example.com", "ftp://x", "id.example", ""],
)
def test_an_issuer_that_is_no_safe_address_is_refused(issuer: str) -> None:
    """https, or http on loopback."""
    with pytest.raises(ValueError, match="issuer"):
        Provider(issuer, now=lambda: 0.0)
    Provider("http://127.0.0.1:9", now=lambda: 0.0)


@pytest.mark.parametrize(
    ("addresses", "trusted", "asked"),
    [
        (["93.184.215.14"], (), "93.184.215.14"),
        (["10.0.0.7"], (), None),
        (["93.184.215.14", "169.254.169.254"], (), None),
        (["10.0.0.7"], ("keys.example.net",), "keys.example.net"),
    ],
)
async def test_addresses_that_the_provider_names_must_be_public_or_configured(
    addresses: list[str], trusted: tuple[str, ...], asked: str | None
) -> None:
    """Its own host may be private, because the configuration names it; the connection goes where was looked."""
    idp = ScriptedProvider(documents={"jwks_uri": "https://keys.example.net/jwks"})
    hosts: list[tuple[str, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        hosts.append((request.url.host, request.headers["host"]))
        return idp.answer(request)

    async def resolver(host: str, port: int) -> list[str]:
        assert (host, port) == ("keys.example.net", 443)
        return addresses

    provider = Provider(
        ISSUER, now=idp.now, transport=httpx2.MockTransport(answer), resolver=resolver, trusted_hosts=trusted
    )
    checked = AccessTokenVerifier(provider, VerifierSettings(audiences=(RESOURCE,)))
    if asked is None:
        with pytest.raises(ProviderProblem):
            await checked.verify(idp.token())
    else:
        await checked.verify(idp.token())
    assert hosts == [("id.example.com", "id.example.com"), *([(asked, "keys.example.net")] if asked else [])]


def introspecting(**other: Any) -> ScriptedProvider:
    """A provider that knows an opaque token."""
    idp = ScriptedProvider()
    known = idp.claims(active=True, token_type="Bearer", **other)
    idp.introspection = known
    return idp


async def test_an_opaque_token_is_introspected_and_remembered_for_thirty_seconds() -> None:
    """With the resource server's own client, encoded as RFC 6749 wants it."""
    idp = introspecting()
    checked = verifier(idp, INTROSPECTING)
    for _ in range(3):
        assert (await checked.verify(OPAQUE)).subject == "alice"
    assert idp.forms == [{"token": OPAQUE, "token_type_hint": "access_token"}]
    assert idp.authorizations == ["Basic " + base64.b64encode(b"rs:s3cret").decode()]
    idp.time += 30
    idp.introspection = {"active": False}
    assert (await refused(checked, OPAQUE)).check is Check.ACTIVE
    assert len(idp.forms) == 2


async def test_what_is_remembered_still_expires() -> None:
    """The cache keeps what the provider said, not that the token was good."""
    idp = introspecting(exp=1_800_000_001)
    checked = verifier(idp, INTROSPECTING)
    await checked.verify(OPAQUE)
    idp.time += 29
    assert (await checked.verify(OPAQUE)).subject == "alice"  # the leeway
    idp = introspecting(exp=1_800_000_001 - 20)
    checked = verifier(idp, INTROSPECTING)
    await checked.verify(OPAQUE)
    idp.time += 12
    assert (await refused(checked, OPAQUE)).check is Check.EXPIRES
    assert len(idp.forms) == 1


@pytest.mark.parametrize(
    ("check", "other"),
    [
        (Check.ACTIVE, {"active": None}),
        (Check.ACTIVE, {"active": "true"}),
        (Check.TYPE, {"token_type": "DPoP"}),
        (Check.TYPE, {"token_type": "refresh_token"}),
        (Check.BOUND, {"cnf": {}}),
        (Check.AUDIENCE, {"aud": None}),
        (Check.AUDIENCE, {"aud": "https://other.example"}),
        (Check.EXPIRES, {"exp": None}),
        (Check.ISSUER, {"iss": "https://evil.example"}),
        (Check.SUBJECT, {"sub": None}),
        (Check.SCOPE, {"scope": "openid"}),
    ],
)
async def test_an_introspected_token_passes_the_same_checks(check: Check, other: dict[str, Any]) -> None:
    """An active token for somebody else is no token for this server."""
    idp = ScriptedProvider()
    idp.introspection = idp.claims(**{"active": True, "token_type": "Bearer", **other})
    assert (await refused(verifier(idp, INTROSPECTING), OPAQUE)).check is check


@pytest.mark.parametrize("status", [400, 401, 429, 503])
async def test_an_introspection_that_fails_refuses_nobody_and_is_not_remembered(status: int) -> None:
    """The server's own client may be wrong, or the provider busy: the token is neither good nor bad."""
    idp = introspecting()
    checked = verifier(idp, INTROSPECTING)
    idp.replies["/introspect"] = httpx2.Response(status, json={"error": "invalid_client", "active": True})
    with pytest.raises(ProviderProblem):
        await checked.verify(OPAQUE)
    del idp.replies["/introspect"]
    assert (await checked.verify(OPAQUE)).subject == "alice"


async def test_an_opaque_token_that_is_too_long_is_not_sent_on() -> None:
    """Nor anything else that comes in a header of any size."""
    idp = introspecting()
    assert (await refused(verifier(idp, INTROSPECTING), "x" * 20_000)).check is Check.FORM
    assert idp.asked == []


async def test_a_signed_token_is_never_introspected() -> None:
    """A forged one does not become good because a provider is asked about it."""
    idp = introspecting()
    assert (await refused(verifier(idp, INTROSPECTING), idp.token(key=OTHER))).check is Check.SIGNATURE
    assert idp.forms == []


async def test_a_flood_of_opaque_tokens_does_not_fill_the_memory() -> None:
    """The oldest answers go first."""
    idp = ScriptedProvider(introspection={"active": False})
    checked = verifier(idp, INTROSPECTING)
    for number in range(1002):
        # 28 a second are not too many.
        idp.time += number % 28 == 0
        with pytest.raises(TokenRefused):
            await checked.verify(f"opaque-{number}")
    with pytest.raises(TokenRefused):
        await checked.verify("opaque-1001")
    assert len(idp.forms) == 1002
    idp.time += 10
    with pytest.raises(TokenRefused):
        await checked.verify("opaque-0")
    assert len(idp.forms) == 1003


async def test_made_up_tokens_ask_the_provider_so_often_and_disturb_no_good_one() -> None:
    """Within ten seconds, 300 times; then nothing is said about the token. A known one is asked about again."""
    idp = introspecting()
    checked = verifier(idp, INTROSPECTING)
    await checked.verify(OPAQUE)
    said, idp.introspection = idp.introspection, {"active": False}
    idp.time += 30
    answers = []
    for number in range(1500):
        with pytest.raises((TokenRefused, ProviderProblem)) as raised:
            await checked.verify(f"made-up-{number}")
        answers.append(raised.type)
    assert (answers.count(TokenRefused), answers.count(ProviderProblem)) == (300, 1200)
    assert len(idp.forms) == 301
    idp.introspection = said
    assert (await checked.verify(OPAQUE)).subject == "alice"
    idp.time += 10
    idp.introspection = {"active": False}
    assert (await refused(checked, "made-up-0")).check is Check.ACTIVE


def test_signing_in_the_tests_uses_the_keys_that_it_says() -> None:
    """The table above would prove little if its attacker had the provider's key."""
    assert isinstance(OTHER, RSAKey)
    assert OTHER.thumbprint() != make_key("rsa", "one").thumbprint()
