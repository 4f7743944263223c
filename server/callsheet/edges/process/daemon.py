"""The background runner of an install: its lock, its process id and its log; how it is started and stopped.

The lock shows whether it runs; the file with the process id only says which process it is. Not on Windows, which has
neither sessions nor `fork`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import SetupProblem

from .locks import try_lock, unusable

HOLD_SECONDS = 2.0
"""How long a new one waits for a process that only checks whether one is running."""

LOOK_SECONDS = 0.1
"""Longer than a process holds the lock that only checks: two that check together must not take each other for it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How the background runner is started: a command that calls `detach` and `hold`, and where it runs."""

    command: tuple[str, ...]
    environ: Mapping[str, str]
    directory: Path


class BackgroundRunner:
    """The background runner of one state directory; there is at most one."""

    def __init__(self, state: Path, launch: Launch) -> None:
        self.log = state / "watch.log"
        self._launch = launch
        self._lock = state / "watch.lock"
        self._pid = state / "watch.pid"

    def is_running(self) -> bool:
        """Whether it is running now."""
        if not self._lock.exists():
            return False
        with try_lock(self._lock, seconds=LOOK_SECONDS) as is_free:
            return not is_free

    def pid(self) -> int | None:
        """Its process id; valid only while it is running."""
        text = (read_private(self._pid, what="process id") or b"").decode("ascii", "replace")
        return int(text) if text.isascii() and text.isdigit() and int(text) > 1 else None

    def ensure(self) -> bool:
        """Start it unless it is running; whether it is running then. Raises nothing."""
        if not is_supported():
            return False
        try:
            return self.is_running() or self.start() is not None or self.is_running()
        except (OSError, SetupProblem):
            return False

    def start(self) -> int | None:
        """Start it in a new session with a new log.

        Returns its process id as soon as it holds the lock. None if another one was faster or it failed; then the log
        says why. Raises `SetupProblem` if the log or the lock cannot be created, `OSError` if no process can be.
        """
        with try_lock(self._lock, seconds=LOOK_SECONDS) as is_free:
            if not is_free:
                return None
            # A killed process left it; it must not be mistaken for the new one's.
            self._pid.unlink(missing_ok=True)
            log = self._open_log()
        try:
            # Returns when the command closes its standard output, which it does once it holds the lock.
            done = subprocess.run(  # noqa: S603 - the program itself
                self._launch.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(self._launch.environ),
                cwd=self._launch.directory,
                start_new_session=True,
                check=False,
            )
        finally:
            os.close(log)
        text = done.stdout.decode("ascii", "replace").strip()
        return int(text) if text.isascii() and text.isdigit() else None

    def detach(self) -> None:
        """In the started process: detach from the process that started it. Call before any thread starts."""
        if sys.platform != "win32" and os.fork():
            os._exit(0)

    @contextmanager
    def hold(self) -> Iterator[bool]:
        """In the started process: hold the lock while the block runs; False if another one already does.

        Reports the process id to the starting process and closes standard output.
        """
        with try_lock(self._lock, seconds=HOLD_SECONDS) as is_free:
            if not is_free:
                yield False
                return
            write_private(self._pid, str(os.getpid()).encode(), what="process id")
            try:
                _close_output(f"{os.getpid()}\n".encode())
                yield True
            finally:
                self._pid.unlink(missing_ok=True)

    def stop(self, *, timeout_seconds: float) -> bool:
        """Ask it to end and wait; whether it ended in time."""
        pid = self.pid()
        if pid is not None and self.is_running():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with try_lock(self._lock, seconds=timeout_seconds) as is_free:
            return is_free

    def _open_log(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        try:
            handle = os.open(self.log, flags, 0o600)
            os.fchmod(handle, 0o600)
        except OSError as error:
            raise unusable(self.log, error) from None
        return handle


def is_supported(platform: str = sys.platform) -> bool:
    """Whether that platform has the sessions and the `fork` that it needs."""
    return platform != "win32"


def _close_output(text: bytes) -> None:
    """Write to standard output for the last time, then redirect it to nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with suppress(BrokenPipeError):
            os.write(1, text)
        os.dup2(null, 1)
    finally:
        os.close(null)
