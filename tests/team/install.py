"""A whole team on loopback: replicas and workers as processes, behind a balancer that gives each connection another."""

from __future__ import annotations

import base64
import itertools
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from real_provider import RealProvider

KEY = "canary-team-key-7f3a9c2e51d84b06"
READY_SECONDS = 180.0
STOP_SECONDS = 30.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Balancer:
    """Accepts on one port, and gives the connections to the replicas in turn."""

    ports: Sequence[int]
    port: int = field(default_factory=free_port)

    def start(self) -> None:
        """Until the process ends."""
        self._turn = itertools.cycle(self.ports)
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            for _ in self.ports:
                with suppress(OSError), socket.create_connection(("127.0.0.1", next(self._turn))) as server:
                    for end in (client, server):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                    back.start()
                    _copy(client, server)
                    back.join()
                    return

    def stop(self) -> None:
        """Accept no more."""
        self._listener.shutdown(socket.SHUT_RDWR)


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@dataclass
class TeamInstall:
    """One team's files and processes. `start` adds a process; leaving `running` ends them all."""

    directory: Path
    dsn: str
    tenant: str
    provider: RealProvider
    sandbox: str
    replicas: int = 2
    workers: int = 2
    storage: str = ""
    extra: str = ""
    program: tuple[str, ...] = (sys.executable, "-m", "callsheet", "team")
    environ: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ports = [free_port() for _ in range(self.replicas)]
        self.balancer = Balancer(self.ports)
        self.url = f"http://localhost:{self.balancer.port}"

    @property
    def mcp_url(self) -> str:
        """Where agents connect."""
        return f"{self.url}/mcp"

    def write(self) -> None:
        """The configuration of each replica, and what it names."""
        secret = self.directory / "secrets"
        secret.mkdir(parents=True)
        client = self.provider.register(
            redirect_uris=[f"{self.url}/oidc/callback"],
            post_logout_redirect_uris=[f"{self.url}/signed-out"],
            backchannel_logout_uri=f"{self.url}/oidc/logout",
            token_endpoint_auth_method="client_secret_basic",
        )
        (secret / "dsn").write_text(self.dsn)
        (secret / "client").write_text(client["client_secret"])
        (secret / "keys").write_text(base64.b64encode(secrets.token_bytes(32)).decode())
        (self.directory / "policy.toml").write_text(
            f'mode = "live"\n[gateways.poyo]\nbase_url = "{self.sandbox}/poyo"\n'
            '[caps]\nper_day = "500.00"\nper_month = "5000.00"\nconcurrent = 40\n'
        )
        for port in self.ports:
            self.config(port).write_text(
                f'public_url = "{self.url}"\nlisten = "127.0.0.1:{port}"\nhome = "home-{port}"\n'
                f'tenant = "{self.tenant}"\nkeys_file = "secrets/keys"\ndrains = false\n{self.extra}\n'
                f'[database]\ndsn_file = "secrets/dsn"\n'
                f'[identity]\nissuer = "{self.provider.issuer}"\nclient_id = "{client["client_id"]}"\n'
                f'client_secret_file = "secrets/client"\n'
                '[roles]\nmember = ["makers"]\napprover = ["deciders"]\nadmin = ["owners"]\n'
                f'[storage]\nurl = "{self.storage}"\n'
            )

    def config(self, port: int) -> Path:
        """The file of one replica; workers use the first."""
        return self.directory / f"team-{port}.toml"

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            self._command(command, self.ports[0], *arguments),
            env=self._environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def start(self, command: str, port: int | None = None) -> subprocess.Popen[bytes]:
        """A replica or a worker; only a worker gets the key."""
        name = f"{command}-{len(self.processes)}"
        environ = self._environ() | ({"POYO_API_KEY": KEY} if command == "work" else {})
        with (self.directory / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(
                self._command(command, port or self.ports[0]), env=environ, stdout=log, stderr=log
            )
        self.processes.append(started)
        return started

    def _command(self, command: str, port: int, *arguments: str) -> list[str]:
        return [*self.program, command, "--config", str(self.config(port)), *arguments]

    def _environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.directory), **self.environ}

    def wait_ready(self) -> None:
        """Until every replica is ready."""
        end = time.monotonic() + READY_SECONDS
        for port in self.ports:
            while True:
                with suppress(httpx2.HTTPError):
                    if httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                        break
                assert time.monotonic() < end, self.logs()
                time.sleep(0.2)

    def logs(self) -> str:
        """What the processes said."""
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in sorted(self.directory.glob("*.log")))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Everything, until the end of the block."""
        self.write()
        migrated = self.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        try:
            for port in self.ports:
                self.start("serve", port)
            for _ in range(self.workers):
                self.start("work")
            self.balancer.start()
            self.wait_ready()
            yield
        finally:
            for process in self.processes:
                process.send_signal(signal.SIGTERM)
            for process in self.processes:
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
            self.balancer.stop()


@asynccontextmanager
async def agent(team: TeamInstall, token: str) -> AsyncIterator[Client]:
    """A client with that token."""
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=90, trust_env=False) as web,
        Client(streamable_http_client(team.mcp_url, http_client=web)) as client,
    ):
        yield client
