"""Downloads over real sockets, with TLS and without."""

from __future__ import annotations

import asyncio
import hashlib
import re
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc
import httpx2
import pytest
from anyio.streams.tls import TLSListener

from callsheet.edges.clips.download import Limits, SavedFile, save_clip
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.http.streams import open_stream
from callsheet.errors import DownloadProblem, GatewayUnreachable, SetupProblem
from edges.clip_bytes import padded_clip
from faults.certificates import server_context, trusting_context

pytestmark = pytest.mark.network

ETAG = '"a-strong-one"'
CLIP = padded_clip(9_000_000)
CUT = 5_000_000

Answerer = Callable[[anyio.abc.ByteStream, int], object]
"""Answers one connection, given the first byte that the caller wants."""


class ClipServer:
    """A server of one clip; records `connections` and `requests`."""

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.connections = 0
        self.requests = list[str]()
        self.url = ""

    async def __call__(self, stream: anyio.abc.ByteStream) -> None:
        self.connections += 1
        request = b""
        async with stream:
            try:
                while b"\r\n\r\n" not in request:
                    request += await stream.receive()
                self.requests.append(request.decode())
                start = re.search(rb"\r\nrange: bytes=(\d+)-", request, re.IGNORECASE)
                await self.answer(stream, int(start[1]) if start else 0)  # type: ignore[misc]
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return  # the caller has gone, as some of these tests want


@asynccontextmanager
async def serving(answer: Answerer, *, certificate: str | None = None) -> AsyncIterator[ClipServer]:
    """A server on loopback, with TLS if it has a certificate (for that name)."""
    server = ClipServer(answer)
    listener: anyio.abc.Listener[anyio.abc.ByteStream] = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    if certificate is not None:
        listener = TLSListener(listener, server_context(certificate), standard_compatible=False)
    server.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}/clip.mp4"
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server)
        yield server
        group.cancel_scope.cancel()


def head(start: int = 0, *, announced: int = len(CLIP)) -> bytes:
    fields = [f"Content-Length: {announced - start}", f"ETag: {ETAG}"]
    if start:
        fields.append(f"Content-Range: bytes {start}-{announced - 1}/{announced}")
    status = "206 Partial Content" if start else "200 OK"
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode()


async def whole(stream: anyio.abc.ByteStream, start: int) -> None:
    await stream.send(head(start) + CLIP[start:])


async def broken(stream: anyio.abc.ByteStream, start: int) -> None:
    await stream.send(head(start) + CLIP[start:CUT])


async def silent(stream: anyio.abc.ByteStream, start: int) -> None:
    await broken(stream, start)
    await anyio.sleep_forever()


def trusting() -> GatewayHttp:
    """The real client, which trusts the tests' own authority."""
    return GatewayHttp(tls=trusting_context())


async def fetch(http: GatewayHttp, server: ClipServer, target: Path, **options: object) -> SavedFile:
    return await save_clip(
        lambda url, headers: http.open_stream(url, headers, loopback=server.url),
        server.url,
        target,
        **options,  # type: ignore[arg-type]
    )


def assert_saved(saved: SavedFile, target: Path) -> None:
    assert saved == SavedFile(target, len(CLIP), hashlib.sha256(CLIP).hexdigest())
    assert target.read_bytes() == CLIP
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("certificate", [None, "127.0.0.1"])
async def test_a_clip_comes_whole_over_a_real_connection(certificate: str | None, tmp_path: Path) -> None:
    """With TLS and without; each download has a connection of its own."""
    async with serving(whole, certificate=certificate) as server, trusting() as http:
        for name in ("one.mp4", "two.mp4"):
            target = tmp_path / name / "clip.mp4"
            assert_saved(await fetch(http, server, target), target)
    assert server.connections == 2
    assert "authorization" not in server.requests[0].lower()


async def test_a_body_in_chunks_goes_through_the_parser(tmp_path: Path) -> None:
    """Its frames are no part of the clip."""

    async def chunked(stream: anyio.abc.ByteStream, start: int) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for offset in range(0, len(CLIP), 100_000):
            piece = CLIP[offset : offset + 100_000]
            await stream.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await stream.send(b"0\r\n\r\n")

    async with serving(chunked) as server, trusting() as http:
        assert_saved(await fetch(http, server, tmp_path / "clips" / "clip.mp4"), tmp_path / "clips" / "clip.mp4")


async def test_nothing_behind_the_announced_length_is_taken(tmp_path: Path) -> None:
    """A server that says one length and sends another cannot add to a clip."""

    async def generous(stream: anyio.abc.ByteStream, start: int) -> None:
        await stream.send(head() + CLIP + b"more" * 100_000)

    async with serving(generous) as server, trusting() as http:
        assert_saved(await fetch(http, server, tmp_path / "clips" / "clip.mp4"), tmp_path / "clips" / "clip.mp4")


