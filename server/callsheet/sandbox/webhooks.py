"""Delivers callbacks, on loopback only, so that people can test their receiver. Best effort.

A delivery that is waiting when the sandbox stops is not resumed: as with the gateways, the status
is the truth and a callback only a hint.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from callsheet.sandbox.fakes.protocol import Callback, Generation
from callsheet.sandbox.fakes.tasks import SandboxTask, moment_at

from .fakes import STAGES

LONGEST_NAP = 0.25
_NOT_CONTACTED = "callback_url is not on loopback: the sandbox contacts no other host"

Clock = Callable[[], float]
Nap = Callable[[float], Awaitable[None]]


def check_callback(url: str) -> str:
    """Why the sandbox will not deliver to a URL; empty when it will."""
    return "" if not url or _loopback(url) else _NOT_CONTACTED


def _loopback(url: str) -> SplitResult | None:
    """The parts of an http(s) URL whose host is this machine, by name or number; None for any other."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or host is None or parts.username is not None:
        return None
    if host == "localhost":
        return parts
    with suppress(ValueError):
        return parts if ipaddress.ip_address(host).is_loopback else None
    return None


@dataclass(slots=True)
class Courier:
    """Waits for tasks to end and posts what the gateway would. `nap` stands in for `asyncio.sleep` in tests."""

    clock: Clock
    nap: Nap = asyncio.sleep
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def send_when_done(self, task: SandboxTask, *, video_url: str, generation: Generation) -> None:
        """Begin to wait for a task's end, if it has one and its callback may be delivered."""
        if task.ends_at is None or not task.callback_url or check_callback(task.callback_url):
            return
        under_way = asyncio.create_task(self._see_through(task, video_url, generation))
        self._under_way.add(under_way)
        under_way.add_done_callback(self._under_way.discard)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        await asyncio.gather(*self._under_way)

    async def close(self) -> None:
        """Give up what is waiting."""
        for under_way in self._under_way:
            under_way.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _see_through(self, task: SandboxTask, video_url: str, generation: Generation) -> None:
        ends_at = task.ends_at
        assert ends_at is not None
        while (left := ends_at - self.clock()) > 0:
            await self.nap(min(left, LONGEST_NAP))
        stage = STAGES[task.gateway]
        callback = stage.write_callback(task, moment_at(task, self.clock()), video_url, generation)
        deadline = stage.COURSE.answer_within[generation]
        for pause in (*stage.COURSE.callback_retries[generation], None):
            status = 0
            # A receiver that is away, slow or speaks no HTTP counts as a failed delivery.
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                status = await asyncio.wait_for(post_callback(task.callback_url, callback), deadline)
            if 200 <= status < 300 or pause is None:
                return
            await self.nap(pause / task.speed)


async def post_callback(url: str, callback: Callback) -> int:
    """POST a callback to a loopback URL; the HTTP status. OSError, ValueError when there is none."""
    parts = _loopback(url)
    if parts is None:
        raise ValueError(_NOT_CONTACTED)
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=True if secure else None
    )
    try:
        writer.write(_request(parts, callback))
        await writer.drain()
        line = await reader.readline()
        return int(line.split()[1]) if line.startswith(b"HTTP/1.") and len(line.split()) > 1 else 0
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _request(parts: SplitResult, callback: Callback) -> bytes:
    body = json.dumps(callback.body).encode()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "User-Agent: callsheet-sandbox",
        *(f"{name}: {value}" for name, value in callback.headers.items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
