"""Serves the MCP server on stdin and stdout, and logs to stderr.

The SDK reads and writes a `Pipe`. Without three repairs in between, a client would wait for ever:

- JavaScript writes half of a surrogate pair (an emoji that was cut in two) as an escape, `\\ud83d`. The half becomes
  NUL, so that the call arrives and is refused in words.
- The SDK answers nothing to a line that it cannot read (nested over 200 deep, cut, a batch, an id that is no integer).
  Here it gets the error that JSON-RPC names for it, under its id if it has one.
- The SDK drops the calls that are under way when stdin ends. It learns of the end only after they were answered.
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
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.types import INVALID_REQUEST, PARSE_ERROR, JSONRPCNotification, JSONRPCRequest, jsonrpc_message_adapter
from pydantic import ValidationError

from .arguments import NOTHING_SENT
from .lifespan import ServerState
from .server import build_mcp_server
from .snapshot import LISTEN, Pipe, take_over

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from callsheet.service import Service


MOST_LOGGED = 300
LONGEST_ANSWER_SECONDS = 10.0
"""After the end of stdin, no call under way may take longer."""
UNREADABLE = {
    PARSE_ERROR: f"The message could not be read: it is no valid JSON, or nested too deep. {NOTHING_SENT}",
    INVALID_REQUEST: f"The message is no single JSON-RPC request with an integer or a text as its id. {NOTHING_SENT}",
}


def build_server(service: Service) -> MCPServer[ServerState]:
    """The server over that service, for both protocol eras."""
    return build_mcp_server(ServerState(lambda: service))


def serve_stdio(make_service: Callable[[], Service], pipe: Pipe | None = None) -> None:
    """Serve until stdin closes. Raises nothing: an early end is one line on stderr and exit code 1.

    `make_service` is called when a tool first needs it, and again if it raises `SetupProblem`. `pipe` has taken over
    stdin and stdout already; without one, the SDK answers everything.
    """
    pipe = pipe or take_over({})
    state = ServerState(make_service)
    configure_log(state)
    server = build_mcp_server(state)
    # The caller may have paused the collector for the imports; what they loaded stays for good.
    gc.enable()
    gc.freeze()
    run_to_end(lambda: _serve(server, state, pipe), state)


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


async def _serve(server: MCPServer[ServerState], state: ServerState, pipe: Pipe) -> None:
    async with anyio.create_task_group() as group:
        if sys.platform != "win32":
            group.start_soon(_stop_on_signal, state)
        await serve_pipe(server, pipe)
        group.cancel_scope.cancel()


async def serve_pipe(server: MCPServer[ServerState], pipe: Pipe) -> None:
    """Serve until the pipe's source ends. The SDK takes `sys.stdin` and `sys.stdout`, which it gives back."""
    before = sys.stdin, sys.stdout

    def give_back() -> None:
        sys.stdin, sys.stdout = before

    # The names keep both alive: the SDK holds only their buffers.
    sys.stdin = incoming = io.TextIOWrapper(io.BufferedReader(_Incoming(pipe, give_back)), encoding="utf-8")
    sys.stdout = outgoing = io.TextIOWrapper(io.BufferedWriter(_Outgoing(pipe)), encoding="utf-8")
    await server.run_stdio_async()
    del incoming, outgoing


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


def replace_half_pairs(line: bytes) -> bytes:
    """The line with each escaped half of a surrogate pair as NUL; whole pairs and escaped backslashes stay."""
    if _SUSPECT.search(line) is None:
        return line
    return _ESCAPE.sub(lambda escape: b"\\u0000" if escape["half"] else escape[0], line)


_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(_STRING + rb"|[\[\]{}]")
_NAMED = re.compile(rb"\s*:\s*")
_ID = re.compile(_STRING + rb"|-?[0-9]{1,30}(?:\.[0-9]{1,30})?(?=[\s,}])")


def build_refusal(line: bytes, code: int) -> bytes:
    """The error for a line that is no request, under its id if that is a text or a number; nothing for a response."""
    fields = _find_fields(line)
    if b'"method"' not in fields and not fields.keys().isdisjoint((b'"result"', b'"error"')):
        return b""
    found = _ID.match(line, fields[b'"id"']) if {b'"id"', b'"method"'} <= fields.keys() else None
    request_id = None
    if found is not None:
        with suppress(ValueError):
            request_id = json.loads(found[0].decode())
    error = {"code": code, "message": UNREADABLE[code]}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode() + b"\n"


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


class _Incoming(io.RawIOBase):
    """Gives the lines of a pipe one after the other. It has no descriptor, so the SDK reads it in place."""

    def __init__(self, pipe: Pipe, on_read: Callable[[], None]) -> None:
        self._pipe = pipe
        self._on_read = on_read
        self._line = io.BytesIO()
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._on_read()
        target = memoryview(buffer)
        if count := self._line.readinto(target):
            return count
        self._line = io.BytesIO(self._next_readable())
        return self._line.readinto(target)

    def _next_readable(self) -> bytes:
        while not self._ended and (line := replace_half_pairs(self._pipe.next_line())):
            if not line.strip():
                continue
            code = self._judge(line)
            if code is None:
                return line
            self._pipe.send(build_refusal(line, code))
        self._ended = True
        self._pipe.wait_until_answered(LONGEST_ANSWER_SECONDS)
        return b""

    def _judge(self, line: bytes) -> int | None:
        """The code of the error if the SDK would not answer that line; else note whether it will."""
        try:
            message = jsonrpc_message_adapter.validate_json(line.decode(), by_name=False)
        except ValidationError as error:
            return PARSE_ERROR if error.errors(include_input=False)[0]["type"] == "json_invalid" else INVALID_REQUEST
        except ValueError:
            return PARSE_ERROR
        if isinstance(message, JSONRPCNotification):
            if b'"id"' in _find_fields(line):
                return INVALID_REQUEST
            if message.method == "notifications/cancelled":
                self._pipe.settle((message.params or {}).get("requestId"))
        # A stream of notifications is answered only when it is closed.
        elif isinstance(message, JSONRPCRequest) and message.method != LISTEN:
            self._pipe.expect(message.id)
        return None


class _Outgoing(io.RawIOBase):
    """Passes whole lines on to a pipe, and says which requests they answer."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._rest = b""

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "method" in message:
                self._pipe.send(line + b"\n")
            else:
                self._pipe.send_reply(line + b"\n", message["id"])
        return memoryview(data).nbytes
