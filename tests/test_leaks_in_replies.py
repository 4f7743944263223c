"""A gateway that gives the key back in every value of every reply: nothing of it is stored, said or logged.

The recorded replies of every gateway are sent again with the key in the place of one value, of every value, of a name,
in the headers and in a redirect, in every spelling that the redactor knows. Then the ledger's bytes, the files, their
names, the log and everything that the surfaces show are searched.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from callsheet.compose import VERIFIER_FILE, Surroundings, build_program, build_service
from callsheet.core.consent import Means
from callsheet.core.security.redaction import variants
from callsheet.core.shot import Shot
from callsheet.edges.keys.passphrase import create_recipe
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import CallsheetError
from callsheet.service import Draft, Service
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.sealed_keys import claim_for_sending, permit
from callsheet.service.submission import submit
from callsheet.surface.cli import run
from callsheet.surface.desk.application import build_app
from callsheet.surface.desk.state import build_desk_state
from callsheet.surface.mcp.stdio import build_server
from samples import CHEAP
from test_leaks import leaks, read_files
from workspace import KEY, Workspace, account_of

FIXTURES = Path(__file__).parent / "gateways" / "fixtures"
GATEWAYS = ("poyo", "apidot", "apixo", "evolink")
PASSPHRASE = "a heron over the reeds"
SPELLINGS = (
    *sorted(variants(KEY)),
    base64.b64encode(KEY.encode()).decode(),
    f"Bearer {KEY}",
    KEY[3:20],
    f"job-{KEY}-1",
    "".join(f"%{byte:02x}" for byte in KEY.encode()),
)
POLICY = (
    '[caps]\nper_clip = "none"\nper_day = "none"\nper_month = "none"\nconcurrent = 50\n'
    '[prices]\nunknown_ceiling = "1.00"\n'
) + "".join(f'[gateways.{name}]\nbase_url = "http://127.0.0.1:9"\n' for name in GATEWAYS)
IDS = ("task_id", "taskId", "id")
Place = tuple[str | int, ...]


def test_planted_keys_are_found() -> None:
    """A search that is blind would find nothing either."""
    assert [spelling for spelling in SPELLINGS[:-1] if not leaks(f"x {spelling} y".encode(), KEY)] == []
    assert not leaks(b"job-17 canary task sheet_0123456789", KEY)


def recorded(gateway: str, kind: str) -> list[dict[str, Any]]:
    """The recorded replies of that kind whose body is JSON."""
    found = [json.loads(path.read_bytes()) for path in sorted((FIXTURES / gateway).glob("*.json"))]
    return [item for item in found if item.get("kind") == kind and isinstance(item.get("body"), dict)]


def leaves(value: object, path: Place = ()) -> Iterator[Place]:
    """Where the single values of a body are."""
    if isinstance(value, dict | list) and value:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, name))
    else:
        yield path


def replaced(value: Any, where: frozenset[Place], spelling: str, path: Place = ()) -> Any:
    """The body with the key in those places; in a link, within it."""
    if isinstance(value, dict) and value:
        return {name: replaced(item, where, spelling, (*path, name)) for name, item in value.items()}
    if isinstance(value, list) and value:
        return [replaced(item, where, spelling, (*path, number)) for number, item in enumerate(value)]
    if path not in where:
        return value
    if isinstance(value, str) and value.startswith("https://"):
        return re.sub(r"(https://[^/]*)/", rf"\1/{spelling.replace(chr(92), '')}/", value, count=1)
    return spelling


def with_id(value: Any, job: str) -> Any:
    """The body about that job."""
    if isinstance(value, dict):
        return {
            name: job if name in IDS and isinstance(item, str) else with_id(item, job) for name, item in value.items()
        }
    return [with_id(item, job) for item in value] if isinstance(value, list) else value


class Echo:
    """A gateway that answers each POST and each GET with what is set."""

    def __init__(self) -> None:
        self.posted: httpx2.Response | None = None
        self.read: httpx2.Response | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        answer = self.posted if request.method == "POST" else self.read
        assert answer is not None
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=httpx2.ByteStream(answer.content))


def answer(status: int, body: object, spelling: str) -> httpx2.Response:
    """A reply whose headers hold the key as well."""
    quoted = spelling.encode("ascii", "replace").decode()
    names = ("x-request-id", "retry-after", "server", "set-cookie", "www-authenticate", "x-ratelimit-reset")
    headers = {**dict.fromkeys(names, quoted), "location": f"https://{quoted[:20]}.example.com/{quoted}"}
    return httpx2.Response(status, headers=headers, content=json.dumps(body).encode())


def cases(gateway: str) -> Iterator[tuple[str, int, Any, str]]:
    """Which kind of reply, its status, its body and the spelling in it."""
    spellings = itertools.cycle(SPELLINGS)
    for kind in ("submit_reply", "status_reply"):
        for item in recorded(gateway, kind):
            places = [frozenset({place}) for place in leaves(item["body"])]
            for where in (*places, frozenset().union(*places)):
                spelling = next(spellings)
                yield kind, item["status"], replaced(item["body"], where, spelling), spelling
            named = {KEY: KEY, **item["body"]}
            yield kind, item["status"], {**named, "data": {KEY: named.get("data")}}, KEY
        whole = recorded(gateway, kind)[0]["body"]
        for status in (202, 302, 303, 307, 400, 401, 402, 404, 413, 422, 429, 500, 503):
            spelling = next(spellings)
            yield kind, status, replaced(whole, frozenset(leaves(whole)), spelling), spelling


def surroundings(workspace: Workspace, echo: Echo) -> Surroundings:
    """The workspace with that gateway."""
    return Surroundings(
        environ=workspace.environ,
        working_directory=Path("/nowhere"),
        clock=workspace.clock,
        transport=httpx2.MockTransport(echo),
        account_home=account_of(workspace.home),
        derivation_cost=CHEAP,
    )


async def send(workspace: Workspace, service: Service, gateway: str, number: int, *, sealed: bool) -> str:
    """A person approves a shot; the paid request and two reads of its task happen."""
    model = next(card.model for card in service.deps.catalogue().cards if card.gateway == gateway)
    shot = Shot.of(f"Kite number {number} over dunes at dusk, slow pan to the left.", duration_seconds=None)
    explained = service.explain(Draft(shot=shot, gateway=gateway, model=model))
    assert explained.sheet is not None, explained
    sheet_id = explained.sheet.id
    if sealed:
        await permit(service.deps, sheet_id, PASSPHRASE)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    if sealed:
        claim_for_sending(service.deps, sheet_id)
    for _ in range(4):
        workspace.clock.time = max(service.task(task_id).task.next_at, workspace.clock.time)
        await run_task(service.deps, task_id)
    return task_id


async def ask_surfaces(workspace: Workspace, echo: Echo, tasks: list[str], capsys: pytest.CaptureFixture[str]) -> bytes:
    """What agents and people are shown of these tasks."""
    said = []
    async with Client(build_server(build_service(surroundings(workspace, echo)))) as client:
        said.append((await client.call_tool("list_tasks", {"limit": 50})).model_dump_json())
        for task_id in tasks:
            said.append((await client.call_tool("get_task", {"task_id": task_id})).model_dump_json())
            said.append((await client.read_resource(f"callsheet://tasks/{task_id}")).model_dump_json())
    said.append(await read_desk(workspace, echo, tasks))
    program = build_program(surroundings(workspace, echo))
    commands = [["list", "--json"], ["list"], ["export"], ["audit"], ["doctor"], ["doctor", "--online", "--json"]]
    commands += [["get", task_id, *form] for task_id in tasks for form in ([], ["--json"])]

    def run_all() -> None:
        for command in commands:
            run(program, command)

    await anyio.to_thread.run_sync(run_all)
    out, err = capsys.readouterr()
    return "\n".join([*said, out, err]).encode()


async def read_desk(workspace: Workspace, echo: Echo, tasks: list[str]) -> str:
    """The desk's pages, as a person who has signed in sees them."""
    config = workspace.home / "config"
    state = build_desk_state(
        build_service(surroundings(workspace, echo)),
        config=config,
        verifier=config / VERIFIER_FILE,
        port=43117,
        now=time.monotonic,
    )
    transport = httpx2.ASGITransport(app=build_app(state))
    async with httpx2.AsyncClient(transport=transport, base_url=state.origin) as browser:
        signed_in = await browser.post(
            "/session", data={"key": state.sessions.bearer}, headers={"origin": state.origin}
        )
        assert signed_in.is_success
        pages = ["", "tasks", "spending", "allowances", "passkeys", "audit", *(f"tasks/{name}" for name in tasks)]
        answers = [await browser.get(f"/{page}") for page in pages]
    assert {answer.status_code for answer in answers} == {200}
    return "\n".join(f"{answer.headers} {answer.text}" for answer in answers)


