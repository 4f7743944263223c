"""Every act of the desk in a real browser: by the keyboard alone, and by passkey where something must be proved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from desk_client import PASSPHRASE
from desk_server import PROMPTS, DeskServer, open_browser, open_desk_server, sign_in
from playwright.sync_api import Browser, Page, expect
from test_desk_browser import NARROW, WIDE, add_authenticator, barriers, open_window, reach

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import Problem, SheetState, TaskState
from callsheet.edges.process.desktop import find_opener
from callsheet.service import Draft
from callsheet.service.submission import submit

pytestmark = pytest.mark.slow

LIVE = 'mode = "live"\n'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all."""
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def desk_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskServer]:
    """One sandbox, in which rehearsals ask."""
    with open_desk_server(tmp_path_factory.mktemp("desk") / "home") as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, desk_server: DeskServer) -> Iterator[Page]:
    """A person who is signed in; nothing may have been blocked or failed when they leave."""
    with browser.new_context(viewport=WIDE) as context:
        window = open_window(context, desk_server)
        sign_in(window.page, desk_server)
        yield window.page
        assert window.problems == []


def put_task(desk_server: DeskServer, prompt: str, **changes: object) -> str:
    """A task with these facts, as if it had been followed to there."""
    service = desk_server.service()
    sheet = service.explain(Draft(Shot.of(prompt, duration_seconds=4), gateway="poyo", model="sora-2-official")).sheet
    assert sheet is not None
    service.approve(sheet.id, by=Means.TERMINAL)
    report = submit(service.deps, sheet.id).report
    assert report is not None
    return service.deps.ledger().touch(report.task.id, now=service.now(), changes=changes).id


def sheet_state(desk_server: DeskServer, sheet_id: str) -> SheetState:
    """The state of a sheet."""
    return desk_server.service().sheet(sheet_id).state


def task_state(desk_server: DeskServer, task_id: str) -> TaskState:
    """The state of a task."""
    return desk_server.service().task(task_id).task.state


def test_sheets_are_approved_and_declined_in_place_by_keys(page: Page, desk_server: DeskServer) -> None:
    """j and k move, a opens and goes to what must be typed, d goes to Decline and presses nothing."""
    first, second = desk_server.ask("Declined by key."), desk_server.ask("Approved by key.")
    page.goto(f"{desk_server.origin}/")
    page.keyboard.press("j")
    expect(page.locator(f"[data-key='{second}']")).to_be_focused()
    page.keyboard.press("a")
    expect(page.locator(f"#passphrase-{second}")).to_be_focused()
    page.keyboard.type(PASSPHRASE)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="The request is being sent, once")).to_be_visible()
    assert page.url == f"{desk_server.origin}/"
    assert sheet_state(desk_server, second) is SheetState.SPENT

    # The page has just been loaded and refreshes itself: a key may come before its script or before the other item.
    waiting = page.locator(f"[data-key='{first}']")
    for _ in range(20):
        page.keyboard.press("j")
        page.wait_for_timeout(100)
        if waiting.evaluate("node => node === document.activeElement"):
            break
    expect(waiting).to_be_focused()
    page.keyboard.press("d")
    assert sheet_state(desk_server, first) is SheetState.AWAITING_APPROVAL
    page.keyboard.press("Enter")
    expect(page.get_by_text("can no longer be submitted")).to_be_visible()
    assert sheet_state(desk_server, first) is SheetState.DECLINED


def test_what_ended_badly_is_settled_repeated_and_dismissed_by_keyboard(page: Page, desk_server: DeskServer) -> None:
    """Each button is reached with Tab and pressed with Enter."""
    failed = put_task(desk_server, "It failed.", state=TaskState.FAILED)
    lost, found = (put_task(desk_server, text, state=TaskState.OUTCOME_UNKNOWN) for text in ("Lost.", "Found."))
    page.goto(f"{desk_server.origin}/")
    press(page, f"details[data-keep='lost-{lost}'] summary")
    press(page, f"details[data-keep='lost-{lost}'] button")
    page.wait_for_url(f"**/tasks/{lost}")
    assert task_state(desk_server, lost) is TaskState.ABANDONED

    page.goto(f"{desk_server.origin}/")
    press(page, f"details[data-keep='there-{found}'] summary")
    reach(page, f"#found-{found}")
    page.keyboard.type("task-unified-1795254113-1mp24tof")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/tasks/{found}")
    assert desk_server.service().task(found).task.gateway_task_id == "task-unified-1795254113-1mp24tof"

    for selector, other in (("form[action$='/again'] button", False), ("a[href$='/models']", True)):
        page.goto(f"{desk_server.origin}/tasks/{failed}")
        press(page, selector)
        if other:
            page.wait_for_url("**/models")
            press(page, "form[action$='/again'] button")
        page.wait_for_url("**/sheets/*")
        sheet = desk_server.service().sheet(page.url.rpartition("/")[2])
        assert (sheet.card_id != "poyo/sora-2-official", sheet.state) == (other, SheetState.DRAFTED)

    page.goto(f"{desk_server.origin}/")
    card = page.locator(f"article[data-key='{failed}']")
    press(page, f"article[data-key='{failed}'] form[action='/dismiss'] button")
    expect(card).to_have_count(0)


