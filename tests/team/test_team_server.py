"""A whole team on loopback: agents with tokens, replicas without stickiness, workers, one clip to its end."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import httpx2
import pytest
from install import KEY, TeamInstall
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from other_servers import RealClock
from real_provider import REDIRECT, RealProvider, open_browser
from sandbox_client import sandbox_in_thread

from callsheet.core.consent import Means
from callsheet.core.people import PROGRAM
from callsheet.core.tasks import SheetEvent
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
        install = TeamInstall(directory / "team", postgres.create(), "red", real_provider, sandbox.base)
        with install.running():
            yield install


@pytest.fixture
def database(team: TeamInstall) -> Iterator[PostgresDatabase]:
    """The team's database, as an operator sees it."""
    opened = PostgresDatabase(team.dsn, tenant=team.tenant)
    yield opened
    opened.close()


def token_of(team: TeamInstall, name: str, resource: str | None = "") -> str:
    """An access token of that person's agent."""
    asked = team.mcp_url if resource == "" else resource
    return str(team.provider.get_tokens(name, resource=asked)["access_token"])


@asynccontextmanager
async def agent(team: TeamInstall, token: str, *, era: str = "auto") -> AsyncIterator[Client]:
    """A client with that token."""
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=90, trust_env=False) as web,
        Client(streamable_http_client(team.mcp_url, http_client=web), mode=era) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool."""
    answer = await client.call_tool(tool, arguments)
    assert answer.structured_content is not None, answer
    return dict(answer.structured_content)


def knock(team: TeamInstall, headers: dict[str, str], *, path: str = "/mcp") -> httpx2.Response:
    """One request to initialize."""
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
    accepted = {"accept": "application/json, text/event-stream", **headers}
    return httpx2.post(f"{team.url}{path}", json=body, headers=accepted, trust_env=False, timeout=60)


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("good", 200),
        ("none", 401),
        ("not bearer", 401),
        ("other resource", 401),
        ("id token", 401),
        ("forged", 401),
        ("in the address", 401),
        ("no scope", 403),
        ("no role", 401),
        ("foreign host", 421),
        ("foreign origin", 403),
    ],
)
def test_who_gets_in(team: TeamInstall, what: str, status: int) -> None:
    """Each request is checked by itself, whichever replica gets it."""
    good = f"Bearer {token_of(team, 'alice')}"
    tokens = team.provider.get_tokens
    headers = {
        "none": dict,
        "not bearer": lambda: {"authorization": "Basic eDp5"},
        "other resource": lambda: {"authorization": f"Bearer {token_of(team, 'alice', 'http://localhost:1/mcp')}"},
        "id token": lambda: {"authorization": f"Bearer {tokens('alice', resource=team.mcp_url)['id_token']}"},
        "no scope": lambda: {
            "authorization": f"Bearer {tokens('alice', resource=team.mcp_url, scope='openid')['access_token']}"
        },
        "no role": lambda: {"authorization": f"Bearer {token_of(team, 'mallory')}"},
        "forged": lambda: {"authorization": good[:-6] + "AAAAAA"},
        "in the address": dict,
        "foreign host": lambda: {"authorization": good, "host": "clips.attacker.example"},
        "foreign origin": lambda: {"authorization": good, "origin": "https://attacker.example"},
    }.get(what, lambda: {"authorization": good})()
    path = f"/mcp?access_token={good[7:]}" if what == "in the address" else "/mcp"

    assert [knock(team, headers, path=path).status_code for _ in range(2)] == [status, status]


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


async def test_the_sdks_client_signs_in_by_itself(team: TeamInstall) -> None:
    """From the refusal to the first answer: discovery, registration, a browser, a token."""
    landed: dict[str, str] = {}

    async def show(url: str) -> None:
        with open_browser() as browser:
            landed.update(team.provider.sign_in(url, "alice", browser=browser))

    async def receive() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=landed["code"], state=landed.get("state"), iss=landed.get("iss"))

    about = OAuthClientMetadata(
        client_name="test",
        redirect_uris=[REDIRECT],  # type: ignore[list-item]
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
    )
    auth = OAuthClientProvider(team.url + "/mcp", about, Kept(), redirect_handler=show, callback_handler=receive)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=90, trust_env=False) as web,
        Client(streamable_http_client(team.mcp_url, http_client=web)) as client,
    ):
        tools = {tool.name for tool in (await client.list_tools()).tools}

    assert {"explain_payload", "submit_video", "get_task"} <= tools


@pytest.mark.parametrize("era", ERAS)
async def test_a_clip_from_the_draft_to_the_file(team: TeamInstall, database: PostgresDatabase, era: str) -> None:
    """The agent drafts and submits, a person approves, a worker sends and saves; nobody else sees anything of it."""
    ledger = TeamLedger(database, lambda: PROGRAM)
    shot = {**SHOT, "prompt": f"{SHOT['prompt']} For {era}."}
    async with agent(team, token_of(team, "alice"), era=era) as client:
        explained = await call(client, "explain_payload", **shot)
        sheet_id = explained["sheet_id"]
        asked = await call(
            client,
            "submit_video",
            sheet_ids=[sheet_id],
            price=explained["price"],
            what=explained["what"],
            wait_seconds=0,
        )
        assert asked["status"] == "approval_needed", asked
        assert asked["approval_url"] == f"{team.url}/sheets/{sheet_id}"
        assert "approval_command" not in asked
        assert not {"terminal", "allowance"} & set(f"{asked['why']} {asked['next_step']}".split())

        ledger.move_sheet(sheet_id, SheetEvent.APPROVED, now=time.time(), by=Means.PASSKEY)

        end = time.monotonic() + WAIT_SECONDS
        found: dict[str, Any] = {}
        while found.get("status") != "saved" and time.monotonic() < end:
            rows = await call(client, "list_tasks")
            mine = [row for row in rows["tasks"] if row["prompt"].startswith(shot["prompt"][:20])]
            if mine:
                found = await call(client, "get_task", task_ids=[mine[0]["task_id"]], wait_seconds=20)
        assert found.get("status") == "saved", (found, team.logs())
        task_id = found["task_id"]

    task = ledger.task(task_id)
    assert task is not None
    assert task.clip is not None
    assert (await anyio.Path(task.clip.path).stat()).st_size == task.clip.size


def test_the_key_is_in_the_workers_and_nowhere_else(team: TeamInstall, database: PostgresDatabase) -> None:
    """The memory of every process is searched, what they logged, and every row. A planted one is found."""
    if os.geteuid() != 0:
        pytest.skip("reading the memory of another process needs root")
    assert any(ledger_has_saved(database)), "the tests before this one save clips"
    found = {process.args[4]: has_in_memory(process.pid, KEY) for process in team.processes}  # type: ignore[index]
    rows = dump(team)

    assert found == {"serve": False, "work": True}
    assert KEY not in team.logs()
    assert KEY not in rows
    assert "paper boat" in rows, "the dump has what is stored"
    assert not has_token(rows)


def ledger_has_saved(database: PostgresDatabase) -> list[bool]:
    """Whether each task has its clip."""
    return [task.clip is not None for task in TeamLedger(database, lambda: PROGRAM).tasks(limit=50)]


def has_token(text: str) -> bool:
    """Whether a token that somebody could use is in it."""
    return re.search(r"eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.", text) is not None


def has_in_memory(pid: int, text: str) -> bool:
    """Whether that text is in the process's memory."""
    wanted = text.encode()
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            place, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in place.split("-"))
            with suppress(OSError, ValueError):
                memory.seek(start)
                if wanted in memory.read(end - start):
                    return True
    return False


def dump(team: TeamInstall) -> str:
    """Every row of the database, as text."""

    async def read() -> list[str]:
        connection = await asyncpg.connect(team.dsn)
        try:
            tables = await connection.fetch(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information_)'"
            )
            return [row[0] for [name] in tables for row in await connection.fetch(f"SELECT t::text FROM {name} t")]
        finally:
            await connection.close()

    return "\n".join(asyncio.run(read()))


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
    assert ran.stdout.count("\nok") + ran.stdout.startswith("ok") == (4 if problem else 5)


def test_a_replica_is_alive_and_ready(team: TeamInstall) -> None:
    """Health and readiness are two things."""
    for port in team.ports:
        found = [httpx2.get(f"http://127.0.0.1:{port}/{path}", trust_env=False) for path in ("healthz", "readyz")]
        assert [(item.status_code, item.text) for item in found] == [(200, "ok\n"), (200, "ready\n")]
