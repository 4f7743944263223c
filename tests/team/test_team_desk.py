"""The desk of a team: sign-in, sessions, passkeys, approval, and the pages that only a team has."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from desk_team import OWN_COMMAND, POLICY, URL, DeskBrowser, ScriptedDesk, id_of, logout_token, make_scripted
from obstore.store import S3Store
from scripted_provider import ISSUER
from virtual_authenticator import Authenticator

from callsheet.core.consent import Means
from callsheet.core.people import PROGRAM, Payer, Period, Role, Viewer
from callsheet.core.shot import Shot
from callsheet.core.tasks import SheetState, TaskState
from callsheet.edges.object_store.clips import ObjectClips
from callsheet.edges.postgres.ledger import ACCOUNT_SECONDS
from callsheet.edges.postgres.sessions import IDLE_SECONDS, LIFE_SECONDS
from callsheet.service import Draft
from callsheet.surface.next_steps import for_agent, in_team
from callsheet.surface.team.viewer import as_viewer
from callsheet.surface.views.builders import explain_details

MEMBER, APPROVER, ADMIN = "makers", "deciders", "owners"


@pytest.fixture
def desk(tmp_path: Path, dsn: str, tenant: str) -> Iterator[ScriptedDesk]:
    """A team nobody has signed in to."""
    made = make_scripted(tmp_path, dsn, tenant)
    yield made
    made.team.close()


async def signed_in(desk: ScriptedDesk, name: str, group: str, *, device: bool = False) -> DeskBrowser:
    """A browser of that person, and with it a device."""
    browser = desk.browser()
    assert (await browser.sign_in(name, group, fresh=device)).status_code == 303
    if device:
        assert (await browser.register()).status_code == 303
    return browser


def state_of(desk: ScriptedDesk, sheet_id: str) -> SheetState:
    """Where a sheet is."""
    with as_viewer(PROGRAM):
        return desk.team.service.sheet(sheet_id).state


async def is_in(browser: DeskBrowser) -> bool:
    """Whether the browser has a session."""
    return (await browser.get("/")).status_code == 200


async def test_a_person_signs_in_with_a_cookie_that_only_this_host_gets(desk: ScriptedDesk) -> None:
    """Host only, https only, no script, and back from another site; the row holds its hash alone."""
    browser = desk.browser()
    asked = await browser.start("/oidc/start?next=/tasks")
    answer = await browser.answer(asked, "ann", MEMBER)
    assert (answer.status_code, answer.headers["location"]) == (303, "/tasks")
    cookies = answer.headers.get_list("set-cookie")
    session = next(text for text in cookies if text.startswith("__Host-callsheet="))
    for part in ("; HttpOnly", "; Path=/", "; SameSite=lax", "; Secure"):
        assert part in session
    assert "domain" not in session.lower()
    value = session.partition("=")[2].partition(";")[0]
    with desk.team.database.reading() as db:
        (row,) = db.execute("SELECT * FROM session").fetchall()
    assert value not in str(dict(row))
    assert str(desk.idp.id_token) not in str(dict(row))
    assert desk.team.people.find(id_of("ann")) is not None


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil", "/oidc/start", "", "/a//b", "x"])
async def test_a_sign_in_leads_only_to_a_page_of_the_desk(desk: ScriptedDesk, path: str) -> None:
    """Whatever the address says."""
    browser = desk.browser()
    asked = await browser.start(f"/oidc/start?next={path}")
    assert (await browser.answer(asked, "ann", MEMBER)).headers["location"] == "/"


async def test_a_callback_works_once_and_in_its_own_browser(desk: ScriptedDesk) -> None:
    """A replay is refused even by a provider that takes a code twice, and so is another browser (login CSRF)."""
    browser, other = desk.browser(), desk.browser()
    asked = await browser.start()
    flow = dict(browser.client.cookies)
    assert (await other.answer(asked, "ann", MEMBER)).status_code == 400
    assert not await is_in(other)
    await other.start()
    assert (await other.answer(asked, "ann", MEMBER)).status_code == 400
    assert (await browser.answer(asked, "ann", MEMBER)).status_code == 303
    assert (await browser.answer(asked, "ann", MEMBER)).status_code == 400
    for name, value in flow.items():
        other.client.cookies.set(name, value, domain="clips.example.com")
    assert (await other.answer(asked, "ann", MEMBER)).status_code == 400
    assert not await is_in(other)


async def test_who_has_no_role_is_not_let_in_and_loses_a_session(desk: ScriptedDesk) -> None:
    """The provider's groups decide at each sign-in."""
    first = await signed_in(desk, "ann", MEMBER)
    assert await is_in(first)
    assert (await desk.browser().sign_in("ann", "strangers")).status_code == 403
    assert not await is_in(first)
    assert (await desk.browser().sign_in("eve")).status_code == 403
    assert desk.team.people.find(id_of("eve")) is None


