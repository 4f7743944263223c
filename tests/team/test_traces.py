"""Spans say what was done, and nothing of it: no prompt, key, link, token or text of an error."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callsheet.core.gateway.protocol import HttpRequest
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.keys.store import SecretKey
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.leases import PostgresLeases
from callsheet.edges.traces import CLIENT, FLUSH_SECONDS, Screened, provide, span, start, traced
from callsheet.errors import GatewayUnreachable, LedgerProblem, SetupProblem
from callsheet.surface.mcp.stdio import build_server
from callsheet.surface.team.app import MCP_WORDS
from test_leaks import leaks
from workspace import Workspace

CANARY = "Zq7-canary-of-a-span-5f1d0b92ae6c"
Found = InMemorySpanExporter


@pytest.fixture(scope="module")
def recorder() -> Iterator[Found]:
    """Keeps the spans of this process, as they are before they are screened."""
    kept = Found()
    end = provide("test", SimpleSpanProcessor(kept))
    yield kept
    end()


@pytest.fixture
def spans(recorder: Found) -> Found:
    """None yet."""
    recorder.clear()
    return recorder


def shown(found: Found) -> list[ReadableSpan]:
    """What a collector gets."""
    collector = Found()
    Screened(collector, MCP_WORDS).export(found.get_finished_spans())
    return list(collector.get_finished_spans())


def text_of(spans: list[ReadableSpan]) -> bytes:
    """All that these spans say."""
    return "".join(each.to_json() + each.resource.to_json() for each in spans).encode()


def attributes_of(each: ReadableSpan) -> dict[str, Any]:
    """What it says of what was done."""
    return dict(each.attributes or {})


async def test_the_sdk_names_a_call_and_not_its_arguments(workspace: Workspace, spans: Found) -> None:
    """A tool of ours is named; nothing that an agent writes is."""
    async with Client(build_server(workspace.service())) as client:
        await client.call_tool("explain_payload", {"prompt": CANARY, "gateway": "poyo", "model": "sora-2-official"})
    found = [each for each in shown(spans) if each.name == "tools/call explain_payload"]

    assert [attributes_of(each)["gen_ai.tool.name"] for each in found] == ["explain_payload"]
    assert attributes_of(found[0])["mcp.method.name"] == "tools/call"
    assert not leaks(text_of(shown(spans)), CANARY)


async def test_names_that_an_agent_makes_up_do_not_get_out(workspace: Workspace, spans: Found) -> None:
    """Of a tool, a prompt and a trace: the SDK's own spans have them, so the search can find them."""
    about = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": f"x={CANARY}", "baggage": f"x={CANARY}"}
    async with Client(build_server(workspace.service())) as client:
        await client.call_tool(CANARY, {}, meta=about)
        await client.call_tool(f"list_tasks {CANARY}", {})
        with pytest.raises(MCPError):
            await client.get_prompt(CANARY)
    found = shown(spans)

    assert leaks(text_of(list(spans.get_finished_spans())), CANARY)
    assert not leaks(text_of(found), CANARY)
    assert {"tools/call other", "tools/call list_tasks other", "prompts/get other"} <= {each.name for each in found}
    assert all(each.context is not None and each.context.trace_id != int("ab" * 16, 16) for each in found)


