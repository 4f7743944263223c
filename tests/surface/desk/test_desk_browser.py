"""The desk in a real browser: signing in, approving by hand and by passkey, watching, reading with any means.

One desk with real sandbox clips, and one headless Chromium, serve the whole module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from desk_client import PASSPHRASE
from desk_server import PROMPTS, DeskServer, open_browser, open_desk_server, sign_in
from playwright.sync_api import Browser, BrowserContext, Page, expect

from callsheet.core.consent import Means
from callsheet.core.tasks import SheetState

pytestmark = pytest.mark.slow

WIDE, NARROW = {"width": 1280, "height": 850}, {"width": 390, "height": 844}
PAGES = ("/", "/tasks", "/spending", "/allowances", "/passkeys", "/audit")
LOADED = "video => video.readyState > 0 || new Promise((done) => { video.onloadedmetadata = () => done(true); })"
SOUGHT = "video => new Promise((done) => { video.onseeked = () => done(video.currentTime); video.currentTime = 3; })"
SEVERE = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all."""
    with open_browser() as opened:
        yield opened


@dataclass
class Scene:
    """A desk with something on it: a clip, a task that failed, one of unknown outcome, a sheet that waits."""

    desk_server: DeskServer
    clip: str
    failed: str
    unknown: str
    waiting: str


@pytest.fixture(scope="module")
def scene(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Set up once."""
    with open_desk_server(tmp_path_factory.mktemp("desk") / "home") as desk_server:
        prompts = (PROMPTS[0], "Refused. [[sandbox:content-violation]]", "Lost. [[sandbox:drop-after]]")
        tasks = [desk_server.generate_clip(desk_server.ask(prompt)) for prompt in prompts]
        for task_id in tasks:
            desk_server.wait_for(task_id)
        service = desk_server.service()
        # Not the model that the tests ask for: an allowance would answer in the place of a person.
        models = ("apidot/sora-2-official",)
        service.allow(models, clips=2, up_to=Decimal("1.00"), seconds=3600, by=Means.TERMINAL)
        ended = service.allow(models, clips=1, up_to=Decimal("1.00"), seconds=3600, by=Means.TERMINAL)
        service.revoke(ended.id, by=Means.TERMINAL)
        yield Scene(desk_server, *tasks, desk_server.ask(PROMPTS[1]))


@dataclass
class BrowserWindow:
    """A browser window, and everything that the browser reported as a problem."""

    page: Page
    desk_server: DeskServer
    problems: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open a page of the desk."""
        self.page.goto(f"{self.desk_server.origin}{path}")
        return self.page


def open_window(context: BrowserContext, desk_server: DeskServer) -> BrowserWindow:
    """A window that records its problems."""
    window = BrowserWindow(context.new_page(), desk_server)
    window.page.on("console", lambda message: window.problems.append(message.text))
    window.page.on("pageerror", lambda error: window.problems.append(str(error)))
    outside = window.problems.append
    window.page.on(
        "request", lambda request: None if request.url.startswith(desk_server.origin) else outside(request.url)
    )
    return window


@pytest.fixture
def window(browser: Browser, scene: Scene) -> Iterator[BrowserWindow]:
    """A person who is signed in; nothing may have been blocked or failed when they leave."""
    with browser.new_context(viewport=WIDE) as context:
        opened_window = open_window(context, scene.desk_server)
        sign_in(opened_window.page, scene.desk_server)
        yield opened_window
        assert opened_window.problems == []


def state(desk_server: DeskServer, sheet_id: str) -> tuple[SheetState, Means | None]:
    """What the ledger says of a sheet."""
    sheet = desk_server.service().deps.ledger().sheet(sheet_id)
    assert sheet is not None
    return sheet.state, sheet.approved_by


def test_the_bearer_signs_in_once_and_leaves_the_address_bar(browser: Browser, scene: Scene) -> None:
    """The second use of it is refused; the passphrase still works."""
    with browser.new_context() as context:
        first = open_window(context, scene.desk_server)
        first.page.goto(scene.desk_server.url)
        first.page.wait_for_url(f"{scene.desk_server.origin}/")
        expect(first.page.get_by_role("heading", name="Waiting for you")).to_be_visible()
        assert "key=" not in first.page.evaluate("location.href + document.cookie + document.referrer")
        first.page.go_back()
        assert "key=" not in first.page.url
        assert first.problems == []
    with browser.new_context() as context:
        second = open_window(context, scene.desk_server)
        second.page.goto(scene.desk_server.url)
        expect(second.page.get_by_role("alert")).to_contain_text("already used")
        assert "key=" not in second.page.url
        expect(second.page.get_by_label("Approval passphrase")).to_be_visible()


def test_a_link_from_elsewhere_finds_the_person_signed_in(window: BrowserWindow, scene: Scene) -> None:
    """Its first request brings no cookie along; the sign-in page notices that there is one and goes on."""
    page = window.go(f"/sign-in?next=/sheets/{scene.waiting}")

    page.wait_for_url(f"**/sheets/{scene.waiting}")

    expect(page.get_by_role("heading", name="Call sheet")).to_be_visible()


def test_a_sheet_is_approved_with_only_the_keyboard(window: BrowserWindow) -> None:
    """From the first page: skip link, its own page, passphrase, Enter; no pointer anywhere."""
    sheet_id = window.desk_server.ask("Approved by keyboard.")
    page = window.go("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    reach(page, f"h3 a[href='/sheets/{sheet_id}']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sheets/{sheet_id}")
    reach(page, "#passphrase")
    page.keyboard.type("wrong passphrase")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_be_focused()
    reach(page, "#passphrase")
    page.keyboard.type(PASSPHRASE)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="The request is being sent, once")).to_be_visible()

    assert state(window.desk_server, sheet_id) == (SheetState.SPENT, Means.DESK)
    window.problems[:] = [text for text in window.problems if "403" not in text]


