"""A callback rings a bell, at most once a second for a sheet, and does nothing else, whatever it says."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette

from callsheet.core.gateway.callbacks import callback_token
from callsheet.sandbox.fakes.poyo import sign
from callsheet.surface.team.callbacks import MOST_BODY_BYTES, MOST_OF_SOURCE, MOST_SOURCES, Callbacks, Outcome, Signed
from cases import cases

KEYS = [bytes([1]) * 32, bytes([2]) * 32]
SECRET = "a-webhook-secret"
SHEET, OTHER = "sheet_abcdefghij2345672345", "sheet_zzzzzzzzzz2345672345"
TOKEN = callback_token(SHEET, KEYS)
START = 1_790_000_000.0
STALLS: Any = object()


@dataclass
class Bell:
    """The endpoint with everything around it: a clock that the test moves, and what was rung."""

    time: float = START
    rung: list[tuple[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    broken: bool = False
    task_id: str = "task-unified-1"

    def __post_init__(self) -> None:
        gateways = {"apidot": None, "poyo": Signed(SECRET.encode(), self.find_task_id)}
        self.callbacks = Callbacks(gateways, KEYS, self.ring, now=lambda: self.time, body_seconds=0.05)
        self.app = Starlette(routes=[self.callbacks.route])

    async def ring(self, gateway: str, sheet_id: str) -> None:
        if self.broken:
            raise RuntimeError(f"the database says {TOKEN}")
        self.rung.append((gateway, sheet_id))

    async def find_task_id(self, sheet_id: str) -> str:
        self.asked.append(sheet_id)
        return self.task_id

    async def post(
        self,
        path: str = f"/callbacks/apidot/{TOKEN}",
        body: Iterable[Any] = (b"{}",),
        headers: Mapping[str, str] | None = None,
        *,
        source: str = "203.0.113.7",
        method: str = "POST",
    ) -> int:
        """The status of the answer. A body may stall, or end before its end is announced."""
        chunks, statuses = list(body), list[int]()

        async def receive() -> dict[str, Any]:
            if not chunks:
                return {"type": "http.disconnect"}
            chunk = chunks.pop(0)
            if chunk is STALLS:
                await anyio.sleep_forever()
            return {"type": "http.request", "body": chunk or b"", "more_body": bool(chunks) or chunk is None}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            else:
                assert message.get("body", b"") == b"" or statuses == [405]

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "https",
            "http_version": "1.1",
            "server": ("team.example.com", 443),
            "client": (source, 1) if source else None,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        }
        await self.app(scope, receive, send)
        assert len(statuses) == 1
        return statuses[0]


@pytest.fixture
def bell() -> Bell:
    """An endpoint that was just opened."""
    return Bell()


async def test_a_callback_rings_for_its_sheet(bell: Bell) -> None:
    """Whatever it says, and under an older key too."""
    assert await bell.post(body=[b'{"status": "failed"', b"\xff\x00"]) == 200
    assert await bell.post(f"/callbacks/apidot/{callback_token(OTHER, KEYS[1:])}", body=[b""]) == 200

    assert bell.rung == [("apidot", SHEET), ("apidot", OTHER)]
    assert bell.callbacks.outcomes == {Outcome.RUNG: 2}


@pytest.mark.parametrize(
    "path",
    [
        f"/callbacks/other/{TOKEN}",
        f"/callbacks/APIDOT/{TOKEN}",
        f"/callbacks/apidot/{TOKEN[:-1]}",
        f"/callbacks/apidot/{TOKEN}A",
        f"/callbacks/apidot/{SHEET}",
        f"/callbacks/apidot/{SHEET}.{'A' * 27}",
        f"/callbacks/apidot/{OTHER}.{TOKEN.partition('.')[2]}",
        f"/callbacks/apidot/{callback_token(SHEET, [bytes([9]) * 32])}",
        "/callbacks/apidot/é",
    ],
)
async def test_a_token_that_was_not_made_here_is_unknown(bell: Bell, path: str) -> None:
    """Forged, truncated, another sheet's, at a gateway that nobody uses."""
    assert await bell.post(path) == 404
    assert bell.rung == []
    assert bell.callbacks.outcomes == {Outcome.UNKNOWN: 1}


async def test_a_callback_at_another_gateway_names_that_gateway(bell: Bell) -> None:
    """The bell is told what the path says, so a sheet of PoYo's is not rung without PoYo's signature."""
    assert await bell.post(f"/callbacks/apidot/{TOKEN}") == 200
    assert await bell.post(f"/callbacks/poyo/{TOKEN}") == 200

    assert bell.rung == [("apidot", SHEET)]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_a_post_is_a_callback(bell: Bell, method: str) -> None:
    """A link that is opened, or fetched for a preview, rings nothing."""
    assert await bell.post(method=method) == 405
    assert bell.rung == []


async def test_a_repeated_callback_rings_once_a_second(bell: Bell) -> None:
    """A replay is answered as well, and does no harm."""
    for _ in range(3):
        assert await bell.post() == 200
    bell.time += 0.9
    assert await bell.post() == 200
    assert len(bell.rung) == 1
    bell.time += 0.2
    assert await bell.post() == 200
    assert len(bell.rung) == 2
    bell.time -= 3600
    assert await bell.post() == 200

    assert len(bell.rung) == 3, "a clock that was set back silences nothing"
    assert bell.callbacks.outcomes == {Outcome.RUNG: 3, Outcome.REPEATED: 3}


