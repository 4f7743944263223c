"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from workspace import Workspace, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh install with a scripted gateway and a clock that only the test moves."""
    return make_workspace(tmp_path)
