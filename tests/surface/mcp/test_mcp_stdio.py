"""The program itself on a pipe: from explaining to the saved clip, in the sandbox, in each era."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from connection import ERAS, SHOT, UpdateLog, receive_until_saved, text_of
from mcp import Client, StdioServerParameters

from callsheet.surface.mcp.stdio import replace_half_pairs
from consent.live_server import write_policy

COMMAND = (sys.executable, "-m", "callsheet", "mcp")
HEAVY = (
    *("av", "PIL", "cryptography.fernet", "filelock", "keyring", "sqlite3", "stamina", "tomllib", "typer"),
    *("callsheet.compose", "callsheet.service", "callsheet.core.catalogue", "callsheet.sandbox"),
)


def surroundings(home: Path | str) -> dict[str, str]:
    """An environment with a home of its own and no key."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
    return {**kept, "CALLSHEET_HOME": str(home), "PYTHONWARNINGS": "error::ResourceWarning"}


def size_of(path: str) -> int:
    """How many bytes a file has."""
    return Path(path).stat().st_size


@pytest.mark.parametrize("era", ERAS)
async def test_a_shot_goes_from_explained_to_saved(tmp_path: Path, era: str) -> None:
    """Five calls, one clip on disk with poster and contact sheet, and nobody was asked or charged."""
    write_policy(tmp_path, "[sandbox]\nspeed = 300.0\n")
    server = StdioServerParameters(command=COMMAND[0], args=list(COMMAND[1:]), env=surroundings(tmp_path))
    received: list[float] = []

    async def on_progress(progress: float, _total: float | None, _message: str | None) -> None:
        received.append(progress)

    async with Client(server, mode=era) as client:
        explained = await client.call_tool("explain_payload", SHOT)
        sheet_id = explained.structured_content["sheet_id"]
        submitted = await client.call_tool("submit_video", {"sheet_id": sheet_id})
        assert not submitted.is_error, text_of(submitted)
        arguments = {"task_id": submitted.structured_content["task_id"], "wait_seconds": 45, "details": True}
        done = await client.call_tool("get_task", arguments, progress_callback=on_progress)
        again = await client.call_tool("submit_video", {"sheet_id": sheet_id})

    answer = done.structured_content
    assert answer["status"] == "saved", answer
    assert answer["money"] == "A rehearsal: nothing was charged."
    assert answer["clip_path"].startswith(str(tmp_path))
    assert size_of(answer["clip_path"]) == answer["size_bytes"]
    assert size_of(answer["contact_sheet_path"]) > 0
    assert size_of(answer["poster_path"]) > 0
    assert answer["duration_seconds"] == pytest.approx(4, abs=0.2)
    assert received == sorted(set(received))
    assert again.structured_content["status"] == "already_accepted"


@pytest.mark.parametrize("era", ERAS)
async def test_a_subscriber_on_a_pipe_gets_updates_until_its_clip_is_saved(tmp_path: Path, era: str) -> None:
    """Without polling: every change is reported, and none is missed."""
    write_policy(tmp_path, "[sandbox]\nspeed = 300.0\n")
    server = StdioServerParameters(command=COMMAND[0], args=list(COMMAND[1:]), env=surroundings(tmp_path))
    updates = UpdateLog()
    async with Client(server, mode=era, message_handler=updates.on_message) as client:
        explained = await client.call_tool("explain_payload", SHOT)
        submitted = await client.call_tool("submit_video", {"sheet_id": explained.structured_content["sheet_id"]})
        await receive_until_saved(client, updates, f"callsheet://tasks/{submitted.structured_content['task_id']}")
        listed = await client.call_tool("list_tasks", {})

    assert [task["status"] for task in listed.structured_content["tasks"]] == ["saved"]


@contextmanager
def running(home: Path | str) -> Iterator[subprocess.Popen[bytes]]:
    """The server process, for raw lines."""
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=surroundings(home)
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[bytes], number: int, method: str, params: dict[str, Any]) -> Any:
    """One request and the next line on stdout, which must be its reply."""
    assert process.stdin is not None
    assert process.stdout is not None
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()
    reply = json.loads(process.stdout.readline())
    assert reply["id"] == number
    return reply["result"]


def shake_hands(process: subprocess.Popen[bytes]) -> None:
    """The handshake of the older era."""
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    ask(process, 1, "initialize", about)
    assert process.stdin is not None
    process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')


