"""How a team's server answers under load (needs PostgreSQL).

Two teams on loopback, each with two replicas behind a balancer: one with a small ledger, one with many tasks. First 200
agents together make 50 `explain_payload` calls a second at each team in turn, in an open loop: a call counts from the
moment at which it was due. Half of the agents are sessions of the `mcp` client, which stay connected; half send
single requests, each on a new connection and so to the other replica. Half of both have tokens of the provider (JWT),
half the team's own. Then one call at a time, at the two teams in turns, so that what else the machine does falls on
both alike.

Inside each replica a timer measures how late the event loop is. On a busy machine that includes waiting for a
processor; `at work` leaves that out: it is bounded by the processor time that the loop used meanwhile.

    PYTHONPATH=tests:tests/team:tests/servers:tests/sandbox:tests/surface/desk python bench/team_load.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, cast

import httpx2
from install import TeamInstall
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from real_provider import RealProvider

from callsheet.core.tasks import SheetState
from team.postgres import Server, run_server
from team_replicas import Issuer, Rows, Tick, run_issuer

PEOPLE, WAITING = 20, 15
FEW = 100
"""Tasks in the small ledger."""
PROMPT = "A paper boat on a calm pond, slow pan"
SHOT = {"duration_seconds": 4, "gateway": "poyo", "model": "sora-2-official"}
ACCEPTED = {"accept": "application/json, text/event-stream"}
Turns = dict[str, list[list[float]]]
Call = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass
class Bench:
    """One team under test."""

    name: str
    install: TeamInstall
    rows: Rows
    tokens: Sequence[str]
    cookie: str
    task_ids: Sequence[str]

    def ticks(self) -> list[list[Tick]]:
        """What the replicas' timers saw, once they have ended."""
        files = [self.install.config(port).with_suffix(".ticks") for port in self.install.ports]
        return [[tuple(tick) for tick in json.loads(file.read_text())] for file in files]


@dataclass(frozen=True)
class Load:
    """One open loop: which part of the clock it took, what each call took, how many failed."""

    began: float
    ended: float
    seconds: list[float]
    failed: int


@contextmanager
def run_team(server: Server, directory: Path, issuer: Issuer, *, tasks: int, agents: int) -> Iterator[Bench]:
    """A team with so many tasks, and some sheets that wait for a person."""
    tenant = f"tasks_{tasks}"
    provider = cast("RealProvider", issuer)
    install = TeamInstall(directory / tenant, server.create(), tenant, provider, "http://127.0.0.1:9", workers=0)
    install.program = (sys.executable, str(Path(__file__).with_name("team_replicas.py")))
    install.environ = {"PYTHONPATH": ":".join(sys.path)}
    with install.running():
        rows = Rows(install.dsn, tenant, issuer)
        rows.ledger.set_account("poyo", "fingerprint", now=time.time())
        *people, approver = rows.add_people(PEOPLE)
        tokens = rows.make_tokens(people, agents, install.mcp_url)
        asyncio.run(put_forward(install, tokens[0]))
        like = rows.ledger.sheets([SheetState.AWAITING_APPROVAL])
        assert len(like) == WAITING, install.logs()
        rows.fill(like[0], people, tasks)
        mine = [f"task_{at:08d}" for at in range(0, tasks, PEOPLE)]
        yield Bench(tenant, install, rows, tokens, rows.sign_in(approver), mine)
        rows.database.close()


async def put_forward(install: TeamInstall, token: str) -> None:
    """Sheets that wait for a person, of one agent."""
    async with httpx2.AsyncClient(headers=ACCEPTED, timeout=60, trust_env=False) as web:
        call = single_requests(web, install.mcp_url, token)
        for number in range(WAITING):
            found = await call("explain_payload", {**SHOT, "prompt": f"{PROMPT}, forward {number}."})
            copied = {name: found[name] for name in ("price", "what")}
            await call("submit_video", {"sheet_ids": [found["sheet_id"]], "wait_seconds": 0, **copied})


def single_requests(web: httpx2.AsyncClient, url: str, token: str) -> Call:
    """One POST for each call."""

    async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        reply = await web.post(url, json=body, headers={"authorization": f"Bearer {token}"})
        assert reply.status_code == 200, reply.text
        data = next(line for line in reply.text.splitlines() if line.startswith(("data: {", "{")))
        result = json.loads(data.removeprefix("data: "))["result"]
        assert not result.get("isError"), result
        return dict(result["structuredContent"])

    return call


async def open_session(stack: AsyncExitStack, url: str, token: str) -> Call:
    """A session of the `mcp` client."""
    headers = {"authorization": f"Bearer {token}"}
    web = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False))
    client = await stack.enter_async_context(Client(streamable_http_client(url, http_client=web)))

    async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result
        return dict(result.structured_content or {})

    return call


def arguments_of(number: int, agent: int) -> dict[str, Any]:
    """Of four calls two are for a new shot, one is for the agent's own again, one asks which model to choose."""
    if number % 4 == 3:
        return {"prompt": f"{PROMPT}.", "duration_seconds": 4}
    return {**SHOT, "prompt": f"{PROMPT}, agent {agent}." if number % 4 == 2 else f"{PROMPT}, take {number}."}


async def connect(stack: AsyncExitStack, bench: Bench) -> list[Call]:
    """All agents: two sessions, two that send single requests, and so on."""
    url, limits = bench.install.mcp_url, httpx2.Limits(max_keepalive_connections=0)
    client = httpx2.AsyncClient(headers=ACCEPTED, timeout=60, trust_env=False, limits=limits)
    web = await stack.enter_async_context(client)
    return [
        await open_session(stack, url, token) if at // 2 % 2 == 0 else single_requests(web, url, token)
        for at, token in enumerate(bench.tokens)
    ]


