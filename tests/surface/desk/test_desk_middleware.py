"""What the desk refuses before any page sees it, and what every answer carries."""

from __future__ import annotations

import sqlite3

import httpx2
import pytest
from desk_client import ORIGIN, PASSPHRASE, PORT, Desk, ask, data, seen
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from callsheet.core.tasks import SheetState
from callsheet.surface.desk.application import _routes
from callsheet.surface.desk.middleware import HEADERS, DeskMiddleware

EXTRA = {"sec-fetch-site": "same-origin"}
PARTS = {
    "gateway": "poyo",
    "sheet_id": "SHEET",
    "task_id": "task_none",
    "allowance_id": "allow_none",
    "passkey_id": "none",
    "name": "desk.js",
    "rest": "nothing/here",
    "number": 1,
}


def addresses(desk: Desk, method: str, sheet_id: str) -> list[str]:
    """Every address of the desk that answers to that method."""
    routes = [route for route in _routes(desk.state) if isinstance(route, Route) and method in (route.methods or ())]
    return [route.path_format.format(**{**PARTS, "sheet_id": sheet_id}) for route in routes]


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"127.0.0.1:{PORT}", f"[::1]:{PORT}", "localhost", "localhost:80", f"localhost.:{PORT}", ""],
)
async def test_another_host_name_gets_nothing_of_the_desk(desk: Desk, host: str) -> None:
    """So no web site can lead a name of its own to this port."""
    await desk.sign_in()

    for answer in (
        await desk.client.get("/", headers={"host": host}),
        await desk.client.post("/session", data={"key": "x"}, headers={"host": host, "origin": ORIGIN}),
    ):
        assert answer.status_code == 421
        assert "csrf" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": f"http://localhost:{PORT + 1}"},
        {"origin": f"http://127.0.0.1:{PORT}"},
        {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
        {"origin": ORIGIN, "sec-fetch-site": "same-site"},
        {"origin": ORIGIN, "sec-fetch-site": "none"},
    ],
)
async def test_a_form_from_elsewhere_is_refused_even_with_session_token_and_passphrase(
    desk: Desk, headers: dict[str, str]
) -> None:
    """Another port of this very host is elsewhere too."""
    sheet_id = await ask(desk)
    token = await desk.sign_in()
    form = {"csrf": token, "passphrase": PASSPHRASE, "shown": desk.digest(sheet_id)}

    answer = await desk.client.post(f"/sheets/{sheet_id}/approve", data=form, headers=headers)

    assert answer.status_code == 403
    assert desk.service.deps.ledger().sheet(sheet_id).state is SheetState.AWAITING_APPROVAL
    right = await desk.client.post(f"/sheets/{sheet_id}/approve", data=form, headers={"origin": ORIGIN, **EXTRA})
    assert right.status_code == 303


async def test_pages_are_not_for_other_sites_to_load(desk: Desk) -> None:
    """Neither as a picture, a script or a frame; a link that a person follows is all right, and meets the sign-in."""
    await desk.sign_in()

    for site in ("cross-site", "same-site"):
        for mode, kind in (("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe"), ("cors", "empty")):
            headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": kind}
            assert (await desk.get("/", **headers)).status_code == 403
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert (await desk.get("/sign-in", **followed)).status_code == 200


async def test_every_answer_carries_the_guards(desk: Desk) -> None:
    """Pages, parts, files, refusals and redirects alike."""
    paths = ["/", "/sign-in", "/static/desk.js", "/nothing", "/session"]
    before = [await desk.get(path) for path in paths]
    await desk.sign_in()
    after = [await desk.get(path) for path in addresses(desk, "GET", await ask(desk))]
    refused = [
        await desk.client.put("/"),
        await desk.client.post("/"),
        await desk.client.get("/", headers={"host": "x"}),
    ]

    for answer in (*before, *after, *refused):
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.url
        assert "access-control-allow-origin" not in answer.headers
    assert [answer.status_code for answer in refused] == [405, 403, 421]


def test_the_content_policy_lets_nothing_in_from_outside() -> None:
    """And nothing that stands in a page run."""
    rules = dict(rule.strip().split(" ", 1) for rule in HEADERS["content-security-policy"].split(";"))

    assert rules.pop("default-src") == rules.pop("frame-ancestors") == rules.pop("base-uri") == "'none'"
    assert set(rules.values()) == {"'self'"}
    assert set(rules) == {"script-src", "style-src", "img-src", "media-src", "connect-src", "form-action"}


