"""What one MCP server holds: the use cases, made when first needed, and the run that follows tasks.

Listing tools must answer before anything heavy is imported, so both wait. The run begins with the first
call that needs it, or by itself soon after the start, so that tasks of programs that are gone are picked up.
Only this package calls.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from callsheet.errors import CallsheetError, SetupProblem

if TYPE_CHECKING:
    from callsheet.service import Service

UNASKED_START_SECONDS = 3.0
RETRY_SECONDS = 5.0

CANNOT_HIDE = "It cannot be told here, because the configured keys cannot be read to hide them."

log = logging.getLogger(__name__)


class Backstage:
    """The use cases of one server. `service` raises what keeps them from being made, and tries again next time."""

    def __init__(self, make_service: Callable[[], Service]) -> None:
        self._make_service = make_service
        self._service: Service | None = None
        self._running = False
        self._problem: CallsheetError | None = None
        self._wanted: anyio.Event | None = None
        self._settled: anyio.Event | None = None
        self._run: anyio.CancelScope | None = None
        self._ended: anyio.Event | None = None

    @property
    def service(self) -> Service:
        """The use cases; raises `SetupProblem` when this install cannot be used."""
        if self._service is None:
            self._service = self._make_service()
        return self._service

    def parting_word(self) -> str | None:
        """What to say when the server ends: how many tasks are still open. None when it never made a service."""
        if self._service is None:
            return None
        from callsheet.surface.next_steps import for_person

        notice = self._service.closing_notice()
        return None if notice is None else for_person(notice)

    def hide(self, text: str) -> str:
        """A text that is about to leave, without keys. Where they cannot be read, hardly anything is told."""
        from .egress import fit_text

        try:
            return fit_text(self.service.redactor(), text)
        except CallsheetError as error:
            # Our own reason holds no key.
            return str(error) if str(error) == text else f"{CANNOT_HIDE} {error}"
        except Exception as error:
            return f"{CANNOT_HIDE} ({type(error).__name__})"

    def hide_value(self, value: Any) -> Any:
        """The same for a JSON value; where the keys cannot be read, nothing is told."""
        from .egress import fit_value

        try:
            return fit_value(self.service.redactor(), value)
        except Exception:
            return None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Backstage]:
        """Follow tasks while the block runs, from when it is first needed on; answers under way get their grace."""
        self._wanted, self._settled, self._ended = anyio.Event(), anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()

    async def need_running(self) -> None:
        """Return once tasks are followed; raises what keeps them from it."""
        if self._running or self._wanted is None or self._settled is None:
            return
        if self._settled.is_set():
            self._settled = anyio.Event()
        self._wanted.set()
        await self._settled.wait()
        if self._problem is not None:
            raise self._problem

    async def stop(self) -> None:
        """End the run in good order before the process ends; what is on its way is given a bounded time."""
        if self._run is not None and self._ended is not None:
            self._run.cancel()
            await self._ended.wait()

    async def _follow(self) -> None:
        assert self._ended is not None
        try:
            with anyio.CancelScope() as self._run:
                await self._pause(UNASKED_START_SECONDS)
                while True:
                    try:
                        async with self.service.running():
                            self._settle(None)
                            await anyio.sleep_forever()
                    except Exception as error:
                        self._settle(_setup_problem(error))
                    await self._pause(RETRY_SECONDS)
        finally:
            self._running = False
            self._ended.set()

    def _settle(self, problem: CallsheetError | None) -> None:
        if problem is not None and self._problem is None:
            log.warning("tasks are not followed: %s", problem.error_code)
        self._problem, self._running = problem, problem is None
        assert self._settled is not None
        self._settled.set()

    async def _pause(self, seconds: float) -> None:
        self._wanted = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._wanted.wait()


def _setup_problem(error: Exception) -> CallsheetError:
    """The reason why the run ended, taken out of the group that a task group wraps it in."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, CallsheetError):
        return error
    log.error("the run that follows tasks ended: %s", type(error).__name__)
    return SetupProblem(
        f"Tasks cannot be followed ({type(error).__name__}).", next_step="A person runs `callsheet doctor`."
    )
