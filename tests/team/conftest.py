"""A real OpenID provider for the tests of team mode; they are skipped where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from real_provider import RealProvider

from servers.other_servers import OIDC_INSTALLED, oidc


@pytest.fixture(scope="session")
def real_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProvider]:
    """One for all tests: each registers the clients that it needs, and signs in with a browser of its own."""
    if not OIDC_INSTALLED:
        pytest.skip("oidc-provider is not installed: `make .servers/.oidc` does it")
    with oidc(tmp_path_factory.mktemp("oidc") / "run") as issuer:
        yield RealProvider(issuer)
