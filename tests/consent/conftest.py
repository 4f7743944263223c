"""Fixtures of the hostile clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consent.live_server import CountingGateway, SharedServers, counting_gateway


@pytest.fixture
def gateway() -> Iterator[CountingGateway]:
    """A gateway that counts what would cost money."""
    with counting_gateway() as counting:
        yield counting


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServers]:
    """Live servers for tests that only need a refusal or a single purchase."""
    shared = SharedServers(lambda: tmp_path_factory.mktemp("home"))
    yield shared
    shared.close()
