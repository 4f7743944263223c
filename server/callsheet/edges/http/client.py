"""The one door to the gateways. Only this module imports the HTTP client.

Invariants: the key goes into the Authorization header here and nowhere else, only towards the base
URL that the caller names; redirects of a gateway are never followed; proxies and netrc from the
environment are ignored; reply bodies are bounded. A paid request gets a connection of its own, so
that a stale pooled one never turns "not sent" into "unknown".

Failures are sorted by what they prove (`HTTP_FAILURES`): refused connection, DNS, TLS and the
timeouts before a connection exists prove that nothing was sent; everything later proves nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urljoin, urlsplit

import anyio
import httpcore2
import httpx2

from callsheet import __version__
from callsheet.core.gateway.protocol import HttpReply, HttpRequest
from callsheet.core.security.urls import check_url
from callsheet.core.tasks.models import ClaimedTask
from callsheet.edges.keys.store import SecretKey, authorization_header
from callsheet.errors import CallsheetError, DownloadProblem, Fate, GatewayUnreachable, OutcomeUnknown

if TYPE_CHECKING:
    from callsheet.edges.clips.download import ByteStream

    from .direct_network import DirectStream

USER_AGENT = f"callsheet/{__version__}"
MAX_REPLY_BYTES = 1 << 20
MAX_REDIRECTS = 3
PAID_TIMEOUT = 60.0
READ_TIMEOUT = 20.0
READ_TOTAL = 30.0
READ_ATTEMPTS = 3
CONNECTIONS = 16

HTTP_FAILURES: dict[type[Exception], bool] = {
    # True: the request surely never left. The most specific entry wins.
    httpx2.ConnectError: True,
    httpx2.ConnectTimeout: True,
    httpx2.PoolTimeout: True,
    httpx2.UnsupportedProtocol: True,
    httpx2.InvalidURL: True,
    httpx2.HTTPError: False,
    httpx2.StreamError: False,
    httpx2.CookieConflict: False,
}


def surely_not_sent(error: Exception) -> bool:
    """Whether this failure of the HTTP client proves that the gateway never got the request."""
    return next((HTTP_FAILURES[kind] for kind in type(error).__mro__ if kind in HTTP_FAILURES), False)


class GatewayHttp:
    """Sends requests to gateways and opens downloads. Use as an asynchronous context manager.

    `transport` replaces the network in tests: any `httpx2` transport.
    """

    def __init__(self, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._transport = transport
        self._ssl: ssl.SSLContext | None = None
        self._pool: httpx2.AsyncClient | None = None
        self._downloaders: dict[bool, httpx2.AsyncClient] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> GatewayHttp:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._pool = None
        self._downloaders.clear()

    async def post_paid(
        self,
        claimed: ClaimedTask,
        request: HttpRequest,
        *,
        base_url: str,
        key: SecretKey | None,
        within: float = PAID_TIMEOUT,
    ) -> HttpReply:
        """Send a claimed task's request exactly once, on a connection of its own, `within` that many seconds in all.

        Raises `GatewayUnreachable` when it surely never arrived, `OutcomeUnknown` when it may have.
        """
        try:
            with anyio.fail_after(within):
                async with self._client(keepalive=0) as client:
                    return await _exchange(client, _build(client, request, base_url, key))
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            _raise_paid(error)
        except TimeoutError as error:
            _raise_paid(error)
        except _ReplyTooLarge as error:
            _raise_paid(error)

    async def fetch(self, request: HttpRequest, *, base_url: str, key: SecretKey | None) -> HttpReply:
        """Send a free request; transport failures are retried a few times. Raises `GatewayUnreachable`.

        Only what reads is free: anything else is a mistake in a gateway's module, and is not sent.
        """
        import stamina

        if request.method != "GET" or request.body is not None:
            raise ValueError("only a paid request may write")
        client = await self._pooled()
        try:
            async for attempt in stamina.retry_context(
                on=httpx2.TransportError, attempts=READ_ATTEMPTS, timeout=10.0, wait_initial=0.2, wait_max=1.0
            ):
                # Bounded as a whole: a body that drips would otherwise outlast any limit between two bytes.
                with attempt, anyio.fail_after(READ_TOTAL):
                    return await _exchange(client, _build(client, request, base_url, key))
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, _ReplyTooLarge) as error:
            raise GatewayUnreachable(
                f"The gateway could not be read ({type(error).__name__}).",
                next_step="It is asked again by itself.",
            ) from None
        raise AssertionError("the loop above returns or raises")

    @asynccontextmanager
    async def open_stream(
        self, url: str, headers: Mapping[str, str], *, loopback: str | None = None
    ) -> AsyncIterator[ByteStream]:
        """Open a download. No key, no cookies, at most three redirects, every hop checked.

        `loopback` is the sandbox's (or a test double's) own address, the only one that may be plain http. Raises
        `DownloadProblem` and `GatewayUnreachable`.
        """
        plain = {"accept-encoding": "identity", **headers}
        for _ in range(MAX_REDIRECTS + 1):
            client = await self._downloader(local=_require_downloadable(url, loopback))
            try:
                request = client.build_request("GET", url, headers=plain)
                response = await client.send(request, stream=True, follow_redirects=False)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise _download_failed(error) from None
            try:
                location = response.headers.get("location")
                if response.is_redirect and location:
                    url = urljoin(url, location)
                    continue
                # Closing this iterator closes the connection, so it is left open for what comes after it.
                async with aclosing(response.aiter_raw()) as parsed:
                    yield _Stream(response, parsed)
                return
            finally:
                await response.aclose()
        raise DownloadProblem(
            f"The clip's link redirects more than {MAX_REDIRECTS} times.", next_step="Ask again later with get_task."
        )

    async def _downloader(self, *, local: bool) -> httpx2.AsyncClient:
        """The client for links: for the sandbox's a plain one, else one that connects to checked addresses only."""
        if self._transport is not None:
            return await self._pooled()
        if local not in self._downloaders:
            from .direct_network import DirectBackend
            from .public_addresses import PinnedBackend

            transport = httpx2.AsyncHTTPTransport(
                verify=self._context(), trust_env=False, limits=httpx2.Limits(max_connections=CONNECTIONS)
            )
            # The library has no public way to name the network backend of its pool.
            network = DirectBackend() if local else PinnedBackend(DirectBackend())
            transport._pool._network_backend = network  # noqa: SLF001
            self._downloaders[local] = await self._stack.enter_async_context(
                httpx2.AsyncClient(transport=transport, headers={"user-agent": USER_AGENT}, timeout=READ_TIMEOUT)
            )
        return self._downloaders[local]

    async def _pooled(self) -> httpx2.AsyncClient:
        if self._pool is None:
            self._pool = await self._stack.enter_async_context(self._client(keepalive=CONNECTIONS))
        return self._pool

    def _context(self) -> ssl.SSLContext:
        if self._ssl is None:
            try:
                self._ssl = httpx2.create_ssl_context(trust_env=False)
            except OSError as error:
                # Read from files before any connection is made, so this proves that nothing was sent.
                raise GatewayUnreachable(
                    f"This computer's certificates could not be read ({type(error).__name__}).",
                    next_step="It is tried again by itself; if that does not help, look at the disk.",
                ) from error
        return self._ssl

    def _client(self, *, keepalive: int) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=self._transport and _Shared(self._transport),
            verify=self._context() if self._transport is None else True,
            headers={"user-agent": USER_AGENT},
            timeout=httpx2.Timeout(READ_TIMEOUT, connect=10.0)
            if keepalive
            else httpx2.Timeout(PAID_TIMEOUT, connect=10.0),
            limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=keepalive),
            follow_redirects=False,
            trust_env=False,
        )


