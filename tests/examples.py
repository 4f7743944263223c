"""How many examples a random test tries: all that it names, or a fifth of them in a fast run."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import HealthCheck, settings

USUAL = 100
"""What hypothesis tries where nothing else is said."""


def examples(count: int, *, suppress: Collection[HealthCheck] = ()) -> settings:
    """Settings for so many examples, in proportion to what the loaded profile tries."""
    count = max(10, count * settings.default.max_examples // USUAL)
    return settings(max_examples=count, suppress_health_check=suppress, deadline=None)
