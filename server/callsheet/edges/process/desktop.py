"""Starts the programs that the desktop has for a person: one opens a saved clip, or shows it in its folder.

They are started by their fixed paths, without a shell, with the path as one argument, and with nothing of the
environment that could hold a key. Where the ledger says a clip is, another program may have written.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from callsheet.errors import UnknownThing

OPENERS = {"linux": "/usr/bin/xdg-open", "darwin": "/usr/bin/open"}
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")
PASSED_ON = (*SCREENS, "DBUS_SESSION_BUS_ADDRESS", "HOME", "LANG", "PATH", "XAUTHORITY")
"""And what begins with `XDG_`."""
SECONDS = 10.0
"""What opens a file ends immediately; some stay while the player runs, and are left alone."""


def find_opener(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> str | None:
    """The program that opens files here; None where there is none, or no screen."""
    opener = OPENERS.get(platform)
    has_screen = platform == "darwin" or any(environ.get(name) for name in SCREENS)
    return opener if opener and has_screen and Path(opener).exists() else None


def open_clip(opener: str, path: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether that program took the clip; raises `UnknownThing` unless it is a clip that is there."""
    return _start([opener, str(_require_clip(path))], environ)


def show_in_folder(opener: str, path: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether that program took the clip's folder, or the clip to select in it; raises as `open_clip`."""
    clip = _require_clip(path)
    return _start([opener, *(("-R", str(clip)) if opener == OPENERS["darwin"] else (str(clip.parent),))], environ)


def desktop_environ(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """All that such a program gets of the environment."""
    return {name: value for name, value in environ.items() if name in PASSED_ON or name.startswith("XDG_")}


def _require_clip(path: Path) -> Path:
    try:
        is_clip = path.is_absolute() and path.suffix == ".mp4" and stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        is_clip = False
    if not is_clip:
        raise UnknownThing("The clip is no longer where it was saved.", next_step="If it was moved, look there.")
    return path


def _start(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
            command,
            env=desktop_environ(environ),
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,
        )
        return process.wait(SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True
    except OSError:
        return False
