"""The policy's weekly refresh: when it fetches and when it does not, and that it is in nobody's way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import httpx2
import pytest

from callsheet.compose import Surroundings, build_service
from callsheet.core.consent import Means
from callsheet.edges.config.policy_file import load_policy
from callsheet.sandbox.published import load_data, poyo_page
from callsheet.service import Service
from callsheet.service.catalogue.refresh import refresh_due
from callsheet.service.consent import changed_since
from workspace import Workspace, account_of, draft

WEEKLY = '[catalogue]\nrefresh = "weekly"\n'
DAY = 86_400.0
OTHERS = {"api.evolink.ai", "apixo.ai"}
ALL = {"api.poyo.ai", *OTHERS}


def publish(workspace: Workspace, *, price: int = 48, status: int = 200) -> None:
    """From now on PoYo's list is the answer to everything: its 4 s of Sora cost that much. Others cannot read it."""
    items = json.loads(json.dumps(load_data("poyo_catalogue.json")["items"]))
    for item in items:
        if item["model_id"] == "sora-2-official":
            item["billing"]["duration_credits"]["4"] = price
    page = {"code": 200, "data": {**poyo_page("", ""), "items": items, "next_cursor": None, "has_more": False}}
    workspace.gateway.on_request = lambda _request: httpx2.Response(status, json=page)


async def look(workspace: Workspace, service: Service | None = None) -> set[str]:
    """Let a process look once; the hosts that it asked, each without a key."""
    workspace.gateway.requests.clear()
    await refresh_due((service or workspace.service()).deps)
    assert all("authorization" not in request.headers for request in workspace.gateway.requests)
    return {request.url.host for request in workspace.gateway.requests}


def kept(workspace: Workspace) -> list[bytes]:
    """What is kept of PoYo's list."""
    return [path.read_bytes() for path in workspace.home.rglob("poyo.json")]


@pytest.mark.parametrize("policy", [None, "", '[catalogue]\nrefresh = "never"\n', '[catalogue]\nrefresh = "daily"\n'])
async def test_nothing_is_fetched_unless_the_policy_says_weekly(workspace: Workspace, policy: str | None) -> None:
    """Off by default, and under a policy that cannot be used."""
    publish(workspace)
    if policy is not None:
        workspace.write_policy(policy)

    assert await look(workspace) == set()
    assert kept(workspace) == []


def test_a_place_that_only_the_environment_named_fetches_nothing_unasked(tmp_path: Path) -> None:
    """No person registered it, so its policy may be an agent's, and the address that it names too."""
    path = tmp_path / "policy.toml"
    path.touch(mode=0o600)
    path.write_text(WEEKLY)
    read = [load_policy(path, working_directory=Path("/nowhere"), trusted=trusted) for trusted in (True, False)]
    assert [policy.weekly_refresh for policy in read] == [True, False]


@pytest.mark.parametrize(("days", "asked"), [(0, False), (1, False), (7, False), (8, True), (400, True), (-3, True)])
async def test_a_list_is_fetched_again_when_it_is_over_a_week_old(workspace: Workspace, days: int, asked: bool) -> None:
    """A person's own fetch counts as well. A date in the future is no date: the clock was wrong."""
    workspace.write_policy(WEEKLY)
    publish(workspace)
    await workspace.service().refresh_catalogues("poyo")
    [before] = kept(workspace)
    workspace.clock.time += days * DAY

    assert await look(workspace) == (ALL if asked else OTHERS)
    assert (kept(workspace) != [before]) is asked


