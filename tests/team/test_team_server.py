"""A whole team on loopback: agents with tokens, replicas without stickiness, workers, one clip to its end."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any

import anyio
import httpx2
import pytest
from approver import Approver
from install import TeamInstall
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from other_servers import RealClock
from real_provider import REDIRECT, RealProvider, open_browser
from sandbox_client import sandbox_in_thread
from scripted_provider import encode, make_key, sign

from callsheet.core.people import PROGRAM
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.ledger import TeamLedger

SHOT = {"prompt": "A paper boat on a calm pond.", "duration_seconds": 4, "gateway": "poyo", "model": "sora-2-official"}
WAIT_SECONDS = 120.0
ERAS = ("legacy", "auto")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, postgres: Any, real_provider: RealProvider) -> Iterator[TeamInstall]:
    """Two replicas and two workers, whose gateway is the sandbox."""
    directory = tmp_path_factory.mktemp("team")
    with sandbox_in_thread(directory / "sandbox", RealClock(), speed=300.0) as sandbox:
        bells = '[callbacks]\ngateways = ["poyo"]'
        install = TeamInstall(directory / "team", postgres.create(), "red", real_provider, sandbox.base, extra=bells)
        with install.running():
            yield install


@pytest.fixture
def database(team: TeamInstall) -> Iterator[PostgresDatabase]:
    """The team's database, as an operator sees it."""
    opened = PostgresDatabase(team.dsn, tenant=team.tenant)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def bob(team: TeamInstall) -> Iterator[Approver]:
    """An approver, with a passkey."""
    with closing(Approver(team, "bob")) as approver:
        approver.sign_in()
        approver.add_passkey()
        yield approver


def token_of(team: TeamInstall, name: str, resource: str | None = "", **asked: Any) -> str:
    """An access token of that person's agent."""
    wanted = team.mcp_url if resource == "" else resource
    return str(team.provider.get_tokens(name, resource=wanted, **asked)["access_token"])


def knock(team: TeamInstall, headers: dict[str, str], *, path: str = "/mcp") -> httpx2.Response:
    """One request to initialize."""
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
    accepted = {"accept": "application/json, text/event-stream", **headers}
    return httpx2.post(f"{team.url}{path}", json=body, headers=accepted, trust_env=False, timeout=60)


def read(part: str) -> Any:
    """The JSON in a part of a token."""
    return json.loads(base64.urlsafe_b64decode(f"{part}=="))


def forged(token: str, **header: str) -> str:
    """The same token, signed with a key of one's own."""
    known, claims, _ = token.split(".")
    return sign(read(claims), make_key("rsa", "own"), {**read(known), **header})


def unsigned(token: str) -> str:
    """The same claims without a signature, and a header that says so."""
    return f"{encode({'alg': 'none', 'typ': 'at+jwt'})}.{token.split('.')[1]}."


def tampered(token: str) -> str:
    """Somebody else's name under the old signature."""
    header, claims, signature = token.split(".")
    return f"{header}.{encode({**read(claims), 'sub': 'bob'})}.{signature}"


def lasting(team: TeamInstall) -> dict[str, Any]:
    """Tokens with one that refreshes."""
    return team.provider.get_tokens("alice", resource=team.mcp_url, scope="openid callsheet offline_access")


def withdrawn(team: TeamInstall) -> str:
    """An access token whose grant was withdrawn since."""
    tokens = lasting(team)
    team.provider.revoke(tokens)
    return str(tokens["access_token"])


TOKENS: dict[str, tuple[int, Callable[[TeamInstall], str]]] = {
    "good": (200, lambda team: token_of(team, "alice")),
    "the resource only at the sign-in": (200, lambda team: token_of(team, "alice", names_it_again=False)),
    "refreshed": (200, lambda team: str(team.provider.refresh(lasting(team))["access_token"])),
    "withdrawn at the provider, until it expires": (200, withdrawn),
    "other resource": (401, lambda team: token_of(team, "alice", "http://localhost:1/mcp")),
    "no resource": (401, lambda team: token_of(team, "alice", None)),
    "id token": (401, lambda team: str(lasting(team)["id_token"])),
    "refresh token": (401, lambda team: str(lasting(team)["refresh_token"])),
    "own key, own name of it": (401, lambda team: forged(token_of(team, "alice"), kid="own")),
    "own key": (401, lambda team: forged(token_of(team, "alice"))),
    "no algorithm": (401, lambda team: unsigned(token_of(team, "alice"))),
    "somebody else's name": (401, lambda team: tampered(token_of(team, "alice"))),
    "no role": (401, lambda team: token_of(team, "mallory")),
    "no scope": (403, lambda team: token_of(team, "alice", scope="openid")),
}


@pytest.mark.parametrize("what", TOKENS)
def test_which_token_gets_in(team: TeamInstall, what: str) -> None:
    """Each request is checked by itself, whichever replica gets it. The challenge says what is wrong."""
    status, build = TOKENS[what]
    token = build(team)
    replies = [knock(team, {"authorization": f"Bearer {token}"}) for _ in team.ports]

    assert [reply.status_code for reply in replies] == [status] * len(replies)
    error = {401: 'error="invalid_token"', 403: 'error="insufficient_scope"'}.get(status, "")
    assert all(error in reply.headers.get("www-authenticate", "") for reply in replies)