def test_the_text_of_an_error_does_not_get_out(spans: Found) -> None:
    """A library quotes what it likes in an exception and a status; of ours only the type is recorded at all."""
    with pytest.raises(RuntimeError), trace.get_tracer("mcp-python-sdk").start_as_current_span("tools/call"):
        raise RuntimeError(CANARY)
    foreign = list(spans.get_finished_spans())
    with pytest.raises(ValueError, match=CANARY), span("clip download", CLIENT):
        raise ValueError(CANARY)
    own = list(spans.get_finished_spans())[-1]

    assert leaks(text_of(foreign), CANARY)
    assert not leaks(text_of(shown(spans)), CANARY)
    assert not leaks(text_of([own]), CANARY)
    assert attributes_of(own) == {"error.type": "ValueError"}
    assert [each.status.is_ok for each in shown(spans)] == [False, False]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx2.Response(200, content=CANARY), {"http.response.status_code": 200}),
        (httpx2.Response(402, content=CANARY), {"http.response.status_code": 402, "error.type": "402"}),
        (httpx2.ConnectError(CANARY), {"error.type": "GatewayUnreachable"}),
    ],
)
async def test_a_request_to_a_gateway_is_a_span(spans: Found, answer: Any, expected: dict[str, Any]) -> None:
    """With the method, the host that a person named and the status: neither path, header, key nor body."""

    def handle(_: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return replace_stream(answer)

    request = HttpRequest("GET", f"/v1/{CANARY}", headers=(("x-own", CANARY),))
    key = SecretKey("poyo", CANARY, source="environment")
    async with traced(GatewayHttp(transport=httpx2.MockTransport(handle)), fetch="gateway read") as http:
        try:
            await http.fetch(request, base_url=f"https://api.example.com/{CANARY}", key=key)
        except GatewayUnreachable:
            assert isinstance(answer, Exception)
    (found,) = spans.get_finished_spans()

    known = {"http.request.method": "GET", "server.address": "api.example.com", "server.port": 443}
    assert (found.name, attributes_of(found)) == ("gateway read", {**known, **expected})
    assert not leaks(text_of([found]), CANARY)


def replace_stream(answer: httpx2.Response) -> httpx2.Response:
    """The same answer, not yet read."""
    return httpx2.Response(answer.status_code, stream=httpx2.ByteStream(answer.content))


def test_a_write_is_a_span_and_idle_looks_are_none(dsn: str, tenant: str, spans: Found) -> None:
    """Nor is reading, of which a call does much. What the database says of a row stays there."""
    database = PostgresDatabase(dsn, tenant=tenant)
    leases = PostgresLeases(database)
    leases.hold()
    assert leases.is_alive(leases.runner_id)
    assert spans.get_finished_spans() == ()
    with span("task step"), database.reading() as db:
        db.execute("SELECT 1")
    assert [each.name for each in spans.get_finished_spans()] == ["task step"]
    spans.clear()
    with span("task step"), pytest.raises(LedgerProblem), database.transaction() as db:
        db.execute("INSERT INTO budget VALUES ('team', ?, ?, NULL)", (CANARY, CANARY))
    database.close()
    write, step = spans.get_finished_spans()

    assert (write.name, write.parent) == ("ledger write", step.context)
    assert attributes_of(write)["db.system.name"] == "postgresql"
    assert attributes_of(write)["error.type"].endswith("Error")
    assert not leaks(text_of([write, step]), CANARY)


RUN = """
import socket, sys, time
import callsheet.team
from callsheet.edges.traces import span, start
end = start("test", known=())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
with socket.create_server(("127.0.0.1", 0)) as silent:
    end = start("test", known=(), collector=f"http://127.0.0.1:{silent.getsockname()[1]}")
    with span("task step"):
        pass
    began = time.monotonic()
    end()
    print(time.monotonic() - began)
"""


def test_the_sdk_is_loaded_where_traces_are_wanted_and_its_end_is_bounded() -> None:
    """A collector that takes the connection and never answers does not hold up the end of a process."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", RUN], env=environ, capture_output=True, check=False, text=True, timeout=60
    )
    loaded, waited = ran.stdout.split("\n")[:2]

    assert (ran.returncode, loaded) == (0, "[]"), ran.stderr
    assert FLUSH_SECONDS - 0.5 < float(waited) < FLUSH_SECONDS + 1
    assert time.monotonic() - began < 30


ENDLESS = """
import socket, threading, time
from callsheet.edges.traces import span, start
def answer(client):
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    while True:
        client.sendall(b"x" * 65536)
def serve(listener):
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as listener:
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    end = start("test", known=(), collector=f"http://127.0.0.1:{listener.getsockname()[1]}")
    with span("task step"):
        pass
    began = time.monotonic()
    end()
    print(time.monotonic() - began)
"""


def test_a_collector_that_answers_without_end_is_not_read() -> None:
    """What it says would fill the memory."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ran = subprocess.run(
        [sys.executable, "-c", ENDLESS], env=environ, capture_output=True, check=False, text=True, timeout=60
    )

    assert float(ran.stdout) < FLUSH_SECONDS - 1, ran.stderr


HEADERS = """
import sys
from callsheet.edges.traces import start
from callsheet.team import main
main(["doctor", "--config", "/nowhere"])
start("test", known=(), collector=f"http://127.0.0.1:1/{sys.argv[1]}")()
"""


@pytest.mark.parametrize("name", ["HEADERS", "TIMEOUT"])
def test_a_header_that_is_written_wrong_is_not_logged(name: str) -> None:
    """It is how a collector knows who sends."""
    environ = {"PATH": os.environ["PATH"], f"OTEL_EXPORTER_OTLP_{name}": f"authorization Bearer {CANARY}"}
    ran = subprocess.run(
        [sys.executable, "-c", HEADERS, CANARY], env=environ, capture_output=True, check=False, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
    assert b"opentelemetry" in ran.stderr
    assert not leaks(ran.stdout + ran.stderr, CANARY)


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_BSP_MAX_QUEUE_SIZE", "0"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-3")]
)
def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """By its name alone: a value may be a secret."""
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={CANARY}")
    with pytest.raises(SetupProblem) as raised:
        start("test", known=(), collector="http://127.0.0.1:1")

    assert name in raised.value.message
    assert not leaks(raised.value.message.encode(), CANARY)