def reach(page: Page, selector: str) -> None:
    """Press Tab until that is focused."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"{selector} cannot be reached by keyboard")


def test_a_passkey_is_registered_approves_a_sheet_and_an_allowance_and_is_removed(window: BrowserWindow) -> None:
    """With a virtual authenticator that verifies the person."""
    page, desk_server = window.page, window.desk_server
    add_authenticator(page, verified=True)
    window.go("/passkeys")
    page.get_by_label("Name").fill("Virtual key")
    page.get_by_label("Approval passphrase").fill(PASSPHRASE)
    page.get_by_role("button", name="Register a passkey").click()
    expect(page.get_by_role("heading", name="Virtual key")).to_be_visible()

    sheet_id = desk_server.ask("Approved by passkey.")
    window.go(f"/sheets/{sheet_id}")
    page.get_by_role("button", name="with a passkey").click()
    expect(page.get_by_role("status").filter(has_text="The request is being sent, once")).to_be_visible()
    assert state(desk_server, sheet_id) == (SheetState.SPENT, Means.PASSKEY)

    window.go("/allowances")
    page.get_by_label("Up to, in USD").fill("1.50")
    page.locator("input[value='apidot/sora-2-official']").check()
    page.get_by_role("button", name="Allow with a passkey").click()
    expect(page.get_by_role("status").filter(has_text="up to 1.50 USD")).to_be_visible()
    assert desk_server.service().allowances()[0].made_by is Means.PASSKEY

    window.go("/passkeys")
    page.get_by_label("Approval passphrase, to remove Virtual key").fill(PASSPHRASE)
    page.get_by_role("button", name="Remove Virtual key").click()
    expect(page.get_by_text("None yet.")).to_be_visible()


def test_a_passkey_that_does_not_verify_the_person_is_no_yes(window: BrowserWindow) -> None:
    """The browser already refuses; the page says so and offers the passphrase still."""
    page = window.page
    add_authenticator(page, verified=False)
    window.go("/passkeys")
    page.get_by_label("Approval passphrase").fill(PASSPHRASE)
    page.get_by_role("button", name="Register a passkey").click()

    expect(page.locator("[data-passkey-problem]")).to_be_visible()

    expect(page.get_by_role("button", name="Register a passkey")).to_be_enabled()
    assert not page.locator(".card").count()


def add_authenticator(page: Page, *, verified: bool) -> None:
    """A device inside the browser, as the DevTools protocol offers it."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": verified,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_a_task_is_followed_live_until_its_clip_can_be_played(window: BrowserWindow) -> None:
    """The list updates automatically, the change is announced, and the video has its length and can be sought in."""
    desk_server, page = window.desk_server, window.page
    sheet_id = desk_server.ask("A lantern on a pier, slow push in.")
    window.go("/")
    task_id = desk_server.generate_clip(sheet_id)
    expect(page.locator(f"[data-key$='{task_id}']").first).to_be_visible()
    expect(page.locator("[data-announcer]")).to_contain_text("A lantern on a pier", timeout=20_000)

    window.go(f"/tasks/{task_id}")
    video = page.locator("video")
    expect(video).to_be_visible(timeout=30_000)
    video.evaluate(LOADED)
    assert video.evaluate("video => video.duration") == pytest.approx(4.0, abs=0.2)
    assert video.evaluate(SOUGHT) == 3
    assert page.get_by_alt_text("Contact sheet").evaluate("image => image.complete && image.naturalWidth > 0")