async def test_a_thousand_callbacks_at_once_ring_once(bell: Bell) -> None:
    """From many sources; of one source only so many are looked at."""
    statuses: list[int] = []

    async def send(number: int) -> None:
        statuses.append(await bell.post(source=f"203.0.113.{number % 4}"))

    async with anyio.create_task_group() as group:
        for number in range(1000):
            group.start_soon(send, number)
    assert statuses == [200] * 1000
    assert bell.rung == [("apidot", SHEET)]

    statuses = [await bell.post() for _ in range(1000)]
    assert statuses.count(200) == MOST_OF_SOURCE
    assert statuses.count(429) == 1000 - MOST_OF_SOURCE
    assert bell.rung == [("apidot", SHEET)]
    bell.time += 10
    assert await bell.post() == 200
    assert len(bell.rung) == 2


async def test_one_source_does_not_silence_another(bell: Bell) -> None:
    """Neither by many requests, nor by many addresses of its own network."""
    for number in range(MOST_OF_SOURCE + 1):
        status = await bell.post("/callbacks/apidot/x", source=f"2001:db8::{number:x}")
    assert status == 429
    assert await bell.post(source="2001:db8:0:1::1") == 200
    assert bell.rung == [("apidot", SHEET)]


async def test_the_memory_of_sources_is_bounded(bell: Bell) -> None:
    """A known source is still heard; the others are in the next window."""
    assert await bell.post("/callbacks/apidot/x") == 404
    for number in range(MOST_SOURCES):
        status = await bell.post("/callbacks/apidot/x", source=f"source-{number}")
    assert status == 429
    assert await bell.post() == 200
    bell.time += 10
    assert await bell.post("/callbacks/apidot/x", source="source-0") == 404


async def test_a_huge_body_is_refused(bell: Bell) -> None:
    """Announced or not, and before it was read to its end; the largest that is allowed rings."""
    half = bytes(MOST_BODY_BYTES // 2)

    assert await bell.post(headers={"content-length": str(MOST_BODY_BYTES + 1)}, body=[STALLS]) == 413
    assert await bell.post(headers={"content-length": "9" * 5000}, body=[STALLS]) == 413
    assert await bell.post(body=[half, half, b"x", STALLS]) == 413
    assert await bell.post(body=[half] * 100) == 413
    assert bell.rung == []
    assert await bell.post(body=[half, half]) == 200
    assert bell.rung == [("apidot", SHEET)]


async def test_a_slow_body_and_one_that_breaks_off_ring_nothing(bell: Bell) -> None:
    """The endpoint waits so long, and no longer."""
    with anyio.fail_after(10):
        assert await bell.post(body=[b"{", STALLS]) == 408
        assert await bell.post(body=[None]) == 408
    assert bell.rung == []


NOW = f"{START:.0f}"


@cases(
    ("timestamp", "signature", "expected"),
    [
        (NOW, sign("task-unified-1", NOW, SECRET), Outcome.RUNG),
        (None, None, Outcome.UNSIGNED),
        (NOW, None, Outcome.UNSIGNED),
        (NOW, "x", Outcome.UNSIGNED),
        (NOW, sign("task-unified-2", NOW, SECRET), Outcome.UNSIGNED),
        (NOW, sign("task-unified-1", NOW, "another"), Outcome.UNSIGNED),
        (f"{START - 301:.0f}", sign("task-unified-1", f"{START - 301:.0f}", SECRET), Outcome.UNSIGNED),
        (f"{START + 1:.0f}", sign("task-unified-1", NOW, SECRET), Outcome.UNSIGNED),
    ],
)
def test_where_a_secret_is_set_only_signed_callbacks_ring(
    timestamp: str | None, signature: str | None, expected: Outcome
) -> None:
    """Wrong and stale ones are answered alike, so the sender learns nothing."""
    bell, headers = Bell(), {"x-webhook-timestamp": timestamp, "x-webhook-signature": signature}
    given = {name: value for name, value in headers.items() if value is not None}

    assert anyio.run(bell.post, f"/callbacks/poyo/{TOKEN}", (b"{}",), given) == 200
    assert bell.callbacks.outcomes == {expected: 1}
    assert bell.rung == ([("poyo", SHEET)] if expected is Outcome.RUNG else [])


async def test_a_signature_says_nothing_before_the_gateways_task_is_known(bell: Bell) -> None:
    """A callback can come before the answer to the submission; the task is polled anyway. Unsigned asks nobody."""
    bell.task_id = ""
    headers = {"x-webhook-timestamp": NOW, "x-webhook-signature": sign("", NOW, SECRET)}

    assert await bell.post(f"/callbacks/poyo/{TOKEN}") == 200
    assert bell.asked == []
    assert await bell.post(f"/callbacks/poyo/{TOKEN}", headers=headers) == 200
    assert bell.asked == [SHEET]
    assert bell.rung == []


async def test_nothing_of_path_or_body_is_logged(bell: Bell, caplog: pytest.LogCaptureFixture) -> None:
    """Not even if what rings fails with the token in its words; the sender need not repeat it."""
    caplog.set_level(logging.DEBUG)
    bell.broken = True

    assert await bell.post(body=[b"canary-of-the-body"]) == 200
    assert await bell.post("/callbacks/apidot/canary-of-the-path") == 404
    assert bell.callbacks.outcomes == {Outcome.FAILED: 1, Outcome.UNKNOWN: 1}
    assert "RuntimeError" in caplog.text
    assert all(word not in caplog.text for word in ("canary", TOKEN, SHEET, "apidot"))
    assert SECRET not in repr(Signed(SECRET.encode(), bell.find_task_id))
