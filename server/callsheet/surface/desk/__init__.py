"""The desk: a page on this computer where a person sees what waits, decides, and watches clips being made.

`serve_desk` is its one entry; nothing of the web is imported before it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from callsheet.service import Service


async def serve_desk(
    service: Service, *, config: Path, state: Path, verifier: Path, port: int, on_open: Callable[[str], object]
) -> None:
    """Serve until cancelled; see `serving.serve`. Raises `SetupProblem`."""
    from .server import serve

    await serve(service, config=config, state=state, verifier=verifier, port=port, on_open=on_open)


__all__ = ["serve_desk"]
