"""Fixtures of the hostile clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consent.live_server import CountingGateway, counting_gateway


@pytest.fixture
def gateway() -> Iterator[CountingGateway]:
    """A gateway that counts what would cost money."""
    with counting_gateway() as counting:
        yield counting
