"""Requests per minute and key, as a gateway counts them: a sliding window, in memory, per process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

OWN_PER_MINUTE = 120
"""What the sandbox allows where a gateway documents no figure."""

MOST_CALLERS = 1000


@dataclass(slots=True)
class RateLimiter:
    """Allows `per_minute` requests in any minute of sandbox time. Callers are digests, never keys."""

    clock: Callable[[], float]
    speed: float
    _seen: dict[str, deque[float]] = field(default_factory=dict)

    def wait_for(self, caller: str, per_minute: int) -> float:
        """0 if the request is allowed (it then counts), else the real seconds until the next one is."""
        now, window = self.clock(), 60.0 / self.speed
        seen = self._seen.setdefault(caller, deque())
        while seen and seen[0] <= now - window:
            seen.popleft()
        if len(seen) >= per_minute:
            return seen[0] + window - now
        seen.append(now)
        if len(self._seen) > MOST_CALLERS:
            self._seen.pop(next(iter(self._seen)))
        return 0.0
