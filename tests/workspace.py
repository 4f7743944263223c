"""What the tests share: a home of their own, a clock they move, a gateway that is a plain function."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2

from callsheet.compose import VERIFIER_FILE, Surroundings, build_service
from callsheet.core.shot import Shot
from callsheet.edges.config.policy_file import parse_policy
from callsheet.edges.files.paths import find_paths, register
from callsheet.edges.keys.passphrase import Cost, write_verifier
from callsheet.edges.ledger.ledger import SqliteLedger, SqlLedger
from callsheet.errors import SetupProblem
from callsheet.service import Draft, Service
from callsheet.service.dependencies import Dependencies

POSTGRES = "CALLSHEET_TEST_POSTGRES"
MOST_OPEN = 30
START = 1_790_000_000.0
KEY = "canary-key-7f3a9c2e51d84b06"
PASSPHRASE = "a passphrase of a person"
SHOT = Shot.of("A red kite over dunes at dusk, slow pan, warm light.", duration_seconds=4)

Handler = Callable[[httpx2.Request], httpx2.Response]


class VirtualClock:
    """A clock that only the test moves; chance always comes out as 0."""

    def __init__(self) -> None:
        self.time = START
        self.tokens = 0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await anyio.lowlevel.checkpoint()

    def jitter(self) -> float:
        return 0.0

    def token(self) -> str:
        self.tokens += 1
        return f"{self.tokens:016x}"


@dataclass
class ScriptedGateway:
    """PoYo as a script: what it answers next, and every request it got."""

    replies: list[httpx2.Response | Exception] = field(default_factory=list)
    requests: list[httpx2.Request] = field(default_factory=list)
    on_request: Handler | None = None
    balances: list[float] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        if self.on_request is not None:
            self.requests.append(request)
            return self.on_request(request)
        if request.url.path == "/api/user/balance":
            # Asked beside the script, so that tests which do not care need not answer.
            left = self.balances.pop(0) if self.balances else None
            return NOT_FOUND if left is None else reply({"code": 200, "data": {"credits_amount": left}})
        self.requests.append(request)
        answer = self.replies.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def paid(self) -> list[httpx2.Request]:
        """The requests that cost money."""
        return [request for request in self.requests if request.method == "POST"]


NOT_FOUND = httpx2.Response(404, content=b"{}")


def reply(body: object, status: int = 200, **headers: str) -> httpx2.Response:
    """A JSON answer."""
    return httpx2.Response(status, content=json.dumps(body).encode(), headers=headers)


def accepted(task_id: str = "task-unified-1-abc") -> httpx2.Response:
    """PoYo takes a job on."""
    return reply({"code": 200, "data": {"task_id": task_id, "status": "not_started"}})


def status(state: str, **data: object) -> httpx2.Response:
    """PoYo tells where a job is."""
    return reply({"code": 200, "data": {"task_id": "task-unified-1-abc", "status": state, "files": [], **data}})


@dataclass
class Workspace:
    """One install in a temporary home, with a scripted gateway and a virtual clock."""

    home: Path
    clock: VirtualClock
    gateway: ScriptedGateway
    environ: dict[str, str]
    open_ledger: Callable[[Path], SqlLedger] = SqliteLedger

    def service(self) -> Service:
        """A new process on the same home."""
        return build_service(
            Surroundings(
                environ=self.environ,
                working_directory=Path("/nowhere"),
                clock=self.clock,
                transport=httpx2.MockTransport(self.gateway),
                account_home=account_of(self.home),
                open_ledger=self.open_ledger,
            )
        )

    @property
    def ledger_file(self) -> Path:
        """The SQLite file, for a test that opens, copies or damages it: skipped where the ledger is elsewhere."""
        if self.open_ledger is not SqliteLedger:
            import pytest

            pytest.skip("opens the file of the ledger itself, which is in PostgreSQL")
        return self.home / "data" / "ledger.sqlite3"

    def write_policy(self, text: str) -> None:
        """Put a policy file where the person would."""
        path = self.home / "config" / "policy.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        trust(self.home, text)

    def go_live(self, extra: str = "") -> None:
        """A person has armed live mode, set a PoYo key and chosen an approval passphrase."""
        self.environ["POYO_API_KEY"] = KEY
        verifier = self.home / "config" / VERIFIER_FILE
        if not verifier.exists():
            write_verifier(verifier, PASSPHRASE, cost=Cost(8, 1))
        self.write_policy(f'mode = "live"\n{extra}')


def account_of(home: Path) -> Path:
    """The home that the system names for the user of a test's install: not the tester's own."""
    return home.with_name(f"{home.name}.account")


def command_for(environ: Mapping[str, str], *arguments: str) -> list[str]:
    """How a test starts the program in a process of its own, with that environment and the account of its home."""
    home = environ.get("CALLSHEET_HOME")
    account = account_of(Path(home)) if home else Path(environ.get("HOME", "/nowhere"))
    return [sys.executable, "-P", str(Path(__file__).with_name("as_account.py")), str(account), *arguments]


def trust(home: Path, policy: str = "") -> None:
    """A person registered that home, and the addresses in that policy, as `callsheet setup` does it."""
    addresses: tuple[tuple[str, str], ...] = ()
    with suppress(SetupProblem):
        read = parse_policy(policy.encode(), where="")
        ways = tuple((item.id, read.route(item.id).destination(item.base_url)) for item in read.endpoints)
        addresses = (*read.base_urls, *ways)
    paths = find_paths({"CALLSHEET_HOME": str(home)}, account_home=None)
    register(account_of(home), home=paths, addresses=addresses)


def make_workspace(directory: Path) -> Workspace:
    """A fresh install below a directory, registered: sandbox mode, no key."""
    home = directory / "home"
    trust(home)
    environ = {"CALLSHEET_HOME": str(home), "HOME": str(account_of(home))}
    made = Workspace(home, VirtualClock(), ScriptedGateway(), environ)
    if POSTGRES in os.environ:
        made.open_ledger = open_on_postgres
    return made


_opened: list[SqlLedger] = []


def open_on_postgres(path: Path) -> SqlLedger:
    """The ledger of that home in a real PostgreSQL, as a tenant of its own (`make test-postgres`)."""
    from callsheet.edges.postgres.database import PostgresDatabase
    from callsheet.edges.postgres.schema import migrate

    tenant = "t" + hashlib.sha256(str(path).encode()).hexdigest()[:16]
    database = PostgresDatabase(os.environ[POSTGRES], tenant=tenant)
    migrate(database)
    _opened.append(SqlLedger(database))
    if len(_opened) > MOST_OPEN:
        _opened.pop(0).close()
    return _opened[-1]


def draft(service: Service, shot: Shot = SHOT, *, gateway: str = "poyo", model: str = "sora-2-official") -> str:
    """Explain a shot and return the id of its sheet."""
    explanation = service.explain(Draft(shot=shot, gateway=gateway, model=model))
    assert explanation.sheet is not None, explanation.findings
    return explanation.sheet.id


class Overtaken:
    """A ledger before one call of which somebody else does something, once."""

    def __init__(self, ledger: Any, call: str, act: Callable[[], object]) -> None:
        self._ledger = ledger
        self._acts = {call: act}

    def __getattr__(self, name: str) -> Any:
        if act := self._acts.pop(name, None):
            act()
        return getattr(self._ledger, name)


def overtaken(service: Service, call: str, act: Callable[[], object]) -> Dependencies:
    """The service's dependencies, with such a ledger."""
    ledger = Overtaken(service.deps.ledger(), call, act)
    return replace(service.deps, ledger=lambda: ledger)
