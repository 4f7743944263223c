"""Putting the server together, and serving it on stdin and stdout."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from .completions import add_completions
from .lifespan import Backstage
from .prompts import add_prompts
from .resources import add_resources
from .server import CallsheetServer
from .subscriptions import add_subscriptions

if TYPE_CHECKING:
    from callsheet.service import Service


MOST_LOGGED = 300


def build_server(service: Service) -> CallsheetServer:
    """The server over these use cases, for both protocol eras."""
    return assemble(Backstage(lambda: service))


def serve_stdio(make_service: Callable[[], Service]) -> None:
    """Serve until stdin closes. Nothing is raised: what ends it early is one line on stderr and exit code 1.

    `make_service` is called when a tool first needs it, and again if it raises `SetupProblem`.
    """
    backstage = Backstage(make_service)
    log_plainly(backstage)
    server = assemble(backstage)
    # The caller may have paused the collector for the imports; what they made stays for good.
    gc.enable()
    gc.freeze()
    run_to_end(lambda: _serve(server, backstage), backstage)


def run_to_end(serve: Callable[[], Awaitable[None]], backstage: Backstage) -> None:
    """Run that on a loop of its own. What ends it early is one line on stderr and exit code 1."""
    try:
        anyio.run(serve)
        say_goodbye(backstage)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        print(f"callsheet: the MCP server ended ({type(error).__name__}).", file=sys.stderr)  # noqa: T201
        sys.exit(1)


def assemble(backstage: Backstage) -> CallsheetServer:
    """The server with everything it offers. Makes no use case and reads no file."""
    server = CallsheetServer(backstage)
    add_resources(server)
    add_prompts(server)
    add_completions(server)
    add_subscriptions(server)
    return server


async def _serve(server: CallsheetServer, backstage: Backstage) -> None:
    async with anyio.create_task_group() as group:
        if sys.platform != "win32":
            group.start_soon(_stop_on_signal, backstage)
        await server.run_stdio_async()
        group.cancel_scope.cancel()


async def _stop_on_signal(backstage: Backstage) -> None:
    """Let requests on their way be answered, then end at once: a thread that reads stdin cannot be cancelled."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for _ in signals:
            await backstage.stop()
            say_goodbye(backstage)
            os._exit(0)


def say_goodbye(backstage: Backstage) -> None:
    """Tell the client's log if tasks are left open: nobody follows them until the next start."""
    word = backstage.parting_word()
    if word is not None:
        sys.stderr.write(f"callsheet: {word}\n")
        sys.stderr.flush()


def log_plainly(backstage: Backstage) -> None:
    """One line for each warning on stderr, without keys and tracebacks, whose texts may hold anything.

    Done before the SDK would set up its own handler, which prints them.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(backstage))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class OneLine(logging.Formatter):
    """Of an exception, its type alone; of the words of libraries, no more than a line."""

    def __init__(self, backstage: Backstage) -> None:
        super().__init__()
        self._backstage = backstage

    def format(self, record: logging.LogRecord) -> str:
        from callsheet.core.security.redaction import clean

        kind = record.exc_info[0] if record.exc_info else None
        told = clean(record.getMessage(), limit=MOST_LOGGED)
        return self._backstage.hide(f"callsheet: {told} ({kind.__name__})" if kind else f"callsheet: {told}")
