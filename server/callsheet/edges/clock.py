"""Time and randomness as one object, which tests replace with a virtual one."""

from __future__ import annotations

import random
import secrets
import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Time and randomness. `now` is in seconds since the epoch; cancellation may end `sleep` early."""

    def now(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...
    def jitter(self) -> float: ...
    def token(self) -> str: ...


class SystemClock:
    """The clock and the random numbers of this computer."""

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
