"""Runs the sandbox on loopback: inside a program (`serve_sandbox`) or as a program of its own (`run_sandbox`).

It binds 127.0.0.1 and nothing else. Uvicorn is imported when used, without its signal handlers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.process.loopback import HOST, bind_loopback, build_web_server
from callsheet.sandbox.published import with_published

from .app import build_app
from .context import AppState, Settings
from .fakes import FAKES
from .fakes.videos import DIALECTS
from .faults import FAULTS
from .replies import TRANSPORT_KEY, Receive, Scope, Send

SHUTDOWN_SECONDS = 3


@asynccontextmanager
async def serve_sandbox(
    store: Path,
    *,
    speed: float = 30.0,
    port: int = 0,
    rate: int | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[str]:
    """Yield the base URL, `http://127.0.0.1:43117`; a gateway's own origin is `<base>/<gateway id>`.

    `speed` is how many times faster than the real gateways tasks run, `port` 0 takes a free one, `rate` (requests
    per minute and key) replaces all limits, `clock` gives Unix seconds. OSError when the port is taken.
    """
    state = AppState(Settings(store, speed, rate, clock), with_published(load_catalogue()))
    with bind_loopback(port) as listener:
        ready = asyncio.Event()
        server = build_web_server(
            build_app(state),
            ready=ready,
            http=_protocol(),
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await _wait_until_ready(serving, ready)
        try:
            state.store.prune(time.time())
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            await state.close()
            server.should_exit = True
            await serving


def run_sandbox(store: Path, *, speed: float, port: int, rate: int | None = None) -> None:
    """Serve until interrupted; prints the base URLs and the tags."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_run_until_interrupted(store, speed=speed, port=port, rate=rate))


async def _run_until_interrupted(store: Path, *, speed: float, port: int, rate: int | None) -> None:
    async with serve_sandbox(store, speed=speed, port=port, rate=rate) as base_url:
        print(describe_sandbox(base_url, speed), flush=True)  # noqa: T201 - what this command is for
        await asyncio.Event().wait()


def describe_sandbox(base_url: str, speed: float) -> str:
    """The first screen of the standalone sandbox."""
    lines = [f"The sandbox imitates four gateways at {speed:g} times their speed. Everything here is free.", ""]
    lines += [f"  {gateway:<8} {base_url}/{gateway}" for gateway in FAKES]
    lines += ["", "It serves /v1/videos as other servers do, each in its dialect:", ""]
    lines += [f"  {dialect:<9} {base_url}/endpoints/{dialect}/v1" for dialect in DIALECTS]
    lines += [
        "",
        "Any bearer key of 8 characters or more is accepted.",
        "Tags you can put into a prompt, [[sandbox:NAME]] or [[sandbox:NAME=VALUE]]:",
        "",
    ]
    for fault in FAULTS:
        value = f" Value: {fault.value}." if fault.value else ""
        lines.append(f"  {fault.name:<21} {fault.meaning}{value}")
    return "\n".join([*lines, "", "Stop with Ctrl+C."])


async def _wait_until_ready(serving: asyncio.Task[None], ready: asyncio.Event) -> None:
    """Wait until the server listens; raise its error if it ends before that."""
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not ready.is_set():
        waiting.cancel()
        await serving


def _protocol() -> type[asyncio.Protocol]:
    """The usual protocol, which also gives each request its connection, because a fault may close it."""
    from callsheet.edges.process.http_protocol import BoundedProtocol

    class ReachableProtocol(BoundedProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            inner: Any = self.app

            async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
                await inner({**scope, TRANSPORT_KEY: transport}, receive, send)

            self.app = with_transport

    return ReachableProtocol
