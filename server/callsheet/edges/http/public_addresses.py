"""Downloads go to addresses that were checked: one look-up, every answer public, then that address.

A name that answers differently the second time (DNS rebinding) gains nothing, because there is no
second time: the connection goes to the very address that was judged. The Host header and the name in
the TLS handshake stay the link's own, so certificates are checked as ever.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable

import anyio
import httpcore2

from callsheet.core.security.addresses import is_public

Resolver = Callable[[str, int], Awaitable[list[str]]]


class AddressRefused(httpcore2.ConnectError):
    """The name leads, wholly or partly, to addresses that are not public. Nothing was connected to."""


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, IPv4 and IPv6, in the order of the system's resolver."""
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore2.ConnectError("the name could not be resolved") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """A network backend that resolves a name once and connects to what it judged."""

    def __init__(self, inner: httpcore2.AsyncNetworkBackend, *, resolver: Resolver = resolve) -> None:
        self._inner = inner
        self._resolver = resolver

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of the library
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first checked address that answers."""
        addresses = await self._resolver(host, port)
        # One private answer among public ones is how a mixed answer gets round a check of the first.
        if not addresses or not all(is_public(address) for address in addresses):
            raise AddressRefused("the name does not lead to public addresses only")
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or AddressRefused("there is no address to connect to")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of the library
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Never: a clip is not fetched from a socket of this machine."""
        raise AddressRefused("downloads use no local sockets")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts, as the library asks for it."""
        await self._inner.sleep(seconds)
