"""What a client is answered before the SDK has loaded: the same as the SDK says, and nothing twice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import pytest
from connection import SHOT
from hypothesis import given
from hypothesis import strategies as st
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from test_mcp_stdio import COMMAND, META, surroundings

from callsheet.surface.mcp.snapshot import (
    CAPABILITIES,
    INFO,
    LISTS,
    VERSION,
    Opening,
    Pipe,
    read_message,
    read_snapshot,
)
from callsheet.surface.mcp.stdio import build_server, serve_pipe
from render.snapshot import Message, build_handshake, build_request, build_requests, exchange
from workspace import Workspace

SNAPSHOT = read_snapshot()
MODERN = "2026-07-28"
UI = {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}


def shake(era: str, /, capabilities: Message, **about: Any) -> list[Message]:
    """The handshake of a client of the older era, with the notes that it adds to each request."""
    notes = about.pop("notes", None)
    info = {"name": "client", "version": "1.0", **about}
    opened = {"protocolVersion": era, "capabilities": capabilities, "clientInfo": info}
    messages = [build_request("initialize", opened), *build_handshake(era)[1:]]
    if notes is None:
        return messages
    return [
        {**each, "params": {**each["params"], "_meta": {"progressToken": index, **notes}}} if "id" in each else each
        for index, each in enumerate(messages)
    ]


def discover(capabilities: Message, **notes: Any) -> list[Message]:
    """The first requests of a client of the newer era."""
    meta = {VERSION: MODERN, INFO: {"name": "client", "version": "1.0"}, CAPABILITIES: capabilities, **notes}
    return [{**each, "params": {"_meta": meta}} for each in build_requests(MODERN)]


CLAUDE = {
    "name": "claude-code",
    "title": "Claude Code",
    "version": "2.1.329",
    "description": "Anthropic's agentic coding tool",
    "websiteUrl": "https://claude.com/claude-code",
}
CODEX = {"experimental": {"codex/auth-change": {}}, "elicitation": {"form": {}, "url": {}}}
# As these clients, of November 2026, wrote them to a server on a pipe.
CLIENTS = {
    "Claude Code": discover({"roots": {"listChanged": True}, "elicitation": {"form": {}, "url": {}}}, **{INFO: CLAUDE}),
    "a newer client with a view": discover({"elicitation": {}, "extensions": UI}),
    "Codex": shake("2025-06-18", CODEX, name="codex-mcp-client", title="Codex", version="0.169.0", notes={}),
    "Gemini CLI": shake("2025-06-18", {"roots": {"listChanged": True}}, name="gemini-cli-mcp-client"),
    "Gemini CLI, its list of servers": shake("2025-06-18", {}, name="mcp-test-client", version="0.0.1"),
    "mcporter": shake("2025-11-25", {}, name="mcporter", version="0.12.3"),
    "OpenClaw": shake("2025-11-25", {}),
    "inspector": shake("2025-11-25", {"sampling": {"tools": {}, "context": {}}, "tasks": {"list": {}, "cancel": {}}}),
    "inspector, newer": discover(
        {"sampling": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}, progressToken=3
    ),
    **{version: build_handshake(version) for version in HANDSHAKE_PROTOCOL_VERSIONS},
    MODERN: build_requests(MODERN),
    "no parameters": [{k: v for k, v in m.items() if k != "params" or v} for m in build_handshake("2025-11-25")],
}


def answer_early(messages: list[Message]) -> dict[str, Any]:
    """What the snapshot answers, by method."""
    opening, found = Opening(SNAPSHOT), {}
    for message in messages:
        read = read_message(json.dumps(message).encode())
        if read is None:
            opening.close()
        elif (result := opening.answer(read)) is not None:
            found[str(message["id"])] = result
    return found


async def ask_sdk(messages: list[Message]) -> dict[str, Any]:
    """What the SDK answers, by method; an error is its code."""
    replies = await anyio.to_thread.run_sync(exchange, messages)
    return {str(reply["id"]): reply["result"] if "result" in reply else reply["error"]["code"] for reply in replies}


@pytest.mark.parametrize("messages", CLIENTS.values(), ids=CLIENTS)
async def test_each_client_is_answered_early_what_the_sdk_says(messages: list[Message]) -> None:
    """Every request of its start, without the SDK."""
    early = answer_early(messages)

    assert list(early) == [message["id"] for message in messages if "id" in message]
    assert early == await ask_sdk(messages)


FULL = shake("2025-11-25", {})
INIT, READY, PING, LIST = FULL[0], FULL[1], FULL[2], FULL[3]
NEW = build_requests(MODERN)


def changed(message: Message, **params: Any) -> Message:
    """The same request with other parameters; those of None are left out."""
    return {**message, "params": {k: v for k, v in {**message.get("params", {}), **params}.items() if v is not ...}}


def with_client(**client: Any) -> list[Message]:
    """A handshake with that in the description of the client, then a list."""
    return [changed(INIT, clientInfo={"name": "t", "version": "1", **client}), READY, LIST]


def with_notes(**notes: Any) -> list[Message]:
    """A request of the newer era with that beside its envelope, then a list."""
    return [changed(NEW[0], _meta={k: v for k, v in {**META, **notes}.items() if v is not ...}), NEW[1]]


def able(capabilities: object) -> list[Message]:
    """A handshake with those abilities, then a list."""
    return [changed(INIT, capabilities=capabilities), READY, LIST]


def call(number: int, tool: str, **arguments: Any) -> Message:
    """A call of a tool."""
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


ODD_OPENINGS = {
    "a version of the future": [changed(INIT, protocolVersion="2027-01-01"), READY, LIST],
    "the newer version in a handshake": [changed(INIT, protocolVersion=MODERN), READY, LIST],
    "a version that is a list": [changed(INIT, protocolVersion=[]), READY, LIST],
    "no version": [changed(INIT, protocolVersion=...), READY, LIST],
    "no client": [changed(INIT, clientInfo=...), READY, LIST],
    "no name": [changed(INIT, clientInfo={"version": "1"}), READY, LIST],
    "a name that is no text": with_client(name=3),
    "a version that is a number": with_client(version=3),
    "a title of null": with_client(title=None),
    "icons": with_client(icons=[{"src": "https://a.example/i.png"}]),
    "icons that are a text": with_client(icons="x"),
    "something new": with_client(color="red"),
    "abilities of null": able(None),
    "abilities that are a list": able([]),
    "an ability that is true": able({"roots": True}),
    "an ability of null": able({"roots": None}),
    "a switch that is a text": able({"roots": {"listChanged": "x"}}),
    "a switch that is an object": able({"roots": {"listChanged": {}}}),
    "an unknown ability": able({"odd": {"deep": {"deeper": {}}}}),
    "an unknown ability that is a number": able({"odd": 3}),
    "an extension that is true": able({"extensions": {"a/b": True}}),
    "extensions that are a list": able({"extensions": []}),
    "an experiment with anything in it": able({"experimental": {"a": {"b": [1, None, "c"]}}}),
    "a number that JSON does not know": able({"experimental": {"a": {"b": float("nan")}}}),
    "nested deep": able({"experimental": {"a": {"b": json.loads("[" * 150 + "]" * 150)}}}),
    "nested too deep": able({"experimental": {"a": {"b": json.loads("[" * 230 + "]" * 230)}}}),
    "an envelope on a handshake": [changed(INIT, _meta=META), READY, LIST],
    "notes that are a text": [changed(INIT, _meta="x"), READY, LIST],
    "a token that is an object": [changed(INIT, _meta={"progressToken": {}}), READY, LIST],
    "a list first": [LIST, INIT, READY, LIST],
    "a ping first": [PING, changed(INIT), LIST],
    "a second handshake": [INIT, changed(INIT, protocolVersion="2024-11-05"), LIST],
    "parameters of null first": [{**LIST, "params": None}, NEW[1]],
    "a cursor": [INIT, READY, changed(LIST, cursor="x")],
    "a cursor of null": [INIT, READY, changed(LIST, cursor=None)],
    "an id that is a large number": [{**INIT, "id": 2**70}, READY, LIST],
    "an id that is no ASCII": [{**INIT, "id": "é"}, READY, LIST],
    "the newer era within the older": [INIT, READY, NEW[1]],
    "the older era within the newer": [NEW[0], LIST],
    "a handshake within the newer era": [NEW[0], INIT, NEW[1]],
    "a ping in the newer era": [NEW[0], changed(PING, _meta=META)],
    "another version later": [NEW[0], changed(NEW[1], _meta={**META, VERSION: "2027-01-01"})],
    "a version of the future in an envelope": with_notes(**{VERSION: "2027-01-01"}),
    "an older version in an envelope": with_notes(**{VERSION: "2025-11-25"}),
    "a version in an envelope that is a list": with_notes(**{VERSION: []}),
    "no abilities": with_notes(**{CAPABILITIES: ...}),
    "no client in an envelope": with_notes(**{INFO: ...}),
    "a client of null in an envelope": with_notes(**{INFO: None}),
    "abilities in an envelope that are a list": with_notes(**{CAPABILITIES: []}),
    "a log level": with_notes(**{"io.modelcontextprotocol/logLevel": "x"}),
    "a trace": with_notes(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    "a note that is an object": with_notes(odd={}),
    "a call first, in the newer era": [changed(call(9, "list_tasks"), _meta=META), NEW[1]],
    "a broken call first, in the newer era": [changed(call(9, "list_tasks"), _meta=META, name=3), NEW[1]],
    "an unknown method first": [{**NEW[0], "method": "odd/method"}, NEW[1]],
}


@pytest.mark.parametrize("messages", ODD_OPENINGS.values(), ids=ODD_OPENINGS)
async def test_nothing_is_answered_early_that_the_sdk_answers_otherwise(messages: list[Message]) -> None:
    """Whatever does not fit surely waits for the SDK."""
    numbered = [
        {**each, "id": index} if type(each.get("id")) is str and each["id"].isascii() else each
        for index, each in enumerate(messages)
    ]
    early, late = answer_early(numbered), await ask_sdk(numbered)

    assert {key: late.get(key) for key in early} == early


VALUES = st.sampled_from(
    [None, True, 3, "x", 1.5, [], {}, {"name": 3}, {"_meta": None}, {"_meta": META}, {"_meta": {INFO: []}}]
)
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")},
    optional={
        "id": VALUES,
        "method": VALUES | st.sampled_from(["initialize", "server/discover", *LISTS]),
        "params": VALUES
        | st.dictionaries(st.sampled_from(["protocolVersion", "clientInfo", "capabilities", "_meta"]), VALUES),
    },
)


@given(st.lists(MESSAGES, max_size=4))
def test_no_message_breaks_the_reader(messages: list[Message]) -> None:
    """It runs in the thread that reads stdin."""
    assert isinstance(answer_early(messages), dict)


def converse(lines: list[Message], home: Path) -> list[Message]:
    """Everything that the program writes to a client that sends these at once and leaves."""
    sent = "".join(f"{json.dumps(line)}\n" for line in lines)
    done = subprocess.run(
        COMMAND, input=sent, capture_output=True, text=True, env=surroundings(home), timeout=60, check=True
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("era", ["legacy", MODERN])
def test_a_client_that_sends_everything_at_once_and_leaves_is_answered_once_each(tmp_path: Path, era: str) -> None:
    """Lists from the snapshot, calls from the SDK, which is in the state that the client has seen."""
    lines = [*(FULL if era == "legacy" else NEW), call(50, "explain_payload", **SHOT), call(51, "list_tasks")]
    if era != "legacy":
        lines = [changed(line, _meta=META) for line in lines]
    other_era = INIT if era != "legacy" else NEW[1]
    replies = converse([*lines, {**other_era, "id": 60}], tmp_path)
    by_id = {reply["id"]: reply for reply in replies}

    assert Counter(reply["id"] for reply in replies) == Counter([*(line["id"] for line in lines if "id" in line), 60])
    assert by_id[50]["result"]["structuredContent"]["sheet_id"]
    assert by_id[60]["error"]["code"] == (-32600 if era == "legacy" else -32022)
    assert [reply["id"] for reply in replies[:3]] == [line["id"] for line in lines if "id" in line][:3]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_call_under_way_at_the_end_keeps_the_program_unless_it_was_cancelled(
    workspace: Workspace, cancelled: bool
) -> None:
    """The call is answered; a cancelled one is not, and nobody waits for it, whichever way its id is written."""
    server = build_server(workspace.service())
    ended, release = anyio.Event(), anyio.Event()

    @server.tool()
    async def wait() -> str:
        """Waits until the test lets it go."""
        await release.wait()
        return "answered"

    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "7"}}
    lines = [INIT, READY, call(7, "wait"), *([cancel] if cancelled else [])]
    with feeding(lines) as (source, sink):
        async with anyio.create_task_group() as group:

            async def serve() -> None:
                await serve_pipe(server, Pipe(source, sink.fileno(), SNAPSHOT))
                ended.set()

            group.start_soon(serve)
            with anyio.move_on_after(2 if not cancelled else 20):
                await ended.wait()
            assert ended.is_set() is cancelled
            release.set()
        sink.seek(0)
        replies = [json.loads(line) for line in sink]

    assert [reply["id"] for reply in replies] == ["initialize", *([] if cancelled else [7])]
    assert cancelled or replies[1]["result"]["structuredContent"] == {"result": "answered"}


def test_the_first_replies_need_no_library() -> None:
    """Nothing outside the standard library, nor what loads slowly in it, before the tools are listed."""
    code = (
        "import json, os, sys, threading\n"
        "from callsheet.edges.process.hardening import harden\nharden()\n"
        "from callsheet.surface.mcp.snapshot import Pipe, read_snapshot\n"
        "source, into = os.pipe(); out, sink = os.pipe()\n"
        f"os.write(into, {''.join(json.dumps(each) + chr(10) for each in FULL[:4]).encode()!r})\n"
        "pipe = Pipe(source, sink, read_snapshot())\n"
        "replies = [json.loads(line) for _, line in zip(range(3), open(out, 'rb'))]\n"
        "slow = {'mcp', 'pydantic', 'anyio', 'asyncio', 'typing', 'logging', 'pathlib', 'secrets', 'inspect'}\n"
        "print(json.dumps([[reply['id'] for reply in replies], sorted(slow & set(sys.modules))]))"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, check=True, timeout=60)

    assert json.loads(done.stdout) == [["initialize", "ping", "tools/list"], []]


CALLS = (
    ("list_models", {}),
    ("explain_payload", SHOT),
    ("explain_payload", {"prompt": 3}),
    ("get_task", {"task_id": "t_unknown"}),
    ("list_tasks", {}),
    ("odd_tool", {}),
)


@contextmanager
def feeding(lines: list[Message]) -> Iterator[tuple[int, BinaryIO]]:
    """A descriptor that gives these lines and then ends, and a file for what is written."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        source.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        source.seek(0)
        yield os.dup(source.fileno()), sink


