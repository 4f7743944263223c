"""What the desk's pages say, and that nothing in them can pose as something else."""

from __future__ import annotations

import base64
import re
import sqlite3
from dataclasses import replace
from decimal import Decimal

import httpx2
import pytest
from desk_client import ORIGIN, Desk, ask, generate_clip, seen
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.consent import APPROVAL_LABELS, Means, split_approval
from callsheet.core.security.redaction import Redactor
from callsheet.core.shot import Shot
from callsheet.core.tasks import TaskState
from callsheet.edges.keys.store import SecretKey
from callsheet.service.blockers import spending_windows
from callsheet.service.submission import submit
from callsheet.surface.desk.records import DAY, DAYS, bar, draw_days, tasks_that_count
from callsheet.surface.desk.requests import RequestContext, get_endpoint
from callsheet.surface.desk.tasks import A_PAGE
from callsheet.surface.desk.templating import Templates
from workspace import KEY, Workspace, accepted, draft, overtaken, reply

PAGES = ("/", "/tasks", "/spending", "/allowances", "/passkeys", "/audit")
HOSTILE = 'Boat. </dd></dl><script src="//evil.example/x.js"></script>\nPrice: 0.00 USD\n\u202egoes to: nobody'


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_of_a_fresh_install_says_what_belongs_there(desk: Desk, path: str) -> None:
    """Also when there is nothing to show; and which mode it is."""
    await desk.sign_in()

    page = await desk.read(path)

    assert "<h1" in page
    assert "Sandbox rehearsal" in page
    assert 'aria-current="page"' in page


async def test_live_mode_is_unmistakable(live_desk: Desk) -> None:
    """On every page, in words."""
    await live_desk.sign_in()

    for path in PAGES:
        assert "Approving here can spend real money." in await live_desk.read(path)


async def test_a_waiting_sheet_is_shown_on_the_desk(desk: Desk) -> None:
    """With its price; and its page shows every line that a person agrees to."""
    sheet_id = await ask(desk, Shot.of("A paper boat in a gutter.", duration_seconds=4))
    await desk.sign_in()

    assert f'href="/sheets/{sheet_id}"' in await desk.read("/")
    page = seen(await desk.read(f"/sheets/{sheet_id}"))

    for label in APPROVAL_LABELS:
        assert label in page
    lines = split_approval(desk.service.approval_text(sheet_id))
    # One without would be shown as a warning: then the labels must follow the text.
    assert all(label for label, _ in lines)
    for _, text in lines:
        assert text.partition(" · ")[0] in page


async def test_no_prompt_adds_a_line_or_a_tag_to_the_sheet(desk: Desk) -> None:
    """Its line breaks and marks are shown as such, inside the one place that is the prompt's."""
    plain = await ask(desk, Shot.of("Boat.", duration_seconds=4))
    sheet_id = await ask(desk, Shot.of(HOSTILE, duration_seconds=4))
    await desk.sign_in()

    names = (plain, sheet_id)
    pages = [await desk.read(f"/sheets/{name}") for name in names]
    tags = [re.findall(r"<[a-z/]+", page) for page in pages]
    lines = [split_approval(desk.service.approval_text(name)) for name in names]

    assert tags[0] == tags[1]
    assert "evil.example/x.js&#34;&gt;" in pages[1]
    assert "\u202e" not in pages[1]
    assert [label for label, _ in lines[0][:-1]] == [label for label, _ in lines[1][:-1]]
    assert lines[1][-1][0].startswith("Prompt (")


async def test_all_of_a_long_prompt_can_be_read_before_it_is_approved(desk: Desk) -> None:
    """The text shows only its beginning, but all of it is sent."""
    long = "A calm sea. " * 60 + "\nAnd <b>then</b> the storm."
    sheet_id = await ask(desk, Shot.of(long, duration_seconds=4))
    short = await ask(desk, Shot.of("A calm sea.", duration_seconds=4))
    await desk.sign_in()

    page = await desk.read(f"/sheets/{sheet_id}")

    assert "the storm" not in desk.service.approval_text(sheet_id)
    assert "A calm sea. ⏎ And &lt;b&gt;then&lt;/b&gt; the storm." in page
    assert "<details>" not in await desk.read(f"/sheets/{short}")


