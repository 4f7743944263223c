"""How the tests run a command: in this process, in a process of its own, or on a terminal with a person who types."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from warm_start import run, start
from workspace import command_for

PATIENCE_SECONDS = 30.0
CHEAP_RECIPE = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA"
"""The lowest costs of Argon2id, for tests whose subject is not the cost."""
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ran:
    """What one command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON answer."""
        return json.loads(self.out)


CommandLine = Callable[..., Ran]


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child needs beside the test's own variables, and nothing of the tester's."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    return {**kept, "TERM": "xterm-256color", **environ}


def store_cheap_verifier(path: Path, passphrase: str) -> None:
    """Store a verifier of that passphrase which is fast to check."""
    argon2 = Argon2id(salt=b"saltsaltsaltsalt", length=32, iterations=1, lanes=1, memory_cost=8)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(f"{argon2.derive_phc_encoded(passphrase.encode())}\n", encoding="ascii")


class Terminal:
    """One run of `callsheet`, or of another command, on a terminal. Use as a context manager."""

    def __init__(
        self, arguments: list[str], environ: Mapping[str, str], directory: Path, *, command: Sequence[str] = ()
    ) -> None:
        command = command or command_for(clean_environment(environ), *arguments)
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (50, 120))
        self._child = start(command, env=clean_environment(environ), cwd=directory, terminal=os.ttyname(slave))
        self._slave = slave
        self._raw = b""
        self._read_to = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        os.close(self._master)
        os.close(self._slave)

    @property
    def text(self) -> str:
        """Everything that was shown, without colours."""
        return _STYLE.sub("", self._raw.decode("utf-8", "replace")).replace("\r", "")

    def expect(self, awaited: str, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until that text is shown, after what was awaited before. A space also matches a line break."""
        deadline = time.monotonic() + seconds
        pattern = re.compile(re.escape(awaited).replace("\\ ", r"\s+"))
        while (found := pattern.search(self.text, self._read_to)) is None:
            assert time.monotonic() < deadline, f"{awaited!r} was not shown; this was:\n{self.text}"
            assert self._child.poll() is None or self._pending(), f"it ended without {awaited!r}:\n{self.text}"
            self._read(0.1)
        self._read_to = found.end()

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        os.write(self._master, line.encode() + b"\n")

    def press(self, *keys: str) -> None:
        """Press keys in a program that draws a screen, a moment after what was read."""
        for key in keys:
            time.sleep(0.3)
            os.write(self._master, key.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C, a moment after what was read: a prompt shows before its answer is awaited."""
        time.sleep(0.3)
        os.write(self._master, b"\x03")

    def finish(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end; the exit code."""
        deadline = time.monotonic() + seconds
        while self._child.poll() is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
            self._read(0.1)
        while self._pending():
            self._read(0)
        return self._child.returncode

    def _pending(self) -> bool:
        return bool(select.select([self._master], [], [], 0)[0])

    def _read(self, seconds: float) -> None:
        if select.select([self._master], [], [], seconds)[0]:
            self._raw += os.read(self._master, 65536)


def run_without_terminal(
    arguments: list[str], environ: Mapping[str, str], directory: Path, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """One run of `callsheet` with pipes and no controlling terminal."""
    command = command_for(clean_environment(environ), *arguments)
    how = {"text": True, "env": clean_environment(environ), "cwd": directory, "start_new_session": True}
    return run(command, input=typed, **how)
