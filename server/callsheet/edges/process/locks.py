"""Lock files that show which processes run, and where the running desk is.

The operating system releases a lock when its process ends, so a lock needs no heartbeat and cannot be left behind. The
desk's address is in a file beside its lock. It is no secret: signing in is still required. It counts only while the
lock is held, so an old address that a killed desk left is never used. The `filelock` library is imported when used.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import SetupProblem


@contextmanager
def try_lock(path: Path, *, seconds: float = 0.0) -> Iterator[bool]:
    """Hold that lock while the block runs; False if it could not be had within that time. Raises `SetupProblem`."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=0o600)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire(timeout=seconds)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise unusable(path, error) from None
    try:
        yield True
    finally:
        lock.release()


def unusable(path: Path, error: OSError) -> SetupProblem:
    """The error for a file in the state directory that cannot be written."""
    return SetupProblem(
        f"{path} cannot be used ({error.strerror or type(error).__name__}).",
        next_step="Make its directory writable, or set CALLSHEET_HOME to a writable one.",
    )


class FileLeases:
    """Which runners are alive: each holds the lock file of its id in one directory while it runs."""

    def __init__(self, directory: Path, runner_id: str | None = None) -> None:
        self.runner_id = runner_id or secrets.token_hex(8)
        self._directory = directory
        self._held: ExitStack | None = None

    def hold(self) -> None:
        """Take this process's lock; idempotent. Raises `SetupProblem`."""
        if self._held is None:
            held = ExitStack()
            if not held.enter_context(try_lock(self._path(self.runner_id))):
                raise unusable(self._path(self.runner_id), TimeoutError("another process holds it"))
            self._held = held

    def release(self) -> None:
        """Release it, so that others can adopt this runner's tasks immediately."""
        if self._held is not None:
            self._held.close()
            self._held = None
            with suppress(OSError):
                self._path(self.runner_id).unlink()

    def is_alive(self, runner_id: str | None) -> bool:
        """Whether the process of that runner still holds its lock."""
        if runner_id == self.runner_id:
            return True
        if runner_id is None or not self._path(runner_id).exists():
            return False
        with try_lock(self._path(runner_id)) as is_free:
            if not is_free:
                return True
        with suppress(OSError):
            self._path(runner_id).unlink()
        return False

    def any_live(self) -> bool:
        """Whether this process or another one holds such a lock."""
        return self._held is not None or self.others_live()

    def others_live(self) -> bool:
        """Whether another process holds such a lock: it adopts what this one leaves."""
        found = (path.stem for path in self._directory.glob("*.lock"))
        return any(runner_id != self.runner_id and self.is_alive(runner_id) for runner_id in found)

    def _path(self, runner_id: str) -> Path:
        return self._directory / f"{runner_id}.lock"


HOLD_SECONDS = 2.0
"""How long a starting desk waits for a process that only checks whether one is running."""

ADDRESS_FILE = "desk.json"
LOCK_FILE = "desk.lock"

_WHAT = "address of the desk"
_ADDRESS = re.compile(r"http://localhost:[0-9]{1,5}/")


@contextmanager
def hold_desk(state: Path) -> Iterator[bool]:
    """Hold the lock of that state directory's only desk while the block runs; False if another desk holds it.

    Raises `SetupProblem` if the lock cannot be created.
    """
    address = state / ADDRESS_FILE
    with try_lock(state / LOCK_FILE, seconds=HOLD_SECONDS) as is_free:
        if not is_free:
            yield False
            return
        try:
            # A killed desk left it; it must not be mistaken for this one's.
            address.unlink(missing_ok=True)
            yield True
        finally:
            address.unlink(missing_ok=True)


def write_address(state: Path, url: str) -> None:
    """Store the desk's address; call it only while holding the lock. `url` contains no secret."""
    write_private(state / ADDRESS_FILE, json.dumps({"url": url}).encode(), what=_WHAT)


def find_desk(state: Path) -> str | None:
    """The address of the running desk, None if there is none. Never raises."""
    if not (state / LOCK_FILE).exists():
        return None
    try:
        with try_lock(state / LOCK_FILE) as is_free:
            return None if is_free else _read_address(state / ADDRESS_FILE)
    except SetupProblem:
        return None


def _read_address(path: Path) -> str | None:
    try:
        content = json.loads(read_private(path, what=_WHAT) or b"{}")
    except (SetupProblem, ValueError, RecursionError):
        return None
    url = content.get("url") if isinstance(content, dict) else None
    return url if isinstance(url, str) and _ADDRESS.fullmatch(url) else None
