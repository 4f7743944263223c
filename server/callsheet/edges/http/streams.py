"""Opens the response streams of downloads, at checked addresses only.

A link comes from a gateway and may be hostile. Each hop must be a public https link, and the connection goes to
the address that was checked. The Host header and the name in the TLS handshake stay those of the link, so its
certificate is verified as usual. The sandbox's own address is the only exception.

The client is the synchronous one and works in threads, because the event loop limits how fast a body can be read.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import anyio.to_thread
import httpx2

from callsheet.core.security.urls import check_url, url_host
from callsheet.errors import Action, CallsheetError, DownloadProblem, Fate, GatewayUnreachable, NextStep

from .public_addresses import AddressRefused, Resolver, find_public_addresses
from .trust import advise, explain_failure

MAX_REDIRECTS = 3
MAX_URL_LENGTH = 8192
HEAD_SECONDS = 30.0
"""How long a host may take for its headers. One that drips them would outlast any limit between two bytes."""


class ByteStream(Protocol):
    """One HTTP response whose body is still to come. Header names are lower case.

    `chunks` blocks: a thread reads it. `stop`, called from any thread, makes it end.
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def host(self) -> str: ...
    def chunks(self) -> Iterator[bytes]: ...
    def stop(self) -> None: ...


OpenStream = Callable[[str, Mapping[str, str]], AbstractAsyncContextManager[ByteStream]]
"""Opens (URL, extra request headers). Redirects are followed and checked inside."""


@asynccontextmanager
async def open_stream(  # noqa: PLR0913 - the limits of a download
    client: httpx2.Client,
    url: str,
    headers: Mapping[str, str],
    *,
    loopback: str | None,
    resolver: Resolver | None,
    hosts: Collection[str] | None = None,
    head_seconds: float = HEAD_SECONDS,
) -> AsyncIterator[ByteStream]:
    """Follow and check redirects, yield the response at the end, and close the client.

    Without a `resolver` the client's transport gets the name. `hosts` are the only ones that may be asked, if given.
    `head_seconds` is the limit for the headers of each hop. Raises `DownloadProblem` and `GatewayUnreachable`.
    """
    headers = {"accept-encoding": "identity", **headers}
    with closing(_Connection(client)) as connection:
        for _ in range(MAX_REDIRECTS + 1):
            local = _require_downloadable(url, loopback)
            if not local and hosts is not None and url_host(url) not in hosts:
                raise redirect_refused(url)
            try:
                with anyio.fail_after(head_seconds):
                    target = httpx2.URL(url)
                    public = [""] if local or resolver is None else await find_public_addresses(target, resolver)
                    response = await _send(connection, target, headers, public)
            except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise download_failed(error) from None
            with closing(response):
                location = response.headers.get("location")
                if response.is_redirect and location:
                    url = urljoin(url, location)
                    continue
                yield _ResponseStream(response, httpx2.URL(url).host, connection)
                return
    raise DownloadProblem(
        f"The clip's link redirects more than {MAX_REDIRECTS} times.",
        next_step=NextStep(Action.GET, "Try again later."),
    )


@asynccontextmanager
async def open_own(
    client: httpx2.Client, request: httpx2.Request, *, addresses: list[str]
) -> AsyncIterator[_ResponseStream]:
    """Yield the response at a gateway's own origin, whatever it is, and close the client. Follows no redirect."""
    with closing(_Connection(client)) as connection:
        try:
            with anyio.fail_after(HEAD_SECONDS):
                response = await _send(connection, request.url, request.headers, addresses)
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise download_failed(error) from None
        with closing(response):
            yield _ResponseStream(response, request.url.host, connection)


def redirect_refused(link: str) -> DownloadProblem:
    """A gateway that leads to a host that nobody declared, instead of handing out its clip."""
    return DownloadProblem(
        f"The server leads to {url_host(link) or 'another place'} for the video, which is not followed.",
        next_step='Only a person can allow that host, with `content = "url"` and `result_hosts` in the policy file.',
    )


class _Connection:
    """Sends the requests of one download, one after the other. `stop` wakes the thread that waits for the server."""

    def __init__(self, client: httpx2.Client) -> None:
        self.stopped = False
        self._client = client
        self._sending = threading.Lock()
        self._recording = threading.Lock()
        self._socket: socket.socket | None = None

    async def send(self, url: httpx2.URL, headers: Mapping[str, str], **extensions: str) -> httpx2.Response:
        """Send a request from a thread, and leave the thread behind when the caller is cancelled."""
        request = self._client.build_request(
            "GET", url, headers=headers, extensions={**extensions, "trace": self._record_socket}
        )

        def send() -> httpx2.Response:
            try:
                with self._sending:
                    return self._client.send(request, stream=True)
            finally:
                if self.stopped:
                    self._release()

        return await anyio.to_thread.run_sync(send, abandon_on_cancel=True)

    def close(self) -> None:
        """Close the client, or have the thread that was left behind close it: a socket in use must stay open."""
        self.stop()
        if self._sending.acquire(blocking=False):
            self._release()
            self._sending.release()

    def stop(self) -> None:
        """End the connection, so that reading from it fails immediately. Safe in any thread."""
        self.stopped = True
        with self._recording:
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _record_socket(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            # A duplicate: the TLS handshake takes the socket itself away, and an unanswered one must end too.
            self._keep(info["return_value"].get_extra_info("socket").dup())
            if self.stopped:
                self.stop()

    def _release(self) -> None:
        self._client.close()
        self._keep(None)

    def _keep(self, opened: socket.socket | None) -> None:
        with self._recording:
            if self._socket is not None:
                self._socket.close()
            self._socket = opened


async def _send(
    connection: _Connection, url: httpx2.URL, headers: Mapping[str, str], addresses: list[str]
) -> httpx2.Response:
    """Send the request to the first of these addresses that accepts a connection; an empty one is the name itself."""
    pinned = {**headers, "host": url.netloc.decode("ascii")}
    name = url.raw_host.decode("ascii")
    failure: httpx2.HTTPError | None = None
    for address in addresses:
        try:
            if not address:
                return await connection.send(url, headers)
            return await connection.send(url.copy_with(host=address), pinned, sni_hostname=name)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            failure = error
    raise failure or AddressRefused("there is no address to connect to")


class _ResponseStream:
    """A response of the HTTP library as a `ByteStream`."""

    def __init__(self, response: httpx2.Response, host: str, connection: _Connection) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = {key.lower(): value for key, value in response.headers.items()}
        self.host = host
        location = response.headers.get("location")
        self.redirect = urljoin(str(response.url), location) if response.is_redirect and location else None
        self.stop = connection.stop
        self._response = response
        self._connection = connection

    def chunks(self) -> Iterator[bytes]:
        """The raw bytes as they come, not decoded."""
        try:
            for chunk in self._response.iter_raw():
                if self._connection.stopped:
                    raise httpx2.ReadError("the download was stopped")
                yield chunk
        except httpx2.HTTPError as error:
            raise download_failed(error) from None


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


def download_failed(error: Exception) -> CallsheetError:
    """What a failure of the HTTP client means for a download."""
    if isinstance(error, AddressRefused):
        return DownloadProblem(
            "The clip's link leads to an address that is not public, so Callsheet does not fetch it.",
            next_step="Look at the clip on the gateway's own page.",
        )
    return GatewayUnreachable(
        f"The clip could not be fetched ({explain_failure(error)}).",
        next_step=f"Callsheet tries again automatically. A download is free.{advise(error)}",
        fate=Fate.CHARGED,
    )


__all__ = ["MAX_REDIRECTS", "ByteStream", "OpenStream", "open_stream"]