class _Shared(httpx2.AsyncBaseTransport):
    """Lets several clients use one injected transport without closing it."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._inner.handle_async_request(request)


class _Stream:
    """A response as `edges.downloads` wants it."""

    def __init__(self, response: httpx2.Response, parsed: AsyncIterator[bytes]) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = {key.lower(): value for key, value in response.headers.items()}
        self.host = response.url.host
        self.rest: _Rest | None = None
        self._response = response
        self._parsed = parsed

    async def chunks(self) -> AsyncIterator[bytes]:
        """The raw bytes as they come, undecoded; the first ones if the others can be had without a parser."""
        try:
            async for chunk in self._parsed:
                yield chunk
                self.rest = self._rest()
                if self.rest is not None:
                    return
        except httpx2.HTTPError as error:
            raise _download_failed(error) from None

    def _rest(self) -> _Rest | None:
        """What comes after the first piece, if that is nothing but the rest of an announced length.

        The first piece is all that the parser had.
        """
        from .direct_network import DirectStream

        length, network = self.headers.get("content-length", ""), self._response.extensions.get("network_stream")
        if not isinstance(network, DirectStream) or not length.isdecimal() or "transfer-encoding" in self.headers:
            return None
        return _Rest(network, int(length) - self._response.num_bytes_downloaded)


class _Rest:
    """The end of a body, straight from the connection, which is not used again: the parser has not seen this end."""

    def __init__(self, network: DirectStream, size: int) -> None:
        self._network = network
        self._size = size

    def read_into(self, buffer: memoryview) -> int:
        """Block until some of it has come; 0 when all has."""
        if self._size == 0:
            return 0
        try:
            count = self._network.read_into(buffer[: self._size], READ_TIMEOUT)
        except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
            raise _download_failed(error) from None
        if count == 0:
            raise _download_failed(httpx2.RemoteProtocolError("the body ended early"))
        self._size -= count
        return count

    def cut(self) -> None:
        """Wake the thread that reads."""
        self._network.cut()


class _ReplyTooLarge(Exception):
    """A gateway's reply is over the bound."""