async def test_a_session_ends_when_nobody_uses_it_and_after_half_a_day(desk: ScriptedDesk) -> None:
    """A page that refreshes is not use."""
    clock = desk.team.clock
    idle, busy, watching = [await signed_in(desk, "ann", MEMBER) for _ in range(3)]
    began = clock.now()
    for _ in range(2):
        clock.time += IDLE_SECONDS / 2 + 1  # type: ignore[attr-defined]
        await busy.read("/")
        await watching.get("/live")
    assert [await is_in(browser) for browser in (idle, busy, watching)] == [False, True, False]
    while clock.now() - began < LIFE_SECONDS - IDLE_SECONDS:
        clock.time += IDLE_SECONDS - 1  # type: ignore[attr-defined]
        assert await is_in(busy)
    clock.time = began + LIFE_SECONDS + 1  # type: ignore[attr-defined]
    assert not await is_in(busy)


async def test_a_form_needs_the_token_of_its_session_and_comes_from_here(desk: ScriptedDesk) -> None:
    """Another session's token, none, another origin, another host: nothing is signed out."""
    ann, ben = await signed_in(desk, "ann", MEMBER), await signed_in(desk, "ben", MEMBER)
    assert (await ann.post("/sign-out", csrf=ben.csrf)).status_code == 403
    assert (await ann.post("/sign-out", csrf="")).status_code == 403
    form = {"csrf": ann.csrf}
    for headers, status in (({"origin": "https://evil.example"}, 403), ({}, 403), ({"origin": URL, "host": "x"}, 421)):
        assert (await ann.client.post("/sign-out", data=form, headers=headers)).status_code == status
    assert await is_in(ann)


async def test_signing_out_ends_the_session_here_and_leads_to_the_provider(desk: ScriptedDesk) -> None:
    """With a page: the content policy lets no form lead to another site."""
    ann = await signed_in(desk, "ann", MEMBER)
    cookies = dict(ann.client.cookies)
    answer = await ann.post("/sign-out")
    assert answer.status_code == 200
    assert re.search(rf'content="0; url={ISSUER}/end\?[^"]*id_token_hint=', answer.text)
    assert not await is_in(ann)
    for name, value in cookies.items():
        ann.client.cookies.set(name, value, domain="clips.example.com")
    assert not await is_in(ann)
    assert (await ann.get("/signed-out")).status_code == 200


