"""Slow hosts do not keep other clips from being saved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import pytest

from callsheet.core.clips import ClipLabel
from callsheet.edges.clips.save import MAX_DOWNLOADS, Clips
from callsheet.edges.http.client import GatewayHttp
from edges.clip_bytes import encode_clip


class Held(httpx2.SyncByteStream):
    """A body that comes when it is released."""

    def __init__(self, released: threading.Event) -> None:
        self._released = released

    def __iter__(self) -> Iterator[bytes]:
        assert self._released.wait(60)
        yield encode_clip()


@pytest.mark.parametrize(
    ("slow_hosts", "other_gateway"),
    [(["slow.example.com"] * 6, "poyo"), ([f"slow{n}.example.com" for n in range(6)], "apidot")],
    ids=["one slow host, another host of the same gateway", "many slow hosts, another gateway"],
)
async def test_a_clip_from_elsewhere_is_saved_while_slow_hosts_hold_their_places(
    tmp_path: Path, slow_hosts: list[str], other_gateway: str
) -> None:
    """The slow ones are saved too, in the end, and never more at once than there are places."""
    released = threading.Event()
    waiting, under_way = set[str](), list[str]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        body: httpx2.SyncByteStream = httpx2.ByteStream(encode_clip())
        if request.url.host.startswith("slow"):
            under_way.append(request.url.host)
            body = Held(released)
        return httpx2.Response(200, stream=body)

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        clips = Clips(http)

        async def keep(name: str, gateway: str, host: str) -> None:
            waiting.add(name)
            label = ClipLabel(name, gateway, "sora-2", "A cat", 4, "0.24 USD", "2026-11-26")
            await clips.keep(label, f"https://{host}/{name}.mp4", directory=tmp_path, loopback=None)
            waiting.remove(name)

        try:
            with anyio.fail_after(40):
                async with anyio.create_task_group() as group:
                    for number, host in enumerate(slow_hosts):
                        group.start_soon(keep, f"slow{number}", "poyo", host)
                    while len(waiting) < len(slow_hosts):
                        await anyio.lowlevel.checkpoint()
                    await keep("quick", other_gateway, "quick.example.com")
                    assert len(waiting) == len(slow_hosts)
                    assert len(under_way) < MAX_DOWNLOADS
                    released.set()
        finally:
            released.set()

    assert waiting == set()
    assert len(under_way) == len(slow_hosts)
