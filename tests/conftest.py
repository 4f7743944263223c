"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio import Studio, make_studio


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A fresh install with a scripted gateway and a clock that only the test moves."""
    return make_studio(tmp_path)