def test_stdout_carries_nothing_but_the_protocol_and_the_end_of_stdin_ends_the_program(tmp_path: Path) -> None:
    """Every line is a reply, nothing is left over, and stderr is silent."""
    with running(tmp_path) as process:
        shake_hands(process)
        ask(process, 2, "tools/list", {})
        ask(process, 3, "tools/call", {"name": "explain_payload", "arguments": SHOT})
        ask(process, 4, "tools/call", {"name": "explain_payload", "arguments": {"prompt": 3}})
        left, errors = process.communicate(timeout=20)

    assert process.returncode == 0
    assert left == b""
    assert errors == b""


def test_half_of_an_emoji_is_refused_and_not_swallowed(tmp_path: Path) -> None:
    """JavaScript writes it as an escape that the SDK's reader does not take."""
    call: dict[str, Any] = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "explain_payload"}}
    call["params"]["arguments"] = {**SHOT, "prompt": "a \ud83d kite"}
    with running(tmp_path) as process:
        shake_hands(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(call).encode() + b"\n")
        process.stdin.flush()
        reply = json.loads(process.stdout.readline())

    assert reply["result"]["isError"] is True
    assert "half of a surrogate pair" in reply["result"]["content"][0]["text"]


DEEP = "[" * 250 + "]" * 250
UNREADABLE = {
    "nested over 200 deep": f'{{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":{{"x":{DEEP}}}}}',
    "deeper than any stack": '{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":{"x":' + "[" * 200_000,
    "deep, with the id last": f'{{"params":{{"id":7,"x":{DEEP}}},"method":"tools/list","jsonrpc":"2.0","id":ID}}',
    "cut": '{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":{"x":"',
    "a control character in a text": '{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":{"x":"a\tb"}}',
    "a huge number": f'{{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":{{"x":{"9" * 5000}}}}}',
    "a byte order mark": '\ufeff{"jsonrpc":"2.0","id":ID,"method":"tools/list"}',
    "a byte that is no UTF-8": '{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":{"x":"\udcff"}}',
}
INVALID = {
    "a method that is no text": '{"jsonrpc":"2.0","id":ID,"method":5}',
    "params that are a text": '{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":"{\\"id\\":7}"}',
    "another version": '{"jsonrpc":"1.0","id":ID,"method":"tools/list"}',
}
ODD = {
    "no JSON": ("no JSON", None, -32700),
    "UTF-16": ('\ufeff{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16-le").decode("latin-1"), None, -32700),
    "a batch": ('[{"jsonrpc":"2.0","id":1,"method":"ping"}]', None, -32600),
    "an empty batch": ("[]", None, -32600),
    "a number": ("3", None, -32600),
    "an empty object": ("{}", None, -32600),
    "an id that is no integer": ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 1.5, -32600),
    "an id of null": ('{"jsonrpc":"2.0","id":null,"method":"ping"}', None, -32600),
    "an id of true": ('{"jsonrpc":"2.0","id":true,"method":"ping"}', None, -32600),
    "an id that is a list": ('{"jsonrpc":"2.0","id":[1],"method":"ping"}', None, -32600),
    "an id with a control character": ('{"jsonrpc":"2.0","id":"a\tb","method":"ping"}', None, -32700),
    "a method that is no text, and no id": ('{"jsonrpc":"2.0","method":1,"params":"bar"}', None, -32600),
}
"""What JSON-RPC names for each, and under which id."""


META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
}


def encode(line: str) -> bytes:
    """A line for the pipe; an escaped byte stays what it is."""
    return line.encode("utf-8", "surrogateescape") + b"\n"


