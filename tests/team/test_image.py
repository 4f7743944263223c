"""The image of deploy/Containerfile: what is in it, and a team of which every process runs in it.

`make check-image` builds it; without it these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from demo import open_team, walk

from servers.other_servers import OIDC_INSTALLED
from team.image import CONTAINER, buildah
from team.postgres import WHY_NOT, find_programs

pytestmark = pytest.mark.skipif(CONTAINER not in os.environ, reason="needs the image: `make check-image` builds it")
USER = "10001"


def in_image(*options: str) -> list[str]:
    """What runs something in the image, as its own user."""
    return buildah("run", "--isolation", "chroot", *options, os.environ[CONTAINER], "--")


def run(script: str) -> str:
    """What a shell in it says."""
    return subprocess.run([*in_image(), "sh", "-c", script], capture_output=True, text=True, check=False).stdout


def test_its_user_owns_a_directory_for_work_and_can_change_nothing_else() -> None:
    """Neither the program nor the system; nothing in it was built by, or belongs to, that user."""
    owned = "find / -xdev '(' -path /proc -o -path /sys -o -path /dev ')' -prune -o -user 10001 -print"
    writable = "find /opt /etc /usr -xdev -writable ! -type l -print"

    assert run("id -u; id -g").split() == [USER, USER]
    assert all(path.startswith("/var/lib/callsheet") for path in run(owned).split())
    assert run(writable) == ""


def test_it_has_the_program_and_nothing_of_the_checkout() -> None:
    """No source, test, configuration or secret, and no second installer."""
    assert run("ls /opt /src /etc/callsheet 2>/dev/null").split() == ["/etc/callsheet:", "/opt:", "callsheet"]
    assert run("ls /opt/callsheet/bin/uv /opt/callsheet/bin/pytest") == ""
    assert run("python -c 'import callsheet.team; print(callsheet.__file__)'").startswith("/opt/callsheet/lib/")


def test_without_a_configuration_it_says_what_is_missing() -> None:
    """The entry point is the program."""
    done = subprocess.run([*in_image(), "callsheet", "team", "doctor"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "team.toml cannot be read (FileNotFoundError)" in done.stderr


@pytest.mark.skipif(find_programs() is None, reason=WHY_NOT)
@pytest.mark.skipif(not OIDC_INSTALLED, reason="oidc-provider is not installed: `make .servers/.oidc` does it")
def test_a_team_runs_in_it(tmp_path: Path) -> None:
    """Migration, two replicas, two workers, the doctor; one clip from the request to the person who watches it."""
    tmp_path.chmod(0o755)
    (tmp_path / "team").mkdir()
    (tmp_path / "team").chmod(0o777)
    key = '${POYO_API_KEY:+--env "POYO_API_KEY=$POYO_API_KEY"}'
    storage = "$(env | sed -n 's/^AWS_/--env AWS_/p')"
    start = " ".join(in_image("--volume", f"{tmp_path}:{tmp_path}", "KEY", "STORAGE"))
    script = f'exec {start} callsheet team "$@"'.replace("KEY", key).replace("STORAGE", storage)

    with open_team(tmp_path, program=("sh", "-c", script, "callsheet")) as (team, _):
        anyio.run(walk, team)
        checked = team.run("doctor")
        ready: list[Any] = [httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).text for port in team.ports]

    assert (checked.returncode, ready) == (0, ["ready\n", "ready\n"]), checked.stdout + checked.stderr
