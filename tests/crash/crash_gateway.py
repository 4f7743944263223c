"""A gateway on loopback that only remembers: every complete request, byte for byte, with its time.

It speaks PoYo's wire over plain sockets and shares no code with the program, so that its log is
evidence. A request counts as received when its last byte has come; that is when a gateway may charge.
"""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, field
from typing import Literal

ETAG = '"video-1"'
QUIET_SECONDS = 20.0

Answering = Literal["accept", "refuse", "drop"]
Telling = Literal["running", "finished"]


@dataclass(frozen=True)
class Receipt:
    """One complete paid request."""

    at: float
    head: str
    body: bytes
    task_id: str | None

    @property
    def sheet_id(self) -> str:
        """The sheet that the request says it is for."""
        found = re.search(r"(?im)^idempotency-key:\s*callsheet-(\S+)\s*$", self.head)
        return found[1] if found else ""


@dataclass
class Manners:
    """How the gateway behaves in the present case."""

    answering: Answering = "accept"
    telling: Telling = "finished"
    stall_after: int | None = None


@dataclass
class _Request:
    method: str
    path: str
    head: str
    body: bytes
    fields: dict[str, str] = field(default_factory=dict)


class LoopbackGateway:
    """One listening gateway with its video; `manners` may be changed at any time."""

    def __init__(self, video: bytes) -> None:
        self.video = video
        self.manners = Manners()
        self.receipts: list[Receipt] = []
        self._taken = 0
        self._open = 0
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), self)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def start_case(self, manners: Manners, receipts: tuple[Receipt, ...] = ()) -> None:
        """Behave like this from now on, remembering only these requests of the time before."""
        self.manners, self.receipts = manners, list(receipts)
        self._taken = len(receipts)

    def settle(self) -> None:
        """Wait until every connection that was ever opened has been read to its end.

        Connections are accepted in order, so an answered one proves that all earlier ones are counted.
        """
        with socket.create_connection(("127.0.0.1", self.port)) as probe:
            probe.sendall(b"GET /probe HTTP/1.1\r\nconnection: close\r\n\r\n")
            while probe.recv(4096):
                pass
        with self._changed:
            if not self._changed.wait_for(lambda: self._open == 0, QUIET_SECONDS):
                raise TimeoutError("a connection to the gateway stays open")

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until it ends; runs in a thread of its own."""
        buffer = bytearray()
        try:
            while (request := _read_request(connection, buffer)) is not None:
                if not self._answer(connection, request):
                    return
        except OSError:
            return

    def count(self, step: int) -> None:
        """Note that a connection was opened or has ended."""
        with self._changed:
            self._open += step
            self._changed.notify_all()

    def _answer(self, connection: socket.socket, request: _Request) -> bool:
        """Whether the connection goes on."""
        if request.method == "POST":
            return self._take(connection, request)
        if request.path.startswith("/api/generate/status/"):
            connection.sendall(_json_reply(200, self._status(request.path.rsplit("/", 1)[1])))
            return True
        if request.path == "/video.mp4":
            return self._send_film(connection, request)
        connection.sendall(_json_reply(404, {"detail": "nothing here"}))
        return False

    def _take(self, connection: socket.socket, request: _Request) -> bool:
        answering, task_id = self.manners.answering, None
        if answering != "refuse":
            self._taken += 1
            task_id = f"job-{self._taken}"
        self.receipts.append(Receipt(time.time(), request.head, request.body, task_id))
        if answering == "drop":
            return False
        if answering == "refuse":
            connection.sendall(_json_reply(400, {"code": 400, "error": {"type": "bad", "message": "no"}}))
        else:
            data = {"task_id": task_id, "status": "not_started"}
            connection.sendall(_json_reply(200, {"code": 200, "data": data}))
        return True

    def _status(self, task_id: str) -> object:
        done = self.manners.telling == "finished"
        files = [{"file_url": f"{self.url}/video.mp4", "file_type": "video"}] if done else []
        return {"code": 200, "data": {"task_id": task_id, "status": self.manners.telling, "files": files}}

    def _send_film(self, connection: socket.socket, request: _Request) -> bool:
        start, status, extra = 0, "200 OK", ""
        asked = re.fullmatch(r"bytes=(\d+)-", request.fields.get("range", ""))
        if asked and request.fields.get("if-range") == ETAG:
            start, status = int(asked[1]), "206 Partial Content"
            extra = f"content-range: bytes {start}-{len(self.video) - 1}/{len(self.video)}\r\n"
        rest = self.video[start:]
        head = f"HTTP/1.1 {status}\r\ncontent-type: video/mp4\r\netag: {ETAG}\r\n{extra}content-length: {len(rest)}"
        stall = self.manners.stall_after
        connection.sendall(head.encode() + b"\r\n\r\n" + rest[:stall])
        if stall is not None and stall < len(rest):
            # The rest never comes; the reader gives up and its end is what is awaited here.
            connection.recv(1)
            return False
        return True


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], gateway: LoopbackGateway) -> None:
        self.gateway = gateway
        super().__init__(address, _Handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Count the connection before its thread starts: `settle` relies on that order."""
        self.gateway.count(1)
        super().process_request(request, client_address)


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Serve one connection."""
        try:
            self.server.gateway.serve(self.request)
        finally:
            self.server.gateway.count(-1)


def _read_request(connection: socket.socket, buffer: bytearray) -> _Request | None:
    """The next complete request; None when the connection ends before its last byte."""
    while b"\r\n\r\n" not in buffer:
        if not _receive(connection, buffer):
            return None
    head, _, _ = bytes(buffer).partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    first, *lines = text.split("\r\n")
    method, path, _ = first.split(" ", 2)
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    end = len(head) + 4 + int(fields.get("content-length", "0"))
    while len(buffer) < end:
        if not _receive(connection, buffer):
            return None
    body = bytes(buffer[len(head) + 4 : end])
    del buffer[:end]
    return _Request(method, path, text, body, fields)


def _receive(connection: socket.socket, buffer: bytearray) -> bool:
    data = connection.recv(65536)
    buffer += data
    return bool(data)


def _json_reply(status: int, body: object) -> bytes:
    data = json.dumps(body).encode()
    return (
        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data
    )