def connect_and_leave(workspace: Workspace, seed: int) -> tuple[Counter[Any], Counter[Any]]:
    """The ids that a random client asked under and those that were answered, when it writes some calls and closes."""
    chosen = random.Random(seed)
    modern = chosen.random() < 0.5
    lines = [*(NEW if modern else FULL)][: chosen.randint(1, 7)]
    lines += [
        call(100 + n, name, **arguments)
        for n, (name, arguments) in enumerate(chosen.choices(CALLS, k=chosen.randint(0, 9)))
    ]
    if modern:
        lines = [changed(line, _meta=META) for line in lines]
    snapshot = SNAPSHOT if chosen.random() < 0.8 else {}
    with feeding(lines) as (source, sink):
        anyio.run(serve_pipe, build_server(workspace.service()), Pipe(source, sink.fileno(), snapshot))
        sink.seek(0)
        answered = Counter(json.loads(line)["id"] for line in sink)
    return Counter(line["id"] for line in lines if "id" in line), answered


@pytest.mark.parametrize("seeds", [range(20), pytest.param(range(20, 500), marks=pytest.mark.torture)], ids=str)
def test_every_call_that_was_read_is_answered_once_before_the_end(workspace: Workspace, seeds: range) -> None:
    """However the end of stdin, the snapshot and the SDK meet."""
    for seed in seeds:
        asked, answered = connect_and_leave(workspace, seed)
        assert answered == asked, seed