def press(page: Page, selector: str) -> None:
    """Reach it with Tab and press Enter."""
    page.evaluate("document.activeElement.blur()")
    reach(page, selector)
    page.keyboard.press("Enter")


def test_a_clip_is_found_copied_and_downloaded_by_keyboard(page: Page, desk_server: DeskServer) -> None:
    """The slash goes to the search from any page, and the question mark lists the keys."""
    task_id = desk_server.generate_clip(desk_server.ask("A tall lantern in the rain."))
    desk_server.wait_for(task_id)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{desk_server.origin}/spending")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("/")
    page.wait_for_url(lambda url: url.endswith("/tasks#q"))
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("LANTERN")
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-item]")).to_have_count(1)
    press(page, f"a[href='/tasks/{task_id}']")
    page.wait_for_url(f"**/tasks/{task_id}")
    press(page, "button[data-copy^='A tall']")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "A tall lantern in the rain."
    with page.expect_download() as download:
        press(page, "a[download]")
    clip = desk_server.service().task(task_id).task.clip
    assert clip is not None
    assert download.value.suggested_filename == Path(clip.path).name
    assert Path(download.value.path()).read_bytes() == Path(clip.path).read_bytes()


def test_a_pause_begins_and_ends_by_keyboard(page: Page, desk_server: DeskServer) -> None:
    """The strip of every page pauses and leads to where it ends."""
    page.goto(f"{desk_server.origin}/audit")
    press(page, "form[action='/pause'] button")
    expect(page.get_by_text("You paused all submissions.")).to_be_visible()
    press(page, "#resume-passphrase")
    page.keyboard.type(PASSPHRASE)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Submissions are resumed.")).to_be_visible()
    assert not desk_server.service().policy.paused


def test_a_passkey_resumes_and_settles_a_live_outcome(browser: Browser, tmp_path: Path) -> None:
    """Without a passphrase; what it signs is that very answer, so the trail names it."""
    with (
        open_desk_server(tmp_path / "home", LIVE, POYO_API_KEY="a-live-key-of-nobody") as desk_server,
        browser.new_context(viewport=WIDE) as context,
    ):
        window = open_window(context, desk_server)
        page = window.page
        sign_in(page, desk_server)
        add_authenticator(page, verified=True)
        window.go("/passkeys")
        page.get_by_label("Name").fill("Virtual key")
        page.get_by_label("Approval passphrase").fill(PASSPHRASE)
        page.get_by_role("button", name="Register a passkey").click()
        expect(page.get_by_role("heading", name="Virtual key")).to_be_visible()
        problem = Problem("answer_lost", "the connection broke", "unknown")
        lost = put_task(desk_server, "Lost.", state=TaskState.OUTCOME_UNKNOWN, problem=problem)
        window.go("/")
        press(page, f"details[data-keep='lost-{lost}'] summary")
        press(page, f"details[data-keep='lost-{lost}'] [data-passkey-form]")
        page.wait_for_url(f"**/tasks/{lost}")
        assert task_state(desk_server, lost) is TaskState.ABANDONED
        press(page, "form[action='/pause'] button")
        expect(page.get_by_text("You paused all submissions.")).to_be_visible()
        press(page, "#resume [data-passkey-form]")
        expect(page.get_by_text("Submissions are resumed.")).to_be_visible()
        entries = desk_server.service().audit(limit=3)
        assert [("Virtual key" in entry.detail, entry.action) for entry in entries] == [
            (True, "resumed"),
            (False, "paused"),
            (True, "resolved_lost"),
        ]
        assert window.problems == []


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_vertical_clip_and_a_long_prompt_leave_the_player_whole(
    page: Page, desk_server: DeskServer, viewport: dict[str, int]
) -> None:
    """The picture keeps its ratio and is inside the first screen, whatever was written."""
    real = desk_server.generate_clip(desk_server.ask(PROMPTS[1] + str(viewport["width"])))
    desk_server.wait_for(real)
    clip = desk_server.service().task(real).task.clip
    assert clip is not None
    tall = replace(clip, width=720, height=1280)
    text = "A very long prompt about the sea. " * 60 + str(viewport["width"])
    task_id = put_task(desk_server, text, state=TaskState.SAVED, clip=replace(tall, path="/nowhere/gone.mp4"))
    desk_server.service().deps.ledger().touch(task_id, now=0.0, changes={"clip": tall})
    page.set_viewport_size(viewport)
    page.goto(f"{desk_server.origin}/tasks/{task_id}")
    box = page.locator("video").bounding_box()
    assert box is not None
    assert box["y"] < 420
    assert box["height"] <= viewport["height"] * 0.73
    page.goto(f"{desk_server.origin}/")
    expect(page.locator(".gallery img").first).to_have_css("object-fit", "contain")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert barriers(page) == []


