"""How this program was installed: the command that starts it, and how to install it permanently.

uv and pipx can run a program once, from a cache that may be deleted at any time. The path of such a run is never
written into a file and never shown as a command.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

PACKAGE = "callsheet"
"""The name on PyPI, and that of the command. Manifests and texts take it from here."""

_CACHES = re.compile(r"/(?:\.cache|Caches|(?:archive|builds|environments)-v\d+)/")


def find_command() -> tuple[str, tuple[str, ...]]:
    """The absolute path of the running program, and the arguments that make it serve MCP."""
    started = Path(sys.argv[0])
    beside = Path(sys.executable).with_name(PACKAGE)
    for path in (started, beside):
        if path.name == PACKAGE and path.is_file() and os.access(path, os.X_OK):
            # Not resolved: a link such as that of `uv tool install` outlives its target.
            return str(path.absolute()), ("mcp",)
    # -P: no imports from the working directory, which is often a project with modules of any name.
    return sys.executable, ("-P", "-m", PACKAGE, "mcp")


def is_cached(command: str) -> bool:
    """Whether that program is in a cache of uv or pipx, itself or through a link."""
    return any(_CACHES.search(Path(path).as_posix()) for path in (command, os.path.realpath(command)))


def write_command(*, once: bool) -> str:
    """What installs the program permanently, or runs it once, with the tool that runs it now."""
    source, pipx = _find_source(), "pipx" in sys.prefix
    if not once:
        return f"{'pipx' if pipx else 'uv tool'} install {source}"
    named = "" if source == PACKAGE else f" {'--spec' if pipx else '--from'} {source}"
    return f"{'pipx run' if pipx else 'uvx'}{named} {PACKAGE}"


def _find_source() -> str:
    """The directory or file that the program was installed from, quoted for a shell; else its name on PyPI."""
    text = importlib.metadata.distribution(PACKAGE).read_text("direct_url.json")
    url = urlsplit(json.loads(text or "{}").get("url", ""))
    return shlex.quote(url2pathname(url.path)) if url.scheme == "file" else PACKAGE
