"""Every route of a team's desk, asked by everybody, with their own ids, another person's and another tenant's."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from desk_team import URL, DeskBrowser, DeskTeam, ScriptedDesk, id_of, make_scripted
from starlette.routing import Route
from virtual_authenticator import Authenticator

from callsheet.core.consent import Means
from callsheet.core.people import PROGRAM, Person
from callsheet.core.tasks import IllegalEvent, SheetEvent
from callsheet.edges.identity.agent_tokens import mint_agent_token
from callsheet.errors import UnknownThing
from callsheet.surface.team.viewer import as_viewer

GROUPS = {"ann": "makers", "ben": "makers", "eva": "deciders", "ada": "owners"}
"""Ann asked for everything; Ben is another member, Eva approves, Ada is an admin."""
EVERYBODY, SEERS, DECIDERS, ADMINS = {"ann", "ben", "eva", "ada"}, {"ann", "eva", "ada"}, {"eva", "ada"}, {"ada"}
NOBODY: set[str] = set()

MATRIX: dict[tuple[str, str], set[str]] = {
    ("GET", "/"): EVERYBODY,
    ("GET", "/live"): EVERYBODY,
    ("GET", "/sheets/{sheet_id}"): SEERS,
    ("POST", "/sheets/{sheet_id}/approve"): DECIDERS,
    ("POST", "/sheets/{sheet_id}/challenge"): DECIDERS,
    ("POST", "/sheets/{sheet_id}/decline"): SEERS,
    ("POST", "/sheets/{sheet_id}/renew"): SEERS,
    ("POST", "/sheets/{sheet_id}/send"): {"ann"},
    ("GET", "/sheets/{sheet_id}/pictures/{number:int}"): NOBODY,
    ("GET", "/tasks"): EVERYBODY,
    ("GET", "/tasks/live"): EVERYBODY,
    ("GET", "/tasks/{task_id}"): SEERS,
    ("GET", "/tasks/{task_id}/live"): SEERS,
    ("GET", "/tasks/{task_id}/models"): SEERS,
    ("GET", "/tasks/{task_id}/clip"): SEERS,
    ("GET", "/tasks/{task_id}/poster"): SEERS,
    ("GET", "/tasks/{task_id}/contact-sheet"): SEERS,
    ("POST", "/tasks/{task_id}/again"): SEERS,
    ("POST", "/tasks/{task_id}/resolve"): DECIDERS,
    ("POST", "/tasks/{task_id}/resolve/challenge"): DECIDERS,
    ("POST", "/dismiss"): EVERYBODY,
    ("POST", "/pause"): DECIDERS,
    ("POST", "/resume"): DECIDERS,
    ("POST", "/resume/challenge"): DECIDERS,
    ("POST", "/sample"): NOBODY,
    ("GET", "/spending"): EVERYBODY,
    ("GET", "/passkeys"): EVERYBODY,
    ("POST", "/passkeys"): EVERYBODY,
    ("POST", "/passkeys/challenge"): EVERYBODY,
    ("POST", "/passkeys/{passkey_id}/remove"): NOBODY,
    ("GET", "/audit"): DECIDERS,
    ("GET", "/audit.jsonl"): DECIDERS,
    ("GET", "/people"): ADMINS,
    ("POST", "/people/{person}/cut-off"): ADMINS,
    ("POST", "/people/{person}/let-in"): ADMINS,
    ("POST", "/people/{person}/let-in/challenge"): ADMINS,
    ("GET", "/budgets"): EVERYBODY,
    ("POST", "/budgets"): ADMINS,
    ("POST", "/budgets/challenge"): ADMINS,
    ("GET", "/agents"): EVERYBODY,
    ("POST", "/agents"): EVERYBODY,
    ("POST", "/agents/challenge"): EVERYBODY,
    ("POST", "/agents/{token}/revoke"): NOBODY,
    ("GET", "/allowances"): NOBODY,
    ("POST", "/allowances"): NOBODY,
    ("POST", "/allowances/{rest:path}"): NOBODY,
    ("POST", "/sign-out"): EVERYBODY,
    ("GET", "/{rest:path}"): NOBODY,
}
"""Who is let through, with the ids of Ann's things; of passkeys, tokens and people those of a fifth person."""
OPEN = {
    ("GET", "/sign-in"),
    ("GET", "/signed-out"),
    ("GET", "/oidc/start"),
    ("GET", "/oidc/callback"),
    ("POST", "/oidc/logout"),
    ("GET", "/static/{name}"),
    ("GET", "/favicon.ico"),
}
"""What needs no session, and says nothing of the team."""
ROUTES = sorted(MATRIX)
SIGNED = {
    "/sheets/{sheet_id}/approve",
    "/tasks/{task_id}/resolve",
    "/resume",
    "/budgets",
    "/people/{person}/let-in",
    "/agents",
}
"""What a passkey signs."""


