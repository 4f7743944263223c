"""Where the running desk is: its address in a file, beside a lock that the desk's process holds.

The address is no secret: signing in is still required. It counts only while the lock is held, so an old address that a
killed desk left is never used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import SetupProblem

from .locks import try_lock

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
    except (SetupProblem, ValueError):
        return None
    url = content.get("url") if isinstance(content, dict) else None
    return url if isinstance(url, str) and _ADDRESS.fullmatch(url) else None