async def test_the_provider_ends_a_session_or_all_of_a_person(desk: ScriptedDesk) -> None:
    """Its server posts a token, from nowhere; a forged, other or repeated one changes nothing."""
    ann, ben, third = [await signed_in(desk, name, MEMBER) for name in ("ann", "ben", "cid")]
    other = desk.browser()
    await other.sign_in("cid", MEMBER, sid="another")
    stranger = desk.browser()

    async def notify(token: str) -> int:
        return (await stranger.client.post("/oidc/logout", data={"logout_token": token})).status_code

    good = logout_token(desk.idp, sid="s-ann")
    head, body, signature = good.split(".")
    changes = ({"events": {}}, {"aud": "another"}, {"nonce": "n"})
    bad_ones = [logout_token(desk.idp, sid="s-ann", **change) for change in changes]
    for bad in ("", "x", f"{head}.{body}.{signature[:-4]}AAAA", *bad_ones):
        assert await notify(bad) == 400
    assert await is_in(ann)
    assert await notify(good) == 200
    assert [await is_in(browser) for browser in (ann, ben)] == [False, True]

    await ann.sign_in("ann", MEMBER)
    assert await notify(good) == 400
    assert await is_in(ann)
    assert await notify(logout_token(desk.idp, sub="cid", jti="logout-2")) == 200
    assert [await is_in(browser) for browser in (ann, third, other)] == [True, False, False]


async def test_a_passkey_needs_a_fresh_sign_in(desk: ScriptedDesk) -> None:
    """The provider is asked for one, says when, and five minutes later it no longer counts. The trail says who."""
    browser = desk.browser()
    assert "max_age" not in await browser.start()
    assert (await browser.start("/oidc/start?fresh=1"))["max_age"] == "0"
    await browser.sign_in("eva", APPROVER)
    assert (await browser.register()).status_code == 403
    asked = await browser.start("/oidc/start?fresh=1")
    old = int(desk.team.clock.now()) - 3600
    assert (await browser.answer(asked, "eva", APPROVER, auth_time=old)).status_code == 400
    assert (await browser.sign_in("eva", APPROVER, fresh=True)).headers["location"] == "/passkeys"
    assert (await browser.register()).status_code == 303
    entry = desk.team.trail()[0]
    assert (entry["action"], entry["name"], entry["person"]) == ("passkey_registered", "Phone", id_of("eva"))
    desk.team.clock.time += 301  # type: ignore[attr-defined]
    browser.device = Authenticator(origin=URL, rp_id="clips.example.com")
    assert (await browser.register()).status_code == 403
    passkey = re.search(r"/passkeys/([\w-]+)/remove", await browser.read("/passkeys"))
    assert passkey is None


async def test_an_approver_approves_with_their_own_passkey(desk: ScriptedDesk) -> None:
    """The trail proves it, and says who they are."""
    ann = await signed_in(desk, "ann", MEMBER)
    eva = await signed_in(desk, "eva", APPROVER, device=True)
    person = desk.team.people.find(id_of("ann"))
    assert person is not None
    sheet_id = desk.team.draft(person)
    sheet = await eva.read(f"/sheets/{sheet_id}")
    assert ("with a passkey" in sheet, "<dt>Asked by</dt><dd>Ann</dd>" in sheet) == (True, True)
    assert "for Ann" in await eva.read("/")
    page = await ann.read(f"/sheets/{sheet_id}")
    assert "/approve" not in page
    assert "Eva" in page

    answer = await eva.approve(sheet_id)

    assert answer.status_code == 303, answer.text
    # The agent had asked for it, so the yes also sends it.
    assert state_of(desk, sheet_id) is SheetState.SPENT
    entry = next(entry for entry in desk.team.trail() if entry["action"] == "approved")
    assert (entry["actor"], entry["person"]) == (Means.PASSKEY, id_of("eva"))
    assert entry["who"] == f"passkey Phone of Eva ({id_of('eva')})"
    with as_viewer(PROGRAM):
        verdict = desk.team.service.verify_audit()
    assert (verdict.broken, sum(verdict.keys.values())) == (None, 1)


