"""Opens a saved clip with the program that the desktop has for it.

That program gets the path as one argument and a small environment, so that no gateway key reaches it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

OPENERS = {"darwin": "/usr/bin/open", "win32": r"C:\Windows\explorer.exe"}
"""By their fixed paths; elsewhere `OTHER_OPENER`."""
OTHER_OPENER = "/usr/bin/xdg-open"
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")
SECONDS = 10.0
"""What opens a file ends immediately; some stay while the player runs, and are left alone."""

_PASSED_ON = re.compile(
    "DBUS_SESSION_BUS_ADDRESS|DESKTOP_SESSION|DISPLAY|HOME|LANG|PATH|SYSTEMROOT|USER|WAYLAND_DISPLAY|XAUTHORITY|XDG_.*"
)


def find_opener(environ: Mapping[str, str], platform: str = sys.platform) -> str | None:
    """The program that opens files here; None where there is none, or no screen."""
    opener = OPENERS.get(platform, OTHER_OPENER)
    has_screen = platform in OPENERS or any(environ.get(name) for name in SCREENS)
    return opener if has_screen and Path(opener).exists() else None


def open_file(opener: str, path: Path, environ: Mapping[str, str]) -> bool:
    """Whether the program took the file."""
    given = {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
            [opener, str(path)], env=given, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
        # The one of Windows ends with 1 also where it took the file.
        return process.wait(SECONDS) == 0 or opener == OPENERS["win32"]
    except subprocess.TimeoutExpired:
        return True
    except OSError:
        return False
