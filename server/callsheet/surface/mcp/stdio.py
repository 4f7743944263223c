"""Stdin for the SDK, with one repair without which a client would wait for ever.

JavaScript writes half of a surrogate pair (an emoji that was cut in two) as an escape, `\\ud83d`. The SDK's JSON
reader refuses such a line and answers nothing at all. Here the half becomes NUL, so that the call arrives and is
refused in words.
"""

from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SUSPECT = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def repair_stdin() -> None:
    """Put the repair between the process's stdin and later readers of `sys.stdin`."""
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_RepairedLines(sys.stdin.buffer)), encoding="utf-8")


def replace_half_pairs(line: bytes) -> bytes:
    """The line with each escaped half of a surrogate pair as NUL; whole pairs and escaped backslashes stay."""
    if _SUSPECT.search(line) is None:
        return line
    return _ESCAPE.sub(lambda escape: b"\\u0000" if escape["half"] else escape[0], line)


class _RepairedLines(io.RawIOBase):
    """Gives the lines of a stream one after the other. It has no descriptor, so the SDK reads it in place."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._line = io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer)
        if count := self._line.readinto(target):
            return count
        self._line = io.BytesIO(replace_half_pairs(self._lines.readline()))
        return self._line.readinto(target)