WHOLE = [
    pytest.param(gateway, sealed, 1, marks=pytest.mark.torture, id=f"{gateway}, {'sealed' if sealed else 'plain'} key")
    for gateway in GATEWAYS
    for sealed in (False, True)
]
SAMPLE = [("poyo", False, 10), ("evolink", True, 10)]
"""In the usual tests every tenth reply, in `make torture` all of them."""


@pytest.mark.slow
@pytest.mark.parametrize(("gateway", "sealed", "step"), [*SAMPLE, *WHOLE])
async def test_a_key_in_any_value_of_any_reply_is_nowhere_afterwards(
    workspace: Workspace,
    gateway: str,
    sealed: bool,
    step: int,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No finding in results, resources, commands, the desk's pages, the ledger, files, their names and the log."""
    caplog.set_level(logging.DEBUG)
    workspace.go_live(POLICY)
    workspace.environ.pop("POYO_API_KEY")
    echo = Echo()
    if sealed:
        key = SecretKey(gateway, KEY, source="file")
        made = seal_key(key, PASSPHRASE, base_url="http://127.0.0.1:9", recipe=create_recipe(CHEAP))
        write_sealed(made, keys_directory=workspace.home / "config" / "keys")
    else:
        workspace.environ[f"{gateway.upper()}_API_KEY"] = KEY
    service, tasks = build_service(surroundings(workspace, echo)), list[str]()
    running = recorded(gateway, "status_reply")[0]
    accepted = next(item for item in recorded(gateway, "submit_reply") if item["expect"]["is"] == "Accepted")
    for number, (kind, status, body, spelling) in enumerate(list(cases(gateway))[::step]):
        usual = json.loads(json.dumps(accepted["body"]).replace(accepted["expect"]["gateway_task_id"], f"job-{number}"))
        is_submit = kind == "submit_reply"
        echo.posted = answer(status, body, spelling) if is_submit else answer(accepted["status"], usual, spelling)
        read = with_id(running["body"], f"job-{number}") if is_submit else body
        echo.read = answer(running["status"] if is_submit else status, read, spelling)
        tasks.append(await send(workspace, service, gateway, number, sealed=sealed))
        shown = repr(service.task(tasks[-1])).encode()
        assert not leaks(shown, KEY), (kind, status, body)
        with suppress(CallsheetError):
            resolve_task(service.deps, tasks[-1], accepted_as=None)
    # Every task is in the export; the slower surfaces show every fifth, whatever was put into it.
    said = await ask_surfaces(workspace, echo, tasks[number % 5 :: 5], capsys)

    assert len(tasks) * step > 40
    assert not leaks(said, KEY)
    files = read_files(workspace.home)
    kept = {str(path) for path, content in files if leaks(content, KEY)}
    assert kept == set()
    assert not leaks("\n".join(str(path) for path, _ in files).encode(), KEY)
    assert not leaks(caplog.text.encode(), KEY)
