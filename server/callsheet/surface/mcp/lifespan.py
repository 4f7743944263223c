"""What one MCP server holds: the service, created when first needed, and the runner that follows tasks.

Listing tools must answer before anything heavy is imported, so both wait. The runner starts with the first call that
needs it, or automatically soon after the start, so that tasks of programs that have ended are picked up.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from callsheet.errors import Action, CallsheetError, NextStep, SetupProblem
from callsheet.surface.next_steps import error_for_agent

if TYPE_CHECKING:
    from callsheet.service import Service

UNASKED_START_SECONDS = 3.0
RETRY_SECONDS = 5.0
LONGEST_QUESTION_SECONDS = 300.0
"""No call waits longer for a person."""

WITHHELD = "Details withheld: the configured keys could not be read, so they cannot be redacted."

log = logging.getLogger(__name__)


class ServerState:
    """The service of one server. `service` raises what prevents its creation, and tries again next time."""

    def __init__(self, make_service: Callable[[], Service]) -> None:
        self._make_service = make_service
        self._service: Service | None = None
        self._running = False
        self._problem: CallsheetError | None = None
        self._wanted: anyio.Event | None = None
        self._settled: anyio.Event | None = None
        self._run: anyio.CancelScope | None = None
        self._ended: anyio.Event | None = None
        self.longest_question_seconds = LONGEST_QUESTION_SECONDS
        self.close_streams: Callable[[], None] = lambda: None

    @property
    def service(self) -> Service:
        """Raises `SetupProblem` when this install cannot be used."""
        if self._service is None:
            self._service = self._make_service()
        return self._service

    def hand_over(self) -> str | None:
        """When the server ends: see that live tasks are followed, and say what is open. None without a service."""
        if self._service is None:
            return None
        from callsheet.surface.next_steps import for_person

        notice = self._service.hand_over()
        return None if notice is None else for_person(notice)

    def redact_text(self, text: str) -> str:
        """A text that is about to be sent, without keys. Where they cannot be read, only the reason is given."""
        from .redaction import redact_text

        try:
            return redact_text(self.service.redactor(), text)
        except CallsheetError as error:
            # The program's own reason holds no key.
            reason = error_for_agent(error)
            return text if text in (reason, str(error)) else f"{WITHHELD} {reason}"
        except Exception as error:
            return f"{WITHHELD} ({type(error).__name__})"

    def redact_value(self, value: Any) -> Any:
        """The same for a JSON value; null where the keys cannot be read."""
        from .redaction import redact_value

        try:
            return redact_value(self.service.redactor(), value)
        except Exception:
            return None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ServerState]:
        """Follow tasks while the block runs, from the first need on. Requests under way get time to be answered."""
        self._wanted, self._settled, self._ended = anyio.Event(), anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()

    async def need_running(self) -> None:
        """Return once tasks are followed; raises what prevents it."""
        if self._running or self._wanted is None or self._settled is None:
            return
        if self._settled.is_set():
            self._settled = anyio.Event()
        self._wanted.set()
        await self._settled.wait()
        if self._problem is not None:
            raise self._problem

    async def stop(self) -> None:
        """Stop the runner before the process ends. Requests under way get a bounded time."""
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
    """Why the runner ended, taken out of the group that a task group wraps it in."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, CallsheetError):
        return error
    log.error("the runner ended: %s", type(error).__name__)
    return SetupProblem(f"Tasks cannot be followed ({type(error).__name__}).", next_step=NextStep(Action.DOCTOR))
