"""Nothing that a team's processes keep, say or store gives away what opens or pays for something.

One clip goes from an agent over an approver's passkey to object storage. Then the memory of each process, the logs,
the figures, the spans, the database and the storage are searched, and each once more for something that was planted.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import httpx2
import obstore
import pytest
from approver import Approver
from install import KEY, READY_SECONDS, TeamInstall, agent, free_port
from obstore.store import S3Store
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
from other_servers import NANIO, RealClock, nanio
from real_provider import RealProvider
from sandbox_client import sandbox_in_thread
from test_team_server import SHOT, call, token_of

from callsheet.core.people import PROGRAM, Payer, Period
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.edges.postgres.people import People
from test_leaks import leaks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NANIO.exists(), reason="nanio is not installed: `make .servers/nanio/.ready`"),
    pytest.mark.skipif(os.geteuid() != 0, reason="reading the memory of another process needs root"),
]

STORAGE_KEY, STORAGE_SECRET = "canary-storage-id", "canary-storage-secret-91c2"
PROMPT = "canaryprompt a paper boat on a calm pond"
BELL = "canarybell-0123456789.abcdefghijklmnopqrstuvwxyz0"
WORKER = 1
"""The name of the worker's configuration, among those that are named by a port."""


class Collector(BaseHTTPRequestHandler):
    """Takes spans as a collector does."""

    received: list[bytes]

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """It says nothing."""


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector's address, and what it received."""
    received: list[bytes] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Kept", (Collector,), {"received": received}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


@dataclass
class ReportingTeam(TeamInstall):
    """Each process has a port for figures; `start("work", WORKER)` starts the worker."""

    figures: list[int] = field(default_factory=list)

    def write(self) -> None:
        """As the others, with that port."""
        super().write()
        self.config(WORKER).write_text(self.config(self.ports[0]).read_text())
        for name in (*self.ports, WORKER):
            self.figures.append(free_port())
            text = self.config(name).read_text()
            self.config(name).write_text(f'metrics = "127.0.0.1:{self.figures[-1]}"\n{text}')

    def metrics(self) -> str:
        """What Prometheus reads of all processes."""
        answers = [httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False) for port in self.figures]
        assert {answer.status_code for answer in answers} == {200}
        return "".join(answer.text for answer in answers)

    def whole_logs(self) -> bytes:
        """All that the processes said."""
        return b"".join(path.read_bytes() for path in sorted(self.directory.glob("*.log")))


async def make_clip(team: TeamInstall, token: str) -> tuple[str, str, dict[str, str]]:
    """Ask, approve, follow, look; the sheet, the task, and the secrets that were given out on the way."""
    bob = Approver(team, "bob")
    await anyio.to_thread.run_sync(bob.sign_in)
    await anyio.to_thread.run_sync(bob.add_passkey)
    async with agent(team, token) as client:
        explained = await call(client, "explain_payload", **{**SHOT, "prompt": PROMPT})
        copied, sheet_id = {name: explained[name] for name in ("price", "what")}, explained["sheet_id"]
        await call(client, "submit_video", sheet_ids=[sheet_id], wait_seconds=0, **copied)
        await anyio.to_thread.run_sync(bob.approve, sheet_id)
        task_id = (await call(client, "submit_video", sheet_ids=[sheet_id], wait_seconds=0, **copied))["task_id"]
        found: dict[str, Any] = {}
        with anyio.fail_after(120):
            while found.get("status") != "saved":
                found = await call(client, "get_task", task_ids=[task_id], wait_seconds=30)
        # What an agent names as it likes.
        await client.call_tool(f"list_tasks {token}", {})
    rung = httpx2.post(f"{team.url}/callbacks/apidot/{BELL}", content=PROMPT, trust_env=False)
    link = bob.browser.get(f"{team.url}/tasks/{task_id}/clip").headers["location"]
    assert rung.status_code == 404
    signature = link.partition("X-Amz-Signature=")[2]
    cookies = {f"{at.domain} {at.path} {at.name}": at.value for at in bob.browser.cookies.jar if at.value}
    bob.close()
    return sheet_id, task_id, {"link": signature, **cookies}


