"""The network under downloads: plain sockets, which a thread may take over for the body of a large clip.

Until then they serve the event loop like the HTTP library's own. Certificates and records are the business of `ssl`:
an `SSLSocket` is read like any other socket. For `edges.http` alone.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, TypeVarTuple

import anyio
import httpcore2

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


class DirectBackend(httpcore2.AsyncNetworkBackend):
    """A network backend whose streams are `DirectStream`s."""

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
        return DirectStream(connection)

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


class DirectStream(httpcore2.AsyncNetworkStream):
    """One connection, with TLS or without. `read_into` and `cut` are for the thread that takes it over."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        with _told_as(httpcore2.ReadTimeout, httpcore2.ReadError), anyio.fail_after(timeout):
            return await _when_ready(self._socket, anyio.wait_readable, self._socket.recv, max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        rest = memoryview(buffer)
        with _told_as(httpcore2.WriteTimeout, httpcore2.WriteError), anyio.fail_after(timeout):
            while rest:
                rest = rest[await _when_ready(self._socket, anyio.wait_writable, self._socket.send, rest) :]

    async def aclose(self) -> None:
        self._socket.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        with _told_as(httpcore2.ConnectTimeout, httpcore2.ConnectError), anyio.fail_after(timeout):
            # The new socket object owns the connection from here on, whatever becomes of the handshake.
            secured = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            try:
                await _when_ready(secured, anyio.wait_readable, secured.do_handshake)
            except BaseException:
                secured.close()
                raise
        return DirectStream(secured)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info == "is_readable":
            return _is_readable(self._socket)
        return self._socket if info == "socket" else None

    def read_into(self, buffer: memoryview, timeout: float) -> int:
        """Block until something has come, and say how much; 0 at the end. Only while the event loop does not read."""
        with _told_as(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._socket.settimeout(timeout)
            return self._socket.recv_into(buffer)

    def cut(self) -> None:
        """End the connection, so that a thread that waits for it wakes up."""
        with suppress(OSError):  # the other side may have been quicker
            # Not the method of an `SSLSocket`: that one would have the thread read on without TLS.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


async def _when_ready(
    connection: socket.socket,
    wait: Callable[[socket.socket], Any],
    act: Callable[[*Arguments], Answer],
    *arguments: *Arguments,
) -> Answer:
    """What a call on a socket that does not block returns in the end. TLS may want to read in order to write."""
    while True:
        try:
            return act(*arguments)
        except BlockingIOError:
            await wait(connection)
        except ssl.SSLWantReadError:
            await anyio.wait_readable(connection)
        except ssl.SSLWantWriteError:
            await anyio.wait_writable(connection)


async def _connect(host: str, port: int) -> socket.socket:
    """A connection to the first address that answers; raises what the last one said."""
    failure = OSError("the name has no address")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)  # asks nobody
    except socket.gaierror:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[assignment]
    for family, kind, protocol, _, address in found:
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


def _is_readable(connection: socket.socket) -> bool:
    """Whether something has come: on an idle connection that is its end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def _told_as(late: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Raise what went wrong as the HTTP library's own errors."""
    try:
        yield
    except TimeoutError as error:
        raise late("it took too long") from error
    except (OSError, anyio.ClosedResourceError) as error:
        raise failed(type(error).__name__) from error


__all__ = ["DirectBackend", "DirectStream"]
