"""The desk: a local web page where you see what waits for approval, decide, and follow your clips.

`serve_desk` is its only entry point; no web library is imported before it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from callsheet.service import Service


async def serve_desk(
    service: Service, *, config: Path, state: Path, verifier: Path, port: int, on_open: Callable[[str], object]
) -> None:
    """Serve until cancelled; see `server.serve`. Raises `SetupProblem`."""
    from .server import serve

    await serve(service, config=config, state_dir=state, verifier=verifier, port=port, on_open=on_open)


__all__ = ["serve_desk"]