REQUESTS: dict[str, tuple[int, dict[str, str], str]] = {
    "no token": (401, {"authorization": ""}, "/mcp"),
    "not bearer": (401, {"authorization": "Basic eDp5"}, "/mcp"),
    "in the address": (401, {"authorization": ""}, "/mcp?access_token={}"),
    "foreign host": (421, {"host": "clips.attacker.example"}, "/mcp"),
    "foreign origin": (403, {"origin": "https://attacker.example"}, "/mcp"),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_good_token_in_a_request_that_is_refused(team: TeamInstall, what: str) -> None:
    """It has to come in the header, to this host, and from no other site."""
    status, headers, path = REQUESTS[what]
    token = token_of(team, "alice")
    sent = {name: value for name, value in {"authorization": f"Bearer {token}", **headers}.items() if value}
    replies = [knock(team, sent, path=path.format(token)) for _ in team.ports]

    assert [reply.status_code for reply in replies] == [status] * len(replies)


def test_the_metadata_is_at_both_places(team: TeamInstall) -> None:
    """And the refusal names the one that belongs to the endpoint."""
    for path in ("", "/mcp"):
        found = httpx2.get(f"{team.url}/.well-known/oauth-protected-resource{path}", trust_env=False).json()
        assert (found["resource"], found["authorization_servers"]) == (team.mcp_url, [team.provider.issuer])
    challenge = knock(team, {}).headers["www-authenticate"]
    assert f'resource_metadata="{team.url}/.well-known/oauth-protected-resource/mcp"' in challenge


class Kept:
    """What a client remembers of a sign-in."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@asynccontextmanager
async def signing_in(team: TeamInstall, name: str, *, era: str) -> AsyncIterator[Client]:
    """The SDK's client, which signs in by itself: discovery, registration, a browser, a token."""
    landed: dict[str, str] = {}

    async def show(url: str) -> None:
        with open_browser() as browser:
            landed.update(team.provider.sign_in(url, name, browser=browser))

    async def receive() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=landed["code"], state=landed.get("state"), iss=landed.get("iss"))

    about = OAuthClientMetadata(
        client_name="test",
        redirect_uris=[REDIRECT],  # type: ignore[list-item]
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
    )
    auth = OAuthClientProvider(team.mcp_url, about, Kept(), redirect_handler=show, callback_handler=receive)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=90, trust_env=False) as web,
        Client(streamable_http_client(team.mcp_url, http_client=web), mode=era) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool."""
    answer = await client.call_tool(tool, arguments)
    assert answer.structured_content is not None, answer
    return dict(answer.structured_content)


@pytest.mark.parametrize("era", ERAS)
async def test_a_clip_from_the_sign_in_to_the_file(
    team: TeamInstall, database: PostgresDatabase, bob: Approver, era: str
) -> None:
    """The agent signs in, drafts and submits; a person approves with a passkey; a worker sends and saves."""
    ledger, started = TeamLedger(database, lambda: PROGRAM), time.time()
    shot = {**SHOT, "prompt": f"{SHOT['prompt']} For {era}."}
    async with signing_in(team, "alice", era=era) as client:
        explained = await call(client, "explain_payload", **shot)
        assert explained["status"] == "ready", explained
        sheet_id = explained["sheet_id"]
        details = await call(client, "explain_payload", **shot, details=True)
        assert details["body"]["callback_url"].startswith(f"{team.url}/callbacks/poyo/")
        again = await call(client, "explain_payload", gateway="poyo", payload=details["body"])
        assert again["sheet_id"] == sheet_id, "the address that it brings back is the server's own"
        copied = {name: explained[name] for name in ("price", "what")}
        asked = await call(client, "submit_video", sheet_ids=[sheet_id], wait_seconds=0, **copied)
        assert asked["status"] == "approval_needed", asked
        assert asked["approval_url"] == f"{team.url}/sheets/{sheet_id}"
        assert "approval_command" not in asked
        assert not {"terminal", "allowance"} & set(f"{asked['why']} {asked['next_step']}".split())

        await anyio.to_thread.run_sync(bob.approve, sheet_id)

        sent = await call(client, "submit_video", sheet_ids=[sheet_id], wait_seconds=30, **copied)
        end = time.monotonic() + WAIT_SECONDS
        found: dict[str, Any] = {}
        while found.get("status") != "saved" and time.monotonic() < end:
            found = await call(client, "get_task", task_ids=[sent["task_id"]], wait_seconds=20)
        assert found.get("status") == "saved", (found, team.logs())

    task = ledger.task(sent["task_id"])
    assert task is not None
    assert task.clip is not None
    assert (await anyio.Path(found["clip_path"]).stat()).st_size == task.clip.size
    assert ledger.is_called_back(task, since=started), "the gateway called back, at the address that was approved"


@pytest.mark.parametrize(
    ("who", "resource", "problem"),
    [
        ("alice", "", ""),
        ("bob", "", ""),
        ("alice", "http://localhost:1/mcp", "aud"),
        ("mallory", "", "none of its groups has a role"),
    ],
)
def test_the_doctor_says_which_check_a_token_fails(team: TeamInstall, who: str, resource: str, problem: str) -> None:
    """And never repeats the token."""
    token = token_of(team, who, resource)
    ran = team.run("doctor", "--token", token)

    assert (ran.returncode, token in ran.stdout + ran.stderr) == (1 if problem else 0, False), ran.stdout + ran.stderr
    assert problem in ran.stdout
    assert ran.stdout.count("\nok") + ran.stdout.startswith("ok") == (6 if problem else 7)


def test_a_replica_is_alive_and_ready(team: TeamInstall) -> None:
    """Health and readiness are two things."""
    for port in team.ports:
        found = [httpx2.get(f"http://127.0.0.1:{port}/{path}", trust_env=False) for path in ("healthz", "readyz")]
        assert [(item.status_code, item.text) for item in found] == [(200, "ok\n"), (200, "ready\n")]
