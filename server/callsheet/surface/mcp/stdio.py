"""Serves the MCP server on stdin and stdout, and logs to stderr.

Two repairs of stdin, without which a client would wait for ever, because the SDK answers nothing to a line that it
cannot read:

- JavaScript writes half of a surrogate pair (an emoji that was cut in two) as an escape, `\\ud83d`. The half becomes
  NUL, so that the call arrives and is refused in words.
- Any other request that cannot be read (nested over 200 deep, cut, no valid JSON-RPC) becomes a request of its id for
  the method `UNREADABLE`, which the server answers with an error.
"""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, BinaryIO

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    jsonrpc_message_adapter,
)
from mcp_types.version import LATEST_MODERN_VERSION

from .egress import UNREADABLE
from .lifespan import ServerState
from .server import build_mcp_server

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from callsheet.service import Service


MOST_LOGGED = 300


def build_server(service: Service) -> MCPServer[ServerState]:
    """The server over that service, for both protocol eras."""
    return build_mcp_server(ServerState(lambda: service))


def serve_stdio(make_service: Callable[[], Service]) -> None:
    """Serve until stdin closes. Raises nothing: an early end is one line on stderr and exit code 1.

    `make_service` is called when a tool first needs it, and again if it raises `SetupProblem`.
    """
    state = ServerState(make_service)
    configure_log(state)
    server = build_mcp_server(state)
    # The caller may have paused the collector for the imports; what they loaded stays for good.
    gc.enable()
    gc.freeze()
    run_to_end(lambda: _serve(server, state), state)


def run_to_end(serve: Callable[[], Awaitable[None]], state: ServerState) -> None:
    """Run that on its own event loop. An early end is one line on stderr and exit code 1."""
    try:
        anyio.run(serve)
        hand_over(state)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        print(f"callsheet: the MCP server ended ({type(error).__name__}).", file=sys.stderr)  # noqa: T201
        sys.exit(1)


async def _serve(server: MCPServer[ServerState], state: ServerState) -> None:
    async with anyio.create_task_group() as group:
        if sys.platform != "win32":
            group.start_soon(_stop_on_signal, state)
        repair_stdin()
        await server.run_stdio_async()
        group.cancel_scope.cancel()


async def _stop_on_signal(state: ServerState) -> None:
    """Let requests under way be answered, then exit immediately: a thread that reads stdin cannot be cancelled."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for _ in signals:
            await state.stop()
            hand_over(state)
            os._exit(0)


def hand_over(state: ServerState) -> None:
    """See that live tasks are followed, and say on stderr if tasks are still open."""
    text = state.hand_over()
    if text is not None:
        sys.stderr.write(f"callsheet: {text}\n")
        sys.stderr.flush()


def configure_log(state: ServerState) -> None:
    """Log one line for each warning to stderr, without keys and tracebacks, whose texts may hold anything.

    Call it before the SDK sets up its own handler, which prints tracebacks.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(state))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class OneLine(logging.Formatter):
    """Formats a record as one line: of an exception, only its type."""

    def __init__(self, state: ServerState) -> None:
        super().__init__()
        self._state = state

    def format(self, record: logging.LogRecord) -> str:
        from callsheet.core.security.redaction import clean

        kind = record.exc_info[0] if record.exc_info else None
        text = clean(record.getMessage(), limit=MOST_LOGGED)
        return self._state.redact_text(f"callsheet: {text} ({kind.__name__})" if kind else f"callsheet: {text}")


_SUSPECT = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def repair_stdin() -> None:
    """Put the repairs between the process's stdin and later readers of `sys.stdin`."""
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_RepairedLines(sys.stdin.buffer)), encoding="utf-8")


def replace_half_pairs(line: bytes) -> bytes:
    """The line with each escaped half of a surrogate pair as NUL; whole pairs and escaped backslashes stay."""
    if _SUSPECT.search(line) is None:
        return line
    return _ESCAPE.sub(lambda escape: b"\\u0000" if escape["half"] else escape[0], line)


_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(_STRING + rb"|[\[\]{}]")
_ENVELOPE = {
    "_meta": {
        PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
        CLIENT_INFO_META_KEY: {"name": "unknown", "version": "0"},
        CLIENT_CAPABILITIES_META_KEY: dict[str, object](),
    }
}
_NAMED = re.compile(rb"\s*:\s*")
_ID = re.compile(_STRING + rb"|-?[0-9]{1,30}(?![0-9.eE])")


def replace_unreadable(line: bytes) -> bytes:
    """The line, or for a request that the SDK cannot read, one with its id that is answered with an error."""
    if _is_readable(line):
        return line
    fields = _find_fields(line)
    found = _ID.match(line, fields[b'"id"']) if {b'"id"', b'"method"'} <= fields.keys() else None
    if found is None:
        return line  # nobody waits for an answer
    # The first request decides the era of the connection, so a request of the newer era must remain one.
    params = json.dumps(_ENVELOPE) if PROTOCOL_VERSION_META_KEY.encode() in line else "{}"
    call = b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":%b}\n'
    answerable = call % (found[0], UNREADABLE.encode(), params.encode())
    return answerable if _is_readable(answerable) else line


def _is_readable(line: bytes) -> bool:
    try:
        jsonrpc_message_adapter.validate_json(line.decode("utf-8", "replace"), by_name=False)
    except ValueError:
        return False
    return True


def _find_fields(line: bytes) -> dict[bytes, int]:
    """The fields of the outermost object, in quotes, and where their values begin. Any line will do."""
    fields, depth = dict[bytes, int](), 0
    for token in _TOKEN.finditer(line):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and (named := _NAMED.match(line, token.end())):
            fields[token[0]] = named.end()
    return fields


class _RepairedLines(io.RawIOBase):
    """Gives the lines of a stream one after the other. It has no descriptor, so the SDK reads it in place."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._line = io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer)
        if count := self._line.readinto(target):
            return count
        self._line = io.BytesIO(replace_unreadable(replace_half_pairs(self._lines.readline())))
        return self._line.readinto(target)
