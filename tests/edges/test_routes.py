"""The way to a server over real sockets: pinned addresses, certificates of one's own, proxies, and the key."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc
import pytest
from anyio.streams.tls import TLSListener

from callsheet.core.gateway.protocol import HttpRequest, OwnWay, Route
from callsheet.edges.clips.download import save_clip
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import CallsheetError, DownloadProblem, GatewayUnreachable
from edges.test_http import REQUEST, a_marked_task
from faults.certificates import authority_text, server_context

pytestmark = pytest.mark.network

VALUE = "canary-key-7f3a9c2e51d84b06"
KEY = SecretKey("gpu-box", VALUE, source="file")
NAME = "gpu-box.lan"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
ASK = HttpRequest("GET", "/models")


class Server:
    """A server of one answer; keeps every byte that it was sent."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.seen = b""
        self.port = 0

    async def __call__(self, stream: anyio.abc.ByteStream) -> None:
        try:
            async with stream:
                while True:
                    request = b""
                    while b"\r\n\r\n" not in request:
                        request += await stream.receive()
                    self.seen += request
                    await stream.send(self.answer)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


@asynccontextmanager
async def serving(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """That server on loopback, with TLS if it has a context."""
    listener: anyio.abc.Listener[anyio.abc.ByteStream] = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    if context is not None:
        listener = TLSListener(listener, context, standard_compatible=False)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server)
        yield server
        group.cancel_scope.cancel()


def fingerprint_of(context: ssl.SSLContext) -> str:
    """What a person copies into the policy: the digest of what the server shows."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    ours = client.wrap_bio(incoming, outgoing, server_hostname=NAME)
    theirs_in, theirs_out = outgoing, incoming
    theirs = context.wrap_bio(theirs_in, theirs_out, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return f"sha256:{hashlib.sha256(ours.getpeercert(binary_form=True) or b'').hexdigest()}"


PINNED = Route(address="127.0.0.1", ca=authority_text(), only_ca=True)


async def test_a_pinned_server_is_known_by_its_name_and_its_own_certificates() -> None:
    """The name is not looked up: `.lan` leads nowhere. The key goes to that server."""
    async with serving(Server(), server_context(NAME)) as server, GatewayHttp() as http:
        reply = await http.fetch(ASK, base_url=f"https://{NAME}:{server.port}/v1", key=KEY, route=PINNED)

    assert reply.status == 200
    assert server.seen.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert f"host: {NAME}:{server.port}".encode() in server.seen.lower()
    assert VALUE.encode() in server.seen


async def test_one_certificate_is_enough_whoever_signed_it() -> None:
    """By its fingerprint, in both clients: the one for requests and the one for downloads."""
    context = server_context(NAME)
    route = Route(address="127.0.0.1", fingerprint=fingerprint_of(context))
    async with serving(Server(), context) as server, GatewayHttp() as http:
        base_url = f"https://{NAME}:{server.port}/v1"
        assert (await http.fetch(ASK, base_url=base_url, key=KEY, route=route)).status == 200
        async with http.open_content(ASK, {}, base_url=base_url, key=KEY, way=OwnWay(route)) as stream:
            assert stream.status == 200


WRONG = {
    "certificates of this computer": Route(address="127.0.0.1"),
    "another fingerprint": Route(address="127.0.0.1", fingerprint=f"sha256:{'0' * 64}"),
}


@pytest.mark.parametrize("name", [*WRONG, "another name"])
async def test_a_certificate_that_is_not_trusted_is_told_and_gets_nothing(name: str) -> None:
    """Not one byte of a request is sent, so a paid request surely was not either."""
    context = server_context("else.lan" if name == "another name" else NAME)
    route = WRONG.get(name, PINNED)
    async with serving(Server(), context) as server, GatewayHttp() as http:
        base_url = f"https://{NAME}:{server.port}/v1"
        with pytest.raises(GatewayUnreachable, match="not trusted") as read:
            await http.fetch(ASK, base_url=base_url, key=KEY, route=route)
        with pytest.raises(GatewayUnreachable, match="not trusted"):
            await http.post_paid(a_marked_task(), REQUEST, base_url=base_url, key=KEY, route=route)
        with pytest.raises(GatewayUnreachable, match="not trusted"):
            async with http.open_content(ASK, {}, base_url=base_url, key=KEY, way=OwnWay(route)):
                pass

    assert server.seen == b""
    assert "ca_file" in str(read.value.next_step)


class Proxy:
    """A proxy that opens tunnels to one port, or refuses them; keeps what it read."""

    def __init__(self, target: int, *, refuses: bool = False) -> None:
        self.target, self.refuses = target, refuses
        self.seen = b""

    async def __call__(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive()
            self.seen += request
            if self.refuses:
                await stream.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                return
            await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
            async with await anyio.connect_tcp("127.0.0.1", self.target) as behind, anyio.create_task_group() as group:
                group.start_soon(self._pass_on, stream, behind)
                await self._pass_on(behind, stream)
                group.cancel_scope.cancel()

    async def _pass_on(self, source: anyio.abc.ByteStream, target: anyio.abc.ByteStream) -> None:
        try:
            async for chunk in source:
                self.seen += chunk
                await target.send(chunk)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


@asynccontextmanager
async def proxying(proxy: Proxy) -> AsyncIterator[str]:
    """The address of that proxy."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, proxy)
        yield f"http://127.0.0.1:{port}"
        group.cancel_scope.cancel()


