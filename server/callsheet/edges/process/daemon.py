"""The one background watcher of an install: its lock, its process id, its log; how it is started and stopped.

The lock decides whether there is one, and the operating system drops it with the process; the file with the
process id only says which. For the command line. Not on Windows, which has neither sessions nor `fork`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import SetupProblem

HOLD_SECONDS = 2.0
"""How long a new watcher waits for somebody who only looks whether there is one."""


class BackgroundWatch:
    """The background watcher that belongs to a state directory."""

    def __init__(self, state: Path) -> None:
        self.log = state / "watch.log"
        self._lock = state / "watch.lock"
        self._pid = state / "watch.pid"

    def is_running(self) -> bool:
        """Whether there is one now."""
        if not self._lock.exists():
            return False
        with self._alone(0) as alone:
            return not alone

    def pid(self) -> int | None:
        """Its process id; only to be believed while it is running."""
        said = (read_private(self._pid, what="process id") or b"").decode("ascii", "replace")
        return int(said) if said.isascii() and said.isdigit() and int(said) > 1 else None

    def start(self, command: Sequence[str], *, environ: Mapping[str, str], directory: Path) -> int | None:
        """Run the command, which must call `settle` and `hold`, in a session of its own, with a new log.

        Returns its process id as soon as it holds the lock; None when another one was faster, or it failed: then
        the log says why. Raises `SetupProblem` where log or lock cannot be made.
        """
        with self._alone(0) as alone:
            if not alone:
                return None
            # Left behind by one that was killed; it must not be taken for the new one's.
            self._pid.unlink(missing_ok=True)
            log = self._open_log()
        try:
            # Ends when the command has closed its standard output, which it does when it holds the lock.
            done = subprocess.run(  # noqa: S603 - the program itself
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(environ),
                cwd=directory,
                start_new_session=True,
                check=False,
            )
        finally:
            os.close(log)
        said = done.stdout.decode("ascii", "replace").strip()
        return int(said) if said.isascii() and said.isdigit() else None

    def settle(self) -> None:
        """In the started process: leave the one that started it, so that it is nobody's child. Before any thread."""
        if sys.platform != "win32" and os.fork():
            os._exit(0)

    @contextmanager
    def hold(self) -> Iterator[bool]:
        """In the started process: be the background watcher while the block runs; False when there is one already.

        Tells the starter the process id and closes standard output.
        """
        with self._alone(HOLD_SECONDS) as alone:
            if not alone:
                yield False
                return
            write_private(self._pid, str(os.getpid()).encode(), what="process id")
            try:
                _close_output(f"{os.getpid()}\n".encode())
                yield True
            finally:
                self._pid.unlink(missing_ok=True)

    def stop(self, *, patience_seconds: float) -> bool:
        """Ask it to end and wait for that; whether it has ended by then."""
        pid = self.pid()
        if pid is not None and self.is_running():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with self._alone(patience_seconds) as alone:
            return alone

    @contextmanager
    def _alone(self, seconds: float) -> Iterator[bool]:
        """Whether the lock could be had within that time; it is held while the block runs."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._lock, mode=0o600)
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.acquire(timeout=seconds)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise _unusable(self._lock, error) from None
        try:
            yield True
        finally:
            lock.release()

    def _open_log(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        try:
            handle = os.open(self.log, flags, 0o600)
            os.fchmod(handle, 0o600)
        except OSError as error:
            raise _unusable(self.log, error) from None
        return handle


def _close_output(last_words: bytes) -> None:
    """Say something on standard output, then let go of it for good."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        with suppress(BrokenPipeError):
            os.write(1, last_words)
        os.dup2(nothing, 1)
    finally:
        os.close(nothing)


def _unusable(path: Path, error: OSError) -> SetupProblem:
    return SetupProblem(
        f"{path} cannot be used ({error.strerror or type(error).__name__}).",
        next_step="Make its directory writable for you, or set CALLSHEET_HOME to one that is.",
    )


__all__ = ["BackgroundWatch"]
