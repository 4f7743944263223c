"""Runs tests with the ledger in a real PostgreSQL: `python -m team.over_postgres PYTEST_ARGUMENTS`."""

from __future__ import annotations

import os
import subprocess
import sys

from team.postgres import run_server
from workspace import POSTGRES


def main() -> int:
    """One server for all of them; each home of a test is a tenant."""
    with run_server() as server:
        environ = {**os.environ, POSTGRES: server.create()}
        return subprocess.run([sys.executable, "-m", "pytest", *sys.argv[1:]], env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