@pytest.mark.parametrize(
    "attack",
    [
        "none",
        "passphrase",
        "other session",
        "other sheet",
        "used",
        "other person",
        "other origin",
        "unverified",
        "copy",
    ],
)
async def test_nothing_else_approves(desk: ScriptedDesk, attack: str) -> None:
    """Each refused by its code, with nothing approved."""
    eva = await signed_in(desk, "eva", APPROVER, device=True)
    ada = await signed_in(desk, "ada", ADMIN, device=True)
    person = desk.team.person("ann")
    sheet_id, other = desk.team.draft(person), desk.team.draft(person)
    shown = eva.shown(sheet_id)
    if attack == "other origin":
        eva.device.origin = "https://evil.example"
    if attack == "unverified":
        eva.device.flags = 1
    if attack == "copy":
        assert (await eva.approve(other)).status_code == 303
        eva.device.count = 0
    if attack == "other person":
        eva.device = ada.device
    signer, signed_sheet = (ada if attack == "other session" else eva), (other if attack == "other sheet" else sheet_id)
    passkey = await signer.sign(f"/sheets/{signed_sheet}/challenge", shown=eva.shown(signed_sheet))
    if attack == "used":
        used = await eva.post(f"/sheets/{other}/approve", shown=eva.shown(other), passkey=passkey)
        assert used.status_code == 403
    fields = {"none": {}, "passphrase": {"passphrase": "x"}}.get(attack, {"passkey": passkey})

    answer = await eva.post(f"/sheets/{sheet_id}/approve", shown=shown, **fields)

    assert answer.status_code == 403
    assert state_of(desk, sheet_id) is SheetState.AWAITING_APPROVAL


async def test_with_four_eyes_nobody_approves_what_they_asked_for(tmp_path: Path, dsn: str, tenant: str) -> None:
    """Not even an admin, and an approver does not ask for what another only drafted, to approve it then."""
    desk = make_scripted(tmp_path, dsn, tenant, four_eyes=True)
    eva, ada = [await signed_in(desk, name, group, device=True) for name, group in (("eva", APPROVER), ("ada", ADMIN))]
    person = desk.team.people.find(id_of("ada"))
    assert person is not None
    sheet_id = desk.team.draft(person)

    assert (await ada.approve(sheet_id)).status_code == 403
    assert "Eva" in await ada.read(f"/sheets/{sheet_id}")
    drafted = desk.team.draft(person, asks=False)
    assert (await eva.post(f"/sheets/{drafted}/send")).status_code == 403
    assert (await eva.approve(drafted)).status_code == 403
    assert state_of(desk, drafted) is SheetState.DRAFTED
    assert state_of(desk, sheet_id) is SheetState.AWAITING_APPROVAL
    assert (await eva.approve(sheet_id)).status_code == 303
    desk.team.close()


async def test_who_approves_pauses_and_resumes_the_team(desk: ScriptedDesk) -> None:
    """A member cannot stop everybody, and is offered no button for it. A pause is the tenant's."""
    ann, ada = await signed_in(desk, "ann", MEMBER), await signed_in(desk, "ada", ADMIN)
    eva = await signed_in(desk, "eva", APPROVER, device=True)
    refused = await ann.post("/pause")
    assert (refused.status_code, "Ask Ada, Eva." in refused.text) == (403, True)
    assert not desk.team.ledger.is_paused()
    assert ['action="/pause"' in await browser.read("/") for browser in (ann, ada, eva)] == [False, True, True]
    assert (await ada.post("/pause")).status_code == 303
    assert ['href="/#resume"' in await browser.read("/tasks") for browser in (ann, eva)] == [False, True]
    assert desk.team.ledger.is_paused()
    assert (await ann.post("/resume/challenge")).status_code == 403
    assert (await ann.post("/resume")).status_code == 403
    assert (await eva.post("/resume", passphrase="x")).status_code == 403
    assert desk.team.ledger.is_paused()
    assert (await eva.post("/resume", passkey=await eva.sign("/resume/challenge"))).status_code == 303
    assert not desk.team.ledger.is_paused()
    assert [(entry["action"], entry["person"]) for entry in desk.team.trail() if entry["action"][-3:] != "red"] == [
        ("resumed", id_of("eva")),
        ("paused", id_of("ada")),
    ]


