"""Stdin as the SDK reads it, with one thing mended that would leave a client waiting for ever.

JavaScript writes half of a surrogate pair (an emoji that was cut in two) as an escape, `\\ud83d`. The SDK's JSON
reader refuses such a line and answers nothing at all. Here the half becomes NUL, so that the call arrives and is
refused in words.
"""

from __future__ import annotations

import io
import re
import sys

import anyio

_SUSPECT = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def open_stdin() -> anyio.AsyncFile[str]:
    """The process's stdin as lines of JSON."""
    return anyio.wrap_file(_MendedLines(sys.stdin.buffer, encoding="utf-8", errors="replace"))


def mend_line(line: str) -> str:
    """The line with each escaped half of a surrogate pair as NUL; whole pairs and escaped backslashes stay."""
    if _SUSPECT.search(line) is None:
        return line
    return _ESCAPE.sub(lambda escape: "\\u0000" if escape["half"] else escape[0], line)


class _MendedLines(io.TextIOWrapper):
    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # the stub has no default
        return mend_line(super().readline(size))
