"""Callbacks: whom the sandbox contacts, in whose shape, and how often it tries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sandbox_client import SUBMIT_PATHS, Clock, SandboxClient, body_for, sandbox_in_thread

from callsheet.sandbox.fakes.poyo import sign
from callsheet.sandbox.fakes.protocol import Callback, Generation
from callsheet.sandbox.fakes.tasks import SandboxTask
from callsheet.sandbox.webhooks import WebhookSender, explain_undelivered, post_callback


@dataclass
class Receiver:
    """An HTTP server that records what it receives and answers with statuses from a list."""

    statuses: list[int] = field(default_factory=list)
    received: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    port: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?of=poyo"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(({":target": lines[0], **headers}, json.loads(body)))
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        self.answered.set()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(statuses))
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver


def _task(gateway: str, url: str, **faults: int) -> SandboxTask:
    return SandboxTask(
        gateway=gateway,
        model="sora-2-preview",
        task_id="task-unified-1800000000-abcdefgh",
        token="0" * 32,
        prompt="A lighthouse",
        width=1280,
        height=720,
        seconds=4,
        created=1_800_000_000.0,
        speed=10.0,
        lasting=100.0,
        retention_hours=24,
        callback_url=url,
        faults=faults,
    )


async def _deliver(task: SandboxTask, generation: Generation = Generation.NEW) -> list[float]:
    """Make one delivery on a virtual clock; the pauses between the attempts."""
    clock, pauses = Clock(), []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.advance(seconds)

    webhooks = WebhookSender(clock, sleep)
    webhooks.send_when_done(task, video_url="http://127.0.0.1/video.mp4", generation=generation)
    async with asyncio.timeout(10):
        await webhooks.settle()
    return pauses


async def test_a_callback_comes_when_the_task_ends_and_is_retried_at_the_gateways_pace() -> None:
    """EvoLink: after 1, 2 and 4 seconds at the gateway's pace, then no more."""
    async with receiving(500, 404, 200) as receiver:
        pauses = await _deliver(_task("evolink", receiver.url))
    assert sum(pauses[:-2]) == pytest.approx(10.0)
    assert pauses[-2:] == pytest.approx([0.1, 0.2])
    assert len(receiver.received) == 3
    headers, body = receiver.received[-1]
    assert headers[":target"] == "POST /hook?of=poyo HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert (body["status"], body["results"]) == ("completed", ["http://127.0.0.1/video.mp4"])


async def test_a_receiver_that_is_away_is_given_up_after_the_last_retry() -> None:
    """The status stays the truth."""
    async with receiving() as receiver:
        url = receiver.url
    pauses = await _deliver(_task("evolink", url))
    assert pauses[-3:] == pytest.approx([0.1, 0.2, 0.4])


async def test_poyo_signs_its_flat_callback_and_the_older_one_is_wrapped_and_bare() -> None:
    """The signature covers id and time; the older age has an envelope and no signature."""
    async with receiving() as receiver:
        await _deliver(_task("poyo", receiver.url))
        await _deliver(_task("poyo", receiver.url), Generation.OLD)
    (newer, flat), (older, wrapped) = receiver.received
    assert newer["x-webhook-signature"] == sign(flat["task_id"], newer["x-webhook-timestamp"]).lower()
    assert "code" not in flat
    assert "progress" not in flat
    assert "x-webhook-signature" not in older
    assert wrapped["data"]["task_id"] == flat["task_id"]


async def test_a_failure_is_called_back_too_and_a_stuck_task_never_is() -> None:
    """The moment of the callback is the end of the task, whichever it is."""
    async with receiving() as receiver:
        await _deliver(_task("apixo", receiver.url, **{"content-violation": 0}))
        await _deliver(_task("apixo", receiver.url, stuck=0))
    assert [body["data"]["state"] for _, body in receiver.received] == ["failed"]


@pytest.mark.parametrize(
    ("url", "contacted"),
    [
        ("http://127.0.0.1:9/x", True),
        ("http://127.8.9.1/x", True),
        ("https://localhost/x", True),
        ("http://[::1]:80/x", True),
        ("", True),
        ("https://example.com/x", False),
        ("http://10.0.0.1/x", False),
        ("http://localhost.example.com/x", False),
        ("http://user@127.0.0.1/x", False),
        ("http://127.0.0.1:port/x", False),
        ("ftp://127.0.0.1/x", False),
    ],
)
def test_only_loopback_is_contacted(url: str, contacted: bool) -> None:
    """No other host is contacted, and the answer says so."""
    assert (explain_undelivered(url) == "") is contacted


async def test_posting_to_another_host_is_refused_at_the_last_step_too() -> None:
    """The rule does not depend on who calls."""
    with pytest.raises(ValueError, match="loopback"):
        await post_callback("https://example.com/x", Callback({}))


def test_the_answer_notes_a_callback_that_will_not_be_delivered(sandbox: SandboxClient) -> None:
    """In a header, so that the gateway's body stays its own."""
    for url, noted in (("https://example.com/hook", True), ("http://127.0.0.1:9/hook", False)):
        body = body_for("evolink", "A cat") | {"callback_url": url}
        reply = sandbox.send("POST", SUBMIT_PATHS["evolink"], body)
        assert reply.status == 200
        assert ("loopback" in reply.headers.get("x-sandbox-note", "")) is noted


async def test_a_served_sandbox_delivers_by_itself(tmp_path: Any) -> None:
    """From submission to receiver over real sockets, on a clock that was set forward."""
    clock = Clock()
    async with receiving() as receiver:
        with sandbox_in_thread(tmp_path / "store", clock, speed=600) as sandbox:
            body = body_for("poyo", "A cat") | {"callback_url": receiver.url}
            reply = await asyncio.to_thread(sandbox.send, "POST", SUBMIT_PATHS["poyo"], body)
            clock.advance(10)
            async with asyncio.timeout(10):
                await receiver.answered.wait()
    assert receiver.received[0][1]["task_id"] == reply.json["data"]["task_id"]
