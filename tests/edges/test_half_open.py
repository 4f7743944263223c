"""Connections that never send a whole request: they end, they are few, and they stop nobody else."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.abc
import pytest

from callsheet.edges.process.http_protocol import BoundedProtocol, ProxiedProtocol
from callsheet.edges.process.loopback import bind_loopback, build_web_server
from consent.live_server import environ_of, serving
from warm_start import start
from workspace import command_for

pytestmark = pytest.mark.network

HALVES = {
    "nothing": b"",
    "a part of the head": b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ",
    "a head without its body": b"POST /mcp HTTP/1.1\r\nHost: HERE\r\nContent-Length: 900\r\n\r\n{",
}
MANY = 180
SECONDS = 10


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers when the body is there, or immediately where the path says so; `/slow` takes its time."""
    while scope["path"] != "/early" and (await receive()).get("more_body"):
        pass
    if scope["path"] == "/slow":
        await anyio.sleep(0.9)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Quick(BoundedProtocol):
    """The same with a shorter time."""

    request_seconds = 0.3


async def read_to_end(stream: anyio.abc.SocketStream) -> bytes:
    """Everything until the server ends the connection."""
    came = b""
    try:
        while True:
            came += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return came


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        *((half, 0) for half in HALVES.values()),
        (b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{", 1),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", 1),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", 1),
        (b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 1),
    ],
)
async def test_a_connection_without_a_whole_request_ends_and_a_slow_answer_does_not(sent: bytes, answers: int) -> None:
    """Also behind an earlier request, and where the answer came before the body."""
    with bind_loopback(0) as listener, anyio.fail_after(SECONDS):
        server = build_web_server(application, http=Quick, timeout_keep_alive=60)
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            async with await anyio.connect_tcp(*listener.getsockname()) as stream:
                await stream.send(sent)
                assert (await read_to_end(stream)).count(b"200 OK") == answers
            server.should_exit = True


@contextmanager
def half_open(address: str) -> Iterator[list[socket.socket]]:
    """Many connections to that address that never send a whole request."""
    host, _, port = address.rpartition(":")
    with ExitStack() as stack:
        opened = []
        for number in range(MANY):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=SECONDS))
            half = list(HALVES.values())[number % len(HALVES)]
            with suppress(OSError):  # it may have been closed already, as it should be
                connection.sendall(half.replace(b"HERE", address.encode()))
            opened.append(connection)
        yield opened


def count_open(connections: list[socket.socket]) -> int:
    """How many of them the server has not ended."""
    return sum(1 for connection in connections if not is_ended(connection))


def is_ended(connection: socket.socket) -> bool:
    """Whether the server has ended the connection, after whatever it answered."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@pytest.fixture(autouse=True)
def room_for_sockets() -> None:
    """This process holds more open files than some systems allow at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1024)), hard))


def test_half_open_connections_do_not_stop_mcp_over_http(tmp_path: Path) -> None:
    """A client with the token is answered while they are open."""
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about})
    with serving("http", environ_of(tmp_path)) as served:
        address = urlsplit(served.url).netloc
        headers = {
            "authorization": f"Bearer {served.token_file.read_text(encoding='ascii')}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        with half_open(address) as opened:
            for _ in range(3):
                asking = http.client.HTTPConnection(address, timeout=SECONDS)
                asking.request("POST", "/mcp", body, headers)
                assert asking.getresponse().status == 200
                asking.close()
            assert count_open(opened) <= BoundedProtocol.most_waiting


def test_half_open_connections_do_not_stop_the_desk(tmp_path: Path) -> None:
    """The sign-in page comes, and the desk holds only so many of them."""
    command = command_for({"CALLSHEET_HOME": str(tmp_path)}, "desk", "--no-open", "--json")
    environ = {**os.environ, "CALLSHEET_HOME": str(tmp_path)}
    with start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, cwd="/") as desk:
        try:
            assert desk.stdout is not None
            port = urlsplit(json.loads(desk.stdout.readline())["address"]).port
            with half_open(f"127.0.0.1:{port}") as opened:
                asking = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
                asking.request("GET", "/sign-in", headers={"host": f"localhost:{port}"})
                assert asking.getresponse().status == 200
                asking.close()
                assert count_open(opened) <= BoundedProtocol.most_waiting
        finally:
            desk.terminate()
            desk.communicate(timeout=30)


async def test_a_proxy_keeps_a_connection_for_each_of_many_agents() -> None:
    """All of them are open and idle before the first asks; each is answered, and again after that."""
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with bind_loopback(0) as listener, anyio.fail_after(3 * SECONDS):
        server = build_web_server(application, http=ProxiedProtocol, timeout_keep_alive=75)
        async with anyio.create_task_group() as group, AsyncExitStack() as stack:
            group.start_soon(server.serve, [listener])
            idle = [
                await stack.enter_async_context(await anyio.connect_tcp(*listener.getsockname())) for _ in range(200)
            ]
            for _ in range(2):
                for stream in idle:
                    await stream.send(whole)
                answers = [await stream.receive() for stream in idle]
                assert [answer.count(b"200 OK") for answer in answers] == [1] * len(idle)
            server.should_exit = True
    assert ProxiedProtocol.request_seconds > ProxiedProtocol.keep_alive_seconds > 60
