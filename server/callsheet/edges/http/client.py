"""The only client of the gateways. Only `edges.http` imports the HTTP library.

Invariants: the key goes into the Authorization header here and nowhere else, and only to the base URL that the
caller names. A gateway's redirects are never followed. Proxies, certificates and netrc from the environment are
ignored. No cookie is taken from any host, so none is sent back. Reply bodies are bounded. A paid request gets a
connection of its own, so a stale pooled connection never turns "not sent" into "unknown".

Failures are sorted by what they prove (`HTTP_FAILURES`). A refused connection, DNS, TLS and timeouts before a
connection exists prove that nothing was sent. Everything later proves nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urlsplit

import anyio
import httpx2

from callsheet import __version__
from callsheet.core.gateway.protocol import HttpReply, HttpRequest
from callsheet.core.gateway.uploads import is_upload
from callsheet.core.sent import MarkedTask
from callsheet.edges.keys.store import SecretKey, authorization_header
from callsheet.errors import Action, GatewayUnreachable, NextStep, OutcomeUnknown

from .public_addresses import Resolver, resolve
from .streams import ByteStream, open_stream

USER_AGENT = f"callsheet/{__version__}"
MAX_REPLY_BYTES = 1 << 20
CONNECT_TIMEOUT = 10.0
PAID_TIMEOUT = 60.0
READ_TIMEOUT = 20.0
READ_TOTAL = 30.0
UPLOAD_TIMEOUT = 120.0
"""20 MB at 1.4 Mbit/s."""
READ_ATTEMPTS = 3
CONNECTIONS = 16

HTTP_FAILURES: dict[type[Exception], bool] = {
    # True: the request was surely not sent. The most specific entry wins.
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

    `transport` replaces the network, names included. `tls` says which certificates are trusted, by default those
    that the HTTP library ships. `resolver` looks up the names of downloads.
    """

    def __init__(
        self,
        *,
        transport: httpx2.MockTransport | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._transport = transport
        self._ssl = tls
        self._resolver = resolver or (resolve if transport is None else None)
        self._pool: httpx2.AsyncClient | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> GatewayHttp:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._pool = None

    async def post_paid(
        self,
        marked: MarkedTask,
        request: HttpRequest,
        *,
        base_url: str,
        key: SecretKey | None,
        within: float = PAID_TIMEOUT,
    ) -> HttpReply:
        """Send a marked task's request exactly once, on a connection of its own, `within` that many seconds in all.

        Raises `GatewayUnreachable` when it surely never arrived, `OutcomeUnknown` when it may have.
        """
        try:
            with anyio.fail_after(within):
                async with self._client(keepalive=0, timeout=PAID_TIMEOUT) as client:
                    return await _exchange(client, _build(client, request, base_url, key))
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            _raise_paid(error)
        except TimeoutError as error:
            _raise_paid(error)
        except _ReplyTooLarge as error:
            _raise_paid(error)

    async def fetch(
        self, request: HttpRequest, *, base_url: str, key: SecretKey | None, most: int = MAX_REPLY_BYTES
    ) -> HttpReply:
        """Send a free request; transport failures are retried a few times. Raises `GatewayUnreachable`.

        `most` is how many bytes the reply may have.

        Only reading is free: any other request is a bug in a gateway's module and is not sent.
        """
        import stamina
        import stamina.instrumentation

        # Its hooks write the names of events to standard error, or with structlog to standard output.
        stamina.instrumentation.set_on_retry_hooks(())
        if request.method != "GET" or request.body is not None:
            raise ValueError("only a paid request may write")
        if self._pool is None:
            self._pool = await self._stack.enter_async_context(
                self._client(keepalive=CONNECTIONS, timeout=READ_TIMEOUT)
            )
        client = self._pool
        try:
            async for attempt in stamina.retry_context(
                on=httpx2.TransportError, attempts=READ_ATTEMPTS, timeout=10.0, wait_initial=0.2, wait_max=1.0
            ):
                # The whole exchange is bounded: a body that drips would outlast any limit between two bytes.
                with attempt, anyio.fail_after(READ_TOTAL):
                    return await _exchange(client, _build(client, request, base_url, key), most)
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, _ReplyTooLarge) as error:
            raise GatewayUnreachable(
                f"The gateway could not be read ({type(error).__name__}).",
                next_step="Callsheet asks again automatically.",
            ) from None
        raise AssertionError("the loop above returns or raises")

    async def post_file(
        self, request: HttpRequest, *, base_url: str, key: SecretKey | None, within: float = UPLOAD_TIMEOUT
    ) -> HttpReply:
        """Send a file once, `within` that many seconds in all. It buys nothing: any failure is `GatewayUnreachable`.

        Only a file is sent: another request that writes may cost money.
        """
        if not is_upload(request):
            raise ValueError("only a file is uploaded")
        try:
            with anyio.fail_after(within):
                async with self._client(keepalive=0, timeout=READ_TIMEOUT) as client:
                    return await _exchange(client, _build(client, request, base_url, key))
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, _ReplyTooLarge) as error:
            raise GatewayUnreachable(
                f"The file could not be uploaded ({type(error).__name__}).",
                next_step="Callsheet tries again automatically. An upload orders nothing.",
            ) from None

    @asynccontextmanager
    async def open_stream(
        self, url: str, headers: Mapping[str, str], *, loopback: str | None = None
    ) -> AsyncIterator[ByteStream]:
        """Open a download: no key, no cookies, at most three redirects, every hop checked.

        `loopback` is the sandbox's own address, the only one that may use plain http. Raises `DownloadProblem` and
        `GatewayUnreachable`.
        """
        # Connections are pooled by address, and a name must not use the connection of another name.
        client = httpx2.Client(**self._options(keepalive=0, timeout=READ_TIMEOUT))
        async with open_stream(client, url, headers, loopback=loopback, resolver=self._resolver) as stream:
            yield stream

    def _context(self) -> ssl.SSLContext:
        if self._ssl is None:
            try:
                self._ssl = httpx2.create_ssl_context(trust_env=False)
            except OSError as error:
                # Certificates are read before any connection exists, so this proves that nothing was sent.
                raise GatewayUnreachable(
                    f"This computer's certificates could not be read ({type(error).__name__}).",
                    next_step="Callsheet tries again automatically. If that does not help, check the disk.",
                ) from error
        return self._ssl

    def _client(self, *, keepalive: int, timeout: float) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(**self._options(keepalive=keepalive, timeout=timeout))

    def _options(self, *, keepalive: int, timeout: float) -> dict[str, Any]:
        """What every client of ours is built with, synchronous or not."""
        return {
            "transport": self._transport,
            "verify": self._context() if self._transport is None else True,
            "headers": {"user-agent": USER_AGENT},
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
            "timeout": httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT),
            "limits": httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=keepalive),
            "follow_redirects": False,
            "trust_env": False,
        }


class _ReplyTooLarge(Exception):
    """A gateway's reply is larger than `MAX_REPLY_BYTES`."""


async def _exchange(client: httpx2.AsyncClient, request: httpx2.Request, most: int = MAX_REPLY_BYTES) -> HttpReply:
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > most:
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
    """The URL of a path on a gateway. Raises `ValueError` for a path that could lead off the base URL."""
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
            next_step="The approval remains valid, and Callsheet tries again automatically.",
        ) from None
    raise OutcomeUnknown(
        f"The connection failed after the paid request may have been sent ({kind}).",
        next_step=NextStep(Action.RESOLVE, "Check the gateway's own task list."),
    ) from None
