"""Delivers callbacks, on loopback only, so that you can test your own receiver.

A delivery that is waiting when the sandbox stops is not resumed. As with the gateways, a callback is
only a hint; the status is the truth.
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
from callsheet.sandbox.fakes.tasks import SandboxTask, snapshot_at

from .fakes import FAKES

LONGEST_SLEEP = 0.25
_NOT_CONTACTED = "callback_url is not on loopback: the sandbox contacts no other host"

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


def explain_undelivered(url: str) -> str:
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
class WebhookSender:
    """Waits for tasks to end and posts what the gateway would. Tests pass a `sleep` of their own."""

    clock: Clock
    sleep: Sleep = asyncio.sleep
    _deliveries: set[asyncio.Task[None]] = field(default_factory=set)

    def send_when_done(self, task: SandboxTask, *, video_url: str, generation: Generation) -> None:
        """Start to wait for a task's end, if it has one and its callback can be delivered."""
        if task.ends_at is None or not task.callback_url or explain_undelivered(task.callback_url):
            return
        delivery = asyncio.create_task(self._deliver(task, video_url, generation))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def settle(self) -> None:
        """Wait until all deliveries are finished."""
        await asyncio.gather(*self._deliveries)

    async def close(self) -> None:
        """Cancel all deliveries."""
        for delivery in self._deliveries:
            delivery.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)

    async def _deliver(self, task: SandboxTask, video_url: str, generation: Generation) -> None:
        ends_at = task.ends_at
        assert ends_at is not None
        while (left := ends_at - self.clock()) > 0:
            await self.sleep(min(left, LONGEST_SLEEP))
        fake = FAKES[task.gateway]
        callback = fake.build_callback(task, snapshot_at(task, self.clock()), video_url, generation)
        deadline = fake.PROFILE.answer_within[generation]
        for pause in (*fake.PROFILE.callback_retries[generation], None):
            status = 0
            # A receiver that is down, slow or does not speak HTTP counts as a failed delivery.
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                status = await asyncio.wait_for(post_callback(task.callback_url, callback), deadline)
            if 200 <= status < 300 or pause is None:
                return
            await self.sleep(pause / task.speed)


async def post_callback(url: str, callback: Callback) -> int:
    """POST a callback to a loopback URL and return the HTTP status. Raises OSError or ValueError when there is none."""
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