async def _exchange(client: httpx2.AsyncClient, request: httpx2.Request) -> HttpReply:
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_REPLY_BYTES:
                raise _ReplyTooLarge
    finally:
        await response.aclose()
    headers = tuple((key.lower(), value) for key, value in response.headers.items())
    return HttpReply(response.status_code, headers, bytes(body))


def _build(client: httpx2.AsyncClient, request: HttpRequest, base_url: str, key: SecretKey | None) -> httpx2.Request:
    headers = dict(request.headers)
    if request.authorized and key is not None:
        name, value = authorization_header(key)
        headers[name] = value
    return client.build_request(request.method, join_url(base_url, request.path), content=request.body, headers=headers)


def join_url(base_url: str, path: str) -> str:
    """The address of a path on a gateway; refuses a path that could lead off the base URL."""
    segments = path.split("?", 1)[0].split("/")
    if not path.startswith("/") or ".." in segments or "." in segments or set(path) & set("\\#@\r\n\t "):
        raise ValueError("a gateway module built a path that leads elsewhere")
    url = base_url.rstrip("/") + path
    if urlsplit(url).netloc != urlsplit(base_url).netloc:
        raise ValueError("a gateway module built a path that leads elsewhere")
    return url


def _raise_paid(error: Exception) -> NoReturn:
    kind = type(error).__name__
    if surely_not_sent(error):
        raise GatewayUnreachable(
            f"The gateway could not be reached ({kind}).",
            next_step="The same approval still holds; it is tried again by itself.",
        ) from None
    raise OutcomeUnknown(
        f"The connection failed after the paid request may have gone out ({kind}).",
        next_step="Look at the gateway's own task list, then a person runs `callsheet resolve`.",
    ) from None


def _download_failed(error: Exception) -> CallsheetError:
    from .public_addresses import AddressRefused

    if isinstance(error.__cause__, AddressRefused):
        return DownloadProblem(
            "The clip's link leads to an address that is not public, so it is not fetched.",
            next_step="Look at the clip on the gateway's own page.",
        )
    return GatewayUnreachable(
        f"The clip could not be fetched ({type(error).__name__}).",
        next_step="It is tried again by itself; a download is free.",
        fate=Fate.CHARGED,
    )


def _require_downloadable(url: str, loopback: str | None) -> bool:
    """Refuse a link that may not be fetched; whether it leads to the one loopback address that may be."""
    if loopback is not None and urlsplit(url)[:2] == urlsplit(loopback)[:2]:
        return True
    verdict = check_url(url, max_length=8192)
    if verdict.problem:
        raise DownloadProblem(
            f"The gateway named a link that is not fetched: {verdict.problem}",
            next_step="Look at the clip on the gateway's own page.",
        )
    return False