@dataclass
class Scene:
    """One team for all, with a browser of each person; and another tenant, whose ids mean nothing here."""

    desk: ScriptedDesk
    other: ScriptedDesk
    browsers: dict[str, DeskBrowser]

    def ids(self, team: DeskTeam, path: str) -> dict[str, str]:
        """New things of Ann's, and of a fifth person's."""
        ann, fifth = (
            team.person("ann", team="red"),
            team.person(f"zed{team.number} of {team.config.tenant}", team="red"),
        )
        found = {"person": fifth.id, "number": "0", "rest": "x"}
        if "sheet_id" in path:
            found["sheet_id"] = team.draft(ann)
        if "task_id" in path:
            saved = path.endswith(("/clip", "/poster", "/contact-sheet", "/again"))
            found["task_id"] = (team.save(ann) if saved else team.spend(ann)).id
        if "{token}" in path:
            found["token"] = make_token(team, fifth)
        if "passkey_id" in path:
            found["passkey_id"] = make_passkey(team, fifth)
        team.number += 1
        return found

    def tidy(self, ids: dict[str, str]) -> None:
        """Leave no sheet that waits: the next pages would be long."""
        with as_viewer(PROGRAM), suppress(IllegalEvent, UnknownThing):
            now = self.desk.team.clock.now()
            self.desk.team.ledger.move_sheet(ids.get("sheet_id", ""), SheetEvent.DECLINED, now=now, by=Means.DESK)


def make_token(team: DeskTeam, person: Person) -> str:
    """The digest of a token of that person's."""
    token = mint_agent_token(now=team.clock.now())
    now, ends_at = team.clock.now(), token.expires_at
    team.people.add_agent_token(person.id, token.digest, name="x", now=now, ends_at=ends_at)
    return token.digest


def make_passkey(team: DeskTeam, person: Person) -> str:
    """The id of a passkey of that person's."""
    made = uuid.uuid4().hex
    with team.database.transaction() as db:
        db.execute("INSERT INTO passkey VALUES (?, ?, 'x', 'x', 0, 0)", (made, person.id))
    return made


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory, dsn: str) -> Iterator[tuple[ScriptedDesk, ScriptedDesk]]:
    """Two tenants of one database."""
    directory = tmp_path_factory.mktemp("matrix")
    one, two = [make_scripted(directory / name, dsn, f"t{uuid.uuid4().hex[:16]}") for name in ("one", "two")]
    yield one, two
    one.team.close()
    two.team.close()


@pytest.fixture(scope="module")
def browsers(teams: tuple[ScriptedDesk, ScriptedDesk]) -> dict[str, DeskBrowser]:
    """One for each person."""
    return {name: teams[0].browser() for name in (*GROUPS, "cut off", "nobody")}


@pytest.fixture
async def scene(teams: tuple[ScriptedDesk, ScriptedDesk], browsers: dict[str, DeskBrowser]) -> AsyncIterator[Scene]:
    """Everybody is signed in, with a device."""
    desk, other = teams
    for name in GROUPS:
        await come_in(browsers[name], name)
    if not browsers["cut off"].csrf:
        await browsers["cut off"].sign_in("cid", "owners")
        desk.team.people.cut_off(id_of("cid"), now=desk.team.clock.now())
    yield Scene(desk, other, browsers)
    desk.team.ledger.set_paused(False)


