"""The only client of the gateways. In local mode only `edges.http` imports the HTTP library.

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
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urlsplit

import anyio
import httpx2

from callsheet import __version__
from callsheet.core.gateway.protocol import USUAL, HttpReply, HttpRequest, OwnWay, Route
from callsheet.core.gateway.uploads import is_upload
from callsheet.core.security.urls import is_loopback
from callsheet.core.sent import MarkedTask
from callsheet.edges.keys.store import SecretKey, authorization_header, build_redactor
from callsheet.errors import Action, GatewayUnreachable, NextStep, OutcomeUnknown

from .public_addresses import Resolver, find_public_addresses, resolve
from .streams import ByteStream, download_failed, open_own, open_stream, redirect_refused
from .trust import advise, build_context, explain_failure

USER_AGENT = f"callsheet/{__version__}"
MAX_REPLY_BYTES = 1 << 20
CONNECT_TIMEOUT = 10.0
PAID_TIMEOUT = 60.0
READ_TIMEOUT = 20.0
READ_TOTAL = 30.0
UPLOAD_TIMEOUT = 120.0
"""20 MB at 1.4 Mbit/s."""
NOTICE_TIMEOUT = 5.0
NOTICE_REPLY_BYTES = 1 << 16
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


class _ReplyTooLarge(Exception):
    """A gateway's reply is larger than `MAX_REPLY_BYTES`."""