def test_a_sheet_is_approved_for_later_then_sent_by_keyboard(page: Page, desk_server: DeskServer) -> None:
    """The passphrase is typed once; sending it on the first page needs no more."""
    shot = Shot.of("For later by key.", duration_seconds=4)
    sheet = desk_server.service().explain(Draft(shot, gateway="poyo", model="sora-2-official")).sheet
    assert sheet is not None
    page.goto(f"{desk_server.origin}/sheets/{sheet.id}")
    press(page, "#passphrase")
    page.keyboard.type(PASSPHRASE)
    press(page, f"form[action='/sheets/{sheet.id}/approve'] button:not([name])")
    expect(page.get_by_role("button", name="Send it now")).to_be_visible()
    assert sheet_state(desk_server, sheet.id) is SheetState.APPROVED
    page.goto(f"{desk_server.origin}/")
    press(page, f"form[action='/sheets/{sheet.id}/send'] button")
    page.wait_for_url("**/tasks/task_*")
    assert sheet_state(desk_server, sheet.id) is SheetState.SPENT


RECORD = """
window.told = [];
window.Notification = class {
  static permission = "default";
  static async requestPermission() { this.permission = "granted"; return this.permission; }
  constructor(title, options) { window.told.push([title, options.body]); }
};
"""


def test_the_browser_notifies_once_it_was_asked_to_by_keyboard(page: Page, desk_server: DeskServer) -> None:
    """Of what is new, with the model and without the prompt; and no more when it is turned off."""
    page.add_init_script(RECORD)
    page.goto(f"{desk_server.origin}/")
    desk_server.ask("Nobody is told of this kite.")
    expect(page.get_by_text("Nobody is told of this kite.").first).to_be_visible(timeout=30_000)
    assert page.evaluate("window.told") == []
    press(page, "[data-notify]")
    expect(page.locator("[data-notify]")).to_have_text("Stop notifying me in this browser")
    desk_server.ask("Told of this kite.")
    for _ in range(60):
        if page.evaluate("window.told.length"):
            break
        page.wait_for_timeout(500)
    [[title, body]] = page.evaluate("window.told")
    assert title == "Callsheet: a clip waits for you"
    assert ("sora-2-official" in body, "kite" in body) == (True, False)
    press(page, "[data-notify]")
    expect(page.locator("[data-notify]")).to_have_text("Notify me in this browser when something waits")


def test_a_sheet_that_no_longer_holds_is_renewed_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    """From the first page, to a sheet that can be approved. The caps of the policy bear on a live sheet."""
    with (
        open_desk_server(tmp_path / "home", LIVE, POYO_API_KEY="a-live-key-of-nobody") as desk_server,
        browser.new_context(viewport=WIDE) as context,
    ):
        window = open_window(context, desk_server)
        page = window.page
        sign_in(page, desk_server)
        sheet_id = desk_server.ask("Renewed by key.")
        policy = desk_server.home / "config" / "policy.toml"
        policy.write_text(f'{LIVE}[caps]\nper_clip = "1.50"\n', encoding="utf-8")
        window.go("/")
        press(page, f"form[action='/sheets/{sheet_id}/renew'] button")
        page.wait_for_url(lambda url: "/sheets/" in url and sheet_id not in url)
        expect(page.locator("#passphrase")).to_be_visible()
        assert sheet_state(desk_server, sheet_id) is SheetState.EXPIRED
        assert window.problems == []


def test_a_sample_is_generated_and_shown_in_its_folder_by_keyboard(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the empty first page. The file manager is a program that records what it was given."""
    if find_opener({"DISPLAY": ":0"}) is None:
        pytest.skip("there is no program that opens files on this computer")
    shown, programs = tmp_path / "shown", tmp_path / "programs"
    programs.mkdir()
    (programs / "exo-open").write_text(f'#!/bin/sh\necho "$@" >> {shown}\n')
    (programs / "exo-open").chmod(0o700)
    for name, value in {
        "DISPLAY": ":0",
        "XDG_CURRENT_DESKTOP": "XFCE",
        "PATH": f"{programs}:{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    with (
        open_desk_server(tmp_path / "home", "[sandbox]\nspeed = 600\n") as desk_server,
        browser.new_context(viewport=WIDE) as context,
    ):
        window = open_window(context, desk_server)
        page = window.page
        sign_in(page, desk_server)
        press(page, "form[action='/sample'] button")
        page.wait_for_url("**/tasks/task_*")
        task_id = page.url.rpartition("/")[2]
        desk_server.wait_for(task_id)
        page.reload()
        press(page, f"form[action='/tasks/{task_id}/reveal'] button")
        expect(page.get_by_text("The folder is open in your file manager.")).to_be_visible()
        clip = desk_server.service().task(task_id).task.clip
        assert clip is not None
        assert str(Path(clip.path).parent) in shown.read_text()
        assert window.problems == []
