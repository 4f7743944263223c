"""A real LiteLLM proxy before the sandbox. `make test-litellm` installs it; without it these tests are skipped."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import anyio
import pytest
from openai import OpenAI
from other_servers import LITELLM, LITELLM_KEY, RealClock, litellm
from own_endpoint import generate
from sandbox_client import SandboxClient, sandbox_in_thread

from callsheet.core.tasks import TaskState
from callsheet.sandbox.store import count_accepted, count_submits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LITELLM.exists(), reason="LiteLLM is not installed: `make test-litellm` does it"),
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
]


@dataclass(frozen=True)
class Stage:
    """The sandbox, and before it a proxy that sends once and one that repeats as it comes."""

    sandbox: SandboxClient
    once: str
    repeating: str

    def counts(self) -> tuple[int, int]:
        """Creations that arrived, and jobs that were made of them."""
        return count_submits(self.sandbox.store), count_accepted(self.sandbox.store)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("litellm")
    with ExitStack() as stack:
        sandbox = stack.enter_context(sandbox_in_thread(directory / "store", RealClock(), speed=60))
        once = stack.enter_context(litellm(directory / "once", sandbox.base, retries=0))
        yield Stage(sandbox, once, stack.enter_context(litellm(directory / "repeating", sandbox.base, retries=None)))


def _create(base: str, prompt: str) -> tuple[int, dict[str, str]]:
    """Status and headers of a creation that is sent once."""
    body = json.dumps({"model": "sora-2", "prompt": prompt, "seconds": "4", "size": "1280x720"}).encode()
    headers = {"Authorization": f"Bearer {LITELLM_KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{base}/videos", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}


def test_the_openai_package_creates_follows_and_downloads_through_it(stage: Stage) -> None:
    """One creation arrives; the id of a status read is another than that of the creation."""
    submits, _ = stage.counts()
    with OpenAI(api_key=LITELLM_KEY, base_url=stage.once, max_retries=0) as client:
        created = client.videos.create(model="sora-2", prompt="A lighthouse", seconds="4", size="1280x720")
        done = client.videos.poll(created.id, poll_interval_ms=200)
        assert (done.status, done.id != created.id, len(created.id)) == ("completed", True, 138)
        assert client.videos.download_content(created.id).read()[4:8] == b"ftyp"
    assert stage.counts()[0] - submits == 1


@pytest.mark.parametrize(
    ("tag", "status", "submits", "jobs", "retries"),
    [
        ("server-error", 500, 3, 0, None),
        ("drop-before", 500, 3, 0, None),
        ("drop-after", 500, 3, 3, None),
        ("server-error=1", 200, 2, 1, "1"),
        ("drop-after=1", 200, 2, 2, "1"),
    ],
)
def test_as_it_comes_it_sends_a_creation_again(
    stage: Stage, tag: str, status: int, submits: int, jobs: int, retries: str | None
) -> None:
    """Up to three jobs of one request. Only an answer that came at last says that it was not the first."""
    before = stage.counts()
    answered, headers = _create(stage.repeating, f"A kite [[sandbox:{tag}]]")
    after = stage.counts()
    assert (answered, after[0] - before[0], after[1] - before[1]) == (status, submits, jobs)
    assert headers.get("x-litellm-attempted-retries") == retries
    assert headers["x-litellm-version"] == "1.106.12"


@pytest.mark.parametrize(
    ("tag", "jobs"), [("server-error", 0), ("drop-before", 0), ("drop-after", 1), ("server-error=1", 0)]
)
def test_with_num_retries_0_it_sends_once(stage: Stage, tag: str, jobs: int) -> None:
    """What the documentation asks of an operator."""
    before = stage.counts()
    answered, _ = _create(stage.once, f"A hen [[sandbox:{tag}]]")
    after = stage.counts()
    assert (answered, after[0] - before[0], after[1] - before[1]) == (500, 1, jobs)


async def test_one_approval_is_one_creation_and_a_saved_clip(stage: Stage, tmp_path: Path) -> None:
    """The program before the proxy: the id of 138 characters is followed, the content fetched, the cost told."""
    before = stage.counts()
    task, _ = await generate(tmp_path / "home", stage.once, "A lighthouse in fog", key=LITELLM_KEY)
    after = stage.counts()
    assert (task.state, task.charge, len(task.gateway_task_id)) == (TaskState.SAVED, "0.4 USD", 138)
    assert task.clip is not None
    assert (await anyio.Path(task.clip.path).read_bytes())[4:8] == b"ftyp"
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)


@pytest.mark.parametrize(("tag", "jobs"), [("server-error", 0), ("drop-before", 0), ("drop-after", 1)])
async def test_a_server_behind_it_that_fails_leaves_an_unknown_outcome(
    stage: Stage, tmp_path: Path, tag: str, jobs: int
) -> None:
    """One creation, whatever came of it, and nothing is sent again."""
    before = stage.counts()
    task, told = await generate(tmp_path / "home", stage.once, f"A gull [[sandbox:{tag}]]", key=LITELLM_KEY)
    after = stage.counts()
    assert (task.state, after[0] - before[0], after[1] - before[1]) == (TaskState.OUTCOME_UNKNOWN, 1, jobs)
    assert "num_retries: 0" in told


@pytest.mark.parametrize(
    ("tag", "state", "submits", "jobs", "told"),
    [
        ("server-error", TaskState.OUTCOME_UNKNOWN, 3, 0, "num_retries: 0"),
        ("drop-after", TaskState.OUTCOME_UNKNOWN, 3, 3, "num_retries: 0"),
        ("drop-after=1", TaskState.SAVED, 2, 2, "SENT 2 TIMES"),
    ],
)
async def test_what_it_repeated_is_told(
    stage: Stage, tmp_path: Path, tag: str, *, state: TaskState, submits: int, jobs: int, told: str
) -> None:
    """One approval became several creations behind the proxy, and the person hears of it."""
    before = stage.counts()
    task, text = await generate(tmp_path / "home", stage.repeating, f"A heron [[sandbox:{tag}]]", key=LITELLM_KEY)
    after = stage.counts()
    assert (task.state, after[0] - before[0], after[1] - before[1]) == (state, submits, jobs)
    assert told in text


class CutThenBusy(BaseHTTPRequestHandler):
    """A server that takes a creation and cuts the connection, then answers 429."""

    creations = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).creations += 1
        if self.creations == 1:
            self.connection.close()
            return
        body = b'{"error": {"message": "Busy.", "type": "requests", "param": null, "code": "rate_limit_exceeded"}}'
        self.send_response(429)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


async def test_too_many_requests_through_it_prove_nothing(tmp_path: Path) -> None:
    """The first of three creations may have made a job before the others were refused, so none is sent again."""
    with HTTPServer(("127.0.0.1", 0), CutThenBusy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with litellm(tmp_path / "proxy", f"http://127.0.0.1:{server.server_port}", retries=None) as proxy:
            status, _ = _create(proxy, "A crane")
            arrived, CutThenBusy.creations = CutThenBusy.creations, 0
            task, told = await generate(tmp_path / "home", proxy, "A crane", key=LITELLM_KEY)
        server.shutdown()
    assert (status, arrived) == (429, 3)
    assert (task.state, CutThenBusy.creations) == (TaskState.OUTCOME_UNKNOWN, 3)
    assert "num_retries: 0" in told