_FAILURES = (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, _ReplyTooLarge)


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
        self._ssl = {} if tls is None else {("", False, ""): tls}
        self._resolver = resolver or (resolve if transport is None else None)
        self._pools: dict[Route, httpx2.AsyncClient] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> GatewayHttp:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._pools.clear()

    async def post_paid(
        self,
        marked: MarkedTask,
        request: HttpRequest,
        *,
        base_url: str,
        key: SecretKey | None,
        route: Route = USUAL,
        within: float = PAID_TIMEOUT,
    ) -> HttpReply:
        """Send a marked task's request exactly once, on a connection of its own, `within` that many seconds in all.

        Raises `GatewayUnreachable` when it surely never arrived, `OutcomeUnknown` when it may have.
        """
        origin = Origin(base_url, key, route)
        try:
            with anyio.fail_after(within):
                async with self._client(route, keepalive=0, timeout=PAID_TIMEOUT) as client:
                    return await _exchange(client, request, origin, await self._addresses(origin, request))
        except _FAILURES as error:
            _raise_paid(error)

    async def fetch(
        self,
        request: HttpRequest,
        *,
        base_url: str,
        key: SecretKey | None,
        route: Route = USUAL,
        most: int = MAX_REPLY_BYTES,
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
        # Connections are pooled by address, and a name must not use the connection of another name.
        if route not in self._pools:
            client = self._client(
                route, keepalive=0 if route.address or route.looked_up else CONNECTIONS, timeout=READ_TIMEOUT
            )
            self._pools[route] = await self._stack.enter_async_context(client)
        client, origin = self._pools[route], Origin(base_url, key, route)
        try:
            async for attempt in stamina.retry_context(
                on=httpx2.TransportError, attempts=READ_ATTEMPTS, timeout=10.0, wait_initial=0.2, wait_max=1.0
            ):
                # The whole exchange is bounded: a body that drips would outlast any limit between two bytes.
                with attempt, anyio.fail_after(READ_TOTAL):
                    return await _exchange(client, request, origin, await self._addresses(origin, request), most)
        except _FAILURES as error:
            raise GatewayUnreachable(
                f"The gateway could not be read ({explain_failure(error)}).",
                next_step=f"Callsheet asks again automatically.{advise(error)}",
            ) from None
        raise AssertionError("the loop above returns or raises")

    async def post_file(
        self,
        request: HttpRequest,
        *,
        base_url: str,
        key: SecretKey | None,
        route: Route = USUAL,
        within: float = UPLOAD_TIMEOUT,
    ) -> HttpReply:
        """Send a file once, `within` that many seconds in all. It buys nothing: any failure is `GatewayUnreachable`.

        Only a file is sent: another request that writes may cost money.
        """
        if not is_upload(request):
            raise ValueError("only a file is uploaded")
        origin = Origin(base_url, key, route)
        try:
            with anyio.fail_after(within):
                async with self._client(route, keepalive=0, timeout=READ_TIMEOUT) as client:
                    return await _exchange(client, request, origin, await self._addresses(origin, request))
        except _FAILURES as error:
            raise GatewayUnreachable(
                f"The file could not be uploaded ({type(error).__name__}).",
                next_step="Callsheet tries again automatically. An upload orders nothing.",
            ) from None

    async def post_notice(self, request: HttpRequest, *, base_url: str, route: Route) -> int:
        """Send a notice once, without a key, to public addresses only: its HTTP status. Raises `GatewayUnreachable`."""
        origin = Origin(base_url, None, replace(route, looked_up=True))
        try:
            with anyio.fail_after(NOTICE_TIMEOUT):
                async with self._client(origin.route, keepalive=0, timeout=NOTICE_TIMEOUT) as client:
                    addresses = await self._addresses(origin, request)
                    return (await _exchange(client, request, origin, addresses, NOTICE_REPLY_BYTES)).status
        except (*_FAILURES, ValueError) as error:
            raise GatewayUnreachable(
                f"The notice could not be sent ({explain_failure(error)}).", next_step="Check its address."
            ) from None

    @asynccontextmanager
    async def open_stream(
        self, url: str, headers: Mapping[str, str], *, loopback: str | None = None, route: Route = USUAL
    ) -> AsyncIterator[ByteStream]:
        """Open a download: no key, no cookies, at most three redirects, every hop checked.

        `loopback` is the sandbox's own address, the only one that may use plain http. Raises `DownloadProblem` and
        `GatewayUnreachable`.
        """
        # Connections are pooled by address, and a name must not use the connection of another name.
        route = route if loopback is None else USUAL
        client = httpx2.Client(**self._options(route, keepalive=0, timeout=READ_TIMEOUT))
        async with open_stream(
            client, url, headers, loopback=loopback, resolver=self._resolver, hosts=route.hosts
        ) as stream:
            yield stream

    @asynccontextmanager
    async def open_content(
        self,
        content: HttpRequest,
        headers: Mapping[str, str],
        *,
        base_url: str,
        key: SecretKey | None,
        way: OwnWay,
    ) -> AsyncIterator[ByteStream]:
        """Open a clip at the gateway's own origin, with the key, which no redirect takes along. As `open_stream`."""
        origin = Origin(base_url, key, way.route)
        asked = replace(content, headers=(*content.headers, *headers.items()))
        client = httpx2.Client(**self._options(way.route, keepalive=0, timeout=READ_TIMEOUT))
        try:
            request = _build(client, asked, origin, "")
            addresses = await self._addresses(origin, asked)
        except httpx2.HTTPError as error:
            client.close()
            raise download_failed(error) from None
        async with open_own(client, request, addresses=addresses) as stream:
            link = stream.redirect
            if link is None:
                yield stream
                return
        if key is not None and build_redactor((key,)).finds(link):
            raise redirect_refused("")
        async with self.open_stream(link, headers, route=way.public) as stream:
            yield stream

    def _context(self, route: Route) -> ssl.SSLContext:
        known = (route.ca, route.only_ca, route.fingerprint)
        if known not in self._ssl:
            try:
                self._ssl[known] = build_context(route)
            except OSError as error:
                # Certificates are read before any connection exists, so this proves that nothing was sent.
                raise GatewayUnreachable(
                    f"The certificates to trust could not be read ({type(error).__name__}).",
                    next_step="Callsheet tries again automatically. If that does not help, check `ca_file`.",
                ) from error
        return self._ssl[known]

    def _client(self, route: Route, *, keepalive: int, timeout: float) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(**self._options(route, keepalive=keepalive, timeout=timeout))

    async def _addresses(self, origin: Origin, request: HttpRequest) -> list[str]:
        """Where to connect: the pinned address, or those of a name that must be public; empty for the name itself."""
        url = httpx2.URL(join_url(origin.base_url, request.path))
        if origin.route.address or not origin.route.looked_up or self._resolver is None:
            return [origin.route.address]
        return await find_public_addresses(url, self._resolver)

    def _options(self, route: Route, *, keepalive: int, timeout: float) -> dict[str, Any]:
        """What every client of ours is built with, synchronous or not."""
        return {
            "transport": self._transport,
            "verify": self._context(route) if self._transport is None else True,
            "proxy": route.proxy or None,
            "headers": {"user-agent": USER_AGENT},
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
            "timeout": httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT),
            "limits": httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=keepalive),
            "follow_redirects": False,
            "trust_env": False,
        }


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes and with which key."""

    base_url: str
    key: SecretKey | None
    route: Route


async def _exchange(
    client: httpx2.AsyncClient, request: HttpRequest, origin: Origin, addresses: list[str], most: int = MAX_REPLY_BYTES
) -> HttpReply:
    """Send a request to the first address that accepts a connection: only what was not sent is tried again."""
    failure: httpx2.HTTPError | None = None
    for address in addresses:
        try:
            return await _receive(client, _build(client, request, origin, address), most)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            failure = error
        except httpx2.ProxyError as error:
            # It refused the tunnel, so nothing went through it.
            raise httpx2.ConnectError("the proxy opened no tunnel") from error
    raise failure or httpx2.ConnectError("there is no address to connect to")


async def _receive(client: httpx2.AsyncClient, request: httpx2.Request, most: int) -> HttpReply:
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


def _build(
    client: httpx2.AsyncClient | httpx2.Client, request: HttpRequest, origin: Origin, address: str
) -> httpx2.Request:
    """The request with its key, to that address if there is one; name and certificate stay those of the URL."""
    url, headers, extensions = httpx2.URL(join_url(origin.base_url, request.path)), dict(request.headers), {}
    if request.authorized and origin.key is not None:
        if url.scheme != "https" and not (is_loopback(origin.base_url) or origin.route.plain_key):
            raise httpx2.UnsupportedProtocol("the key is not sent without encryption")
        name, value = authorization_header(origin.key)
        headers[name] = value
    if address:
        headers["host"] = url.netloc.decode("ascii")
        extensions["sni_hostname"] = url.raw_host.decode("ascii")
        url = url.copy_with(host=address)
    return client.build_request(request.method, url, content=request.body, headers=headers, extensions=extensions)


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
    kind = explain_failure(error)
    if surely_not_sent(error):
        raise GatewayUnreachable(
            f"The gateway could not be reached ({kind}).",
            next_step=f"The approval remains valid, and Callsheet tries again automatically.{advise(error)}",
        ) from None
    raise OutcomeUnknown(
        f"The connection failed after the paid request may have been sent ({kind}).",
        next_step=NextStep(Action.RESOLVE, "Check the gateway's own task list."),
    ) from None
