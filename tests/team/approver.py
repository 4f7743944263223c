"""An approver of a team without a screen: signs in at the provider, adds a passkey in software, and approves."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2
from install import TeamInstall
from real_provider import open_browser
from virtual_authenticator import Authenticator

_HIDDEN = re.compile(r'type="hidden" name="(\w+)" value="([^"]*)"')


class Approver:
    """One person with a browser and a device."""

    def __init__(self, team: TeamInstall, name: str) -> None:
        self.team, self.name = team, name
        self.browser = open_browser()
        self.device = Authenticator(origin=team.url)

    def sign_in(self) -> None:
        """A sign-in of this moment, which a passkey needs."""
        start = self.browser.get(f"{self.team.url}/oidc/start", params={"fresh": "1", "next": "/passkeys"})
        query = self.team.provider.sign_in(start.headers["location"], self.name, browser=self.browser)
        landed = self.browser.get(f"{self.team.url}/oidc/callback", params=query)
        assert landed.status_code == 303, landed.text

    def add_passkey(self) -> None:
        """Register the device."""
        asked = self.post("/passkeys/challenge", page="/passkeys").json()
        signed = json.dumps({"nonce": asked["nonce"], "credential": self.device.create(asked["options"])})
        added = self.post("/passkeys", page="/passkeys", name="phone", passkey=signed)
        assert added.status_code == 303, added.text

    def approve_first(self) -> str:
        """Say yes to the first sheet that waits for this person; its id, or "" where none does."""
        waiting = re.search(r'href="/sheets/(\w+)"', self.browser.get(f"{self.team.url}/").text)
        if waiting:
            self.approve(waiting[1])
        return waiting[1] if waiting else ""

    def approve(self, sheet_id: str) -> None:
        """Say yes to a sheet, which is then sent."""
        page = f"/sheets/{sheet_id}"
        answer = self.post(f"{page}/challenge", page=page)
        assert answer.status_code == 200, answer.text
        asked = answer.json()
        signed = json.dumps({"nonce": asked["nonce"], "credential": self.device.get(asked["options"])})
        approved = self.post(f"{page}/approve", page=page, passkey=signed)
        assert approved.status_code == 303, approved.text

    def watch(self, task_id: str) -> bytes:
        """Fetch a saved clip as the desk gives it: itself, or a link into the object storage."""
        clip = self.browser.get(f"{self.team.url}/tasks/{task_id}/clip")
        if clip.status_code == 302:
            clip = httpx2.get(clip.headers["location"], trust_env=False)
        assert clip.status_code == 200, clip.text
        return clip.content

    def post(self, path: str, *, page: str, **form: Any) -> httpx2.Response:
        """Post a form of that page, as its script does."""
        hidden = dict(_HIDDEN.findall(self.browser.get(f"{self.team.url}{page}").text))
        assert "csrf" in hidden, page
        headers = {"origin": self.team.url, "accept": "application/json" if path.endswith("/challenge") else "*/*"}
        return self.browser.post(f"{self.team.url}{path}", data={**hidden, **form}, headers=headers)

    def close(self) -> None:
        """Close the browser."""
        self.browser.close()
