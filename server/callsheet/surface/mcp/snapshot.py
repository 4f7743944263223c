"""Answers what a client asks first from a snapshot, while the SDK loads. Imports only what loads in milliseconds.

A thread reads standard input for as long as the process lives. Until the SDK reads, the thread answers the handshake,
`ping` and the lists from `snapshot.json`, which `make render` writes from the SDK's own replies, for each version of
the protocol. Everything else waits in order for the SDK. The request that opened the connection waits there too, under
an id whose reply is dropped, so that the SDK is in the state that the client has seen.

The snapshot answers only what it surely fits. After the first request that is no known way to open a connection, the
SDK answers everything.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from queue import Queue

TYPE_CHECKING = False  # as `typing` has it; importing that takes a tenth of the time to the first reply
if TYPE_CHECKING:
    from typing import Any

    Snapshot = Mapping[str, Mapping[str, Any]]

HANDSHAKE = ("protocolVersion", "clientInfo", "capabilities")
RESERVED = "io.modelcontextprotocol/"
VERSION, INFO, CAPABILITIES = ENVELOPE = tuple(
    f"{RESERVED}{name}" for name in ("protocolVersion", "clientInfo", "clientCapabilities")
)
OPEN_ENDED = ("experimental", "extensions")
"""Capabilities that may hold anything."""
LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")
LISTEN = "subscriptions/listen"
FILE = "snapshot.json"

MOST_WAITING = 64
"""Lines. Beyond that, the client waits, as it would for a server that reads slowly."""
MOST_NESTED = 100
"""Brackets in a line that is looked at. The SDK reads no deeper than 200."""
UNASKED_LOAD_SECONDS = 0.1
"""The SDK loads after the tools were listed, when a request needs it, or after this time."""


class Pipe:
    """The client's end of stdin and stdout, from the first line to the end of the process.

    `lines` holds what the SDK has to read, in order. An empty line is the end.
    """

    def __init__(self, source: int, sink: int, snapshot: Snapshot) -> None:
        self.lines: Queue[bytes] = Queue(MOST_WAITING)
        self._source = source
        self._sink = sink
        self._opening = Opening(snapshot)
        self._replay_id = os.urandom(16).hex()
        self._loaded = False
        self._wanted = threading.Event()
        self._written = threading.Condition()
        self._unanswered: Counter[str] = Counter()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def wait_until_wanted(self) -> None:
        """Return when the SDK should be loaded. Loading it earlier would slow the first replies down."""
        self._wanted.wait(UNASKED_LOAD_SECONDS)

    def next_line(self) -> bytes:
        """For the SDK: from now on, it answers everything."""
        self._loaded = True
        return self.lines.get()

    def expect(self, request_id: object) -> None:
        """That request was given to the SDK."""
        with self._written:
            self._unanswered[str(request_id)] += 1

    def settle(self, request_id: object) -> None:
        """It was answered, or needs no answer any more."""
        with self._written:
            self._unanswered -= Counter([str(request_id)])
            self._written.notify_all()

    def wait_until_answered(self, seconds: float) -> None:
        """Return when every request has its answer, or after that time."""
        with self._written:
            self._written.wait_for(lambda: not self._unanswered, seconds)

    def send(self, line: bytes) -> None:
        """Write a line. When nobody reads any more, nobody waits for an answer either."""
        with self._written:
            try:
                while line:
                    line = line[os.write(self._sink, line) :]
            except OSError:
                self._unanswered.clear()
                self._written.notify_all()

    def send_reply(self, line: bytes, request_id: object) -> None:
        """Write what the SDK answered, unless the client has that answer already."""
        if request_id != self._replay_id:
            self.send(line)
        self.settle(request_id)

    def _read(self) -> None:
        try:
            with open(self._source, "rb") as stream:  # noqa: PTH123 - a descriptor
                for line in stream:
                    self._take(line)
        finally:
            self._wanted.set()
            self.lines.put(b"")

    def _take(self, line: bytes) -> None:
        message = None if self._loaded else read_message(line)
        if message is None:
            self._opening.close()
        result = self._opening.answer(message) if message else None
        if message is None or result is None:
            self.lines.put(line)
            # Notifications can wait, sent or asked for.
            if message is None or ("id" in message and message["method"] != LISTEN):
                self._wanted.set()
            return
        self.send(_dump({"jsonrpc": "2.0", "id": message["id"], "result": result}))
        if message is self._opening.first:
            self.lines.put(_dump({**message, "id": self._replay_id}))
        if message["method"] == LISTS[0]:
            self._wanted.set()


class Opening:
    """What the snapshot answers on one connection. The first request decides the era of the protocol, once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.first: Mapping[str, Any] | None = None
        self._snapshot = snapshot
        self._results: Mapping[str, Any] = {}
        self._named: str | None = ""

    def answer(self, message: Mapping[str, Any]) -> Any:
        """The result of that request; None if the SDK has to answer."""
        if "id" not in message:
            return None
        method, version = message["method"], read_version(message)
        if self.first is None:
            self.first = message
            self._results = self._snapshot.get(version or "", {})
            # In the newer era, each request names the version.
            self._named, opener = ("", method) if method == "initialize" else (version, "server/discover")
            if opener not in self._results:
                self.close()
        elif method == "initialize":
            self.close()
        elif version != self._named:
            return None
        return self._results.get(method)

    def close(self) -> None:
        """From now on the SDK answers everything, because what it is given may change its state."""
        self.first = self.first or {}
        self._results = {}