@pytest.mark.parametrize("era", ERAS)
def test_a_request_that_cannot_be_read_is_answered_with_an_error(tmp_path: Path, era: str) -> None:
    """Under its own id, whatever is wrong with it, and the server goes on."""
    expected: dict[str | int, int] = {}
    with running(tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if era == "legacy":
            shake_hands(process)
        found = {}
        envelope = "" if era == "legacy" else f'"_meta":{json.dumps(META)},'
        for code, lines in ((-32700, UNREADABLE), (-32600, INVALID)):
            for unreadable in lines.values():
                line = unreadable.replace('"params":{', f'"params":{{{envelope}')
                for request_id in (len(found) + 100, f"n-{len(found)}"):
                    expected[request_id] = code
                    process.stdin.write(encode(line.replace("ID", json.dumps(request_id))))
                    process.stdin.flush()
                    reply = json.loads(process.stdout.readline())
                    found[reply["id"]] = reply["error"]["code"]
        listed = ask(process, 99, "tools/list", {} if era == "legacy" else {"_meta": META})

    assert found == expected
    assert len(listed["tools"]) == 7


@pytest.mark.parametrize("era", ERAS)
def test_what_is_no_request_gets_the_error_that_json_rpc_names(tmp_path: Path, era: str) -> None:
    """Before and after the first request. A response and an empty line get nothing."""
    with running(tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found = []
        for _ in range(2):
            for line, _, _ in ODD.values():
                process.stdin.write(encode(line))
            process.stdin.write(encode(f'{{"jsonrpc":"2.0","id":7,"result":{{"x":{DEEP}}}}}'))
            process.stdin.write(b'{"jsonrpc":"2.0","id":7,"error":{"code":"x"}}\n\n')
            process.stdin.flush()
            replies = [json.loads(process.stdout.readline()) for _ in ODD]
            found += [(reply["id"], reply["error"]["code"]) for reply in replies]
            if era == "legacy":
                shake_hands(process)
        listed = ask(process, 99, "tools/list", {} if era == "legacy" else {"_meta": META})

    assert found == [(request_id, code) for _, request_id, code in ODD.values()] * 2
    assert len(listed["tools"]) == 7


@pytest.mark.parametrize(
    ("line", "corrected"),
    [
        (r'"a \ud83d b"', r'"a \u0000 b"'),
        (r'"a \uDE00 b"', r'"a \u0000 b"'),
        (r'"a \ud83d\ude00 b"', r'"a \ud83d\ude00 b"'),
        (r'"a \\ud83d b"', r'"a \\ud83d b"'),
        (r'"a \\\ud83d b"', r'"a \\\u0000 b"'),
        (r'"\ud83d\ud83d\ude00"', r'"\u0000\ud83d\ude00"'),
        ('"plain \U0001f600"', '"plain \U0001f600"'),
    ],
)
def test_only_half_a_surrogate_pair_is_replaced(line: str, corrected: str) -> None:
    """Whole pairs and escaped backslashes stay unchanged."""
    assert replace_half_pairs(line.encode()) == corrected.encode()
    assert "\x00" in json.loads(corrected) or corrected == line


def test_closing_stdin_ends_a_wait_under_way(tmp_path: Path) -> None:
    """A client that goes away leaves no process behind; the task stays in the ledger."""
    policy = tmp_path / "config" / "policy.toml"
    policy.parent.mkdir()
    policy.touch(mode=0o600)
    policy.write_text("[sandbox]\nspeed = 0.01\n", encoding="utf-8")
    with running(tmp_path) as process:
        shake_hands(process)
        explained = ask(process, 2, "tools/call", {"name": "explain_payload", "arguments": SHOT})
        sheet = {"sheet_id": explained["structuredContent"]["sheet_id"]}
        submitted = ask(process, 3, "tools/call", {"name": "submit_video", "arguments": sheet})
        waiting = {"task_id": submitted["structuredContent"]["task_id"], "wait_seconds": 45}
        call = {"name": "get_task", "arguments": waiting}
        message = {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": call}
        left, _ = process.communicate(json.dumps(message).encode() + b"\n", timeout=30)

    assert process.returncode == 0
    assert [json.loads(line)["id"] for line in left.splitlines()] == [4]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_signal_ends_the_program_cleanly(tmp_path: Path) -> None:
    """Its lock file is gone, so that another process takes over its tasks immediately."""
    with running(tmp_path) as process:
        shake_hands(process)
        explained = ask(process, 2, "tools/call", {"name": "explain_payload", "arguments": SHOT})
        sheet_id = explained["structuredContent"]["sheet_id"]
        ask(process, 3, "tools/call", {"name": "submit_video", "arguments": {"sheet_id": sheet_id}})
        assert list((tmp_path / "state" / "runners").iterdir())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

    assert list((tmp_path / "state" / "runners").iterdir()) == []


def test_an_unusable_home_still_lists_the_tools() -> None:
    """The reason comes with the first call that needs the home."""
    with running("relative/home") as process:
        shake_hands(process)
        assert len(ask(process, 2, "tools/list", {})["tools"]) == 7
        refused = ask(process, 3, "tools/call", {"name": "explain_payload", "arguments": SHOT})

    assert refused["isError"]
    assert "CALLSHEET_HOME is not an absolute path" in refused["content"][0]["text"]


def test_nothing_heavy_is_imported_before_the_tools_are_listed() -> None:
    """Start-up time is the time in which a client believes that there are no tools."""
    code = (
        "import anyio, json, sys\n"
        "from callsheet.surface.mcp.server import build_mcp_server\n"
        "from callsheet.surface.mcp.lifespan import ServerState\n"
        "anyio.run(build_mcp_server(ServerState(lambda: 1 / 0)).list_tools)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, check=True, timeout=60)

    assert json.loads(done.stdout) == []