async def load(agents: Sequence[Call], *, rate: float, seconds: float) -> Load:
    """Explain at that rate."""
    taken, failed = list[float](), list[str]()

    async def explain(number: int, due: float) -> None:
        try:
            agent = (number * 7 + number // 4) % len(agents)
            await agents[agent]("explain_payload", arguments_of(number, agent))
            taken.append(time.perf_counter() - due)
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")

    began, start = time.time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(explain(number, due))
    for first in failed[:1]:
        print(f"  the first failure: {first[:300]}")
    return Load(began, time.time(), taken, len(failed))


async def in_turns(benches: Sequence[Bench], rounds: int) -> Turns:
    """Each kind of call at each team, one after the other: what each took, by kind and team."""
    taken: Turns = {}
    async with httpx2.AsyncClient(timeout=60, trust_env=False, headers=ACCEPTED) as web:

        async def home(bench: Bench, _: int) -> None:
            page = await web.get(f"{bench.install.url}/", headers={"cookie": f"callsheet={bench.cookie}"})
            assert page.status_code == 200, page.text

        def tool(name: str, arguments: Callable[[Bench, int], dict[str, Any]]) -> Callable[[Bench, int], Any]:
            return lambda bench, at: single_requests(web, bench.install.mcp_url, bench.tokens[0])(
                name, arguments(bench, at)
            )

        kinds: dict[str, Callable[[Bench, int], Awaitable[Any]]] = {
            "explain": tool("explain_payload", lambda _, at: {**SHOT, "prompt": f"{PROMPT}, turn {at}."}),
            "get_task": tool("get_task", lambda bench, at: {"task_ids": [bench.task_ids[at % len(bench.task_ids)]]}),
            "list_tasks": tool("list_tasks", lambda *_: {}),
            "home": home,
        }
        for kind, call in kinds.items():
            taken[kind] = [[] for _ in benches]
            for at in range(rounds):
                for turn in range(len(benches)):
                    which = (turn + at) % len(benches)
                    began = time.perf_counter()
                    await call(benches[which], at)
                    taken[kind][which].append(time.perf_counter() - began)
    return taken


def describe(seconds: Sequence[float]) -> str:
    """The middle and the tail, in milliseconds."""
    cut = quantiles(seconds, n=100)
    return f"p50 {median(seconds) * 1000:6.1f}  p95 {cut[94] * 1000:6.1f}  p99 {cut[98] * 1000:6.1f} ms"


def describe_loops(ticks: Sequence[Sequence[Tick]], run: Load) -> str:
    """How late the replicas' loops were during a load, and what a call cost them."""
    lags, works, used = list[float](), list[float](), 0.0
    for replica in ticks:
        within = [tick for tick in replica if run.began <= tick[0] <= run.ended]
        lags += [tick[1] for tick in within]
        works += [tick[2] for tick in within]
        used += within[-1][3] - within[0][3]
    parts = [
        f"{name} p99 {quantiles(found, n=100)[98] * 1000:.1f} max {max(found) * 1000:.1f} ms"
        for name, found in (("lag", lags), ("at work", works))
    ]
    return f"{'; '.join(parts)}; {used / max(1, len(run.seconds)) * 1000:.1f} ms of processor a call"


async def measure(benches: Sequence[Bench], said: argparse.Namespace) -> tuple[list[tuple[Bench, Load]], Turns]:
    """Loads at the teams in turns, then single calls in turns."""
    runs = []
    async with AsyncExitStack() as stack:
        agents = [await connect(stack, bench) for bench in benches]
        for each in agents:
            await load(each, rate=5, seconds=4)
        for _ in range(said.loads):
            for bench, each in zip(benches, agents, strict=True):
                runs.append((bench, await load(each, rate=said.rate, seconds=said.seconds)))
                print(f"  {bench.name:12} {describe(runs[-1][1].seconds)}  {runs[-1][1].failed} failed", flush=True)
    return runs, await in_turns(benches, said.rounds)


def main() -> None:
    """Two teams: one with few tasks, one with many."""
    parser = argparse.ArgumentParser()
    for name, default in (("tasks", 10_000), ("agents", 200), ("rate", 50), ("seconds", 30), ("rounds", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--loads", type=int, default=1, help="how often each team is loaded")
    said = parser.parse_args()
    print(f"{said.agents} agents, {said.rate} explain_payload a second for {said.seconds} s, two replicas", flush=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, issuer = stack.enter_context(run_server()), stack.enter_context(run_issuer())
        with ExitStack() as teams:
            opened = (run_team(server, directory, issuer, tasks=n, agents=said.agents) for n in (FEW, said.tasks))
            benches = [teams.enter_context(team) for team in opened]
            runs, taken = asyncio.run(measure(benches, said))
        for bench, run in runs:
            print(f"  {bench.name:12} loops: {describe_loops(bench.ticks(), run)}")
    print(f"one call at a time, {said.rounds} of each, {FEW} and {said.tasks} tasks in turns")
    for kind, (few, many) in taken.items():
        ratio = quantiles(many, n=100)[94] / quantiles(few, n=100)[94]
        print(
            f"  {kind:12} {describe(few)} | {describe(many)} | p50 x {median(many) / median(few):.2f} p95 x {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
