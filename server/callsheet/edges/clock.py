"""The clock and the dice, as one object that tests replace by a virtual one."""

from __future__ import annotations

import random
import secrets
import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Time and chance. `now` is seconds since the epoch; `sleep` may be ended early by cancellation."""

    def now(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...
    def jitter(self) -> float: ...
    def token(self) -> str: ...


class SystemClock:
    """The machine's own."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - spreads polls in time, guards nothing

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""
        await anyio.sleep(max(seconds, 0.0))

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def token(self) -> str:
        """An unguessable id of 16 lower-case characters."""
        return secrets.token_hex(8)
