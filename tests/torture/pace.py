"""Time for the torture: every process lives on one clock that runs faster than life."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from callsheet.service.dependencies import Changes

SPEED = 20.0


@dataclass(frozen=True)
class FastClock:
    """Seconds since the epoch, running `SPEED` times as fast since `base`; the same in all processes."""

    base: float
    source: Callable[[], float] = time.time

    def now(self) -> float:
        """The time on the fast clock."""
        return self.base + (self.source() - self.base) * SPEED

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds of the fast clock."""
        await anyio.sleep(max(seconds, 0.0) / SPEED)

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return random.random()

    def token(self) -> str:
        """An id that no other process makes."""
        return secrets.token_hex(8)


class FastChanges(Changes):
    """Waits for a change, in seconds of the fast clock."""

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after that many fast seconds."""
        await super().wait(seconds / SPEED)
