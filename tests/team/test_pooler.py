"""Behind PgBouncer in transaction mode the ledger keeps what every ledger promises, and all races end the same."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.service.ports import Ledger
from ledger.test_ledger_contract import *  # noqa: F403
from team.postgres import Server

PROGRAM = shutil.which("pgbouncer") or ("/usr/sbin/pgbouncer" if Path("/usr/sbin/pgbouncer").exists() else None)
SETTINGS = """
[databases]
* = host=127.0.0.1 port={port} user=callsheet
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
logfile = {directory}/log
"""


@pytest.fixture(scope="session")
def pooler(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PgBouncer before the server."""
    if PROGRAM is None:
        pytest.skip("needs PgBouncer: `make system-tools` installs it where Debian's packages can be installed")
    directory = tmp_path_factory.mktemp("pooler")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = directory / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(port=postgres.port, own=port, directory=directory), encoding="utf-8")
    # PgBouncer refuses to run as root.
    who: list[str] = []
    if os.geteuid() == 0:
        who = ["runuser", "-u", "postgres", "--"]
        for path in (directory, settings):
            shutil.chown(path, "postgres")
        for parent in directory.parents:
            if parent != Path("/tmp") and Path("/tmp") in parent.parents:
                parent.chmod(0o755)
    running = subprocess.Popen([*who, PROGRAM, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port
    finally:
        running.terminate()
        running.wait()


def wait_for(port: int) -> None:
    """Until it takes connections."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError


@pytest.fixture
def make_ledger(pooler: int, dsn: str, tenant: str) -> Iterator[Callable[[], Ledger]]:
    """Opens the same store again with each call, as another process would; all of it through the pooler."""
    opened: list[SqlLedger] = []
    through = f"postgresql://callsheet@127.0.0.1:{pooler}/{dsn.rpartition('/')[2]}"

    def make() -> Ledger:
        opened.append(SqlLedger(PostgresDatabase(through, tenant=tenant, pooled=True)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
