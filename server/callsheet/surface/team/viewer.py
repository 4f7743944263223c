"""On whose behalf this request, or this background task, acts. A request that did not say so fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from callsheet.core.people import Viewer

_viewer: ContextVar[Viewer] = ContextVar("viewer")


def current_viewer() -> Viewer:
    """The one who acts now; raises `LookupError` where nobody was named."""
    return _viewer.get()


@contextmanager
def as_viewer(viewer: Viewer) -> Iterator[None]:
    """Act on that one's behalf in the block, and in the tasks that are started in it."""
    token = _viewer.set(viewer)
    try:
        yield
    finally:
        _viewer.reset(token)
