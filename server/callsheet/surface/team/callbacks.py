"""Takes the callbacks of gateways: `POST /callbacks/{gateway}/{token}`.

A doorbell. The body is read to its end, so that the sender gets its answer, and never looked at. The one effect is a
call of `ring`, at most once a second for each sheet. The path holds the token, so neither it nor the body is logged:
the web server in front must not log requests either. No cookie and no sign-in counts here.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from callsheet.core.gateway.callbacks import is_signed_callback, read_callback_token

log = logging.getLogger(__name__)

PATH = "/callbacks/{gateway}/{token}"
MOST_BODY_BYTES = 65_536
MOST_BODY_SECONDS = 5.0
RING_SECONDS = 1.0
SOURCE_WINDOW_SECONDS = 10
MOST_OF_SOURCE = 300
"""In each window. A gateway calls from few addresses, and a team has tens of tasks under way, not thousands."""
MOST_SOURCES = 2_000
"""In each window, so that counting needs little memory. A refused callback only delays: tasks are polled too."""

Ring = Callable[[str, str], Awaitable[None]]
"""Makes the sheet's task due for a status read, if that gateway has it. The gateway is only what the path names."""


class Outcome(StrEnum):
    """What became of a callback."""

    RUNG = "rung"
    REPEATED = "repeated"
    UNSIGNED = "unsigned"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SLOW = "slow"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"


STATUS = {Outcome.UNKNOWN: 404, Outcome.SLOW: 408, Outcome.TOO_LARGE: 413, Outcome.TOO_MANY: 429}
"""Everything else is 200: to repeat it would help nobody, and its sender learns nothing from it."""
UNREAD = (Outcome.SLOW, Outcome.TOO_LARGE, Outcome.TOO_MANY)


@dataclass(frozen=True, slots=True)
class Signed:
    """How a gateway signs: its secret, and what finds its own id of a sheet's task, which is empty if not known yet."""

    secret: bytes = field(repr=False)
    find_task_id: Callable[[str], Awaitable[str]]


class Callbacks:
    """The endpoint. `gateways` are those that may call; for None the token alone counts. `now` is Unix seconds.

    `outcomes` counts what became of them, for metrics. The source is the peer that the web server reports: behind a
    proxy, the server has to be told which proxies to believe.
    """

    def __init__(
        self,
        gateways: Mapping[str, Signed | None],
        keys: Sequence[bytes],
        ring: Ring,
        *,
        now: Callable[[], float],
        body_seconds: float = MOST_BODY_SECONDS,
    ) -> None:
        self.outcomes = Counter[Outcome]()
        self.route = Route(PATH, self.answer, methods=["POST"])
        self._gateways = gateways
        self._keys = keys
        self._ring = ring
        self._now = now
        self._body_seconds = body_seconds
        self._rung = OrderedDict[tuple[str, str], float]()
        self._window = 0.0
        self._sources = Counter[str]()

    async def answer(self, request: Request) -> Response:
        """Answer one callback; nothing in the answer depends on a body."""
        outcome = await self._take(request)
        self.outcomes[outcome] += 1
        response = Response(status_code=STATUS.get(outcome, 200), headers={"cache-control": "no-store"})
        if outcome in UNREAD:
            response.headers["connection"] = "close"
        if outcome is Outcome.TOO_MANY:
            response.headers["retry-after"] = str(SOURCE_WINDOW_SECONDS)
        return response

    async def _take(self, request: Request) -> Outcome:
        if not self._has_room(_source_of(request)):
            return Outcome.TOO_MANY
        if (refused := await _drain(request, self._body_seconds)) is not None:
            return refused
        gateway = request.path_params["gateway"]
        sheet_id = read_callback_token(request.path_params["token"], self._keys)
        if sheet_id is None or gateway not in self._gateways:
            return Outcome.UNKNOWN
        try:
            if not await self._is_signed(gateway, sheet_id, request):
                return Outcome.UNSIGNED
            if not self._is_due(gateway, sheet_id):
                return Outcome.REPEATED
            await self._ring(gateway, sheet_id)
        except Exception as error:
            # The task is polled anyway. The error's own text may hold anything.
            log.error("a callback was not passed on: %s", type(error).__name__)  # noqa: TRY400
            return Outcome.FAILED
        return Outcome.RUNG

    async def _is_signed(self, gateway: str, sheet_id: str, request: Request) -> bool:
        signed = self._gateways[gateway]
        if signed is None:
            return True
        headers = [request.headers.getlist(name) for name in ("x-webhook-timestamp", "x-webhook-signature")]
        if [len(values) for values in headers] != [1, 1]:
            return False
        (timestamp,), (signature,) = headers
        task_id = await signed.find_task_id(sheet_id)
        return is_signed_callback(task_id, timestamp, signature, secret=signed.secret, now=self._now())

    def _is_due(self, gateway: str, sheet_id: str) -> bool:
        """Whether the sheet was not rung in the last second; it counts as rung now."""
        now, rung = self._now(), self._rung
        # A clock that was set back must not silence anything.
        while rung and not 0 <= now - next(iter(rung.values())) < RING_SECONDS:
            rung.popitem(last=False)
        if (gateway, sheet_id) in rung:
            return False
        rung[gateway, sheet_id] = now
        return True

    def _has_room(self, source: str) -> bool:
        window = self._now() // SOURCE_WINDOW_SECONDS
        if window != self._window:
            self._window, self._sources = window, Counter()
        if source not in self._sources and len(self._sources) >= MOST_SOURCES:
            return False
        self._sources[source] += 1
        return self._sources[source] <= MOST_OF_SOURCE


async def _drain(request: Request, seconds: float) -> Outcome | None:
    """Read the body and drop it; what it was refused for, if it is too long or takes too long."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 6 or int(announced) > MOST_BODY_BYTES):
        return Outcome.TOO_LARGE
    size = 0
    with anyio.move_on_after(seconds):
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > MOST_BODY_BYTES:
                    return Outcome.TOO_LARGE
        except ClientDisconnect:
            return Outcome.SLOW
        return None
    return Outcome.SLOW


def _source_of(request: Request) -> str:
    """Who calls: an address, of IPv6 the network, because one caller has a whole one."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


__all__ = ["PATH", "Callbacks", "Outcome", "Ring", "Signed"]
