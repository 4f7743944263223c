"""aimock, a server of sparse answers. `make test-litellm` installs it; without it these tests are skipped."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest
from openai import NotFoundError, OpenAI
from other_servers import AIMOCK, aimock
from own_endpoint import generate
from sandbox_client import KEY

from callsheet.core.tasks import TaskState
from callsheet.sandbox.video import Video, render_video

FIXTURES = {
    "fixtures": [
        {
            "match": {"endpoint": "video", "userMessage": "FAIL"},
            "response": {"video": {"id": "vid-f", "status": "failed", "error": "content policy"}},
        },
        {
            "match": {"endpoint": "video", "userMessage": "processing"},
            "response": {"video": {"id": "vid-1", "status": "processing"}},
        },
        {
            "match": {"endpoint": "video"},
            "response": {"video": {"id": "vid-2", "status": "completed", "url": "http://127.0.0.1:1/clip.mp4"}},
        },
    ]
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AIMOCK.exists(), reason="aimock is not installed: `make test-litellm` does it"),
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
]


class Front(BaseHTTPRequestHandler):
    """aimock hands out no content: this does, and passes on all else."""

    aimock = ""
    clip = b""
    seen: list[tuple[str, str]] = []  # noqa: RUF012 - one server, one module

    def do_GET(self) -> None:
        self._answer(self.clip, "video/mp4") if self.path.endswith("/content") else self._pass_on(None)

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers["content-length"])))

    def _pass_on(self, body: bytes | None) -> None:
        self.seen.append((self.command, self.path))
        sent = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.aimock + self.path, body, sent)) as reply:
                self._answer(reply.read(), "application/json")
        except urllib.error.HTTPError as error:
            self._answer(error.read(), "application/json", error.code)

    def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with aimock(tmp_path_factory.mktemp("aimock") / "run", json.dumps(FIXTURES)) as base:
        yield base


@pytest.fixture
def client(base: str) -> Iterator[OpenAI]:
    with OpenAI(api_key=KEY, base_url=base, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def front(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("front") / "clip.mp4"
    render_video(path, Video("A cat", 320, 192, 1, "aimock"))
    Front.clip, Front.aimock = path.read_bytes(), base.removesuffix("/v1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.mark.parametrize(
    ("prompt", "status", "keys"),
    [
        ("A cat", "completed", {"id", "status", "created_at", "url"}),
        ("processing", "processing", {"id", "status", "created_at"}),
        ("FAIL", "failed", {"id", "status", "created_at"}),
    ],
)
def test_its_objects_are_those_of_the_sandboxs_sparse_dialect(
    client: OpenAI, prompt: str, status: str, keys: set[str]
) -> None:
    """Two required fields, a time, and a link once it is done; a failure without a reason."""
    created = client.videos.create(model="anything", prompt=prompt)
    found = client.videos.retrieve(created.id)
    assert (created.status, found.status) == (status, status)
    assert set(found.model_dump(exclude_unset=True)) == keys


def test_it_has_neither_content_nor_a_list(client: OpenAI) -> None:
    """As the sandbox has it."""
    with pytest.raises(NotFoundError):
        client.videos.download_content("vid-2")
    with pytest.raises(NotFoundError):
        client.videos.list()


@pytest.mark.parametrize(("prompt", "state"), [("A cat", TaskState.SAVED), ("FAIL", TaskState.FAILED)])
async def test_one_approval_is_one_creation_and_the_clip_is_saved(
    front: str, tmp_path: Path, prompt: str, state: TaskState
) -> None:
    """The program before it: finished or failed at creation, with two fields and no reason."""
    before = Front.seen.count(("POST", "/v1/videos"))
    task, _ = await generate(tmp_path / "home", front, prompt, key=KEY)
    assert (task.state, Front.seen.count(("POST", "/v1/videos")) - before) == (state, 1)
    if state is TaskState.SAVED:
        assert task.clip is not None
        assert (await anyio.Path(task.clip.path).read_bytes()).startswith(Front.clip)
