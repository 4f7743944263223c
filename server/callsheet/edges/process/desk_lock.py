"""Where the running desk is: an address beside a lock that lives as long as the desk's process.

The address holds no secret: whoever opens it still has to sign in. The operating system drops the lock with the
process, so an address that was left behind is never believed. Called by the desk, and by whoever sends a person
to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import SetupProblem

HOLD_SECONDS = 2.0
"""How long a desk that starts waits for somebody who only looks whether there is one."""

ADDRESS_FILE = "desk.json"
LOCK_FILE = "desk.lock"

_WHAT = "address of the desk"
_ADDRESS = re.compile(r"http://localhost:[0-9]{1,5}/")


@contextmanager
def hold_desk(state: Path) -> Iterator[bool]:
    """Be the one desk of that state directory while the block runs; False when there is one already.

    Raises `SetupProblem` where the lock cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(state / LOCK_FILE, mode=0o600)
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire(timeout=HOLD_SECONDS)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise SetupProblem(
            f"{state / LOCK_FILE} cannot be used ({error.strerror or type(error).__name__}).",
            next_step="Make its directory writable for you, or set CALLSHEET_HOME to one that is.",
        ) from None
    address = state / ADDRESS_FILE
    try:
        # Left behind by a desk that was killed; it must not be taken for this one's.
        address.unlink(missing_ok=True)
        yield True
    finally:
        address.unlink(missing_ok=True)
        lock.release()


def tell_address(state: Path, url: str) -> None:
    """Write where the desk is; only its holder calls. `url` carries no secret."""
    write_private(state / ADDRESS_FILE, json.dumps({"url": url}).encode(), what=_WHAT)


def find_desk(state: Path) -> str | None:
    """The address of the desk that is running now, None when there is none. Raises nothing."""
    if not (state / LOCK_FILE).exists():
        return None
    from filelock import FileLock, Timeout

    try:
        with FileLock(state / LOCK_FILE, mode=0o600, timeout=0):
            return None
    except Timeout:
        return _read_address(state / ADDRESS_FILE)
    except OSError:
        return None


def _read_address(path: Path) -> str | None:
    try:
        said = json.loads(read_private(path, what=_WHAT) or b"{}")
    except (SetupProblem, ValueError):
        return None
    url = said.get("url") if isinstance(said, dict) else None
    return url if isinstance(url, str) and _ADDRESS.fullmatch(url) else None


__all__ = ["find_desk", "hold_desk", "tell_address"]
