"""What a fork of the tests has in common with a process that was started; and what is never forked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from warm_start import Forked, run, start

ENVIRON = {"PATH": os.environ["PATH"], "OWN": "1"}
LOOK = """
import json, os, signal, sys, threading
from pathlib import Path
found = {
    "argv": sys.argv, "path": sys.path, "environ": dict(os.environ), "directory": os.getcwd(), "name": __name__,
    "leads": os.getsid(0) == os.getpid(), "threads": threading.active_count(), "umask": os.umask(0),
    "files": sorted(int(path.name) for path in Path("/proc/self/fd").iterdir() if path.exists()),
    "signals": [str(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
    "streams": [[each.encoding, each.errors, each.line_buffering] for each in (sys.stdin, sys.stdout, sys.stderr)],
    "flags": [sys.flags.dont_write_bytecode, sys.flags.utf8_mode], "said": sys.stdin.read(),
}
print(json.dumps(found))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are made on Linux only")


@pytest.mark.parametrize("new_session", [True, False])
@pytest.mark.parametrize("kind", ["-c", "a file"])
def test_a_fork_finds_what_a_started_process_finds(tmp_path: Path, kind: str, new_session: bool) -> None:
    """Arguments, path, environment, directory, session, open files, signals and streams; no second thread."""
    (tmp_path / "look.py").write_text(LOOK, encoding="utf-8")
    command = [sys.executable, *([kind, LOOK] if kind == "-c" else [str(tmp_path / "look.py")]), "one", "two\udcff"]
    how: dict[str, Any] = {"env": ENVIRON, "cwd": tmp_path, "start_new_session": new_session, "text": True}

    forked, started = (
        json.loads(run(command, input="said\n", check=True, fresh=fresh, **how).stdout) for fresh in (False, True)
    )

    assert forked == started
    assert forked["threads"] == 1


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("", 0),
        ("raise SystemExit", 0),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('words')", 1),
        ("raise SystemExit(256 + 7)", 7),
        ("1 / 0", 1),
        ("import os; os._exit(5)", 5),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import atexit; atexit.register(print, 'the last word')", 0),
        ("import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()", 0),
        ("import sys; sys.stdout = open('/dev/full', 'w'); print('lost')", 120),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
def test_a_fork_ends_as_a_started_process_ends(code: str, ending: int) -> None:
    """The same exit code or signal, and the same last words, whatever ends it."""
    ends = [run([sys.executable, "-c", code], env=ENVIRON, text=True, fresh=fresh) for fresh in (False, True)]

    assert [end.returncode for end in ends] == [ending, ending]
    assert ends[0].stdout == ends[1].stdout
    assert ends[0].stderr.splitlines()[-1:] == ends[1].stderr.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_the_fork_itself(number: signal.Signals) -> None:
    """Its process id is that of the process that runs the command."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    how: dict[str, Any] = {"env": ENVIRON, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start([sys.executable, "-c", code], **how) as process:
        assert isinstance(process, Forked)
        assert int(process.stdout.readline()) == process.pid
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0.01)
        process.send_signal(number)
        assert process.wait(30) == -number
        process.kill()


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ([sys.executable, "-c", ""], {"PYTHONHASHSEED": "1"}),
        ([sys.executable, "-c", ""], {"LD_PRELOAD": ""}),
        ([sys.executable, "-c", ""], {"FORCE_COLOR": "1"}),
        ([sys.executable, "-I", "-c", ""], {}),
        (["/bin/true"], {}),
    ],
)
def test_what_a_fork_would_not_show_is_started(command: list[str], more: dict[str, str]) -> None:
    """What is read at the start of an interpreter or by an import counts; so do other programs and options."""
    with start(command, env=ENVIRON | more) as process:
        assert isinstance(process, subprocess.Popen)
        assert process.wait(30) == 0
