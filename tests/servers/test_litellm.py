"""A real LiteLLM proxy before the sandbox. `make test-litellm` installs it; without it these tests are skipped."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from openai import OpenAI
from other_servers import LITELLM, LITELLM_KEY, RealClock, litellm
from sandbox_client import SandboxClient, sandbox_in_thread

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
