"""A desk on demand: opened where a sheet waits and no desk is open, on a free loopback port, until it is decided."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from callsheet.errors import CallsheetError
from callsheet.service.dependencies import Dependencies

from .forward import forward_sheets

ServeDesk = Callable[[Callable[[str], object]], Awaitable[None]]
"""Serves the desk until cancelled, and calls back as soon as it answers."""

log = logging.getLogger(__name__)

OPENING_SECONDS = 5.0
LINGER_SECONDS = 60.0
"""After the decision the person's page still shows what became of it."""
LOOK_SECONDS = 1.0


class DeskOnDemand:
    """Opens a desk when asked. `run` belongs into a task group."""

    def __init__(self, deps: Dependencies, serve: ServeDesk) -> None:
        self._deps = deps
        self._serve = serve
        self._wanted: anyio.Event | None = None
        self._settled = anyio.Event()

    async def open(self) -> str | None:
        """The address of the open desk, without anything that signs in; opens one. None where that is not possible."""
        if self._deps.desk_url() is None and self._wanted is not None:
            self._wanted.set()
            with anyio.move_on_after(OPENING_SECONDS):
                await self._settled.wait()
        return self._deps.desk_url()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve whenever a desk is wanted, until nothing that was put forward waits any more."""
        while True:
            self._wanted, self._settled = anyio.Event(), anyio.Event()
            task_status.started()
            task_status = anyio.TASK_STATUS_IGNORED
            await self._wanted.wait()
            async with anyio.create_task_group() as group:
                group.start_soon(self._open, group.cancel_scope)
                await self._until_decided()
                group.cancel_scope.cancel()

    async def _open(self, scope: anyio.CancelScope) -> None:
        settled = self._settled
        try:
            await self._serve(lambda _: settled.set())
        except Exception as error:
            # Another desk opened at this moment, or no port is free. Tasks are followed without one.
            log.warning("no desk was opened: %s", type(error).__name__)
        settled.set()
        scope.cancel()

    async def _until_decided(self) -> None:
        last = anyio.current_time()
        while anyio.current_time() < last + LINGER_SECONDS:
            with suppress(CallsheetError):
                if forward_sheets(self._deps):
                    last = anyio.current_time()
            await self._deps.changes.wait(LOOK_SECONDS)
