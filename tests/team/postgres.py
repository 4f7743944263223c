"""A real PostgreSQL for tests: a server of the run's own on loopback, and a database for each test.

It comes from Debian (`make system-tools`), or from the directory that `CALLSHEET_TEST_POSTGRES_BIN` names. Without
either, the tests that need one are skipped and say so.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

WHY_NOT = "needs PostgreSQL: `make system-tools` installs it where Debian's packages can be installed"
BIN = "CALLSHEET_TEST_POSTGRES_BIN"
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `stop` and `start` are what an operator does; `immediate` is a crash."""

    directory: Path
    port: int
    bin: Path

    def dsn(self, database: str) -> str:
        """Where a client connects."""
        return f"postgresql://callsheet@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.directory}"
            " -c fsync=off -c max_connections=200"
        )
        log = str(self.directory / "log")
        self._control("-w", "-t", str(START_SECONDS), "-l", log, "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """`fast`, or `immediate`, as a crash would."""
        self._control("-w", "-m", how, "stop")

    def _control(self, *words: str) -> None:
        _run(self.bin / "pg_ctl", "-D", str(self.directory / "data"), *words)

    def create(self, template: str = "template1") -> str:
        """A new database; returns its address."""
        name = f"t_{uuid.uuid4().hex}"
        asyncio.run(_create(self.dsn("postgres"), name, template))
        return self.dsn(name)


async def _create(dsn: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await connection.close()


def _run(program: Path, *words: str) -> None:
    """PostgreSQL refuses to run as root."""
    who = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*who, str(program), *words], check=True, stdout=subprocess.DEVNULL, timeout=2 * START_SECONDS)


def find_programs() -> Path | None:
    """The directory of the programs: the named one, else the newest PostgreSQL on this machine."""
    if BIN in os.environ:
        return Path(os.environ[BIN])
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda found: int(found.parent.name))
    on_path = shutil.which("initdb")
    found = [*installed, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((each for each in reversed(found) if (each / "initdb").exists()), None)


@contextmanager
def run_server() -> Iterator[Server]:
    """A server in a directory of its own, until the end of the block."""
    programs = find_programs()
    assert programs is not None, WHY_NOT
    directory = Path(tempfile.mkdtemp(prefix="callsheet-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Server(directory, port, programs)
        words = ("-U", "callsheet", "-A", "trust", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8")
        _run(programs / "initdb", "-D", str(directory / "data"), *words)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
