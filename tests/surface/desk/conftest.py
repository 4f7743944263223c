"""What the tests of the desk share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from desk_client import Desk, open_desk, set_passphrase

from workspace import Workspace


@pytest.fixture
async def desk(workspace: Workspace) -> AsyncIterator[Desk]:
    """The desk of an install with a passphrase, where sandbox sheets ask too."""
    workspace.write_policy("[sandbox]\nasks = true\n")
    set_passphrase(workspace.home)
    opened = open_desk(workspace)
    async with opened.client:
        yield opened


@pytest.fixture
async def live_desk(workspace: Workspace) -> AsyncIterator[Desk]:
    """The desk of an install where live mode is armed."""
    workspace.go_live()
    set_passphrase(workspace.home)
    opened = open_desk(workspace)
    async with opened.client:
        yield opened