async def test_an_approver_says_what_became_of_a_live_task(desk: ScriptedDesk) -> None:
    """Its owner does not."""
    ann, eva = await signed_in(desk, "ann", MEMBER), await signed_in(desk, "eva", APPROVER, device=True)
    task = desk.team.spend(desk.team.person("ann"))
    path, answer = f"/tasks/{task.id}/resolve", {"answer": "not there"}
    assert (await ann.post(path, **answer)).status_code == 403
    assert (await ann.post(f"{path}/challenge", **answer)).status_code == 403
    signed = await eva.sign(f"{path}/challenge", **answer)
    assert (await eva.post(path, **answer, passkey=signed)).status_code == 303
    with as_viewer(PROGRAM):
        assert desk.team.service.task(task.id).task.state is TaskState.ABANDONED


async def test_somebody_who_is_cut_off_is_out_with_the_next_request(desk: ScriptedDesk) -> None:
    """Also where a request is under way: the passkey is not taken. Only an admin lets them in again."""
    eva = await signed_in(desk, "eva", APPROVER, device=True)
    ada = await signed_in(desk, "ada", ADMIN, device=True)
    sheet_id = desk.team.draft(desk.team.person("ann"))
    signed = await eva.sign(f"/sheets/{sheet_id}/challenge", shown=eva.shown(sheet_id))
    assert (await ada.post(f"/people/{id_of('ada')}/cut-off")).status_code == 422
    assert (await ada.post(f"/people/{id_of('eva')}/cut-off")).status_code == 303

    assert (await eva.post(f"/sheets/{sheet_id}/approve", shown=eva.shown(sheet_id), passkey=signed)).status_code == 401
    assert not await is_in(eva)
    assert (await desk.browser().sign_in("eva", APPROVER)).status_code == 403
    assert state_of(desk, sheet_id) is SheetState.AWAITING_APPROVAL
    assert (await ada.post(f"/people/{id_of('eva')}/let-in")).status_code == 403
    assert (await desk.browser().sign_in("eva", APPROVER)).status_code == 403
    assert (await ada.act(f"/people/{id_of('eva')}/let-in")).status_code == 303
    assert (await eva.sign_in("eva", APPROVER)).status_code == 303
    acts = [(entry["action"], entry["subject"], entry["person"]) for entry in desk.team.trail()[:2]]
    assert acts == [("let_in", id_of("eva"), id_of("ada")), ("cut_off", id_of("eva"), id_of("ada"))]


@pytest.mark.parametrize("act", ["cut_off", "demoted"])
async def test_a_form_that_is_sent_slowly_counts_when_it_is_whole(desk: ScriptedDesk, act: str) -> None:
    """Who begins it as an admin, and ends it after losing that, does not let themselves in again."""
    eva, ann = await signed_in(desk, "eva", ADMIN), desk.team.person("ann")
    sent: list[int] = []

    async def slowly() -> AsyncIterator[bytes]:
        yield f"csrf={eva.csrf}".encode()
        if act == "cut_off":
            desk.team.people.cut_off(id_of("eva"), now=desk.team.clock.now())
        else:
            desk.team.person("eva")
        yield b"&x=y"

    parts = slowly()

    async def receive() -> dict[str, Any]:
        body = await anext(parts, None)
        return {"type": "http.request", "body": body or b"", "more_body": body is not None}

    async def send(message: Any) -> None:
        sent.append(message.get("status"))

    names = {"host": "clips.example.com", "origin": URL, "content-type": "application/x-www-form-urlencoded"}
    cookie = "; ".join(f"{name}={value}" for name, value in eva.client.cookies.items())
    headers = [(name.encode(), value.encode()) for name, value in {**names, "cookie": cookie}.items()]
    path = f"/people/{ann.id}/cut-off"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await desk.team.app(scope, receive, send)  # type: ignore[arg-type]

    assert sent[0] == {"cut_off": 401, "demoted": 403}[act]
    assert desk.team.people.find(ann.id).disabled_at is None  # type: ignore[union-attr]