PUBLIC_NAME = "video.example.com"
PUBLIC_ADDRESS = "93.184.216.34"


async def public(_: str, __: int) -> list[str]:
    return [PUBLIC_ADDRESS]


async def private(_: str, __: int) -> list[str]:
    return [PUBLIC_ADDRESS, "10.0.0.1"]


async def test_a_proxy_opens_a_tunnel_to_the_checked_address_and_reads_nothing() -> None:
    """The certificate is that of the name; the proxy sees an address, and neither key nor path."""
    async with (
        serving(Server(), server_context(PUBLIC_NAME)) as server,
        proxying(proxy := Proxy(server.port)) as address,
        GatewayHttp(resolver=public) as http,
    ):
        route = Route(looked_up=True, proxy=address, ca=authority_text())
        reply = await http.fetch(ASK, base_url=f"https://{PUBLIC_NAME}/v1", key=KEY, route=route)
        async with http.open_stream(f"https://{PUBLIC_NAME}/clip.mp4", {}, route=route) as stream:
            assert stream.status == 200

    assert reply.status == 200
    assert proxy.seen.count(f"CONNECT {PUBLIC_ADDRESS}:443 HTTP/1.1".encode()) == 2
    assert VALUE.encode() not in proxy.seen
    assert VALUE.encode() in server.seen.partition(b"GET /clip.mp4")[0]
    assert VALUE.encode() not in server.seen.partition(b"GET /clip.mp4")[2]


async def test_a_proxy_that_refuses_has_sent_nothing() -> None:
    """So the approval remains valid; and nothing goes around the proxy."""
    async with proxying(proxy := Proxy(0, refuses=True)) as address, GatewayHttp() as http:
        with pytest.raises(GatewayUnreachable):
            await http.post_paid(
                a_marked_task(), REQUEST, base_url=f"https://{PUBLIC_NAME}", key=KEY, route=Route(proxy=address)
            )
    assert VALUE.encode() not in proxy.seen


@pytest.mark.parametrize("proxied", [False, True])
async def test_a_public_name_that_leads_into_a_network_is_not_connected(proxied: bool) -> None:
    """Neither directly nor through a proxy, which might look the name up in its own way."""
    async with proxying(proxy := Proxy(0)) as address, GatewayHttp(resolver=private) as http:
        route = Route(looked_up=True, proxy=address if proxied else "")
        with pytest.raises(GatewayUnreachable):
            await http.fetch(ASK, base_url=f"https://{PUBLIC_NAME}/v1", key=KEY, route=route)
        with pytest.raises(GatewayUnreachable):
            await http.post_paid(a_marked_task(), REQUEST, base_url=f"https://{PUBLIC_NAME}/v1", key=KEY, route=route)
        with pytest.raises(CallsheetError):
            async with http.open_stream(f"https://{PUBLIC_NAME}/clip.mp4", {}, route=route):
                pass
    assert proxy.seen == b""


async def test_no_name_uses_the_connection_of_another_name() -> None:
    """Two names at one address: the certificate is checked for each, so the second is refused."""
    context = server_context(PUBLIC_NAME)
    async with (
        serving(Server(), context) as server,
        proxying(Proxy(server.port)) as address,
        GatewayHttp(resolver=public) as http,
    ):
        route = Route(looked_up=True, proxy=address, ca=authority_text())
        assert (await http.fetch(ASK, base_url=f"https://{PUBLIC_NAME}/v1", key=KEY, route=route)).status == 200
        with pytest.raises(GatewayUnreachable, match="not trusted"):
            await http.fetch(ASK, base_url="https://else.example.com/v1", key=KEY, route=route)


