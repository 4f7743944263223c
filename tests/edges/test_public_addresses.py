"""Downloads connect to an address that was checked, and to no other; certificates are checked for the name."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.abc
import anyio.to_thread
import httpx2
import pytest
from anyio.streams.tls import TLSListener

from callsheet.edges.http.client import GatewayHttp
from callsheet.errors import DownloadProblem, GatewayUnreachable
from faults.certificates import server_context, trusting_context

LINK = "https://cdn.example.com/clip.mp4"
PUBLIC = "93.184.216.34"


class Network:
    """Records the requests; some addresses do not answer."""

    def __init__(self, *, dead: tuple[str, ...] = ()) -> None:
        self.requests: list[httpx2.Request] = []
        self.dead = dead

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.host in self.dead:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, stream=httpx2.ByteStream(b"clip"))

    @property
    def hosts(self) -> list[str]:
        return [request.url.host for request in self.requests]


class Names:
    """A resolver with a script: each lookup of a name gives the next answer."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = list[str]()

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


async def fetch(network: Callable[[httpx2.Request], httpx2.Response], names: Names) -> tuple[str, bytes]:
    async with (
        GatewayHttp(transport=httpx2.MockTransport(network), resolver=names) as http,
        http.open_stream(LINK, {}) as stream,
    ):
        return stream.host, await anyio.to_thread.run_sync(lambda: b"".join(stream.chunks()))


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700:4700::1111"])
async def test_the_name_is_looked_up_once_and_that_address_is_connected_to(address: str) -> None:
    """The request goes to the address; the Host header and the name for TLS are those of the link."""
    network, names = Network(), Names([address], ["127.0.0.1"])

    assert await fetch(network, names) == ("cdn.example.com", b"clip")

    [request] = network.requests
    assert names.asked == ["cdn.example.com"]
    assert request.url.host == address
    assert request.headers["host"] == "cdn.example.com"
    assert request.extensions["sni_hostname"] == "cdn.example.com"


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["10.0.0.1"], [PUBLIC, "169.254.169.254"], ["::1"], []])
async def test_an_answer_that_leads_inside_is_refused_before_any_connection(answer: list[str]) -> None:
    """One private address among public ones is enough."""
    network = Network()

    with pytest.raises(DownloadProblem, match="not public"):
        await fetch(network, Names(answer))
    assert network.requests == []


async def test_the_next_checked_address_is_tried_when_one_does_not_answer() -> None:
    """As any client would."""
    network = Network(dead=(PUBLIC,))

    await fetch(network, Names([PUBLIC, "1.1.1.1"]))

    assert network.hosts == [PUBLIC, "1.1.1.1"]


async def test_when_none_answers_the_download_can_be_tried_again() -> None:
    """The error names no address."""
    with pytest.raises(GatewayUnreachable, match="ConnectError") as caught:
        await fetch(Network(dead=("1.1.1.1",)), Names(["1.1.1.1"]))
    assert "1.1.1.1" not in str(caught.value)


async def test_a_redirect_is_looked_up_and_judged_again() -> None:
    """A public first hop cannot lead inside."""

    class Redirecting(Network):
        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            self.requests.append(request)
            return httpx2.Response(302, headers={"location": "https://inside.example.com/x"})

    network, names = Redirecting(), Names([PUBLIC], ["10.0.0.1"])
    with pytest.raises(DownloadProblem, match="not public"):
        await fetch(network, names)
    assert names.asked == ["cdn.example.com", "inside.example.com"]
    assert network.hosts == [PUBLIC]


@pytest.mark.network
@pytest.mark.parametrize(("certificate", "trusted"), [("cdn.example.com", True), ("other.example.com", False)])
async def test_the_certificate_is_verified_for_the_name_and_not_for_the_address(
    certificate: str, trusted: bool
) -> None:
    """With real TLS: the public address is routed to loopback below the client, everything else is real."""

    async def answer(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nclip")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)

    def route(request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(host="127.0.0.1", port=port)
        return network.handle_request(request)

    network = httpx2.HTTPTransport(verify=trusting_context())
    async with (
        TLSListener(listener, server_context(certificate), standard_compatible=False) as secure,
        anyio.create_task_group() as group,
    ):
        group.start_soon(secure.serve, answer)
        if trusted:
            assert await fetch(route, Names([PUBLIC])) == ("cdn.example.com", b"clip")
        else:
            with pytest.raises(GatewayUnreachable, match="ConnectError"):
                await fetch(route, Names([PUBLIC]))
        group.cancel_scope.cancel()
    network.close()
