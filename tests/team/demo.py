"""`make team-demo`: a whole team on loopback, and one clip from an agent's request to the saved file.

The parts are real: PostgreSQL, a certified OpenID provider, S3-compatible storage where it can be installed, two
replicas behind a balancer, two workers. The gateway is the sandbox: no key, no network, no money.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
from approver import Approver
from install import TeamInstall
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from other_servers import RealClock
from real_provider import RealProvider
from sandbox_client import SandboxClient, sandbox_in_thread

from servers.other_servers import NANIO, OIDC_INSTALLED, nanio, oidc, storage_environ
from team.postgres import WHY_NOT, find_programs, run_server

PROMPT = "A lighthouse keeper climbs a spiral stair, dusk light, slow pan."
SHOT = {"prompt": PROMPT, "duration_seconds": 4, "gateway": "poyo", "model": "seedance-2"}


def say(text: str) -> None:
    """A line for the person who watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def open_team(directory: Path, *, objects: bool = True, **options: Any) -> Iterator[tuple[TeamInstall, SandboxClient]]:
    """The team and its gateway, until the end of the block. Its clips are objects, if `objects` and nanio is there."""
    directory.mkdir(exist_ok=True)
    with ExitStack() as stack:
        server = stack.enter_context(run_server())
        say("PostgreSQL runs.")
        provider = RealProvider(stack.enter_context(oidc(directory / "oidc")))
        say("The OpenID provider runs; alice is a member, bob an approver.")
        sandbox = stack.enter_context(sandbox_in_thread(directory / "sandbox", RealClock(), speed=60.0))
        team = TeamInstall(directory / "team", server.create(), "demo", provider, sandbox.base, **options)
        if objects and NANIO.exists():
            account = {"key": "demo", "secret": secrets.token_hex(16)}
            base = stack.enter_context(nanio(directory / "nanio", **account))
            team.storage, team.environ = "s3://clips", storage_environ(base, **account)
            say("nanio runs: clips go to its object storage.")
        else:
            say("Clips go to files." if NANIO.exists() else "nanio is not installed: clips go to files.")
        stack.enter_context(team.running())
        say(f"Two replicas answer at {team.url}, and two workers wait.")
        yield team, sandbox


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What the agent reads."""
    answer = dict((await client.call_tool(tool, arguments)).structured_content or {})
    say(f"  agent  {tool}: {answer.get('summary', '')}")
    return answer


async def walk(team: TeamInstall) -> str:
    """Ask, approve, follow; the path of the clip."""
    token = team.provider.get_tokens("alice", resource=team.mcp_url)["access_token"]
    bob = Approver(team, "bob")
    await anyio.to_thread.run_sync(bob.sign_in)
    await anyio.to_thread.run_sync(bob.add_passkey)
    say("  bob    signed in, and added a passkey.")
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=90, trust_env=False) as web,
        Client(streamable_http_client(team.mcp_url, http_client=web)) as client,
    ):
        explained = await call(client, "explain_payload", **SHOT)
        sheet_id = explained["sheet_id"]
        copied = {name: explained[name] for name in ("price", "what")}

        async def approve() -> None:
            await anyio.sleep(3)
            say(f"  bob    approves {team.url}/sheets/{sheet_id} with the passkey.")
            await anyio.to_thread.run_sync(bob.approve, sheet_id)

        async with anyio.create_task_group() as group:
            group.start_soon(approve)
            sent = await call(client, "submit_video", sheet_ids=[sheet_id], wait_seconds=45, **copied)
        found: dict[str, Any] = {}
        while found.get("status") != "saved":
            found = await call(client, "get_task", task_ids=[sent["task_id"]], wait_seconds=30)
    watched = await anyio.to_thread.run_sync(bob.watch, found["task_id"])
    say(f"  bob    watches it: {len(watched)} bytes.")
    bob.close()
    return str(found["clip_path"])


def main() -> int:
    """Start everything, walk through, end everything."""
    if find_programs() is None or not OIDC_INSTALLED:
        say(WHY_NOT if find_programs() is None else "oidc-provider is not installed: make .servers/.oidc")
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="callsheet-team-") as place, open_team(Path(place)) as (team, _):
        where = anyio.run(walk, team)
        say(f"Saved after {time.monotonic() - began:.0f} s: {where}\nThe demo removes it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