async def test_an_admin_sets_budgets_and_everybody_sees_what_bears_on_them(desk: ScriptedDesk) -> None:
    """With the share that is used, and the warnings; the budgets of others are theirs."""
    ann, ada = await signed_in(desk, "ann", MEMBER), await signed_in(desk, "ada", ADMIN, device=True)
    ben = desk.team.person("ben", team="blue")
    for payer, amount in ((f"person {id_of('ann')}", "0.40"), (f"person {ben.id}", "7"), ("team red", "1.25")):
        assert (await ada.post("/budgets", payer=payer, period="day", amount=amount)).status_code == 303
    for payer, period, amount in (
        ("person x", "day", "1"),
        ("team red", "year", "1"),
        ("team red", "day", "-1"),
        ("team red", "day", "1e9"),
        ("team red", "day", "٣"),
        ("nobody", "day", "1"),
    ):
        assert (await ada.post("/budgets", payer=payer, period=period, amount=amount)).status_code == 422
    desk.team.spend(desk.team.person("ann", team="red"))

    own, all_of_them = await ann.read("/budgets"), await ada.read("/budgets")

    assert ("60 % of 0.40 USD" in own, "19 % of 1.25 USD" in own, "of 7.00 USD" in own) == (True, True, False)
    assert "reached 50 %" in own
    assert "of 7.00 USD" in all_of_them
    assert 'action="/budgets"' not in own
    assert (await ada.act("/budgets", payer="team red", period="day", amount="")).status_code == 303
    assert [(budget.payer, budget.period) for budget in desk.team.people.budgets()] == [(Payer.PERSON, Period.DAY)] * 2


@pytest.mark.parametrize(
    ("amount", "needs_passkey"), [("3", False), ("5", False), ("5.000001", True), ("500", True), ("", True)]
)
async def test_a_budget_that_grows_or_goes_needs_a_passkey(
    desk: ScriptedDesk, amount: str, needs_passkey: bool
) -> None:
    """A session alone sets one, or makes it smaller. What was signed is for this budget and this amount."""
    ada = await signed_in(desk, "ada", ADMIN, device=True)
    form = {"payer": f"person {id_of('ada')}", "period": "day"}
    assert (await ada.post("/budgets", **form, amount="5")).status_code == 303

    assert (await ada.post("/budgets", **form, amount=amount)).status_code == (403 if needs_passkey else 303)

    kept = {"5": 5_000_000, "3": 3_000_000}.get(amount, 5_000_000)
    assert [budget.micros for budget in desk.team.people.budgets()] == [kept]
    for other in ({**form, "amount": "6"}, {**form, "period": "month", "amount": amount}):
        signed = await ada.sign("/budgets/challenge", **other)
        assert (await ada.post("/budgets", **form, amount=amount, passkey=signed)).status_code == 403
    assert (await ada.act("/budgets", **form, amount=amount)).status_code == 303
    entry = desk.team.trail()[0]
    assert (entry["action"], entry["actor"], entry["terms"]) == ("budget_set", Means.PASSKEY, amount)
    assert entry["person"] == id_of("ada")
    with as_viewer(PROGRAM):
        assert desk.team.service.verify_audit().broken is None


