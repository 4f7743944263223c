"""The client of the gateways: what it sends, where it never sends the key, and how failures are sorted."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import httpx2
import pytest
from anyio.streams.tls import TLSListener

from callsheet.core.gateway.protocol import HttpRequest
from callsheet.edges.http.client import HTTP_FAILURES, MAX_REPLY_BYTES, GatewayHttp, join_url, surely_not_sent
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import DownloadProblem, GatewayUnreachable, OutcomeUnknown
from faults.certificates import authority_text, server_context, trusting_context
from samples import a_marked_task
from workspace import KEY

BASE = "https://api.example.com"
REQUEST = HttpRequest("POST", "/submit", b"{}", (("content-type", "application/json"),))
THE_KEY = SecretKey("poyo", KEY, source="test")


def clip_response() -> httpx2.Response:
    """A body that is read from the wire, not one that is there already."""
    return httpx2.Response(200, stream=httpx2.ByteStream(b"clip"))


def failures_of_the_client() -> list[type[Exception]]:
    """Every error that the HTTP client can raise."""
    return [
        kind
        for _, kind in inspect.getmembers(httpx2, inspect.isclass)
        if issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]


def test_every_failure_of_the_client_is_sorted() -> None:
    """A new error in the library must be put into the table before it can cost money."""
    unsorted = [kind for kind in failures_of_the_client() if not any(base in HTTP_FAILURES for base in kind.__mro__)]

    assert unsorted == []


def test_only_failures_before_a_connection_prove_that_nothing_was_sent() -> None:
    """The classic double charge is to believe a read error."""
    proven = {kind for kind in failures_of_the_client() if HTTP_FAILURES.get(kind)}

    assert proven == {
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.UnsupportedProtocol,
        httpx2.InvalidURL,
    }
    assert not surely_not_sent(httpx2.ReadError("x"))
    assert not surely_not_sent(httpx2.NetworkError("x"))
    assert not surely_not_sent(ValueError())


async def test_the_key_goes_to_the_gateway_alone_and_redirects_are_not_followed() -> None:
    """A gateway that redirects gets its own answer back as the answer."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(307, headers={"location": "https://evil.example.net/submit"})

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        reply = await http.post_paid(a_marked_task(), REQUEST, base_url=BASE, key=THE_KEY)

    assert reply.status == 307
    assert [str(request.url) for request in seen] == [f"{BASE}/submit"]
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_request_that_needs_no_key_carries_none() -> None:
    """Public catalogues are asked without one."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, content=b"{}")

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        await http.fetch(HttpRequest("GET", "/models", authorized=False), base_url=BASE, key=THE_KEY)

    assert "authorization" not in seen[0].headers


@pytest.mark.parametrize(
    "path",
    ["submit", "//evil.example.net/x", "/../x", "/a/../../b", "/./x", "/a b", "/a#b", "/x@evil.example.net", "/a\\b"],
)
def test_a_path_that_leads_off_the_base_url_is_refused(path: str) -> None:
    """Whatever a gateway module builds."""
    if path == "//evil.example.net/x":
        assert join_url(BASE, path).startswith(f"{BASE}/")
        return
    with pytest.raises(ValueError, match="leads elsewhere"):
        join_url(BASE, path)


async def test_a_reply_over_the_bound_is_an_unknown_outcome_for_a_paid_request() -> None:
    """It is not read into memory without end, and nothing is concluded from it."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b"x" * (MAX_REPLY_BYTES + 1))

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        with pytest.raises(OutcomeUnknown):
            await http.post_paid(a_marked_task(), REQUEST, base_url=BASE, key=THE_KEY)
        with pytest.raises(GatewayUnreachable):
            await http.fetch(HttpRequest("GET", "/status"), base_url=BASE, key=THE_KEY)


