"""The snapshot of what the MCP server answers to a client's first requests, taken from the SDK's own replies.

`surface.mcp.snapshot` answers from it. Every version of the protocol is asked, because the SDK sends to each only what
that version knows. What is the same for several is written once.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import anyio
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from callsheet.errors import Action, NextStep, SetupProblem
from callsheet.service import Service
from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.server import build_mcp_server
from callsheet.surface.mcp.snapshot import CAPABILITIES, FILE, INFO, LISTS, VERSION, Pipe
from callsheet.surface.mcp.stdio import serve_pipe

PATH = f"server/callsheet/surface/mcp/{FILE}"
CLIENT = {"name": "snapshot", "version": "1"}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}

Message = dict[str, Any]


def build_snapshot() -> dict[str, str]:
    """The committed file: path below the checkout -> text."""
    handshakes = {version: build_handshake(version) for version in HANDSHAKE_PROTOCOL_VERSIONS}
    stateless = {version: build_requests(version) for version in MODERN_PROTOCOL_VERSIONS}
    entries: dict[str, Message] = {}
    for version, messages in (handshakes | stateless).items():
        for method, result in record_results(messages).items():
            new = {"method": method, "versions": [], "result": result}
            entries.setdefault(json.dumps([method, result]), new)["versions"].append(version)
    return {PATH: json.dumps(list(entries.values()), indent=1, ensure_ascii=False) + "\n"}


def build_handshake(version: str) -> list[Message]:
    """What a client of the older era asks first."""
    about = {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT}
    return [build_request("initialize", about), INITIALIZED, *(build_request(name, {}) for name in ("ping", *LISTS))]


def build_requests(version: str) -> list[Message]:
    """What a client of the newer era asks first."""
    meta = {VERSION: version, INFO: CLIENT, CAPABILITIES: {}}
    return [build_request(name, {"_meta": meta}) for name in ("server/discover", *LISTS)]


def build_request(method: str, params: Message) -> Message:
    """A request whose id is its method."""
    return {"jsonrpc": "2.0", "id": method, "method": method, "params": params}


def record_results(messages: Sequence[Message]) -> Message:
    """What the SDK answers to each method."""
    replies = {reply["id"]: reply for reply in exchange(messages)}
    return {message["id"]: replies[message["id"]]["result"] for message in messages if "id" in message}


def exchange(messages: Sequence[Message]) -> list[Message]:
    """Everything that the SDK writes when it reads these, and then the end."""
    server = build_mcp_server(ServerState(_make_no_service))
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        source.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        source.seek(0)
        anyio.run(serve_pipe, server, Pipe(os.dup(source.fileno()), sink.fileno(), {}))
        sink.seek(0)
        return [json.loads(line) for line in sink]


def _make_no_service() -> Service:
    raise SetupProblem("What is listed needs no service.", next_step=NextStep(Action.DOCTOR))