async def test_a_member_reads_who_decides_and_can_withdraw(desk: ScriptedDesk) -> None:
    """On the first page and on the sheet: no word of approving to somebody who may not."""
    ann, eva = await signed_in(desk, "ann", MEMBER), await signed_in(desk, "eva", APPROVER, device=True)
    sheet_id, task = desk.team.draft(desk.team.person("ann")), desk.team.spend(desk.team.person("ann"))
    for path in ("/", "/live", f"/sheets/{sheet_id}"):
        text = await ann.read(path)
        assert ("Ask Eva." in text, ">Withdraw<" in text) == (True, True), path
        assert "/resolve" not in text, path
        assert not re.search(r"Read and approve|Waiting for you|Your decision|/approve|>Decline<", text), path
    assert "Only an approver" in await ann.read(f"/tasks/{task.id}")
    assert ("Read and approve" in (home := await eva.read("/")), "/resolve" in home) == (True, True)
    assert (await ann.post(f"/sheets/{sheet_id}/decline")).status_code == 303
    assert state_of(desk, sheet_id) is SheetState.DECLINED


async def test_a_gateway_whose_key_no_worker_has_is_not_offered(tmp_path: Path, dsn: str, tenant: str) -> None:
    """The page says so, and nothing can be approved. When a worker has it again, what was drafted still holds."""
    desk = make_scripted(tmp_path, dsn, tenant, by_workers=True)
    ledger, clock = desk.team.ledger, desk.team.clock
    ledger.set_account("poyo", "a" * 12, now=clock.now())
    eva = await signed_in(desk, "eva", APPROVER, device=True)
    sheet_id = desk.team.draft(desk.team.person("ann"))
    assert "with a passkey" in await eva.read(f"/sheets/{sheet_id}")

    clock.time += ACCOUNT_SECONDS + 1  # type: ignore[attr-defined]
    page = await eva.read(f"/sheets/{sheet_id}")
    assert ("No worker has a key for PoYo" in page, "with a passkey" in page) == (True, False)
    assert (await eva.approve(sheet_id)).status_code == 409

    ledger.set_account("poyo", "a" * 12, now=clock.now())
    assert (await eva.approve(sheet_id)).status_code == 303
    desk.team.close()


@pytest.mark.parametrize(
    "policy",
    ['mode = "sandbox"\n', 'mode = "read-only"\n', POLICY.replace("[caps]", '[caps]\nper_clip = "0.01"'), POLICY],
    ids=["sandbox", "read-only", "cap", "paused"],
)
async def test_what_an_agent_of_a_team_reads_names_no_terminal(
    tmp_path: Path, dsn: str, tenant: str, policy: str
) -> None:
    """Of a draft, and of what stands in its way: an administrator or an approver lifts it."""
    desk = make_scripted(tmp_path, dsn, tenant, policy=policy, by_workers=policy is POLICY)
    team, shot = desk.team, Shot.of("A red kite over dunes.", duration_seconds=4)
    team.ledger.set_paused(policy is POLICY)
    with as_viewer(Viewer(team.person("ann"), "agent")), in_team(f"{URL}/"):
        explained = team.service.explain(Draft(shot, gateway="poyo", model="sora-2-official"))
        told = explain_details(explained, team.service, for_agent).model_dump_json()
    assert not re.search(r"terminal|passphrase", told), told
    assert not OWN_COMMAND.search(told)
    assert "administrator" in told
    team.close()


async def test_a_person_makes_tokens_for_their_agents(desk: ScriptedDesk) -> None:
    """One answer shows it, the same form makes no second one, nobody else ends it, and it lasts 90 days at most."""
    ann, eva = await signed_in(desk, "ann", MEMBER, device=True), await signed_in(desk, "eva", APPROVER)
    assert (await ann.post("/agents", name="CI", days="90")).status_code == 403
    form = {"name": "CI", "days": "90"}
    form["passkey"] = await ann.sign("/agents/challenge", **form)
    made = await ann.post("/agents", **form)
    (text,) = set(re.findall(r"callsheet_agent_[\w-]{43}", made.text))
    assert (await ann.post("/agents", **form)).status_code == 403
    for days in ("91", "0", "x", ""):
        assert (await ann.act("/agents", name="CI", days=days)).status_code == 422
    ((digest, name, _),) = desk.team.people.agent_tokens(id_of("ann"))
    assert name == "CI"
    assert text not in await ann.read("/agents")
    assert digest not in await eva.read("/agents")
    assert (await eva.post(f"/agents/{digest}/revoke")).status_code == 404
    assert (await ann.post(f"/agents/{digest}/revoke")).status_code == 303
    assert desk.team.people.agent_tokens(id_of("ann")) == []
    assert text not in json.dumps(desk.team.trail())


