"""Plays one row of the table: an approved sheet meets the fault, then an hour in which all is well."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import httpx2

from callsheet.compose import Surroundings, build_service
from callsheet.core.consent import Means, Mode
from callsheet.core.gateway.protocol import HttpReply, HttpRequest, Route
from callsheet.core.sent import MarkedTask
from callsheet.core.shot import Shot
from callsheet.core.tasks import Task, TaskState
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.keys.store import SecretKey
from callsheet.service import Draft, consent, drafts
from callsheet.service.blockers import spending_now
from callsheet.service.dependencies import Dependencies
from callsheet.service.polling import run_task
from callsheet.service.submission import submit
from workspace import KEY, VirtualClock, account_of, trust

from .fault_table import Row
from .faulty_gateway import FaultyGateway, behave

HOUR = 3600.0
A_WHILE = 6.0
CLOSED_LOOK_SECONDS = 600.0
PATIENCE_SECONDS = 1.0
CARDS = {"poyo": "sora-2-official", "apidot": "sora-2-official", "apixo": "sora-2", "evolink": "sora-2-preview"}

POLICY = """
mode = "live"
[caps]
per_clip = "none"
per_day = "none"
per_month = "none"
[prices]
unknown_ceiling = "1.00"
[gateways.{gateway}]
base_url = "{base_url}"
"""


@cache
def usual_context() -> ssl.SSLContext:
    """Whom the program trusts as a rule; made once, for it is slow to make."""
    return httpx2.create_ssl_context(trust_env=False)


class ImpatientHttp(GatewayHttp):
    """The real client with short limits, in the same order as the real ones: connecting gives up first."""

    async def post_paid(
        self,
        marked: MarkedTask,
        request: HttpRequest,
        *,
        base_url: str,
        key: SecretKey | None,
        route: Route,
        within: float = PATIENCE_SECONDS,
    ) -> HttpReply:
        within = min(within, PATIENCE_SECONDS)
        return await super().post_paid(marked, request, base_url=base_url, key=key, route=route, within=within)

    def _client(self, route: Route, *, keepalive: int, timeout: float) -> httpx2.AsyncClient:
        client = super()._client(route, keepalive=keepalive, timeout=timeout)
        client.timeout = httpx2.Timeout(PATIENCE_SECONDS, connect=PATIENCE_SECONDS / 2)
        return client


@dataclass(frozen=True)
class Outcome:
    """What came of a row."""

    first: str
    last: str
    complete_at_first: int
    complete: int
    elsewhere: int
    same_bytes: bool
    reserved: bool
    waited: float
    problem: str


async def play_row(row: Row, home: Path) -> Outcome:
    """Submit once into the fault; then repair the gateway, run the task on for an hour, also from a second process."""
    gateway, other = FaultyGateway(), FaultyGateway()
    gateway.reserve_port()
    await other.open(behave)
    gateway.elsewhere = other.port
    clock = VirtualClock()
    worlds = [_world(row, gateway, clock, home) for _ in range(2)]
    deps = worlds[0]
    try:
        if row.play is not None:
            await gateway.open(row.play, row.sick() if row.sick else None)
        task_id, body = _approve(deps, row)
        await run_task(deps, task_id)
        first = _task(deps, task_id)
        complete_at_first, waited = len(gateway.paid), first.next_at - clock.now()
        await gateway.close()
        await gateway.open(behave, row.well() if row.well else None)
        await _run_on(worlds, clock, task_id, seconds=HOUR if row.heals else A_WHILE)
        last = _task(deps, task_id)
        return Outcome(
            first=first.state.value,
            last=last.state.value,
            complete_at_first=complete_at_first,
            complete=len(gateway.paid),
            elsewhere=other.visits,
            same_bytes=all(request.body == body for request in gateway.paid),
            reserved=spending_now(deps, Mode.LIVE).this_month > 0,
            waited=waited,
            problem=first.problem.code if first.problem else "",
        )
    finally:
        for each in worlds:
            async with each.http:
                each.ledger().close()
        await gateway.close()
        await other.close()


def _world(row: Row, gateway: FaultyGateway, clock: VirtualClock, home: Path) -> Dependencies:
    """A process of its own on the same home, in live mode towards the gateway of the test."""
    scheme = "https" if row.trusts or row.well or row.sick else "http"
    _write_policy(home, row.gateway, f"{scheme}://127.0.0.1:{gateway.port}")
    environ = {"CALLSHEET_HOME": str(home), f"{row.gateway.upper()}_API_KEY": KEY}
    service = build_service(
        Surroundings(environ=environ, working_directory=Path("/nowhere"), clock=clock, account_home=account_of(home))
    )
    http = ImpatientHttp(tls=row.trusts() if row.trusts else usual_context())
    deps = replace(service.deps, http=http)
    if row.base_url:
        # No policy file may name such a place, so the policy comes as a value.
        policy = replace(deps.policy(), base_urls=((row.gateway, row.base_url),))
        deps = replace(deps, policy=lambda: policy, is_named_address=lambda *_: True)
    return replace(deps, has_passphrase=lambda: True)


def _write_policy(home: Path, gateway: str, base_url: str) -> None:
    path = home / "config" / "policy.toml"
    if not path.exists():
        path.parent.mkdir(parents=True)
        path.touch(mode=0o600)
        path.write_text(POLICY.format(gateway=gateway, base_url=base_url), encoding="utf-8")
        trust(home, path.read_text(encoding="utf-8"))


def _approve(deps: Dependencies, row: Row) -> tuple[str, bytes]:
    prompt = "A red kite over dunes at dusk." + "x" * row.prompt_length
    card = CARDS[row.gateway]
    shot = Shot.of(prompt, duration_seconds=deps.card(row.gateway, card).field_for("duration_seconds").values[0])  # type: ignore[union-attr, arg-type]
    sheet = drafts.explain(deps, Draft(shot=shot, gateway=row.gateway, model=card)).sheet
    assert sheet is not None
    consent.approve(deps, sheet.id, by=Means.TERMINAL)
    report = submit(deps, sheet.id).report
    assert report is not None
    return report.task.id, sheet.body


async def _run_on(worlds: list[Dependencies], clock: VirtualClock, task_id: str, *, seconds: float) -> None:
    """Run the task for so long in turn in each process: when it is due, and not less than every ten minutes."""
    end = clock.now() + seconds
    turn = 0
    while clock.now() < end:
        task = _task(worlds[0], task_id)
        waits = task.state is TaskState.WAITING
        due = task.next_at if waits else max(task.next_at, clock.now() + CLOSED_LOOK_SECONDS)
        clock.time = min(max(clock.now() + 0.001, due), end)
        turn += 1
        await run_task(worlds[turn % len(worlds)], task_id)


def _task(deps: Dependencies, task_id: str) -> Task:
    task = deps.ledger().task(task_id)
    assert task is not None
    return task