def read_message(line: bytes) -> dict[str, Any] | None:
    """The message, if it is one that the SDK certainly reads as this does."""
    if line.count(b"{") + line.count(b"[") > MOST_NESTED:
        return None
    try:
        message = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return None
    number = message.get("id", 0)
    fits = (type(number) is int and abs(number) < 2**53) or (type(number) is str and number.isascii())
    fits = fits and message.keys() <= {"jsonrpc", "id", "method", "params"} and isinstance(message.get("method"), str)
    return message if fits and isinstance(message.get("params", {}), dict) else None


def read_version(message: Mapping[str, Any]) -> str | None:
    """The version that a request names, or "". None if the request says anything that might change the answer."""
    params = message.get("params", {})
    notes = params.get("_meta", {})
    if not isinstance(notes, dict):
        return None
    handshake = message["method"] == "initialize"
    names = HANDSHAKE if handshake else ENVELOPE if VERSION in notes else ()
    rest = {name: value for name, value in notes.items() if handshake or name not in names}
    if params.keys() - {"_meta"} != set(names if handshake else ()):
        return None
    if any(name.startswith((RESERVED, "progress_token")) or type(rest[name]) not in (int, str) for name in rest):
        return None
    if not names:
        return ""
    version, info, capabilities = ((params if handshake else notes).get(name) for name in names)
    return version if isinstance(version, str) and is_plain_client(info, capabilities) else None


def is_plain_client(info: object, capabilities: object) -> bool:
    """Whether the SDK surely accepts that description of a client."""
    if not isinstance(info, dict) or not isinstance(capabilities, dict):
        return False
    if not {"name", "version"} <= info.keys() or "icons" in info:
        return False
    open_ended = [capabilities.get(name, {}) for name in OPEN_ENDED]
    return (
        all(isinstance(value, str) for value in info.values())
        and all(isinstance(each, dict) and all(isinstance(v, dict) for v in each.values()) for each in open_ended)
        and _are_switches({name: value for name, value in capabilities.items() if name not in OPEN_ENDED})
    )


def _are_switches(capabilities: Mapping[str, Any]) -> bool:
    return all(
        isinstance(value, bool) if name == "listChanged" else isinstance(value, dict) and _are_switches(value)
        for name, value in capabilities.items()
    )


def _dump(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def read_snapshot() -> Snapshot:
    """The snapshot of this release; empty when it cannot be read, so that the SDK answers everything."""
    snapshot: dict[str, dict[str, Any]] = {}
    path = __file__.removesuffix("snapshot.py") + FILE
    with suppress(OSError, ValueError), open(path, encoding="utf-8") as file:  # noqa: PTH123 - `pathlib` loads slowly
        for entry in json.load(file):
            for version in entry["versions"]:
                snapshot.setdefault(version, {})[entry["method"]] = entry["result"]
    return snapshot


def take_over(snapshot: Snapshot) -> Pipe:
    """Serve the process's stdin and stdout. What else is printed goes to stderr, and other readers find nothing."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2 if sys.stderr is not None else nothing, 1)
    os.close(nothing)
    return Pipe(source, sink, snapshot)