async def test_the_trail_is_exported_a_line_each_and_verified(desk: ScriptedDesk) -> None:
    """By those who approve."""
    ann, eva = await signed_in(desk, "ann", MEMBER), await signed_in(desk, "eva", APPROVER)
    await eva.post("/pause")
    lines = [json.loads(line) for line in (await eva.read("/audit.jsonl")).splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["action"] == "paused"
    assert ("Intact" in (page := await eva.read("/audit")), f"by Eva ({id_of('eva')})" in page) == (True, True)
    assert [(await ann.get(path)).status_code for path in ("/audit", "/audit.jsonl")] == [403, 403]


async def test_a_clip_in_storage_is_a_link_for_those_who_see_its_task(tmp_path: Path, dsn: str, tenant: str) -> None:
    """Signed for five minutes; the page may load it, and names no object."""
    store = S3Store.from_url(
        "s3://clips", endpoint="https://store.example", access_key_id="a", secret_access_key="b", region="x"
    )
    desk = make_scripted(tmp_path, dsn, tenant, clips=lambda local: ObjectClips(local, store, tenant=tenant))
    ann, ben = await signed_in(desk, "ann", MEMBER), await signed_in(desk, "ben", MEMBER)
    person, digest = desk.team.person("ann"), "0" * 64
    task = desk.team.save(person, f"object:tenants/{tenant}/tasks/task_a/{digest}.mp4")
    other = desk.team.save(person, f"object:tenants/other/tasks/task_a/{digest}.mp4")

    for part in ("clip", "poster", "contact-sheet"):
        answer = await ann.get(f"/tasks/{task.id}/{part}")
        assert answer.status_code == 302
        assert re.match(r"https://store\.example/\S+X-Amz-Expires=300&", answer.headers["location"])
        assert (await ben.get(f"/tasks/{task.id}/{part}")).status_code == 404
        assert (await ann.get(f"/tasks/{other.id}/{part}")).status_code == 404
    page = await ann.get(f"/tasks/{task.id}")
    assert "object:" not in page.text
    rules = page.headers["content-security-policy"]
    for part in ("img-src", "media-src"):
        assert f"{part} 'self' https://store.example;" in rules
    assert "connect-src 'self';" in rules
    desk.team.close()


async def test_what_a_member_dismisses_is_their_own(desk: ScriptedDesk) -> None:
    """The task of somebody else keeps its history."""
    ben = await signed_in(desk, "ben", MEMBER)
    task = desk.team.spend(desk.team.person("ann"))
    await ben.post("/dismiss", task=task.id)
    with as_viewer(PROGRAM):
        assert "dismissed" not in {entry["kind"] for entry in desk.team.service.history(task.id)}


async def test_a_team_has_no_allowances_and_its_server_no_folder(desk: ScriptedDesk) -> None:
    """The pages say so where they could be looked for."""
    ada = await signed_in(desk, "ada", ADMIN)
    task = desk.team.save(desk.team.person("ada", Role.ADMIN))
    assert (await ada.get("/allowances")).status_code == 404
    for path in ("/allowances", "/allowances/challenge", "/allowances/x/revoke"):
        assert (await ada.post(path)).status_code == 404
    assert (await ada.post(f"/tasks/{task.id}/reveal")).status_code in (404, 405)
    assert "no allowances" in await ada.read("/budgets")
    assert str(desk.team.directory) not in await ada.read(f"/tasks/{task.id}")
