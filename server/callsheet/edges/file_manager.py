"""Shows a saved clip in the system's file manager.

The file itself is never opened: the manager gets the folder, or the file to select in it. It is started by its fixed
path, without a shell, with the path as one argument, and with nothing of the environment that could hold a key.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from callsheet.edges.notices import DESKTOP_VARIABLES
from callsheet.errors import SetupProblem, UnknownThing

PROGRAMS = {"linux": "/usr/bin/xdg-open", "darwin": "/usr/bin/open"}
SECONDS = 10.0


def can_show(platform: str = sys.platform) -> bool:
    """Whether a file manager can be expected here."""
    has_screen = platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return has_screen and platform in PROGRAMS and Path(PROGRAMS[platform]).exists()


def folder_command(path: Path, platform: str = sys.platform) -> list[str]:
    """What shows that clip in its folder; raises `UnknownThing` unless it is a clip that is there."""
    try:
        is_file = path.is_absolute() and path.suffix == ".mp4" and stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise UnknownThing("The clip is no longer where it was saved.", next_step="If it was moved, look there.")
    return [PROGRAMS[platform], "-R", str(path)] if platform == "darwin" else [PROGRAMS[platform], str(path.parent)]


def show_in_folder(path: Path) -> None:
    """Show it; raises `SetupProblem` where that is not possible."""
    command = folder_command(path) if can_show() else []
    environ = {name: os.environ[name] for name in DESKTOP_VARIABLES if name in os.environ}
    try:
        done = command and subprocess.run(command, env=environ, timeout=SECONDS, check=False, capture_output=True)  # noqa: S603 - a fixed program, no shell
    except (OSError, subprocess.TimeoutExpired):
        done = []
    if not isinstance(done, subprocess.CompletedProcess) or done.returncode != 0:
        raise SetupProblem("No file manager could be opened here.", next_step="Copy the path instead.")