@pytest.mark.parametrize("status", [200, 503])
async def test_after_a_failure_there_is_one_attempt_a_day(workspace: Workspace, status: int) -> None:
    """Of all processes together; what was kept stays, and the gateway whose list is new is not asked."""
    workspace.write_policy(WEEKLY)
    publish(workspace)
    await workspace.service().refresh_catalogues("poyo")
    before = kept(workspace)
    publish(workspace, status=status)

    assert [await look(workspace) for _ in range(3)] == [OTHERS, set(), set()]
    workspace.clock.time += DAY - 60
    assert await look(workspace) == set()
    workspace.clock.time += 61
    assert await look(workspace) == OTHERS
    workspace.clock.time += 7 * DAY
    publish(workspace, status=503)
    assert await look(workspace) == ALL
    assert kept(workspace) == before


async def test_an_attempt_that_ends_in_the_middle_counts(workspace: Workspace) -> None:
    """A process that is killed by what it fetched does not fetch it again at each start."""
    workspace.write_policy(WEEKLY)
    with workspace.service().deps.published.turn(workspace.clock.now()) as is_ours:
        assert is_ours
    publish(workspace)
    assert await look(workspace) == set()


async def test_one_process_fetches_at_a_time(workspace: Workspace) -> None:
    """The others do not wait for it."""
    workspace.write_policy(WEEKLY)
    publish(workspace)
    with workspace.service().deps.published.turn(workspace.clock.now() - 2 * DAY):
        assert await look(workspace) == set()
    assert await look(workspace) == ALL


async def by_itself(service: Service) -> object:
    """As the policy has it."""
    return await refresh_due(service.deps)


async def by_a_person(service: Service) -> object:
    """As a person does it."""
    return await service.refresh_catalogues("poyo")


@pytest.mark.parametrize("fetch", [by_itself, by_a_person])
async def test_another_price_makes_a_sheet_stale(
    workspace: Workspace, fetch: Callable[[Service], Awaitable[object]]
) -> None:
    """Whoever had it fetched."""
    workspace.go_live(WEEKLY)
    publish(workspace, price=60)
    service = workspace.service()
    sheet = service.sheet(draft(service))

    await fetch(service)

    assert set(changed_since(service.deps, sheet)) == {"price", "prices"}
    assert service.find_void(sheet)
    assert service.sheet(draft(service)).price.amount == 60


@pytest.mark.parametrize("state", ["put forward", "approved"])
async def test_what_waits_is_not_made_void_by_it(workspace: Workspace, state: str) -> None:
    """A sheet that waits for the person, or for its use, is left in order. When it is over, the list is fetched."""
    workspace.go_live(WEEKLY)
    publish(workspace, price=60)
    service = workspace.service()
    sheet_id = draft(service)
    if state == "put forward":
        service.put_forward(sheet_id)
    else:
        service.approve(sheet_id, by=Means.TERMINAL)

    assert await look(workspace) == set()
    assert service.find_void(service.sheet(sheet_id)) == ""
    service.decline(sheet_id)
    assert await look(workspace) == ALL


async def test_a_running_program_fetches_in_the_background(workspace: Workspace) -> None:
    """Nothing else is done with the program, and it finds the models without another start."""
    workspace.write_policy(WEEKLY)
    publish(workspace)
    service = workspace.service()
    own = {card.id for card in service.cards()}

    async with service.running():
        with anyio.fail_after(60):
            while {card.id for card in service.cards()} == own:
                await service.wait_for_change(0.2)


async def test_a_gateway_that_does_not_answer_is_in_nobodys_way(workspace: Workspace) -> None:
    """A shot is explained meanwhile, and the program ends at once."""
    workspace.write_policy(WEEKLY)
    asked = anyio.Event()

    async def never(_request: httpx2.Request) -> httpx2.Response:
        asked.set()
        await anyio.sleep_forever()
        raise AssertionError

    service = build_service(
        Surroundings(
            workspace.environ,
            Path("/nowhere"),
            workspace.clock,
            transport=httpx2.MockTransport(never),
            account_home=account_of(workspace.home),
        )
    )
    with anyio.fail_after(30):
        async with service.running():
            await asked.wait()
            assert service.sheet(draft(service)).price.known
    assert kept(workspace) == []
    assert await look(workspace) == set()
