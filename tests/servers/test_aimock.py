"""aimock, a server of sparse answers. `make test-litellm` installs it; without it these tests are skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from openai import NotFoundError, OpenAI
from other_servers import AIMOCK, aimock
from sandbox_client import KEY

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


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with (
        aimock(tmp_path_factory.mktemp("aimock") / "run", json.dumps(FIXTURES)) as base,
        OpenAI(api_key=KEY, base_url=base, max_retries=0) as client,
    ):
        yield client


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
