"""A team's desk on a real port, with a real identity provider: over HTTP, and in a real browser on a phone's screen."""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest
from desk_server import open_browser as open_chromium
from desk_team import DeskTeam, make_desk_team
from playwright.sync_api import Browser, Page, expect
from real_provider import RealProvider, open_browser

from callsheet.core.people import PROGRAM, Person, person_id
from callsheet.core.tasks import SheetState
from callsheet.edges.clock import SystemClock
from callsheet.edges.identity.provider import OAuthClient, Provider
from callsheet.edges.process.loopback import bind_loopback, build_web_server
from callsheet.surface.team.viewer import as_viewer

pytestmark = pytest.mark.slow

PHONE = {"width": 390, "height": 844}
WAIT_SECONDS = 20.0


@dataclass
class RealDesk:
    """The desk while it serves."""

    team: DeskTeam
    provider: RealProvider
    url: str

    def ask(self, name: str) -> str:
        """An agent of that person drafts a sheet and asks for it."""
        return contextvars.Context().run(lambda: self.team.draft(self.person(name)))

    def person(self, name: str) -> Person:
        """Who has signed in."""
        found = self.team.people.find(person_id(self.provider.issuer, name))
        assert found is not None
        return found

    def state(self, sheet_id: str) -> SheetState:
        """Where a sheet is."""
        with as_viewer(PROGRAM):
            return self.team.service.sheet(sheet_id).state

    def start(self, browser: httpx2.Client, name: str, path: str = "/oidc/start") -> dict[str, str]:
        """Go to the provider and sign in there: the query of the callback."""
        answer = browser.get(f"{self.url}{path}")
        assert answer.status_code == 303, answer.text
        return self.provider.sign_in(answer.headers["location"], name, browser=browser)

    def finish(self, browser: httpx2.Client, query: dict[str, str]) -> int:
        """Come back; the status."""
        return browser.get(f"{self.url}/oidc/callback", params=query).status_code

    def is_in(self, browser: httpx2.Client) -> bool:
        """Whether the browser has a session."""
        return browser.get(f"{self.url}/agents").status_code == 200


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, dsn: str, real_provider: RealProvider) -> Iterator[RealDesk]:
    """One for all tests."""
    with bind_loopback(0) as listener:
        url = f"http://localhost:{listener.getsockname()[1]}"
        client = real_provider.register(
            redirect_uris=[f"{url}/oidc/callback"],
            post_logout_redirect_uris=[f"{url}/signed-out"],
            backchannel_logout_uri=f"{url}/oidc/logout",
            backchannel_logout_session_required=True,
            token_endpoint_auth_method="client_secret_basic",
        )
        team = make_desk_team(
            tmp_path_factory.mktemp("real"),
            dsn,
            f"t{uuid.uuid4().hex[:16]}",
            provider=Provider(real_provider.issuer, now=time.time),
            client=OAuthClient(client["client_id"], client["client_secret"]),
            url=url,
            clock=SystemClock(),
        )
        server = build_web_server(team.app)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            yield RealDesk(team, real_provider, url)
        finally:
            server.should_exit = True
            thread.join(WAIT_SECONDS)
            team.close()


def wait_until_out(desk: RealDesk, browser: httpx2.Client) -> None:
    """The provider's own request to the desk takes a moment."""
    end = time.monotonic() + WAIT_SECONDS
    while desk.is_in(browser):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_sign_in_replay_and_another_browser(desk: RealDesk) -> None:
    """The provider takes a code once, and the desk a callback only in the browser that began."""
    with open_browser() as browser, open_browser() as other:
        query = desk.start(browser, "alice")
        assert desk.finish(other, query) == 400
        assert not desk.is_in(other)
        assert desk.finish(browser, query) == 303
        assert desk.is_in(browser)
        assert desk.finish(browser, query) == 400
        assert desk.is_in(browser)
        assert desk.person("alice").name == "alice of the tests"
    with open_browser() as stranger:
        assert desk.finish(stranger, desk.start(stranger, "mallory")) == 403


def test_a_fresh_sign_in_is_newer_than_the_providers_session(desk: RealDesk) -> None:
    """The second one asks nothing of the person; with `fresh` they sign in again, and may add a passkey."""
    with open_browser() as browser:
        desk.finish(browser, desk.start(browser, "bob"))
        assert "Sign in again" in browser.get(f"{desk.url}/passkeys").text
        desk.finish(browser, desk.start(browser, "bob", "/oidc/start?fresh=1&next=/passkeys"))
        assert "Register a passkey" in browser.get(f"{desk.url}/passkeys").text


def test_a_sign_out_at_the_provider_ends_the_session_by_its_server(desk: RealDesk) -> None:
    """From the desk's own button in one browser; another browser of the same person stays."""
    with open_browser() as browser, open_browser() as other:
        for each in (browser, other):
            desk.finish(each, desk.start(each, "alice"))
        page = browser.get(f"{desk.url}/agents").text
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf is not None
        assert browser.post(f"{desk.url}/sign-out", data={"csrf": "x"}, headers={"origin": desk.url}).status_code == 403
        answer = browser.post(f"{desk.url}/sign-out", data={"csrf": csrf[1]}, headers={"origin": desk.url})
        assert not desk.is_in(browser)
        end = re.search(r'content="0; url=([^"]+)"', answer.text)
        assert end is not None
        landed = desk.provider.browse(browser, end[1].replace("&amp;", "&"), lambda _: {"logout": "yes"})
        assert landed.split("?")[0] == f"{desk.url}/signed-out"
        assert desk.is_in(other)