def test_nothing_of_a_team_gives_a_secret_away(tmp_path: Path, postgres: Any, real_provider: RealProvider) -> None:
    """Memory, logs, figures, spans, database, object storage: nothing is found, and what is planted in each is."""
    environ = {"AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    credentials = {"AWS_ACCESS_KEY_ID": STORAGE_KEY, "AWS_SECRET_ACCESS_KEY": STORAGE_SECRET}
    with (
        nanio(tmp_path / "nanio", key=STORAGE_KEY, secret=STORAGE_SECRET) as storage,
        collector() as (address, received),
        sandbox_in_thread(tmp_path / "sandbox", RealClock(), speed=300.0) as sandbox,
    ):
        bucket = open_bucket_at(storage)
        team = ReportingTeam(
            tmp_path / "team", postgres.create(), "red", real_provider, sandbox.base,
            workers=0, storage="s3://clips", extra='[callbacks]\ngateways = ["apidot"]',
            environ={**environ, **credentials, "AWS_ENDPOINT_URL": storage, "OTEL_EXPORTER_OTLP_ENDPOINT": address},
        )  # fmt: skip
        with team.running(), ExitStack() as stack:
            team.start("work", WORKER)
            database = stack.enter_context(closing(PostgresDatabase(team.dsn, tenant=team.tenant)))
            wait_for_key(TeamLedger(database, lambda: PROGRAM))
            token = token_of(team, "alice")
            sheet_id, task_id, given_out = anyio.run(make_clip, team, token)
            memory = [(process.args[4], has_in_memory(process.pid, KEY)) for process in team.processes]  # type: ignore[index]
            figures, rows = team.metrics(), dump(team)
            # A budget's name is a label. The web replicas read it, so this comes after their memory.
            People(database).set_budget(Payer.TEAM, KEY, Period.DAY, 1_000_000, may_widen=True)
            planted_figures, planted_rows = team.metrics(), dump(team)
        # The processes have ended, so their last spans are here too.
        said, spans = list(received), list(read_spans(received))
        OTLPSpanExporter(f"{address}/v1/traces").export([planted_span()])
        stored = read_all(tmp_path / "nanio" / "data")
        obstore.put(bucket, "planted.txt", KEY.encode())

    # The rest of a token says public things, such as our address, and so do a passkey's signed data.
    usable = token.rpartition(".")[2]
    secrets = {"key": KEY, "storage": STORAGE_SECRET, "token": usable, **given_out, **own_secrets(team)}
    private = ["canaryprompt", "of the tests", BELL, "X-Amz", "/v1/", "callbacks/apidot"]
    channels = {
        "logs": team.whole_logs(),
        "figures": figures.encode(),
        "spans": b"".join(said),
        "rows": rows.encode(),
        "objects": stored,
    }
    assert memory == [("serve", False), ("serve", False), ("work", True)]
    assert [(name, what) for name, text in channels.items() for what in secrets if leaks(text, secrets[what])] == []
    assert [(name, word) for name in ("logs", "figures", "spans") for word in private
            if word.encode() in channels[name]] == []  # fmt: skip
    assert not has_token(rows)

    # Each channel has what belongs there, and what was planted.
    assert 'callsheet_callbacks_total{outcome="unknown"} 1.0' in figures
    assert 'callsheet_tasks{mode="live",state="saved"} 1.0' in figures
    assert "canaryprompt" in rows
    assert b"canaryprompt" in stored, "a clip holds its prompt"
    assert b"working as" in channels["logs"]
    require_followed(spans, sheet_id, task_id)
    for text in (planted_figures, planted_rows):
        assert leaks(text.encode(), KEY)
    assert leaks(b"".join(received), KEY)
    assert leaks(read_all(tmp_path / "nanio" / "data"), KEY)


def wait_for_key(ledger: TeamLedger) -> None:
    """Until the worker said which key it has: a sheet that is older would not hold any more."""
    end = time.monotonic() + READY_SECONDS
    while not ledger.account("poyo"):
        assert time.monotonic() < end
        time.sleep(0.2)


def require_followed(spans: list[Span], sheet_id: str, task_id: str) -> None:
    """One job, from the tool call to the saved clip: each trace of it has the id of its sheet or its task."""
    of_job = {each.trace_id for each in spans if {sheet_id, task_id} & set(read_attributes(each).values())}
    names = {each.name for each in spans if each.trace_id in of_job}
    events = {event.name for each in spans for event in each.events if each.trace_id in of_job}

    assert {"tools/call explain_payload", "tools/call submit_video", "POST desk", "task step"} <= names
    assert {"gateway submit", "gateway read", "clip download", "object put", "ledger write"} <= names
    assert {"drafted", "approved", "created", "claimed", "accepted", "seen_finished", "clip_saved"} <= events
    assert "tools/call list_tasks other" in {each.name for each in spans}


def read_spans(received: list[bytes]) -> Iterator[Span]:
    """The spans in what a collector received."""
    for body in received:
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            for of_scope in of_process.scope_spans:
                yield from of_scope.spans


def read_attributes(each: Span) -> dict[str, str]:
    """Those that are text."""
    return {item.key: item.value.string_value for item in each.attributes}


def planted_span() -> ReadableSpan:
    """A span as it must not be."""
    return ReadableSpan(KEY, context=SpanContext(1, 1, is_remote=False), start_time=1, end_time=2)


def open_bucket_at(base: str) -> S3Store:
    """The bucket of the team, for one who has its credentials."""
    return S3Store(
        "clips",
        endpoint=base,
        region="us-east-1",
        access_key_id=STORAGE_KEY,
        secret_access_key=STORAGE_SECRET,
        client_options={"allow_http": True},
    )


def own_secrets(team: TeamInstall) -> dict[str, str]:
    """What the server's own files hold: its keys and its secret at the provider."""
    return {name: (team.directory / "secrets" / name).read_text() for name in ("client", "keys")}


def read_all(directory: Path) -> bytes:
    """Every file and its name."""
    return b"".join(str(path).encode() + path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def has_token(text: str) -> bool:
    """Whether a token that somebody could use is in it."""
    return re.search(r"eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.", text) is not None


def has_in_memory(pid: int, text: str) -> bool:
    """Whether that text is in the process's memory."""
    wanted = text.encode()
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            place, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in place.split("-"))
            with suppress(OSError, ValueError):
                memory.seek(start)
                if wanted in memory.read(end - start):
                    return True
    return False


def dump(team: TeamInstall) -> str:
    """Every row of the database, as text."""

    async def read() -> list[str]:
        connection = await asyncpg.connect(team.dsn)
        try:
            tables = await connection.fetch(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information_)'"
            )
            return [row[0] for [name] in tables for row in await connection.fetch(f"SELECT t::text FROM {name} t")]
        finally:
            await connection.close()

    return "\n".join(asyncio.run(read()))
