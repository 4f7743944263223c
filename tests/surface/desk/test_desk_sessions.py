"""Who gets a session, by what, and for how long."""

from __future__ import annotations

import pytest
from desk_client import PASSPHRASE, PORT, Desk, open_desk, seen

from callsheet.surface.desk.sessions import BEARER_SECONDS, MOST, SESSION_SECONDS
from callsheet.surface.desk.sign_in import own_path
from callsheet.surface.desk.step_up import PAUSE_SECONDS, TRIES
from workspace import Workspace

ELSEWHERE = (
    *("https://evil.example", "//evil.example", "/\\evil.example", "/sheets/../x", "javascript:x", "/session", "x"),
    *("/\n", "/sheets/a?b", "/tasks/a/clip"),
)


async def test_the_bearer_of_a_start_works_once(desk: Desk) -> None:
    """Whoever comes second with it gets nothing, which the person notices."""
    bearer = desk.state.sessions.bearer or ""
    assert len(bearer) >= 43

    first = await desk.post("/session", key=bearer)
    second = await desk.post("/session", key=bearer)

    assert first.status_code == 200
    assert second.status_code == 403
    assert "already used" in second.text
    assert "set-cookie" not in second.headers


@pytest.mark.parametrize("wrong", ["", "x", "é", "A" * 43])
async def test_a_wrong_bearer_gets_nothing_and_uses_nothing_up(desk: Desk, wrong: str) -> None:
    """The right one still works after it."""
    assert (await desk.post("/session", key=wrong)).status_code == 403
    assert (await desk.post("/session", key=desk.state.sessions.bearer or "")).status_code == 200


async def test_the_bearer_is_worth_nothing_after_ten_minutes(desk: Desk) -> None:
    """An address that stayed in a terminal's history opens nothing."""
    desk.clock.time += BEARER_SECONDS + 1

    assert (await desk.post("/session", key=desk.state.sessions.bearer or "")).status_code == 403


async def test_each_start_has_a_bearer_of_its_own(workspace: Workspace) -> None:
    """And one start's does not open another."""
    first, second = open_desk(workspace), open_desk(workspace)

    answer = await second.post("/session", key=first.state.sessions.bearer or "")

    assert first.state.sessions.bearer != second.state.sessions.bearer
    assert answer.status_code == 403


async def test_the_cookie_is_for_this_host_strictly_and_out_of_scripts_reach(desk: Desk) -> None:
    """Its name holds the port, since all ports of a host share their cookies."""
    answer = await desk.post("/session", key=desk.state.sessions.bearer or "")

    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"callsheet-desk-{PORT}=")
    rest = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= rest
    assert not any(part.startswith("domain") for part in rest)


async def test_the_bearer_stands_in_no_page(desk: Desk) -> None:
    """Nor does a session's cookie."""
    bearer = desk.state.sessions.bearer or ""
    signing_in = (await desk.get("/sign-in")).text
    await desk.sign_in()

    for page in (signing_in, await desk.read("/")):
        assert bearer not in page
        assert all(value not in page for value in desk.client.cookies.values())


async def test_a_session_ends_after_twelve_hours(desk: Desk) -> None:
    """And when the person signs out."""
    token = await desk.sign_in()
    assert (await desk.post("/sign-out", csrf=token)).status_code == 303
    assert (await desk.get("/")).status_code == 303

    await desk.post("/sign-in", passphrase=PASSPHRASE)
    assert (await desk.get("/")).status_code == 200
    desk.clock.time += SESSION_SECONDS + 1
    assert (await desk.get("/")).status_code == 303


async def test_sessions_are_bounded(desk: Desk) -> None:
    """The oldest gives way."""
    cookies = [desk.state.sessions.begin() for _ in range(MOST + 1)]

    assert desk.state.sessions.find(cookies[0]) is None
    assert all(desk.state.sessions.find(cookie) for cookie in cookies[1:])


async def test_a_person_signs_in_with_the_passphrase(desk: Desk) -> None:
    """And gets to the page that was asked for."""
    led = await desk.get("/sheets/sheet_abc")
    assert led.headers["location"] == "/sign-in?next=/sheets/sheet_abc"
    page = await desk.read(led.headers["location"])
    assert 'name="next" value="/sheets/sheet_abc"' in page

    answer = await desk.post("/sign-in", passphrase=PASSPHRASE, next="/sheets/sheet_abc")

    assert (answer.status_code, answer.headers["location"]) == (303, "/sheets/sheet_abc")
    assert (await desk.get("/")).status_code == 200


@pytest.mark.parametrize(
    "named",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/sheets/../x", "javascript:x", "/session", "x"],
)
async def test_signing_in_leads_to_no_other_place(desk: Desk, named: str) -> None:
    """Whatever an address says."""
    assert own_path(named) == "/"
    answer = await desk.post("/sign-in", passphrase=PASSPHRASE, next=named)
    assert answer.headers["location"] == "/"


async def test_wrong_passphrases_are_limited_over_all_connections(desk: Desk) -> None:
    """After five, not even the right one is looked at for a minute; then one try a minute, until it is right."""
    token = await desk.sign_in()
    for _ in range(TRIES - 1):
        answer = await desk.post("/sign-in", passphrase="wrong passphrase")
        assert answer.status_code == 403
    # The same count, by another way in.
    await desk.post("/passkeys/challenge", csrf=token, passphrase="wrong passphrase")

    paused = await desk.post("/sign-in", passphrase=PASSPHRASE)
    assert paused.status_code == 403
    assert "Try again in 60 s" in seen(paused.text)

    desk.clock.time += PAUSE_SECONDS + 1
    assert (await desk.post("/sign-in", passphrase="wrong passphrase")).status_code == 403
    assert (await desk.post("/sign-in", passphrase=PASSPHRASE)).status_code == 403
    assert desk.state.passphrase_check.wrong == 6
    desk.clock.time += PAUSE_SECONDS + 1
    assert (await desk.post("/sign-in", passphrase=PASSPHRASE)).status_code == 303
    assert (await desk.post("/sign-in", passphrase="wrong passphrase")).status_code == 403
    assert (await desk.post("/sign-in", passphrase=PASSPHRASE)).status_code == 303


async def test_wrong_passphrases_are_in_the_audit_trail(desk: Desk) -> None:
    """The person can see that somebody tried."""
    for _ in range(TRIES):
        await desk.post("/sign-in", passphrase="wrong passphrase")

    entries = desk.service.audit()

    assert [(entry.action, entry.detail) for entry in entries] == [("passphrase_refused", '{"wrong_tries": "5"}')]


async def test_without_a_passphrase_the_page_says_how_to_get_in(workspace: Workspace) -> None:
    """And an empty passphrase is none."""
    desk = open_desk(workspace)

    page = seen(await desk.read("/sign-in"))
    answer = await desk.post("/sign-in", passphrase="")

    assert "No approval passphrase has been set." in page
    assert "callsheet setup" in page
    assert answer.status_code == 409
    assert not desk.client.cookies


async def test_a_verifier_that_others_can_change_refuses_everybody(desk: Desk) -> None:
    """The page says which file it is and what to do."""
    (desk.workspace.home / "config" / "approval-verifier").chmod(0o666)

    page = seen(await desk.read("/sign-in"))
    answer = await desk.post("/sign-in", passphrase=PASSPHRASE)

    assert "which is open to others" in page
    assert answer.status_code == 409
