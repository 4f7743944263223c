"""The closed process, looked at from outside; and what the hooks say of an exception that holds a secret."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callsheet.edges.process.hardening import name_types

CANARY = "canary-2f9d51c07be84a36"
NOBODY = 65534

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has these switches")

# A process that gave root up counts as closed until it executes something; the switch makes it as open as any
# other process of that user. What it needs is imported before, because root's own files are closed to it then.
BECOME = f"""
import ctypes, importlib, os, pkgutil, sys
import callsheet, callsheet.__main__ as entry
for module in pkgutil.walk_packages(callsheet.__path__, 'callsheet.'):
    if not module.name.endswith('__main__'):
        importlib.import_module(module.name)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""
SERVE = f"{BECOME}\nsys.argv[1:] = ['mcp']\nentry.main()"
STAY_OPEN = f"{BECOME}\nprint('{{}}', flush=True)\nsys.stdin.read()"
LOOK = f"""
import os, sys
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
for name in ('environ', 'mem'):
    try:
        with open(f'/proc/{{sys.argv[1]}}/{{name}}', 'rb') as file:
            print(name, 'open', file.read(100_000).decode('utf-8', 'replace') if name == 'environ' else '')
    except OSError as error:
        print(name, type(error).__name__)
"""
ASK = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"t","version":"1"}}}\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
    b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"explain_payload","arguments":'
    b'{"prompt":"A red kite over dunes at dusk.","gateway":"poyo","model":"sora-2-official"}}}\n'
)


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that the other user may use too."""
    home = Path(tempfile.mkdtemp(prefix="callsheet-hardening-"))
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    yield home
    shutil.rmtree(home)


@contextmanager
def started(home: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process with a secret in its environment."""
    environ = {**os.environ, "CALLSHEET_HOME": str(home), "POYO_API_KEY": CANARY}
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", env=environ
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def look_at(pid: int) -> str:
    """What another process of the same user can read of that one."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(pid)], capture_output=True, text=True, check=True, cwd="/", timeout=30
    )
    return done.stdout


@linux
def test_another_process_of_the_same_user_reads_neither_environment_nor_memory(open_home: Path) -> None:
    """While the server runs; of a process that was not closed, the same look finds the key."""
    with started(open_home, "-c", STAY_OPEN) as process:
        assert process.stdout.readline() == b"{}\n"
        assert CANARY in look_at(process.pid)
    with started(open_home, "-c", SERVE) as process:
        process.stdin.write(ASK)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        seen = look_at(process.pid)

    assert seen.split() == ["environ", "PermissionError", "mem", "PermissionError"]


@linux
def test_a_server_leaves_no_core_and_makes_private_files(tmp_path: Path) -> None:
    """The limits of the running process, and the modes of all that a call left on disk."""
    with started(tmp_path, "-m", "callsheet", "mcp") as process:
        process.stdin.write(ASK)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        assert json.loads(process.stdout.readline())["result"]["structuredContent"]["sheet_id"]
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii")
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}

    assert next(line for line in limits.splitlines() if line.startswith("Max core file size")).split()[4:6] == ["0"] * 2
    assert "Umask:\t0077" in status
    assert {path.name for path in modes} >= {"data", "ledger.sqlite3"}
    assert {path for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == set()


RAISES = {
    "main thread": "raise ValueError(CANARY)",
    "thread": "t = threading.Thread(target=fail); t.start(); t.join()",
    "task of a loop": "async def run():\n    asyncio.ensure_future(afail())\n"
    "    await asyncio.sleep(0)\nasyncio.run(run())",
    "callback of a loop": "async def run():\n    asyncio.get_running_loop().call_soon(fail)\n"
    "    await asyncio.sleep(0)\nasyncio.run(run())",
    "finaliser": "class Box:\n    def __del__(self): fail()\nBox()",
    "logger without a handler": "try: fail()\nexcept ValueError as e: logging.getLogger('a.b').exception('%s', e)",
    "group": "raise ExceptionGroup(CANARY, [ValueError(CANARY), ExceptionGroup(CANARY, [ValueError(CANARY)])])",
    "cause": "try: fail()\nexcept ValueError as e: raise ValueError(CANARY) from e",
    "note": "e = ValueError(); e.add_note(CANARY); raise e",
}
PREAMBLE = f"""
import asyncio, logging, sys, threading
sys.path.insert(0, '')
CANARY = '{CANARY}'
def fail(): raise ValueError(CANARY)
async def afail(): fail()
"""


def stderr_of(code: str, *, hooks: bool) -> str:
    """What the process says when it fails."""
    names = ("install_hooks", "harden_logs")
    install = "".join(f"from callsheet.edges.process.hardening import {name}\n{name}()\n" for name in names if hooks)
    done = subprocess.run(
        [sys.executable, "-c", f"{PREAMBLE}{install}{code}"], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stderr


@pytest.mark.parametrize("code", RAISES.values(), ids=RAISES)
def test_an_uncaught_error_is_reported_only_by_its_type(code: str) -> None:
    """One line with an id and the type; without the hooks the same code shows the secret."""
    assert CANARY in stderr_of(code, hooks=False)
    said = stderr_of(code, hooks=True)

    assert CANARY not in said
    assert "Traceback" not in said
    assert "ValueError" in said
    assert len(said.splitlines()) == 1, said


def test_a_type_is_named_without_a_word_of_its_text() -> None:
    """Also of a type whose very name was made from something else, and of a large group."""
    made = type(f"Odd {CANARY}\n" * 20, (Exception,), {})
    group = ExceptionGroup(CANARY, [KeyError(CANARY)] * 9)

    assert len(name_types(made())) <= 60
    assert "\n" not in name_types(made())
    assert name_types(group) == "ExceptionGroup of KeyError, KeyError, KeyError, KeyError, …"
    assert name_types(None) == "no exception"


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_closed_program_can_still_be_traced_by_who_started_it(tmp_path: Path) -> None:
    """The crash tests rely on that."""
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-o", str(trace), "-e", "trace=prctl", sys.executable, "-m", "callsheet", "list"],
        capture_output=True,
        check=False,
        cwd="/",
        timeout=60,
        env={**os.environ, "CALLSHEET_HOME": str(tmp_path / "home")},
    )

    assert done.returncode == 0, done.stderr
    assert "PR_SET_DUMPABLE, SUID_DUMP_DISABLE" in trace.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["OTEL_PROPAGATORS", "OTEL_PYTHON_TRACER_PROVIDER"])
def test_what_the_computer_wants_of_opentelemetry_does_not_end_the_server(tmp_path: Path, name: str) -> None:
    """An agent's environment may name parts that are installed elsewhere."""
    environ = {**os.environ, "CALLSHEET_HOME": str(tmp_path), name: "b3"}
    ran = subprocess.run(
        [sys.executable, "-m", "callsheet", "mcp"], input=ASK, env=environ, capture_output=True, check=False, timeout=60
    )

    assert [json.loads(line)["id"] for line in ran.stdout.splitlines()] == [1, 2], ran.stderr
