"""What the hostile clients are tried on: a gateway that counts what would cost money, a live install, a real server.

Everything is real but the money: the server is the program itself in a process of its own, the gateway listens on
loopback, and what a person does is done to the ledger by another process, as `callsheet approve` does it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from warm_start import Forked, run, start
from workspace import account_of, command_for, trust

from .wire import ERAS, FORMS, MODERN, HttpWire, PipeWire, Wire

KEY = "consent-canary-key-41c7e0a95d2b8f36"
TRANSPORTS = ("stdio", "http")
WAYS = tuple((transport, era) for transport in TRANSPORTS for era in ERAS)
AMOUNT = "0.24"
"""What the usual shot costs; a person types it."""
SHOT = {"prompt": "A red kite over dunes.", "duration_seconds": 4, "gateway": "poyo", "model": "sora-2-official"}


class CountingGateway:
    """PoYo on loopback. `paid` holds the body of each complete request that would cost money."""

    def __init__(self) -> None:
        self.paid: list[bytes] = []
        self.reads = 0
        self.arrived = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._jobs = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def forget(self) -> None:
        """Count from zero again; the ids of jobs are not used twice."""
        self.paid.clear()
        self.arrived.clear()

    def close(self) -> None:
        """Stop listening."""
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with gateway._lock:
                    gateway.paid.append(body)
                    gateway._jobs += 1
                    number = gateway._jobs
                gateway.arrived.set()
                gateway.may_answer.wait(30)
                self._answer(200, {"code": 200, "data": {"task_id": f"task-{number}", "status": "not_started"}})

            def do_GET(self) -> None:
                gateway.reads += 1
                self._answer(404, {"code": 404})

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _answer(self, status: int, body: object) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler


@contextmanager
def counting_gateway() -> Iterator[CountingGateway]:
    """A gateway that listens while the block runs."""
    gateway = CountingGateway()
    try:
        yield gateway
    finally:
        gateway.close()


def write_policy(home: Path, text: str) -> None:
    """Put the policy where the person would."""
    policy = home / "config" / "policy.toml"
    policy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    policy.touch(mode=0o600)
    policy.write_text(text, encoding="utf-8")
    trust(home, text)


def arm(home: Path, gateway: CountingGateway, *, mode: str = "live") -> Path:
    """A home whose person has armed live mode, lifted the caps, and sends PoYo's requests to that gateway."""
    caps = '[caps]\nper_clip = "none"\nper_day = "none"\nper_month = "none"\nconcurrent = 50\n'
    write_policy(home, f'mode = "{mode}"\n{caps}[gateways.poyo]\nbase_url = "{gateway.url}"\n')
    return home


def environ_of(home: Path, **more: str) -> dict[str, str]:
    """What a client starts the server with."""
    return {"PATH": os.environ["PATH"], "CALLSHEET_HOME": str(home), "POYO_API_KEY": KEY, **more}


@dataclass
class Served:
    """A server process and how to reach it; `connect` makes a client on it, a pipe has room for one."""

    process: subprocess.Popen[bytes] | Forked
    stderr_lines: list[str] = field(default_factory=list)
    url: str = ""
    token_file: Path = Path()
    wires: list[Wire] = field(default_factory=list)

    def connect(self, era: str, capabilities: Mapping[str, object]) -> Wire:
        """A client of that era that declares those capabilities."""
        if self.url:
            token = self.token_file.read_text(encoding="ascii")
            self.wires.append(HttpWire(self.url, token, era=era, capabilities=capabilities))
        else:
            self.wires.append(PipeWire(self.process, era=era, capabilities=capabilities))
        return self.wires[-1]


@contextmanager
def serving(
    transport: str,
    environ: Mapping[str, str],
    *,
    directory: Path = Path("/"),
    command: Sequence[str] = (),
    fresh: bool = False,
) -> Iterator[Served]:
    """The program itself, serving over that transport; it is stopped at the end, and must exit with code 0."""
    arguments = ["mcp"] if transport == "stdio" else ["mcp", "--http", "0"]
    with start(
        [*command, *arguments] if command else command_for(environ, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        cwd=directory,
        fresh=fresh,
    ) as process:
        served = Served(process)
        try:
            if transport == "http":
                served.url = _read_after(served, "MCP is served at ").strip()
                served.token_file = Path(_read_after(served, "the token is in ").strip())
            threading.Thread(target=_listen, args=(served,), daemon=True).start()
            try:
                yield served
            finally:
                for wire in served.wires:
                    wire.close()
            if transport == "http":
                process.terminate()
            process.stdin.close()
            assert process.wait(30) == 0, served.stderr_lines
        finally:
            process.kill()


@dataclass
class Client:
    """A client of a server that tests share, with the home and the gateway of that server."""

    wire: Wire
    home: Path
    gateway: CountingGateway


class SharedServers:
    """Servers in live mode for tests that need no server of their own. Each is started when it is first used.

    HTTP needs one server for all, a pipe one for each era; in the older era a pipe's client declares its
    capabilities once, so that other capabilities need another server.
    """

    def __init__(self, new_home: Callable[[], Path]) -> None:
        self._new_home = new_home
        self._running: dict[tuple[str, ...], tuple[Served, Path, CountingGateway]] = {}
        self._pipes: dict[tuple[str, ...], Wire] = {}
        self._stack = ExitStack()

    def connect(self, transport: str, era: str, capabilities: Mapping[str, object] = FORMS) -> Client:
        """A client of that era on the server; the policy is live, and the gateway's count is zero."""
        key: tuple[str, ...] = (transport,)
        if transport == "stdio":
            key = (transport, era, "" if era == MODERN else json.dumps(capabilities))
        if key not in self._running:
            gateway = self._stack.enter_context(counting_gateway())
            home = arm(self._new_home(), gateway)
            served = self._stack.enter_context(serving(transport, environ_of(home)))
            self._running[key] = served, home, gateway
        served, home, gateway = self._running[key]
        arm(home, gateway)
        gateway.forget()
        wire = self._pipes.get(key) or served.connect(era, capabilities)
        if transport == "stdio":
            self._pipes[key] = wire
        wire.capabilities = capabilities
        wire.questions.clear()
        return Client(wire, home, gateway)

    def close(self) -> None:
        """Stop all servers; each must exit with code 0."""
        self._stack.close()


def _read_after(served: Served, words: str) -> str:
    """What follows those words in the next line on stderr."""
    line = served.process.stderr.readline().decode()
    assert words in line, line + served.process.stderr.read().decode()
    served.stderr_lines.append(line)
    return line.split(words)[1]


def _listen(served: Served) -> None:
    for line in served.process.stderr:
        served.stderr_lines.append(line.decode("utf-8", "replace"))


def approve(home: Path, sheet_id: str) -> None:
    """What `callsheet approve` does once the passphrase was right: the act of a person."""
    code = (
        "import sys; from callsheet.compose import *; from callsheet.core.consent import Means;"
        "build_service(replace(Surroundings.of_process(), account_home=Path(sys.argv[2])))"
        ".approve(sys.argv[1], by=Means.TERMINAL)"
    )
    run([sys.executable, "-c", code, sheet_id, str(account_of(home))], check=True, cwd="/", env=environ_of(home))
