"""What the tests of the desk share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from visitor import Desk, open_desk, set_passphrase

from studio import Studio


@pytest.fixture
async def desk(studio: Studio) -> AsyncIterator[Desk]:
    """The desk of an install with a passphrase, where sandbox sheets ask too."""
    studio.write_policy("[sandbox]\nasks = true\n")
    set_passphrase(studio.home)
    opened = open_desk(studio)
    async with opened.client:
        yield opened


@pytest.fixture
async def live_desk(studio: Studio) -> AsyncIterator[Desk]:
    """The desk of an install where live mode is armed."""
    studio.go_live()
    set_passphrase(studio.home)
    opened = open_desk(studio)
    async with opened.client:
        yield opened