def test_a_logout_that_begins_elsewhere_ends_the_desks_session(desk: RealDesk) -> None:
    """The provider's page, opened without the desk: its server tells the desk."""
    with open_browser() as browser:
        desk.finish(browser, desk.start(browser, "alice"))
        assert desk.is_in(browser)
        with open_browser() as thief:
            thief.cookies.update(browser.cookies)
            asked = {
                "client_id": desk.team.config.identity.client_id,
                "post_logout_redirect_uri": f"{desk.url}/signed-out",
            }
            end = f"{desk.provider.issuer}/session/end?{urlencode(asked)}"
            desk.provider.browse(browser, end, lambda _: {"logout": "yes"})
            wait_until_out(desk, thief)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium for all."""
    with open_chromium() as opened:
        yield opened


@contextmanager
def phone(chromium: Browser, url: str) -> Iterator[tuple[Page, list[str]]]:
    """A page on a phone with a passkey, and what the browser complained of on the desk's pages."""
    with chromium.new_context(viewport=PHONE) as context:
        page, problems = context.new_page(), []
        page.on("console", lambda said: problems.append(said.text) if said.location["url"].startswith(url) else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        session = context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        yield page, problems


def sign_in_at_provider(page: Page, name: str) -> None:
    """Fill in the provider's forms until the desk is back."""
    page.locator('input[name="login"]').fill(name)
    page.locator('input[name="password"]').fill("x")
    page.locator('button[type="submit"]').click()
    consent = page.get_by_role("button", name="Continue")
    if consent.count():
        consent.click()


def register_passkey(page: Page, desk: RealDesk, name: str) -> None:
    """Sign in again, as that takes, and register the phone."""
    page.goto(f"{desk.url}/passkeys")
    page.get_by_role("link", name="Sign in again").click()
    sign_in_at_provider(page, name)
    page.wait_for_url(f"{desk.url}/passkeys")
    page.get_by_role("button", name="Register a passkey").click()
    expect(page.get_by_role("heading", name="This device")).to_be_visible()


def test_an_approver_approves_on_a_phone(desk: RealDesk, chromium: Browser, tmp_path: Path) -> None:
    """Sign in at the provider, sign in again for a passkey, approve with it, sign out on both sides."""
    with open_browser() as browser:
        desk.finish(browser, desk.start(browser, "alice"))
    sheet_id = desk.ask("alice")
    with phone(chromium, desk.url) as (page, problems):
        page.goto(f"{desk.url}/sheets/{sheet_id}")
        page.get_by_role("link", name="Sign in with your team's account").click()
        sign_in_at_provider(page, "bob")
        page.wait_for_url(f"{desk.url}/sheets/{sheet_id}")
        expect(page.get_by_text("You have no passkey yet")).to_be_visible()

        register_passkey(page, desk, "bob")
        page.goto(f"{desk.url}/sheets/{sheet_id}")
        page.screenshot(path=str(tmp_path / "sheet.png"), full_page=True)
        page.get_by_role("button", name="with a passkey").click()
        page.wait_for_url(f"{desk.url}/tasks/*")
        assert desk.state(sheet_id) is SheetState.SPENT

        for path in ("/", "/people", "/spending", "/budgets", "/agents", "/audit", "/passkeys"):
            page.goto(f"{desk.url}{path}")
            page.screenshot(path=str(tmp_path / f"{path.strip('/') or 'home'}.png"), full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        page.goto(f"{desk.url}/agents")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{desk.provider.issuer}/**")
        page.locator('button[type="submit"]').first.click()
        page.wait_for_url(f"{desk.url}/signed-out*")
        page.goto(f"{desk.url}/agents")
        expect(page.get_by_role("link", name="Sign in with your team's account")).to_be_visible()
        # The people page is for admins: the browser notes the refusal.
        assert [text for text in problems if "403" not in text] == []


def test_an_agents_token_is_shown_once(desk: RealDesk, chromium: Browser) -> None:
    """In a browser, with the form of the page."""
    with phone(chromium, desk.url) as (page, problems):
        page.goto(f"{desk.url}/agents")
        page.get_by_role("link", name="Sign in with your team's account").click()
        sign_in_at_provider(page, "carol")
        page.wait_for_url(f"{desk.url}/agents")
        register_passkey(page, desk, "carol")
        page.goto(f"{desk.url}/agents")
        page.get_by_label("Name").fill("CI")
        page.get_by_role("button", name="Make a token").click()
        expect(page.get_by_text(re.compile(r"callsheet_agent_"))).to_be_visible()
        page.goto(f"{desk.url}/agents")
        expect(page.get_by_text(re.compile(r"callsheet_agent_"))).to_have_count(0)
        expect(page.get_by_role("button", name="Revoke CI")).to_be_visible()
        page.goto(f"{desk.url}/people")
        expect(page.get_by_role("button", name="Cut off alice")).to_be_visible()
        assert problems == []