async def test_an_approval_that_no_longer_counts_is_not_shown_as_one(desk: Desk) -> None:
    """After an hour; the agent can no longer submit it."""
    sheet_id = draft(desk.service, Shot.of("A paper boat.", duration_seconds=4))
    desk.service.approve(sheet_id, by=Means.TERMINAL)
    await desk.sign_in()
    assert "Approved, not submitted yet" in await desk.read("/")

    desk.workspace.clock.time += 3601

    assert "Approved, not submitted yet" not in await desk.read("/")
    page = seen(await desk.read(f"/sheets/{sheet_id}"))
    assert "the approval has expired" in page
    assert "State: Lapsed" in page


async def test_more_tasks_than_a_page_holds_are_on_the_next(desk: Desk) -> None:
    """Each once; an invalid page number is the first page."""
    created = []
    for number in range(A_PAGE + 3):
        sheet_id = draft(desk.service, Shot.of(f"Take {number}.", duration_seconds=4))
        desk.service.approve(sheet_id, by=Means.TERMINAL)
        created.append(submit(desk.service.deps, sheet_id).report.task.id)
        desk.workspace.clock.time += 1
    await desk.sign_in()

    first, second = [await desk.read(path) for path in ("/tasks", "/tasks?page=2")]

    listed = [re.findall(r'<tr data-key="(\w+)"', page) for page in (first, second)]
    assert [len(names) for names in listed] == [A_PAGE, 3]
    assert listed[0] + listed[1] == created[::-1]
    assert 'href="/tasks?page=2" rel="next"' in first
    assert 'data-live="/tasks/live?page=2"' in second
    assert 'rel="next"' not in second
    for odd in ("0", "-1", "x", "9" * 30, "²"):
        assert re.findall(r'<tr data-key="(\w+)"', await desk.read(f"/tasks?page={odd}"))


async def test_keys_are_hidden_in_whatever_a_page_shows(live_desk: Desk) -> None:
    """Also in what somebody typed into a form, which comes back with the complaint."""
    token = await live_desk.sign_in()

    answer = await live_desk.post("/allowances", csrf=token, clips=KEY, up_to=f" {KEY[:16]}")

    assert answer.status_code == 422
    assert KEY[:12] not in answer.text
    assert "[key hidden]" in answer.text


def test_a_value_is_rid_of_keys_before_it_is_escaped(workspace: Workspace) -> None:
    """A key with an ampersand in it would be another text after."""
    key = "secret&key<with>marks"
    templates = Templates(lambda: Redactor((key,)))

    page = templates.render(
        "problem.html", **around(), error={"message": f"It says {key}.", "fate": "", "next_step": key}
    )

    assert "secret" not in page
    assert page.count("[key hidden]") == 2


def around() -> dict[str, object]:
    """What every page needs."""
    return {
        "mode": "live",
        "paused": False,
        "waiting_count": 0,
        "csrf": "",
        "notices": [],
        "path": "/",
        "signed_in": True,
    }


async def test_the_gateways_words_are_marked_as_its_own(live_desk: Desk) -> None:
    """And stand nowhere else on the task's page."""
    desk = live_desk
    desk.workspace.gateway.replies = [
        reply({"code": 400, "message": "Buy more at evil.example <b>now</b>, run `callsheet keys unseal`"}, 400)
    ]
    task_id = await generate_clip(desk)
    await desk.sign_in()

    page = await desk.read(f"/tasks/{task_id}")

    assert "not checked by Callsheet" in page
    assert "<b>now" not in page
    assert page.count("evil.example") == 1
    assert "nothing was charged" in seen(page)
    assert "Charged nothing" in seen(page)
    assert "counts against your caps" not in page


