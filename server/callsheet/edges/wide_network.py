"""The network under downloads: streams that hand over as much as they are asked for, as far as it has come.

The event loop's own streams end a piece at 256 KiB, or with each record of TLS, which is 16 KiB; a large clip then
costs up to twice as much. Handshake, certificates and records stay with `anyio` and `ssl`. For `edges.http` alone.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.abc
import httpcore2
from anyio.streams.tls import TLSAttribute, TLSStream


class WideBackend(httpcore2.AsyncNetworkBackend):
    """A network backend whose streams hand over all that has come."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of the library
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of the host that answers."""
        with _told_as(httpcore2.ConnectTimeout, httpcore2.ConnectError), anyio.fail_after(timeout):
            connection = await _connect(host, port)
        for option in socket_options or ():
            connection.setsockopt(*option)
        return _WideStream(connection, _Connection(connection), tls=None)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of the library
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Never: a clip is not fetched from a socket of this machine."""
        raise httpcore2.ConnectError("downloads use no local sockets")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts, as the library asks for it."""
        await anyio.sleep(seconds)


class _WideStream(httpcore2.AsyncNetworkStream):
    def __init__(self, connection: socket.socket, stream: anyio.abc.ByteStream, *, tls: ssl.SSLObject | None) -> None:
        self._connection = connection
        self._stream = stream
        self._tls = tls

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        with _told_as(httpcore2.ReadTimeout, httpcore2.ReadError), anyio.fail_after(timeout):
            try:
                piece = await self._stream.receive(max_bytes)
            except anyio.EndOfStream:
                return b""
            return piece if self._tls is None else _with_more_records(piece, self._tls, max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        with _told_as(httpcore2.WriteTimeout, httpcore2.WriteError), anyio.fail_after(timeout):
            await self._stream.send(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        try:
            with _told_as(httpcore2.ConnectTimeout, httpcore2.ConnectError), anyio.fail_after(timeout):
                stream = await TLSStream.wrap(
                    self._stream,
                    hostname=server_hostname,
                    ssl_context=ssl_context,
                    server_side=False,
                    # As in any browser: most servers close without the last message of TLS.
                    standard_compatible=False,
                )
        except BaseException:
            await self.aclose()
            raise
        tls: ssl.SSLObject = stream.extra_attributes[TLSAttribute.ssl_object]()
        return _WideStream(self._connection, stream, tls=tls)

    def get_extra_info(self, info: str) -> Any:
        known: dict[str, Callable[[], Any]] = {
            "ssl_object": lambda: self._tls,
            "socket": lambda: self._connection,
            "is_readable": lambda: _is_readable(self._connection),
        }
        return known[info]() if info in known else None


class _Connection(anyio.abc.ByteStream):
    """A connected socket as a stream. One receiver and one sender at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        while True:
            await anyio.wait_readable(self._socket)
            with suppress(BlockingIOError):
                piece = self._socket.recv(max_bytes)
                if not piece:
                    raise anyio.EndOfStream
                return piece

    async def send(self, item: bytes) -> None:
        rest = memoryview(item)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def send_eof(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        self._socket.close()


async def _connect(host: str, port: int) -> socket.socket:
    """A connection to the first address that answers; raises what the last one said."""
    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            await _connect_to(connection, address)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


async def _connect_to(connection: socket.socket, address: Any) -> None:
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(BlockingIOError):
        connection.connect(address)
    await anyio.wait_writable(connection)
    number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number != 0:
        raise OSError(number, "the connection failed")


def _with_more_records(first: bytes, tls: ssl.SSLObject, max_bytes: int) -> bytes:
    """The record that was read and those that came with it, as far as they were asked for."""
    records, size = [first], len(first)
    with suppress(ssl.SSLWantReadError):
        while size < max_bytes and (record := tls.read(max_bytes - size)):
            records.append(record)
            size += len(record)
    return b"".join(records)


def _is_readable(connection: socket.socket) -> bool:
    """Whether something has come: on an idle connection that is its end."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _told_as(late: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Raise what went wrong as the HTTP library's own errors."""
    try:
        yield
    except TimeoutError as error:
        raise late("it took too long") from error
    except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream) as error:
        raise failed(type(error).__name__) from error


__all__ = ["WideBackend"]
