"""One sandbox for most tests: it runs at real speed, and its clock moves only when a test moves it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox_client import Clock, SandboxClient, sandbox_in_thread


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxClient]:
    with sandbox_in_thread(tmp_path_factory.mktemp("sandbox") / "store", Clock()) as client:
        yield client