async def test_variables_of_the_environment_change_no_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the proxy nor the certificates: only the policy file does."""
    file = tmp_path / "ca.pem"
    file.write_text(authority_text(), encoding="ascii")
    async with (
        serving(Server(), server_context("127.0.0.1")) as server,
        proxying(proxy := Proxy(server.port)) as address,
    ):
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        async with GatewayHttp() as http:
            with pytest.raises(GatewayUnreachable, match="not trusted"):
                await http.fetch(ASK, base_url=f"https://127.0.0.1:{server.port}", key=KEY)
    assert (proxy.seen, server.seen) == (b"", b"")


async def test_the_key_is_not_sent_without_encryption_unless_that_was_declared() -> None:
    """Even if a route were built wrongly: the last look is where the header is made."""
    async with serving(Server()) as server, GatewayHttp() as http:
        base_url, route = f"http://{NAME}:{server.port}/v1", Route(address="127.0.0.1", open=True)
        with pytest.raises(GatewayUnreachable):
            await http.fetch(ASK, base_url=base_url, key=KEY, route=route)
        with pytest.raises(GatewayUnreachable):
            await http.post_paid(a_marked_task(), REQUEST, base_url=base_url, key=KEY, route=route)
        with pytest.raises(CallsheetError):
            async with http.open_content(ASK, {}, base_url=base_url, key=KEY, way=OwnWay(route)):
                pass
        assert server.seen == b""
        declared = Route(address="127.0.0.1", open=True, plain_key=True)
        assert (await http.fetch(ASK, base_url=base_url, key=KEY, route=declared)).status == 200
    assert VALUE.encode() in server.seen


CLIP = HttpRequest("GET", "/videos/v1/content")


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("hosts", [(), ("other.example.com",)])
async def test_a_redirected_clip_is_followed_only_to_a_declared_host(hosts: tuple[str, ...]) -> None:
    """The message names the host; nothing was asked of it."""
    async with (
        serving(Server(redirect("https://cdn.example.com/x.mp4"))) as server,
        GatewayHttp(resolver=public) as http,
    ):
        way, base_url = OwnWay(public=Route(hosts=hosts)), f"http://127.0.0.1:{server.port}/v1"
        with pytest.raises(DownloadProblem, match=r"cdn\.example\.com"):
            async with http.open_content(CLIP, {}, base_url=base_url, key=KEY, way=way):
                pass


@dataclass
class Hop:
    """Where a server leads for its clip, what the declared host there answers, and whether a clip comes of it."""

    path: str
    answer: bytes = OK
    opened: bool = True


HOPS = {
    "a file": Hop("/x.mp4"),
    "a redirect to another host": Hop("/x.mp4", redirect("https://other.example.com/x.mp4"), opened=False),
    "a redirect into the network": Hop("/x.mp4", redirect("https://10.0.0.1/x.mp4"), opened=False),
    "the key in the link": Hop(f"/x.mp4?token={VALUE}", opened=False),
}


@pytest.mark.parametrize("name", HOPS)
async def test_a_declared_host_gets_no_key_and_leads_nowhere_else(name: str) -> None:
    """0 bytes of it go to any other origin, whatever the server writes into its link."""
    hop = HOPS[name]
    async with (
        serving(Server(hop.answer), server_context(PUBLIC_NAME)) as cdn,
        proxying(proxy := Proxy(cdn.port)) as address,
        serving(Server(redirect(f"https://{PUBLIC_NAME}{hop.path}"))) as server,
        GatewayHttp(resolver=public) as http,
    ):
        way = OwnWay(public=Route(proxy=address, ca=authority_text(), hosts=(PUBLIC_NAME,)))
        base_url = f"http://127.0.0.1:{server.port}/v1"
        with nullcontext() if hop.opened else pytest.raises(DownloadProblem, match=r"^[^?]*$"):
            async with http.open_content(CLIP, {}, base_url=base_url, key=KEY, way=way) as stream:
                assert stream.status == 200

    assert VALUE.encode() in server.seen
    assert VALUE.encode() not in cdn.seen + proxy.seen
    assert cdn.seen.count(b"GET ") == int("token" not in hop.path)
    assert proxy.seen.count(b"CONNECT ") == cdn.seen.count(b"GET ")


BODIES = {
    "an error in the place of a video": b'{"error": {"message": "not ready"}}' + b" " * 2000,
    "an AVI": b"RIFF\x00\x00\x00\x00AVI LIST" + b"\x00" * 2000,
    "half a video": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + b"\x00\x00\x10\x00moov" + b"\x00" * 100,
}


@pytest.mark.parametrize("name", BODIES)
async def test_only_a_whole_video_counts_as_the_clip(tmp_path: Path, name: str) -> None:
    """Whatever the content type says."""
    body = BODIES[name]
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with serving(Server(answer)) as server, GatewayHttp() as http:
        base_url = f"http://127.0.0.1:{server.port}/v1"

        def open_stream(_: str, headers: object) -> object:
            return http.open_content(CLIP, headers, base_url=base_url, key=KEY, way=OwnWay())  # type: ignore[arg-type]

        with pytest.raises(DownloadProblem):
            await save_clip(open_stream, f"{base_url}/x", tmp_path / "clips" / "x.mp4")  # type: ignore[arg-type]