async def test_a_paid_request_that_takes_too_long_is_an_unknown_outcome() -> None:
    """The bound is on the whole exchange."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        with pytest.raises(OutcomeUnknown):
            await http.post_paid(a_marked_task(), REQUEST, base_url=BASE, key=THE_KEY, within=0.01)


async def test_no_error_names_the_key_or_the_query() -> None:
    """Not even when the client's own text does."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError(f"while sending Bearer {KEY} to {request.url}")

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        with pytest.raises(OutcomeUnknown) as caught:
            await http.post_paid(a_marked_task(), REQUEST, base_url=BASE, key=THE_KEY)

    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_read_is_tried_again_and_a_paid_request_is_not(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reads are free; a paid request goes out once. The library that tries again says nothing about it."""
    calls = {"GET": 0, "POST": 0}

    def answer(request: httpx2.Request) -> httpx2.Response:
        calls[request.method] += 1
        if calls[request.method] == 1:
            raise httpx2.ReadError("reset")
        return httpx2.Response(200, content=b"{}")

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        assert (await http.fetch(HttpRequest("GET", "/x"), base_url=BASE, key=THE_KEY)).status == 200
        with pytest.raises(OutcomeUnknown):
            await http.post_paid(a_marked_task(), REQUEST, base_url=BASE, key=THE_KEY)

    assert calls == {"GET": 2, "POST": 1}
    assert [record.name for record in caplog.records if record.name.startswith(("stamina", "structlog"))] == []
    assert capsys.readouterr() == ("", "")


async def test_a_download_carries_no_key_and_every_hop_is_checked() -> None:
    """A redirect to plain http, to an address, or without end is refused."""
    hops = {
        "https://cdn.example.com/a": "/b",
        "https://cdn.example.com/b": "https://other.example.org/c",
        "https://cdn.example.com/plain": "http://cdn.example.com/c",
        "https://cdn.example.com/inside": "https://169.254.169.254/c",
        "https://cdn.example.com/loop": "https://cdn.example.com/loop",
    }
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        target = hops.get(str(request.url))
        headers = {"location": target or "", "set-cookie": "a=b; Domain=example.com"}
        return httpx2.Response(302, headers=headers) if target else clip_response()

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        async with http.open_stream("https://cdn.example.com/a", {}) as stream:
            assert b"".join(stream.chunks()) == b"clip"
            assert stream.host == "other.example.org"
        for start in ("plain", "inside", "loop"):
            with pytest.raises(DownloadProblem):
                async with http.open_stream(f"https://cdn.example.com/{start}", {}):
                    raise AssertionError("nothing may be opened here")

    assert all("authorization" not in request.headers and "cookie" not in request.headers for request in seen)
    assert all(request.headers["accept-encoding"] == "identity" for request in seen)


async def test_only_the_sandbox_may_be_fetched_over_plain_http() -> None:
    """And only at its own address."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b"clip")

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        async with http.open_stream("http://127.0.0.1:8799/files/x", {}, loopback="http://127.0.0.1:8799") as stream:
            assert stream.status == 200
        with pytest.raises(DownloadProblem):
            async with http.open_stream("http://127.0.0.1:8800/files/x", {}, loopback="http://127.0.0.1:8799"):
                raise AssertionError("nothing may be opened here")


async def test_a_download_that_breaks_says_that_it_is_free_to_try_again() -> None:
    """Connection errors before and during the body alike."""

    class Breaking(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"half"
            raise httpx2.ReadError("reset")

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/refused":
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, stream=Breaking())

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        with pytest.raises(GatewayUnreachable, match="could not be fetched"):
            async with http.open_stream("https://cdn.example.com/refused", {}):
                raise AssertionError("nothing may be opened here")
        async with http.open_stream("https://cdn.example.com/half", {}) as stream:
            with pytest.raises(GatewayUnreachable, match="could not be fetched"):
                list(stream.chunks())


async def test_a_link_whose_name_leads_inside_is_not_fetched() -> None:
    """The name looks public, but its address is not."""

    async def names(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with GatewayHttp(resolver=names) as http:
        with pytest.raises(DownloadProblem, match="not public"):
            async with http.open_stream("https://cdn.example.com/clip.mp4", {}):
                raise AssertionError("nothing may be opened here")


@pytest.mark.parametrize("request_", [REQUEST, HttpRequest("PUT", "/x"), HttpRequest("GET", "/x", b"{}")])
async def test_what_may_cost_money_is_never_sent_as_a_free_request(request_: HttpRequest) -> None:
    """Free requests are retried; one that writes would be bought several times."""
    seen: list[httpx2.Request] = []
    http = GatewayHttp(transport=httpx2.MockTransport(lambda request: seen.append(request) or clip_response()))

    async with http:
        with pytest.raises(ValueError, match="only a paid request may write"):
            await http.fetch(request_, base_url=BASE, key=THE_KEY)

    assert seen == []


async def test_no_cookie_is_taken_from_any_host() -> None:
    """Neither from a paid request, nor from a status read, nor from a hop of a download."""
    seen: list[httpx2.Request] = []
    kept = "mark=1; Domain=example.com; Path=/; Max-Age=9999"

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        hop = {"location": "https://cdn.example.com/second"} if request.url.path == "/first" else {}
        cookies = [("set-cookie", kept), ("set-cookie", "plain=2"), ("set-cookie2", "old=3; Version=1")]
        return httpx2.Response(302 if hop else 200, headers=[*hop.items(), *cookies], stream=httpx2.ByteStream(b"{}"))

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        for _ in range(2):
            await http.fetch(HttpRequest("GET", "/status"), base_url=BASE, key=THE_KEY)
            await http.post_paid(a_marked_task(), REQUEST, base_url=BASE, key=THE_KEY)
            async with http.open_stream("https://cdn.example.com/first", {}) as stream:
                assert b"".join(stream.chunks()) == b"{}"

    assert len(seen) == 8
    assert [request.url.path for request in seen if "cookie" in request.headers] == []


@asynccontextmanager
async def listening(*, tls: bool) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on loopback that answers `{}`: its address, and the head of every request that it got."""
    heads: list[bytes] = []

    async def answer(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            heads.append(await stream.receive())
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    listener: anyio.abc.Listener[anyio.abc.ByteStream] = await anyio.create_tcp_listener(local_host="127.0.0.1")
    address = f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
    if tls:
        listener = TLSListener(listener, server_context(), standard_compatible=False)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield address, heads
        group.cancel_scope.cancel()


@pytest.mark.network
async def test_a_proxy_of_the_environment_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would see where the key goes, and with a certificate that is trusted here, the key itself."""
    async with listening(tls=False) as (proxy, through), listening(tls=True) as (address, heads):
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with GatewayHttp(tls=trusting_context()) as http:
            base = f"https://{address}"
            await http.post_paid(a_marked_task(), REQUEST, base_url=base, key=THE_KEY)
            await http.fetch(HttpRequest("GET", "/status"), base_url=base, key=THE_KEY)
            async with http.open_stream(f"{base}/clip.mp4", {}, loopback=base) as stream:
                assert b"".join(stream.chunks()) == b"{}"

    assert through == []
    assert [head.split()[1] for head in heads] == [b"/submit", b"/status", b"/clip.mp4"]


@pytest.mark.network
async def test_certificates_of_the_environment_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a variable would otherwise decide who may read the key."""
    authority = tmp_path / "authority.pem"
    authority.write_text(authority_text(), encoding="ascii")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    async with listening(tls=True) as (address, heads), GatewayHttp() as http:
        base = f"https://{address}"
        with pytest.raises(GatewayUnreachable):
            await http.post_paid(a_marked_task(), REQUEST, base_url=base, key=THE_KEY)
        with pytest.raises(GatewayUnreachable):
            async with http.open_stream(f"{base}/clip.mp4", {}, loopback=base):
                raise AssertionError("nothing may be opened here")

    assert heads == []


async def test_a_paid_request_has_a_minute_to_be_answered_and_a_read_has_less() -> None:
    """Gateways answer a submission slowly; giving up early would leave a paid clip with an unknown outcome."""
    limits: dict[str, dict[str, float]] = {}
    left: dict[str, float] = {}

    async def answer(request: httpx2.Request) -> httpx2.Response:
        limits[request.method] = request.extensions["timeout"]
        left[request.method] = anyio.current_effective_deadline() - anyio.current_time()
        return httpx2.Response(200, content=b"{}")

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        await http.post_paid(a_marked_task(), REQUEST, base_url=BASE, key=THE_KEY)
        await http.fetch(HttpRequest("GET", "/status"), base_url=BASE, key=THE_KEY)

    assert limits["POST"] == {"connect": 10.0, "read": 60.0, "write": 60.0, "pool": 60.0}
    assert limits["GET"] == {"connect": 10.0, "read": 20.0, "write": 20.0, "pool": 20.0}
    assert 50 < left["POST"] <= 60
    assert 20 < left["GET"] <= 30
