"""A team's desk as its server serves it: two replicas without stickiness, an agent's clip, a person's passkey."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from install import TeamInstall, agent
from other_servers import RealClock
from real_provider import RealProvider, open_browser
from sandbox_client import sandbox_in_thread
from test_team_server import call, token_of
from virtual_authenticator import Authenticator

pytestmark = pytest.mark.slow

SHOT = {"prompt": "A paper boat.", "duration_seconds": 4, "gateway": "poyo", "model": "sora-2-official"}


@pytest.fixture
def team(tmp_path: Any, postgres: Any, real_provider: RealProvider) -> Iterator[TeamInstall]:
    """Two replicas and a worker, whose gateway is the sandbox."""
    with sandbox_in_thread(tmp_path / "sandbox", RealClock(), speed=300.0) as sandbox:
        install = TeamInstall(tmp_path / "team", postgres.create(), "red", real_provider, sandbox.base, workers=1)
        with install.running():
            yield install


def sign_in(team: TeamInstall, browser: httpx2.Client, name: str) -> str:
    """Sign in freshly; the token of the session's forms."""
    start = browser.get(f"{team.url}/oidc/start?fresh=1")
    query = team.provider.sign_in(start.headers["location"], name, browser=browser)
    assert browser.get(f"{team.url}/oidc/callback", params=query).status_code == 303
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get(f"{team.url}/agents").text)
    assert found is not None
    return found[1]


async def test_a_clip_is_approved_whichever_replica_answers(team: TeamInstall) -> None:
    """Flow, session, challenge and passkey are rows or sealed: each request goes to another replica."""
    device = Authenticator(origin=team.url)
    async with agent(team, token_of(team, "alice")) as client:
        explained = await call(client, "explain_payload", **SHOT)
        sheet_id, price = explained["sheet_id"], explained["price"]
        await call(client, "submit_video", sheet_ids=[sheet_id], price=price, what="boat", wait_seconds=0)
    with open_browser() as browser:
        csrf = sign_in(team, browser, "bob")

        def post(path: str, **fields: str) -> httpx2.Response:
            headers = {"origin": team.url, "connection": "close"}
            return browser.post(f"{team.url}{path}", data={"csrf": csrf, **fields}, headers=headers)

        issued = post("/passkeys/challenge").json()
        signed = {"nonce": issued["nonce"], "credential": device.create(issued["options"])}
        assert post("/passkeys", name="Phone", passkey=json.dumps(signed)).status_code == 303
        shown = re.search(r'name="shown" value="(\w+)"', browser.get(f"{team.url}/sheets/{sheet_id}").text)
        assert shown is not None
        issued = post(f"/sheets/{sheet_id}/challenge", shown=shown[1]).json()
        signed = {"nonce": issued["nonce"], "credential": device.get(issued["options"])}
        approved = post(f"/sheets/{sheet_id}/approve", shown=shown[1], send="1", passkey=json.dumps(signed))
        assert approved.status_code == 303, approved.text
        assert approved.headers["location"].startswith("/tasks/")
        trail = browser.get(f"{team.url}/audit").text
        assert ("Intact" in trail, "passkey Phone of bob" in trail) == (True, True)
        browser.post(f"{team.url}/oidc/logout", data={"logout_token": "x"})
    assert "Traceback" not in team.logs()
