"""The desk on real sockets: only loopback, one desk at a time, and an orderly end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import warm_start
from callsheet.compose import VERIFIER_FILE
from callsheet.edges.process.locks import find_desk
from callsheet.errors import SetupProblem
from callsheet.surface.desk.server import listen, serve
from callsheet.surface.desk.templating import TEMPLATES
from workspace import Workspace


def ports_of(sockets: list[socket.socket]) -> set[int]:
    """The ports on which they listen."""
    return {item.getsockname()[1] for item in sockets}


def close_all(sockets: list[socket.socket]) -> None:
    """Give the ports back."""
    for item in sockets:
        item.close()


def test_the_desk_listens_only_on_loopback_and_on_all_of_it() -> None:
    """Both addresses that a browser may take for `localhost`, with the same port."""
    sockets = listen(0)
    try:
        assert {item.getsockname()[0] for item in sockets} <= {"127.0.0.1", "::1"}
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        assert len(ports_of(sockets)) == 1
        assert len(sockets) == (2 if has_ipv6() else 1)
    finally:
        close_all(sockets)


def has_ipv6() -> bool:
    """Whether this computer has the other loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_port_in_use_is_refused_on_either_address() -> None:
    """On the other one, somebody else would answer to the desk's name."""
    families = [(socket.AF_INET, "127.0.0.1"), *([(socket.AF_INET6, "::1")] if has_ipv6() else [])]
    for family, address in families:
        with socket.socket(family) as other:
            other.bind((address, 0))
            other.listen()
            with pytest.raises(SetupProblem, match="Cannot listen on port"):
                listen(other.getsockname()[1])


def start(home: Path) -> tuple[subprocess.Popen[str] | warm_start.Forked, dict[str, str]]:
    """`callsheet desk` as a process of its own, and what it says."""
    command = [sys.executable, "-P", "-m", "callsheet", "desk", "--no-open", "--json"]
    environ = {**os.environ, "CALLSHEET_HOME": str(home)}
    process = warm_start.start(
        command, env=environ, cwd=home.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate())
    return process, json.loads(line)


def fetch(url: str, **headers: str) -> int:
    """The status that a real request gets."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(tmp_path: Path, number: int) -> None:
    """It says where it is and how to get in; while it runs there is no other; it logs no address that was asked."""
    home = tmp_path / "home"
    process, said = start(home)
    with process:
        try:
            assert said["address"] == find_desk(home / "state") == said["url"].partition("#")[0]
            assert len(said["url"].partition("#key=")[2]) >= 43
            assert fetch(f"{said['address']}sign-in?next=/canary") == 200
            assert fetch(f"{said['address']}sign-in", Host="evil.example") == 421
            second = warm_start.run(
                [sys.executable, "-P", "-m", "callsheet", "desk", "--no-open"],
                env={**os.environ, "CALLSHEET_HOME": str(home)},
                cwd=tmp_path,
                text=True,
            )
            assert second.returncode != 0
            assert "A desk is already open" in second.stderr
        finally:
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "canary" not in out + err
    assert "Traceback" not in err
    assert find_desk(home / "state") is None


async def test_every_page_is_compiled_before_anybody_asks_for_it(workspace: Workspace) -> None:
    """So that the first look at a page is as quick as the next one."""
    expected = {path.name for path in TEMPLATES.glob("*.html")}
    compiled: set[str] = set()
    finished = threading.Event()

    def on_event(event: str, arguments: tuple[object, ...]) -> None:
        # A hook stays for as long as the program runs.
        if event == "compile" and not finished.is_set():
            compiled.add(Path(str(arguments[1])).name)
            if compiled >= expected:
                finished.set()

    sys.addaudithook(on_event)
    config = workspace.home / "config"
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(
                partial(
                    serve,
                    workspace.service(),
                    config=config,
                    state_dir=workspace.home / "state",
                    verifier=config / VERIFIER_FILE,
                    port=0,
                    on_open=lambda _: None,
                )
            )
            done = await anyio.to_thread.run_sync(finished.wait, 30)
            group.cancel_scope.cancel()

    assert done
