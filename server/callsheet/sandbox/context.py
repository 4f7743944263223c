"""What the request handlers of the sandbox share: the state, a request, and its outcome."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts
from callsheet.sandbox.fakes.protocol import Answer, FakeGateway, Generation, Reason, Refusal

from .fakes import FAKES
from .fakes.videos import Dialect, find_dialect
from .replies import Headers, Reply, json_reply
from .store import Store
from .video import VideoCache
from .webhooks import WebhookSender

# Requests per minute and key, where a gateway documents none.
OWN_PER_MINUTE = 120
MOST_CALLERS = 1000
_BEARER = re.compile(r"Bearer ([\x21-\x7e]{8,512})")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a sandbox is run.

    Attributes:
        store: directory of tasks, videos and the request log.
        speed: how many times faster than the real gateways tasks run and limits refill.
        rate: requests per minute and key, in place of every other limit; None keeps the gateways' limits.
        clock: Unix seconds.
    """

    store: Path
    speed: float = 30.0
    rate: int | None = None
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if not 0.01 <= self.speed <= 1_000_000:
            raise ValueError(f"Speed {self.speed} is not between 0.01 and 1,000,000.")
        if self.rate is not None and self.rate < 1:
            raise ValueError(f"Rate {self.rate} is not at least 1 request per minute.")


@dataclass(slots=True)
class RateLimiter:
    """Allows `per_minute` requests in any minute of sandbox time, counted in memory. Callers are digests of keys."""

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


class AppState:
    """The parts that the handlers share. Create it in the event loop that serves it."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.clock = settings.clock
        self.store = Store(settings.store)
        self.video_cache = VideoCache(self.store)
        self.webhooks = WebhookSender(settings.clock)
        self.limiter = RateLimiter(settings.clock, settings.speed)
        self.closing = asyncio.Event()

    def facts(self, gateway: str) -> GatewayFacts:
        """The catalogue's facts of a gateway that the sandbox has."""
        facts = self.catalogue.gateway(gateway)
        assert facts is not None, f"the catalogue has no gateway {gateway!r}"
        return facts

    def per_minute(self, gateway: str) -> int:
        """The requests per minute and key: the setting, else the highest documented, else the sandbox's own."""
        facts = self.catalogue.gateway(gateway)
        documented = [card.rate_limit.requests_per_minute or 0 for card in facts.models] if facts else []
        return self.settings.rate or max([*documented, 0]) or OWN_PER_MINUTE

    async def close(self) -> None:
        """Release silent connections, cancel waiting callbacks, stop renderings."""
        self.closing.set()
        await self.webhooks.close()
        await self.video_cache.close()


@dataclass(frozen=True, slots=True)
class Request:
    """One request, completely read. Header names are lower case; `path` is below the gateway's origin."""

    gateway: str
    method: str
    path: str
    path_params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str

    @property
    def fake(self) -> FakeGateway:
        """The fake gateway that answers it."""
        return FAKES[self.gateway]

    @property
    def dialect(self) -> Dialect:
        """The dialect of `/v1/videos` that answers it."""
        dialect = find_dialect(self.gateway)
        assert dialect is not None, f"{self.gateway!r} is no endpoint"
        return dialect

    @property
    def generation(self) -> Generation:
        """The generation that the `X-Sandbox-Generation` header asks for."""
        old = self.headers.get("x-sandbox-generation", "").strip().lower() == "old"
        return Generation.OLD if old else Generation.NEW

    @property
    def body_sha256(self) -> str:
        """The digest of the body, in hex."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def key(self) -> str | None:
        """The bearer key if it would be accepted; it is never stored."""
        match = _BEARER.fullmatch(self.headers.get("authorization", ""))
        return match[1] if match and "invalid" not in match[1].lower() else None

    def video_url(self, task_id: str, token: str) -> str:
        """Where a task's video is, on the server that this request was sent to."""
        return f"{self.base_url}/files/{self.gateway}/{task_id}-{token}.mp4"

    def refuse(self, refusal: Refusal, *, generation: Generation | None = None, headers: Headers = ()) -> Outcome:
        """The gateway's own refusal."""
        fake = FAKES.get(self.gateway) or self.dialect
        answer = fake.build_refusal(refusal, generation or self.generation)
        return Outcome(json_reply(answer, headers=headers))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a request: the reply, and what is logged (see `store.LoggedRequest`)."""

    reply: Reply
    task_id: str = ""
    fault: str = ""
    replayed: bool = False
    jobs: int = 1
    fields: str = ""


__all__ = ["Answer", "AppState", "Outcome", "RateLimiter", "Reason", "Refusal", "Request", "Settings"]