async def come_in(browser: DeskBrowser, name: str) -> None:
    """Sign in, where they are not, and register a device, where they have none."""
    if (await browser.get("/agents")).status_code != 200:
        await browser.sign_in(name, GROUPS[name], fresh=True)
    if 'class="card"' not in await browser.read("/passkeys"):
        assert (await browser.register()).status_code == 303


def routes_of(desk: ScriptedDesk) -> set[tuple[str, str]]:
    """Every route of the application."""
    routes = desk.team.app._app._app.routes  # type: ignore[attr-defined]
    assert all(isinstance(route, Route) for route in routes)
    return {(method, route.path) for route in routes for method in route.methods - {"HEAD"}}


def test_no_route_is_forgotten(teams: tuple[ScriptedDesk, ScriptedDesk]) -> None:
    """Each is in the matrix or open to everybody."""
    assert routes_of(teams[0]) == set(MATRIX) | OPEN


async def ask(browser: DeskBrowser, method: str, path: str, ids: dict[str, str]) -> int:
    """A request as good as that person can make it; the status."""
    address = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: ids[found[1]], path)
    if method == "GET":
        return (await browser.get(address)).status_code
    if path == "/passkeys":
        browser.device = Authenticator(origin=URL, rp_id="clips.example.com")
        return (await browser.register()).status_code
    fields = {
        "/budgets": {"payer": "gateway poyo", "period": "day", "amount": "100"},
        "/budgets/challenge": {"payer": "gateway poyo", "period": "day", "amount": "100"},
        "/agents": {"name": "x", "days": "1"},
        "/dismiss": {"task": "x"},
        "/tasks/{task_id}/resolve": {"answer": "not there"},
        "/tasks/{task_id}/resolve/challenge": {"answer": "not there"},
    }.get(path, {})
    if path in ("/sheets/{sheet_id}/approve", "/sheets/{sheet_id}/challenge"):
        fields = {"shown": ids["shown"]}
    if path in SIGNED:
        asked = address.replace("/approve", "") + "/challenge"
        fields["passkey"] = await browser.sign(asked, **fields)
    return (await browser.post(address, **fields)).status_code


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_each_route_lets_those_through_who_may(scene: Scene, method: str, path: str) -> None:
    """Nobody without a session, nobody who is cut off, and no id of another tenant's means anything."""
    found: dict[str, bool] = {}
    for name, browser in scene.browsers.items():
        ids = scene.ids(scene.desk.team, path)
        ids["shown"] = browser.shown(ids["sheet_id"]) if "sheet_id" in ids else ""
        status = await ask(browser, method, path, ids)
        found[name] = status in (200, 303) and not (method == "GET" and name in ("nobody", "cut off"))
        if name in ("nobody", "cut off"):
            assert status == (303 if method == "GET" else 401)
        elif not found[name]:
            assert status in (403, 404, 422)
        if name in GROUPS and path == "/sign-out":
            await come_in(browser, name)
        scene.tidy(ids)

    assert {name for name, is_allowed in found.items() if is_allowed} == MATRIX[method, path]


@pytest.mark.parametrize(("method", "path"), [key for key in ROUTES if "{" in key[1] and "rest" not in key[1]])
async def test_the_ids_of_another_tenant_mean_nothing(scene: Scene, method: str, path: str) -> None:
    """For an approver and an admin too."""
    ids = scene.ids(scene.other.team, path) | {"shown": "x"}
    asked = {name: await ask(browser, method, path, ids) for name, browser in scene.browsers.items()}

    expected = dict.fromkeys(GROUPS, 404)
    if path.startswith("/people/"):
        expected = {"ann": 403, "ben": 403, "eva": 403, "ada": 404}
    assert asked == {**expected, **dict.fromkeys(("nobody", "cut off"), 303 if method == "GET" else 401)}


async def test_a_member_is_told_nothing_of_the_others(scene: Scene) -> None:
    """No page of Ben's names Ann's prompts, tasks or sheets."""
    team = scene.desk.team
    ann = team.person("ann", team="red")
    things = [team.draft(ann), team.save(ann).id, team.spend(ann).id]
    for method, path in ROUTES:
        if method == "GET" and "{" not in path:
            text = (await scene.browsers["ben"].get(path)).text
            assert not [name for name in (*things, "A red kite") if name in text], path