async def test_reading_changes_nothing(desk: Desk) -> None:
    """Not a row of the ledger, not even for a sheet that has become too old; every address is asked."""
    sheet_id = await ask(desk)
    await desk.sign_in()
    desk.workspace.clock.time += 25 * 3600
    before = rows(desk)

    for path in addresses(desk, "GET", sheet_id):
        await desk.get(path)
        await desk.client.head(path)

    assert rows(desk) == before
    assert desk.service.deps.ledger().sheet(sheet_id).state is SheetState.AWAITING_APPROVAL


def rows(desk: Desk) -> dict[str, list[tuple[object, ...]]]:
    """Everything that is in the ledger."""
    with sqlite3.connect(desk.service.deps.ledger().path) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [tuple(row) for row in db.execute(f"SELECT * FROM {name}")] for name in tables}


async def test_nothing_is_posted_without_the_sessions_token(desk: Desk) -> None:
    """Every address that acts is asked: without a session, without a token, and with another session's."""
    sheet_id = await ask(desk)
    acting = [path for path in addresses(desk, "POST", sheet_id) if path not in ("/session", "/sign-in")]
    assert len(acting) >= 19
    before = rows(desk)

    for path in acting:
        assert (await desk.post(path, csrf="x", passphrase=PASSPHRASE)).status_code == 401
    token = await desk.sign_in()
    other = desk.state.sessions.find(desk.state.sessions.begin())
    assert other is not None
    for wrong in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": other.csrf}, {"csrf": token[:-1]}):
        for path in acting:
            assert (await desk.post(path, passphrase=PASSPHRASE, **wrong)).status_code == 403

    assert rows(desk) == before
    assert not desk.state.passkeys.all()


async def test_a_refusal_has_the_format_of_the_request(desk: Desk) -> None:
    """A person gets a page with a way back, our script the same words as data."""
    shown = await desk.post("/allowances", csrf="x")
    desk.headers["accept"] = "application/json"
    urls = await desk.post("/allowances", csrf="x")

    assert "You are no longer signed in. Nothing was changed." in " ".join(seen(shown.text).split())
    assert 'href="/"' in shown.text
    assert urls.status_code == 401
    assert data(urls)["error"]["message"] == "You are no longer signed in."


async def test_no_page_is_shown_without_a_session(desk: Desk) -> None:
    """A person is led to the sign-in; a script or a picture gets nothing."""
    sheet_id = await ask(desk)
    free = {"/sign-in", "/session", "/static/desk.js", "/favicon.ico"}

    for path in set(addresses(desk, "GET", sheet_id)) - free:
        led = await desk.get(path)
        assert (led.status_code, led.headers["location"].partition("?")[0]) == (303, "/sign-in")
        fetched = await desk.get(path, **{"sec-fetch-mode": "cors", "sec-fetch-site": "same-origin"})
        assert fetched.status_code == 401
    page = (await desk.get("/sign-in")).text
    assert sheet_id not in page
    assert "waiting" not in page


async def test_a_form_beyond_any_of_ours_is_refused(desk: Desk) -> None:
    """In bytes and in fields, said in the header or not."""
    token = await desk.sign_in()
    sheet_id = await ask(desk)
    path = f"/sheets/{sheet_id}/decline"

    async def endless() -> object:
        for _ in range(80):
            yield b"a=" + b"b" * 1000 + b"&"

    kind = {"content-type": "application/x-www-form-urlencoded"}
    large = await desk.post(path, csrf=token, more="x" * 70_000)
    many = await desk.post(path, csrf=token, **{f"f{number}": "" for number in range(300)})
    chunked = await desk.client.post(path, content=endless(), headers={**desk.headers, **kind})

    assert [answer.status_code for answer in (large, many, chunked)] == [413, 413, 413]
    assert desk.service.deps.ledger().sheet(sheet_id).state is SheetState.AWAITING_APPROVAL


async def test_what_is_no_form_has_no_token(desk: Desk) -> None:
    """JSON, for one, which other sites could send without asking first under another name."""
    token = await desk.sign_in()

    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
        answer = await desk.client.post(
            "/sign-out", content=f"csrf={token}", headers={**desk.headers, "content-type": kind}
        )
        assert answer.status_code == 403


async def test_a_failure_outside_of_any_page_is_logged_only_by_its_type(caplog: pytest.LogCaptureFixture) -> None:
    """The browser gets an answer, and the log no message."""

    async def broken(_: Request) -> Response:
        raise ZeroDivisionError("the prompt")

    app = DeskMiddleware(Starlette(routes=[Route("/", broken)]), host=f"localhost:{PORT}", origin=ORIGIN)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
        answer = await client.get("/")

    assert answer.status_code == 500
    assert "ZeroDivisionError" in caplog.text
    assert "the prompt" not in caplog.text + answer.text