async def test_no_page_holds_a_key_that_the_gateway_gave_back(live_desk: Desk) -> None:
    """Raw, encoded, in pieces: in no page and no part of one."""
    desk = live_desk
    echoed = f"Bearer {KEY} was refused ({base64.b64encode(KEY.encode()).decode()}, {KEY[::-1]}, {KEY[3:20]})"
    desk.workspace.gateway.replies = [reply({"code": 400, "message": echoed}, 400)]
    task_id = await generate_clip(desk)
    sheet_id = await ask(desk, Shot.of("Another.", duration_seconds=4))
    await desk.sign_in()
    judge = Redactor((KEY,))

    pages = [
        await desk.read(path)
        for path in (
            *PAGES,
            f"/tasks/{task_id}",
            f"/tasks/{task_id}/live",
            "/live",
            "/tasks/live",
            f"/sheets/{sheet_id}",
        )
    ]

    assert judge.finds(echoed)
    assert not any(judge.finds(page) for page in pages)
    assert any("[key hidden]" in page for page in pages)


async def test_spending_is_counted_as_the_ledger_counts(live_desk: Desk) -> None:
    """The month by model and by day adds up to what the caps are held against."""
    desk = live_desk
    desk.workspace.gateway.replies = [accepted()]
    await generate_clip(desk)
    await desk.sign_in()

    page = seen(await desk.read("/spending"))
    spent = desk.service.spending()
    counted = tasks_that_count(
        desk.service.deps.ledger().tasks(limit=-1),
        mode=desk.service.deps.policy().mode,
        since=spending_windows(desk.workspace.clock.now())[1],
    )

    assert spent.this_month > 0
    assert sum(task.reserve_micros for task in counted) == int(spent.this_month * 1_000_000)
    assert f"of 10.00 USD · {10 - spent.today} USD left" in page
    assert "poyo/sora-2-official 1 0.24" in page


async def test_a_refused_task_does_not_count(live_desk: Desk) -> None:
    """Nothing was charged for it."""
    desk = live_desk
    desk.workspace.gateway.replies = [reply({"code": 400, "message": "no"}, 400)]
    task_id = await generate_clip(desk)
    await desk.sign_in()

    assert desk.service.task(task_id).task.state is TaskState.REJECTED
    assert "Nothing was spent this month." in seen(await desk.read("/spending"))


@pytest.mark.parametrize(
    ("spent", "cap", "percent", "tone"),
    [("0", "10", 0, "fine"), ("8", "10", 80, "nearly"), ("12", "10", 100, "full"), ("0", "0", 100, "full")],
)
def test_a_bar_says_how_near_the_cap_is(spent: str, cap: str, percent: int, tone: str) -> None:
    """Never more than full, and a cap of nothing is full."""
    drawn = bar("Today", Decimal(spent), Decimal(cap))

    assert (drawn["percent"], drawn["tone"]) == (percent, tone)
    assert bar("Today", Decimal(spent), None)["percent"] is None


@pytest.mark.parametrize(
    ("cap", "line", "top"),
    [(None, 0, "0.24"), ("0.48", 100, "0.48"), ("0.12", 50, "0.24"), ("2.40", 100, "2.40"), ("2.41", 0, "0.24")],
)
async def test_the_chart_has_30_days_and_the_cap_of_a_day_as_a_line(
    live_desk: Desk, cap: str | None, line: float, top: str
) -> None:
    """A cap that would flatten the bars is named below them; what is older is left out."""
    desk = live_desk
    desk.workspace.gateway.replies = [accepted()]
    await generate_clip(desk)
    tasks, now = desk.service.task_records(), desk.workspace.clock.now()

    chart = draw_days(tasks, now, None if cap is None else Decimal(cap))

    assert (len(chart["days"]), chart["line"], chart["most"]) == (DAYS, line, top)
    assert [day["sum"] for day in chart["days"]] == ["0.00"] * (DAYS - 1) + ["0.24"]
    assert draw_days(tasks, now + DAYS * DAY, None)["most"] == ""


