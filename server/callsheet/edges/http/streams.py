"""Opens the response streams of downloads, at checked addresses only.

A link comes from a gateway and may be hostile. Each hop must be a public https link, and the connection goes to
the address that was checked. The Host header and the name in the TLS handshake stay those of the link, so its
certificate is verified as usual. The sandbox's own address is the only exception.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import httpx2

from callsheet.core.security.urls import check_url
from callsheet.errors import Action, CallsheetError, DownloadProblem, Fate, GatewayUnreachable, NextStep

from .public_addresses import AddressRefused, Resolver, find_public_addresses

MAX_REDIRECTS = 3
MAX_URL_LENGTH = 8192


class ByteStream(Protocol):
    """One HTTP response whose body is still to come. Header names are lower case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def host(self) -> str: ...
    def chunks(self) -> AsyncIterator[bytes]: ...


OpenStream = Callable[[str, Mapping[str, str]], AbstractAsyncContextManager[ByteStream]]
"""Opens (URL, extra request headers). Redirects are followed and checked inside."""


@asynccontextmanager
async def open_stream(
    client: httpx2.AsyncClient, url: str, headers: Mapping[str, str], *, loopback: str | None, resolver: Resolver | None
) -> AsyncIterator[ByteStream]:
    """Follow and check redirects, and yield the response at the end.

    Without a `resolver` the client's transport gets the name. Raises `DownloadProblem` and `GatewayUnreachable`.
    """
    headers = {"accept-encoding": "identity", **headers}
    for _ in range(MAX_REDIRECTS + 1):
        local = _require_downloadable(url, loopback)
        client.cookies.clear()
        try:
            response = await _send(client, httpx2.URL(url), headers, None if local else resolver)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _download_failed(error) from None
        try:
            location = response.headers.get("location")
            if response.is_redirect and location:
                url = urljoin(url, location)
                continue
            async with aclosing(response.aiter_raw()) as body:
                yield _ResponseStream(response, httpx2.URL(url).host, body)
            return
        finally:
            await response.aclose()
    raise DownloadProblem(
        f"The clip's link redirects more than {MAX_REDIRECTS} times.",
        next_step=NextStep(Action.GET, "Try again later."),
    )


async def _send(
    client: httpx2.AsyncClient, url: httpx2.URL, headers: Mapping[str, str], resolver: Resolver | None
) -> httpx2.Response:
    """Send the request to the first checked address that accepts a connection."""
    if resolver is None:
        return await client.send(client.build_request("GET", url, headers=headers), stream=True)
    failure: httpx2.HTTPError | None = None
    for address in await find_public_addresses(url, resolver):
        request = client.build_request(
            "GET",
            url.copy_with(host=address),
            headers={**headers, "host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        try:
            return await client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            failure = error
    raise failure or AddressRefused("there is no address to connect to")


class _ResponseStream:
    """A response of the HTTP library as a `ByteStream`."""

    def __init__(self, response: httpx2.Response, host: str, body: AsyncIterator[bytes]) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = {key.lower(): value for key, value in response.headers.items()}
        self.host = host
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The raw bytes as they come, not decoded."""
        try:
            async for chunk in self._body:
                yield chunk
        except httpx2.HTTPError as error:
            raise _download_failed(error) from None


def _require_downloadable(url: str, loopback: str | None) -> bool:
    """Refuse a link that may not be fetched. True when it leads to the one loopback address that is allowed."""
    if loopback is not None and urlsplit(url)[:2] == urlsplit(loopback)[:2]:
        return True
    verdict = check_url(url, max_length=MAX_URL_LENGTH)
    if verdict.problem:
        raise DownloadProblem(
            f"The gateway returned a link that Callsheet does not fetch: {verdict.problem}",
            next_step="Look at the clip on the gateway's own page.",
        )
    return False


def _download_failed(error: Exception) -> CallsheetError:
    if isinstance(error, AddressRefused):
        return DownloadProblem(
            "The clip's link leads to an address that is not public, so Callsheet does not fetch it.",
            next_step="Look at the clip on the gateway's own page.",
        )
    return GatewayUnreachable(
        f"The clip could not be fetched ({type(error).__name__}).",
        next_step="Callsheet tries again automatically. A download is free.",
        fate=Fate.CHARGED,
    )


__all__ = ["MAX_REDIRECTS", "ByteStream", "OpenStream", "open_stream"]