def test_focus_is_not_taken_from_a_reader_of_a_live_list(window: BrowserWindow) -> None:
    """The list waits while somebody is in it, and goes on afterwards."""
    page = window.go("/")
    link = page.locator("ul.sheets h3 a").first
    link.focus()
    sheet_id = window.desk_server.ask("It comes while somebody reads.")
    with page.expect_response("**/live"):
        pass
    with page.expect_response("**/live"):
        pass
    expect(link).to_be_focused()
    assert not page.locator(f"[data-key='{sheet_id}']").count()

    page.evaluate("document.activeElement.blur()")

    expect(page.locator(f"[data-key='{sheet_id}']")).to_be_visible()


def test_without_script_a_person_can_sign_in_approve_and_decline(browser: Browser, scene: Scene) -> None:
    """Only passkeys and the bearer need it."""
    first, second = (scene.desk_server.ask(f"Without script, {number}.") for number in (1, 2))
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, scene.desk_server)
        page.goto(f"{scene.desk_server.origin}/sheets/{first}")
        page.get_by_label("Approval passphrase").fill(PASSPHRASE)
        page.get_by_role("button", name="Approve and send").click()
        expect(page.get_by_text("The request is being sent, once")).to_be_visible()
        page.goto(f"{scene.desk_server.origin}/sheets/{second}")
        page.get_by_role("button", name="Decline").click()
        expect(page.get_by_text("can no longer be submitted")).to_be_visible()

    assert state(scene.desk_server, first)[0] is SheetState.SPENT
    assert state(scene.desk_server, second)[0] is SheetState.DECLINED


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_barrier(browser: Browser, scene: Scene, scheme: str) -> None:
    """As axe judges, by day and by night, with everything on it; and none is wider than a narrow screen."""
    paths = [
        *PAGES,
        f"/sheets/{scene.waiting}",
        *(f"/tasks/{task}" for task in (scene.clip, scene.failed, scene.unknown)),
    ]
    found = []
    with browser.new_context(viewport=WIDE, color_scheme="dark" if scheme == "dark" else "light") as context:
        window = open_window(context, scene.desk_server)
        window.go("/sign-in")
        found += barriers(window.page, scheme)
        sign_in(window.page, scene.desk_server)
        for path in [*paths, "/sheets/none"]:
            window.go(path)
            found += barriers(window.page, scheme)
            window.page.set_viewport_size(NARROW)
            assert window.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
            window.page.set_viewport_size(WIDE)
        assert [text for text in window.problems if "404" not in text] == []
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_live_sheet_is_approved_by_typing_its_amount(browser: Browser, tmp_path: Path, scheme: str) -> None:
    """It does not look like a rehearsal; a wrong amount is reported, and the typed value stays to be corrected."""
    policy = 'mode = "live"\n'
    with (
        open_desk_server(tmp_path / "home", policy, POYO_API_KEY="a-live-key-of-nobody") as desk_server,
        browser.new_context(viewport=WIDE, color_scheme="dark" if scheme == "dark" else "light") as context,
    ):
        sheet_id = desk_server.ask(PROMPTS[2])
        window = open_window(context, desk_server)
        page = window.page
        sign_in(page, desk_server)
        window.go(f"/sheets/{sheet_id}")
        expect(page.get_by_role("note", name="Mode")).to_contain_text("real money")
        found = barriers(page, scheme)
        page.get_by_label("Amount to agree to").fill("0.42")
        page.get_by_label("Approval passphrase").fill(PASSPHRASE)
        page.get_by_role("button", name="Approve and send 0.24 USD").click()
        expect(page.get_by_role("alert")).to_contain_text("not the amount shown")
        found += barriers(page, scheme)
        expect(page.get_by_label("Amount to agree to")).to_have_value("0.42")
        page.get_by_label("Amount to agree to").fill("0.24")
        page.get_by_label("Approval passphrase").fill(PASSPHRASE)
        page.get_by_role("button", name="Approve and send 0.24 USD").click()
        expect(page.get_by_role("status").filter(has_text="The request is being sent, once")).to_be_visible()
        assert state(desk_server, sheet_id) == (SheetState.SPENT, Means.DESK)
        assert found == []
        assert [text for text in window.problems if "403" not in text] == []


def barriers(page: Page, scheme: str = "light") -> list[str]:
    """What axe calls serious or critical; by night only of the colours, since nothing else differs."""
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    results = Axe().run(page, options=rules).response
    assert len(results["passes"]) > (0 if rules else 10)
    return [
        f"{page.url}: {item['id']}: {node['html']}"
        for item in results["violations"]
        if item["impact"] in SEVERE
        for node in item["nodes"]
    ]


def test_axe_would_see_a_barrier(window: BrowserWindow) -> None:
    """A judge that never complains would prove nothing."""
    page = window.go("/allowances")

    page.evaluate("document.querySelectorAll('label, legend').forEach((item) => item.remove())")

    assert barriers(page)
