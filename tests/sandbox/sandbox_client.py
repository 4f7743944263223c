"""What the sandbox's tests share: a clock that tests move, a server in a thread, plain HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from callsheet.sandbox.server import serve_sandbox

KEY = "a-sandbox-key"
LONG_AFTER = 2000.0


@dataclass
class Clock:
    """Unix seconds that stand still."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class SandboxClient:
    """Talks to one running sandbox over real sockets."""

    base: str
    store: Path
    clock: Clock
    speed: float = 1.0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        port = urlsplit(self.base).port
        assert port is not None
        return port

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = KEY,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request on its own connection; `path` may be a whole URL."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = {"Authorization": f"Bearer {key}"} if key else {}
            if body is not None:
                sent["Content-Type"] = "application/json"
            content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path.removeprefix(self.base), content, sent | (headers or {}))
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Reply:
        return self.send("GET", path, **more)

    def submit(self, gateway: str, prompt: str, **more: Any) -> Reply:
        """A valid submission with that prompt: four seconds, landscape."""
        return self.send("POST", SUBMIT_PATHS[gateway], body_for(gateway, prompt), **more)

    def accepted(self, gateway: str, prompt: str, **more: Any) -> str:
        """Submit and return the task id."""
        reply = self.submit(gateway, prompt, **more)
        assert reply.status == 200, reply.body
        return read_task_id(gateway, reply.json)

    def status(self, gateway: str, task_id: str, **more: Any) -> Reply:
        return self.get(STATUS_PATHS[gateway].format(task_id), **more)

    def finished_url(self, gateway: str, prompt: str) -> str:
        """Submit, let the time pass, and return the video's URL."""
        task_id = self.accepted(gateway, prompt)
        self.clock.advance(LONG_AFTER)
        return read_video_url(gateway, self.status(gateway, task_id).json)


GATEWAYS = ("poyo", "apidot", "apixo", "evolink")
SUBMIT_PATHS = {
    "poyo": "/poyo/api/generate/submit",
    "apidot": "/apidot/api/generate/submit",
    "apixo": "/apixo/api/v1/generateTask/sora-2",
    "evolink": "/evolink/v1/videos/generations",
}
STATUS_PATHS = {
    "poyo": "/poyo/api/generate/status/{}",
    "apidot": "/apidot/api/generate/status/{}",
    "apixo": "/apixo/api/v1/statusTask/sora-2?taskId={}",
    "evolink": "/evolink/v1/tasks/{}",
}


def body_for(gateway: str, prompt: str, **more: Any) -> dict[str, Any]:
    """A valid body; `more` is merged into the part that holds the prompt."""
    if gateway in ("poyo", "apidot"):
        return {
            "model": "sora-2-official",
            "input": {"prompt": prompt, "duration": 4, "aspect_ratio": "16:9"} | more,
        }
    if gateway == "apixo":
        shot = {"mode": "text-to-video", "prompt": prompt, "duration": 4, "aspect_ratio": "landscape"}
        return {"request_type": "async", "provider": "official", "input": shot | more}
    return {"model": "sora-2-preview", "prompt": prompt, "duration": 4, "aspect_ratio": "16:9"} | more


def read_task_id(gateway: str, answer: Any) -> str:
    if gateway == "evolink":
        return answer["id"]
    return answer["data"]["taskId" if gateway == "apixo" else "task_id"]


def read_state(gateway: str, answer: Any) -> str:
    if gateway == "evolink":
        return answer["status"]
    return answer["data"]["state" if gateway == "apixo" else "status"]


def read_video_url(gateway: str, answer: Any) -> str:
    if gateway == "evolink":
        return answer["results"][0]
    if gateway == "apixo":
        return json.loads(answer["data"]["resultJson"])["resultUrls"][0]
    data = answer["data"]
    return (data["output"] if gateway == "apidot" else data)["files"][0]["file_url"]


@contextmanager
def sandbox_in_thread(
    store: Path, clock: Clock, *, speed: float = 1.0, rate: int | None = 1_000_000
) -> Iterator[SandboxClient]:
    """A sandbox in an event loop of its own, so that tests can be plain functions."""
    ready: list[str] = []
    begun, problems = threading.Event(), []
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def run() -> None:
        try:
            async with serve_sandbox(store, speed=speed, rate=rate, clock=clock) as base:
                ready.append(base)
                begun.set()
                await over.wait()
        except BaseException as problem:
            problems.append(problem)
            raise
        finally:
            begun.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        begun.wait(20)
        assert not problems, problems
        yield SandboxClient(ready[0], store, clock, speed)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()
