"""The `openai` package drives the sandbox: it creates, follows, lists, downloads and deletes in each dialect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from openai import APIStatusError, BadRequestError, InternalServerError, NotFoundError, OpenAI
from sandbox_client import KEY, LONG_AFTER, Clock, SandboxClient, sandbox_in_thread

from callsheet.sandbox.store import count_submits, read_requests

WAN = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"
MODELS = {"openai": "sora-2", "sglang": WAN, "vllm-omni": WAN, "litellm": "sora-2", "sparse": "gpt-5"}
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))

# The package warns that OpenAI's own service is closed.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


class RealClock(Clock):
    """Unix seconds that run."""

    def __call__(self) -> float:
        return time.time()


@pytest.fixture
def client_of(sandbox: SandboxClient) -> Iterator[Callable[[str], OpenAI]]:
    """A client of an endpoint that sends once."""
    clients: list[OpenAI] = []

    def build(dialect: str, *, retries: int = 0) -> OpenAI:
        clients.append(OpenAI(api_key=KEY, base_url=f"{sandbox.base}/endpoints/{dialect}/v1", max_retries=retries))
        return clients[-1]

    yield build
    for client in clients:
        client.close()


@pytest.mark.parametrize("dialect", MODELS)
def test_it_creates_follows_and_downloads(
    sandbox: SandboxClient, client_of: Callable[[str], OpenAI], dialect: str
) -> None:
    """With a picture. A sparse server has no content route, and the client nothing to download with."""
    client = client_of(dialect)
    file = ("ref.png", PICTURE, "image/png")
    video = client.videos.create(
        model=MODELS[dialect], prompt="A lighthouse", seconds="4", size="1280x720", input_reference=file
    )
    assert read_requests(sandbox.store)[-1].fields == "input_reference,model,prompt,seconds,size"
    sandbox.clock.advance(LONG_AFTER)
    assert client.videos.retrieve(video.id).status == "completed"
    if dialect == "sparse":
        with pytest.raises(NotFoundError):
            client.videos.download_content(video.id)
        return
    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"


@pytest.mark.parametrize("dialect", ["openai", "sglang", "vllm-omni"])
def test_it_lists_and_deletes(client_of: Callable[[str], OpenAI], dialect: str) -> None:
    """Where there is a list."""
    client = client_of(dialect)
    video = client.videos.create(model=MODELS[dialect], prompt="A list")
    assert video.id in [listed.id for listed in client.videos.list(limit=100)]
    client.videos.delete(video.id)
    with pytest.raises(NotFoundError):
        client.videos.retrieve(video.id)


@pytest.mark.parametrize(("dialect", "listing", "deletion"), [("litellm", 400, 405), ("sparse", 404, 404)])
def test_it_is_refused_a_list_and_a_deletion(
    client_of: Callable[[str], OpenAI], dialect: str, listing: int, deletion: int
) -> None:
    """LiteLLM wants to know the provider first; aimock has no such routes."""
    client = client_of(dialect)
    video = client.videos.create(model=MODELS[dialect], prompt="A list")
    with pytest.raises(APIStatusError) as listed:
        client.videos.list(limit=2)
    with pytest.raises(APIStatusError) as deleted:
        client.videos.delete(video.id)
    assert (listed.value.status_code, deleted.value.status_code) == (listing, deletion)


@pytest.mark.parametrize("dialect", MODELS)
def test_it_reads_the_models(client_of: Callable[[str], OpenAI], dialect: str) -> None:
    """And finds the one that the other tests ask for."""
    assert MODELS[dialect] in [model.id for model in client_of(dialect).models.list()]


@pytest.mark.parametrize("dialect", ["openai", "vllm-omni", "litellm"])
def test_it_tells_a_refused_model(client_of: Callable[[str], OpenAI], dialect: str) -> None:
    """It sorts errors by their HTTP status alone."""
    with pytest.raises(BadRequestError):
        client_of(dialect).videos.create(model="no-such-model", prompt="A cat")


def test_it_takes_the_failed_job_of_vllm_omni_for_a_broken_server(
    sandbox: SandboxClient, client_of: Callable[[str], OpenAI]
) -> None:
    """The whole object is there, as the body of the error."""
    client = client_of("vllm-omni")
    video = client.videos.create(model=WAN, prompt="A cat [[sandbox:content-violation]]")
    sandbox.clock.advance(LONG_AFTER)
    with pytest.raises(InternalServerError) as error:
        client.videos.retrieve(video.id)
    assert isinstance(error.value.response.json(), dict)
    assert error.value.response.json()["status"] == "failed"


@pytest.mark.parametrize("tag", ["server-error", "drop-before"])
def test_as_it_comes_it_sends_a_creation_three_times(
    sandbox: SandboxClient, client_of: Callable[..., OpenAI], tag: str
) -> None:
    """Two repeats by default, after a 500 and after a cut connection: a program that pays once must not do this."""
    before = count_submits(sandbox.store)
    with pytest.raises(Exception, match=r"500|Connection error"):
        client_of("openai", retries=2).videos.create(model="sora-2", prompt=f"A cat [[sandbox:{tag}]]")
    assert count_submits(sandbox.store) - before == 3


def test_its_own_poll_helper_waits_as_it_is_told(tmp_path: Path) -> None:
    """It asks again while the word is `queued` or `in_progress`, as often as `openai-poll-after-ms` says."""
    with sandbox_in_thread(tmp_path / "store", RealClock(), speed=100) as sandbox:
        with OpenAI(api_key=KEY, base_url=f"{sandbox.base}/endpoints/openai/v1") as client:
            assert client.videos.create_and_poll(model="sora-2", prompt="A lighthouse").status == "completed"
        reads = [request.at for request in read_requests(sandbox.store) if request.method == "GET"]
        assert min(later - earlier for earlier, later in pairwise(reads)) >= 0.4
