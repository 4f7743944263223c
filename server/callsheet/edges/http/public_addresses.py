"""Finds the addresses that a download may connect to: one lookup, and every answer must be public.

The connection then goes to an address that was checked. A second lookup never happens, so a name that answers
differently the next time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import anyio
import httpx2

from callsheet.core.security.urls import is_public

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a host name, for a port."""


class AddressRefused(httpx2.ConnectError):
    """At least one address of the name is not public. No connection was opened."""


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, IPv4 and IPv6, in the order of the system's resolver."""
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx2.ConnectError("the name could not be resolved") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def find_public_addresses(url: httpx2.URL, resolver: Resolver) -> list[str]:
    """The addresses of the URL's host, at least one. Raises `AddressRefused` unless all of them are public."""
    addresses = await resolver(url.raw_host.decode("ascii"), url.port or 443)
    # A mixed answer is refused too: a private address may hide behind a public one.
    if not addresses or not all(map(is_public, addresses)):
        raise AddressRefused("the name does not lead to public addresses only")
    return addresses


__all__ = ["AddressRefused", "Resolver", "find_public_addresses", "resolve"]