@pytest.mark.parametrize("certificate", [None, "127.0.0.1"])
async def test_a_connection_that_ends_early_is_continued_where_it_ended(
    certificate: str | None, tmp_path: Path
) -> None:
    """Every byte that came is kept, whichever thread brought it."""
    target = tmp_path / "clips" / "clip.mp4"
    async with serving(broken, certificate=certificate) as server, trusting() as http:
        with pytest.raises(GatewayUnreachable, match="could not be fetched"):
            await fetch(http, server, target)
        server.answer = whole
        assert_saved(await fetch(http, server, target), target)
    assert f"range: bytes={CUT}-" in server.requests[1].lower()


@pytest.mark.parametrize("certificate", [None, "127.0.0.1"])
async def test_a_download_that_waits_for_a_silent_server_can_be_stopped(
    certificate: str | None, tmp_path: Path
) -> None:
    """The thread wakes immediately, keeps what came, and has ended when the cancelled call returns."""
    target = tmp_path / "clips" / "clip.mp4"
    async with serving(silent, certificate=certificate) as server, trusting() as http:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:

                def stop(done: int, total: int | None) -> None:
                    if done >= CUT // 2:
                        loop.call_soon_threadsafe(group.cancel_scope.cancel)

                loop = asyncio.get_running_loop()
                await fetch(http, server, target, on_progress=stop)
        server.answer = whole
        assert_saved(await fetch(http, server, target), target)
    assert "range: bytes=" in server.requests[1].lower()


@pytest.mark.parametrize("certificate", [None, "127.0.0.1"])
async def test_a_download_that_waits_for_the_headers_can_be_stopped(certificate: str | None, tmp_path: Path) -> None:
    """The call returns immediately, and the connection is closed."""
    closed = anyio.Event()

    async def mute(stream: anyio.abc.ByteStream, start: int) -> None:
        group.cancel_scope.cancel()
        try:
            with anyio.CancelScope(shield=True):
                await stream.receive()
        finally:
            closed.set()

    async with serving(mute, certificate=certificate) as server, trusting() as http:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                await fetch(http, server, tmp_path / "clips" / "clip.mp4")
            await closed.wait()
    assert list((tmp_path / "clips").iterdir()) == []


async def test_a_handshake_that_is_not_answered_ends_with_the_download(tmp_path: Path) -> None:
    """The connection is closed immediately, and no thread goes on waiting for the server."""
    closed = anyio.Event()

    async def mute(stream: anyio.abc.ByteStream, start: int) -> None:
        raise AssertionError("no request may arrive")

    async def take(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.receive()
            closed.set()

    async with serving(mute) as server, trusting() as http:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        server.url = f"https://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/clip.mp4"
        async with listener, anyio.create_task_group() as outer:
            outer.start_soon(listener.serve, take)
            with anyio.fail_after(5):
                async with anyio.create_task_group() as group:
                    await fetch(http, server, tmp_path / "clips" / "clip.mp4")
                await closed.wait()
            outer.cancel_scope.cancel()


async def test_a_host_that_drips_its_headers_is_given_up(tmp_path: Path) -> None:
    """Each byte comes in time, and the headers never end."""

    async def drip(stream: anyio.abc.ByteStream, start: int) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            await stream.send(b"x")
            await anyio.sleep(0.02)

    async with serving(drip) as server:
        with anyio.fail_after(5), pytest.raises(GatewayUnreachable):
            async with open_stream(
                httpx2.Client(trust_env=False), server.url, {}, loopback=server.url, resolver=None, head_seconds=0.3
            ):
                raise AssertionError("nothing may be opened here")


async def test_a_download_that_takes_too_long_is_stopped_in_the_thread_too(tmp_path: Path) -> None:
    """The limit holds for the body as a whole."""
    async with serving(silent) as server, trusting() as http:
        with pytest.raises(DownloadProblem, match=r"longer than 0\.3 s"):
            await fetch(http, server, tmp_path / "clips" / "clip.mp4", limits=Limits(seconds=0.3))


async def test_a_full_disk_stops_the_thread_with_its_error(tmp_path: Path) -> None:
    """What was written is kept, and the next attempt goes on from there."""
    target = tmp_path / "clips" / "clip.mp4"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with serving(whole) as server, trusting() as http:
        resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, hard))
        try:
            with pytest.raises(SetupProblem, match="File too large"):
                await fetch(http, server, target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, previous)
        assert_saved(await fetch(http, server, target), target)
    assert f"range: bytes={CUT}-" in server.requests[1].lower()


async def test_a_certificate_for_another_name_ends_the_connection_before_the_request(tmp_path: Path) -> None:
    """The name is checked before anything is sent."""
    async with serving(whole, certificate="127.0.0.2") as server, trusting() as http:
        with pytest.raises(GatewayUnreachable, match="ConnectError"):
            await fetch(http, server, tmp_path / "clips" / "clip.mp4")
    assert server.requests == []


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    """With the certificates that this computer trusts, the tests' own authority is unknown."""
    async with serving(whole, certificate="127.0.0.1") as server, GatewayHttp() as http:
        with pytest.raises(GatewayUnreachable, match="ConnectError"):
            await fetch(http, server, tmp_path / "clips" / "clip.mp4")
    assert server.requests == []
