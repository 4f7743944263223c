"""Clients that may lie: raw JSON-RPC in both protocol eras, over a pipe and over HTTP.

The SDK's own client would repair or refuse much of what a hostile one sends. `ask` sends one request and returns its
result, or its error under "error". Whatever the server asks meanwhile is given to `answer`, which returns the result
to send back, or None to stay silent.
"""

from __future__ import annotations

import http.client
import json
import queue
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from warm_start import Forked

ERAS = ("legacy", "2026-07-28")
MODERN = ERAS[1]
HANDSHAKE = "2025-11-25"
PATIENCE = 30.0
FORMS: Mapping[str, object] = {"elicitation": {"form": {}}}

Message = dict[str, Any]
Answer = Callable[[Message], Message | None]


def silent(_: Message) -> None:
    """Never answers."""


class GivenUp(Exception):
    """The client does not wait any longer."""


class Wire(ABC):
    """One client. In the newer era capabilities go with each request, so `ask` may be given others."""

    def __init__(self, era: str, capabilities: Mapping[str, object]) -> None:
        self.era = era
        self.capabilities = capabilities
        self.questions: list[Message] = []
        self._id = 0
        self._asked_by_server: Callable[[Message], None] | None = None
        if era != MODERN:
            about = {"protocolVersion": HANDSHAKE, "capabilities": dict(capabilities), "clientInfo": ABOUT}
            assert "result" in self._exchange(self._message("initialize", about), silent)
            self._tell({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask(
        self, method: str, params: Message, *, answer: Answer = silent, capabilities: Mapping[str, object] | None = None
    ) -> Message:
        """Send a request; its result, or `{"error": …}`."""
        if self.era != MODERN:
            return _outcome(self._exchange(self._message(method, params), answer))
        sent = self._dressed(params, capabilities)
        while True:
            result = _outcome(self._exchange(self._message(method, sent), silent))
            if result.get("resultType") != "input_required":
                return result
            self.questions += [request["params"] for request in result["inputRequests"].values()]
            answers = {name: answer(request["params"]) for name, request in result["inputRequests"].items()}
            if any(given is None for given in answers.values()):
                return result
            sent = {**sent, "inputResponses": answers, "requestState": result.get("requestState")}

    def call(self, tool: str, arguments: Message, **how: Any) -> Message:
        """Call a tool."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments}, **how)

    def give_up(self, method: str, params: Message) -> Message:
        """Send a request of the older era, leave the question unanswered, cancel; the question, for `reply_late`."""
        message = self._message(method, params)
        left: list[Message] = []

        def leave(question: Message) -> None:
            left.append(question)
            gone = {"requestId": message["id"], "reason": "no answer in time"}
            self._tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": gone})
            raise GivenUp

        self._asked_by_server = leave
        try:
            self._exchange(message, silent)
        except GivenUp:
            self._forget()
        finally:
            self._asked_by_server = None
        return left[0]

    def reply_late(self, question: Message, given: Message) -> None:
        """Answer a question that was left unanswered."""
        self._tell({"jsonrpc": "2.0", "id": question["id"], "result": given})

    def _forget(self) -> None:
        """Drop what may still come for the request that was given up. On a pipe that is passed over by its id."""
        return

    @abstractmethod
    def close(self) -> None:
        """Go away without a word."""

    @abstractmethod
    def _exchange(self, message: Message, answer: Answer) -> Message:
        """Send a request and return the reply to it."""

    @abstractmethod
    def _tell(self, message: Message) -> None:
        """Send what has no reply."""

    def _message(self, method: str, params: Message) -> Message:
        self._id += 1
        return {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}

    def _dressed(self, params: Message, capabilities: Mapping[str, object] | None) -> Message:
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": ABOUT,
            "io.modelcontextprotocol/clientCapabilities": dict(
                self.capabilities if capabilities is None else capabilities
            ),
        }
        given = params.get("_meta")
        return {**params, "_meta": {**(given if isinstance(given, dict) else {}), **meta}}

    def _reply_to(self, request: Message, answer: Answer) -> Message | None:
        """What goes back for a request of the server's."""
        if self._asked_by_server is not None:
            self._asked_by_server(request)
        self.questions.append(request.get("params", {}))
        given = answer(request.get("params", {}))
        if given is None:
            return None
        kind = "error" if "code" in given else "result"
        return {"jsonrpc": "2.0", "id": request["id"], kind: given}


ABOUT = {"name": "hostile", "version": "1"}


def _outcome(reply: Message) -> Message:
    return reply["result"] if isinstance(reply.get("result"), dict) else {"error": reply.get("error", reply)}


def told(result: Message) -> str:
    """Every word that the model would read of a result."""
    blocks = result.get("content") or [result.get("error", result)]
    return "\n".join(block.get("text", "") or json.dumps(block) for block in blocks)


class PipeWire(Wire):
    """Over the standard input and output of a process. Every line that it writes must be JSON-RPC."""

    def __init__(
        self, process: subprocess.Popen[bytes] | Forked, *, era: str, capabilities: Mapping[str, object]
    ) -> None:
        self._process = process
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        super().__init__(era, capabilities)

    def close(self) -> None:
        self._process.stdin.close()

    def _exchange(self, message: Message, answer: Answer) -> Message:
        self._tell(message)
        while True:
            heard = json.loads(self._lines.get(timeout=PATIENCE))
            assert heard["jsonrpc"] == "2.0"
            if heard.get("id") == message["id"] and "method" not in heard:
                return heard
            if "method" in heard and "id" in heard and (reply := self._reply_to(heard, answer)) is not None:
                self._tell(reply)

    def _tell(self, message: Message) -> None:
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)


class HttpWire(Wire):
    """Over streamable HTTP; answers to the server's questions go over a connection of their own."""

    def __init__(self, url: str, token: str, *, era: str, capabilities: Mapping[str, object]) -> None:
        parts = urlsplit(url)
        self._path = parts.path
        self._main = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
        self._beside = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
        self._headers = {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        super().__init__(era, capabilities)

    def close(self) -> None:
        self._main.close()
        self._beside.close()

    def _forget(self) -> None:
        # The rest of the stream that was given up is not read.
        self._main.close()

    def _exchange(self, message: Message, answer: Answer) -> Message:
        response = self._post(self._main, message)
        if session := response.getheader("mcp-session-id"):
            self._headers |= {"mcp-session-id": session, "mcp-protocol-version": HANDSHAKE}
        if not (response.getheader("content-type") or "").startswith("text/event-stream"):
            body = response.read()
            return json.loads(body) if body.startswith(b"{") else {"error": {"code": response.status}}
        found: Message = {"error": {"code": "the stream ended"}}
        while line := response.readline():
            if not line.startswith(b"data:") or not line[5:].strip():
                continue
            heard = json.loads(line[5:])
            if heard.get("id") == message["id"] and "method" not in heard:
                found = heard
            elif "method" in heard and "id" in heard and (reply := self._reply_to(heard, answer)) is not None:
                self._tell(reply)
        return found

    def _tell(self, message: Message) -> None:
        self._post(self._beside, message).read()

    def _post(self, connection: http.client.HTTPConnection, message: Message) -> http.client.HTTPResponse:
        headers = dict(self._headers)
        if self.era == MODERN:
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": message["method"]}
            named = message["params"].get("name") or message["params"].get("uri")
            if isinstance(named, str):
                headers["mcp-name"] = named
        # A new connection for each request: the server closes an idle one, and on a busy machine that happens.
        connection.close()
        connection.request("POST", self._path, json.dumps(message).encode(), headers)
        return connection.getresponse()