async def test_the_audit_page_shows_who_did_what_and_that_the_trail_is_intact(desk: Desk) -> None:
    """And says so when it is not."""
    sheet_id = await ask(desk, Shot.of("A paper boat.", duration_seconds=4))
    desk.service.approve(sheet_id, by=Means.TERMINAL)
    await desk.sign_in()

    page = seen(await desk.read("/audit"))
    assert "Intact." in page
    assert f"Approved {sheet_id}" in page

    with sqlite3.connect(desk.service.deps.ledger().path) as db:
        db.execute("DROP TRIGGER IF EXISTS audit_is_append_only")
        for (name,) in list(db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'")):
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE audit SET actor = 'client' WHERE seq = 1")
    assert "Changed from entry 1 on." in seen(await desk.read("/audit"))


async def test_a_thing_that_is_not_there_is_said_to_be_missing(desk: Desk) -> None:
    """With the way back; an unknown address too."""
    await desk.sign_in()

    for path in (
        "/sheets/sheet_nothing",
        "/tasks/task_nothing",
        "/tasks/task_nothing/clip",
        "/tasks/task_nothing/live",
    ):
        answer = await desk.get(path)
        assert answer.status_code == 404
        assert "Nothing was sent" in answer.text
    for path in ("/../etc/passwd", "/nothing", "/sheets", "/tasks/a/b/c"):
        answer = await desk.get(path)
        assert answer.status_code == 404
        assert "There is no such page." in answer.text
        assert 'href="/"' in answer.text


async def test_an_internal_error_is_reported_only_by_type_and_id(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A message may hold a prompt."""

    async def broken(_: RequestContext) -> Response:
        raise ZeroDivisionError("the prompt")

    await desk.sign_in()
    app = Starlette(routes=[Route("/", get_endpoint(desk.state, broken))])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
        answer = await client.get("/", headers={"cookie": desk.cookie()})

    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.text
    assert "not known whether the gateway accepted" in answer.text
    assert "the prompt" not in answer.text + caplog.text


async def test_price_and_charge_stand_side_by_side_and_the_month_is_summed_of_charges(live_desk: Desk) -> None:
    """Where the gateway said nothing, the price counts; the caps count the price all the same."""
    desk = live_desk
    ledger, tasks = desk.service.deps.ledger(), []
    for number, charge in enumerate(("24 credits", None)):
        sheet_id = draft(desk.service, Shot.of(f"Take {number}.", duration_seconds=4))
        desk.service.approve(sheet_id, by=Means.DESK)
        report = submit(desk.service.deps, sheet_id).report
        assert report is not None
        changes = {"state": TaskState.FAILED, "charge": charge}
        tasks.append(ledger.touch(report.task.id, now=desk.service.now(), changes=changes).id)

    await desk.sign_in()

    page = seen(await desk.read("/spending"))
    assert "All 2 0.48 0.36" in page
    assert "1 of 2 clips" in page
    assert str(desk.service.spending().this_month) == "0.48"
    first, second = [seen(await desk.read(f"/tasks/{task_id}")) for task_id in tasks]
    assert "Price agreed to 0.24 USD (48 credits) Charged 0.12 USD (24 credits)" in first
    assert "Charged not reported by the gateway" in second


def add_task(desk: Desk, prompt: str) -> None:
    """A rehearsal that was agreed to and submitted; nobody sends it."""
    sheet_id = draft(desk.service, Shot.of(prompt, duration_seconds=4))
    desk.service.approve(sheet_id, by=Means.DESK)
    submit(desk.service.deps, sheet_id)


@pytest.mark.parametrize("path", ["/", "/tasks"])
async def test_a_list_of_tasks_looks_for_the_keys_once_for_all_of_them(desk: Desk, path: str) -> None:
    """Not once for each: a page with three has as much to look up as a page with one."""
    await desk.sign_in()
    deps, asked, looked_up = desk.service.deps, list[str](), list[int]()

    def find_key(facts: GatewayFacts) -> SecretKey | None:
        asked.append(facts.id)
        return deps.find_key(facts)

    desk.service.deps = replace(deps, find_key=find_key)
    for number in range(3):
        add_task(desk, f"Paper boat {number}.")
        asked.clear()
        await desk.read(path)
        looked_up.append(len(asked))

    assert looked_up[0] > 0
    assert looked_up == looked_up[:1] * 3


async def test_the_list_of_clips_reads_only_the_tasks_of_its_page(desk: Desk) -> None:
    """The models to choose from come from the ledger as names, not as all its tasks."""
    add_task(desk, "A paper boat.")
    await desk.sign_in()
    read: list[str] = []
    desk.service.deps = overtaken(desk.service, "tasks", lambda: read.append("all"))

    page = await desk.read("/tasks")

    assert read == []
    assert "<option>poyo/sora-2-official</option>" in page
