"""The sandbox as this process serves it: started when it is first needed, stopped with the program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio

from callsheet.errors import CallsheetError, SetupProblem


class SandboxServer:
    """Holds one serving sandbox open. `run` belongs into a task group; `url` waits for it."""

    def __init__(self, open_sandbox: Callable[[], AbstractAsyncContextManager[str]]) -> None:
        self._open_sandbox = open_sandbox
        self._wanted: anyio.Event | None = None
        self._ready: anyio.Event | None = None
        self._url = ""
        self._failure: CallsheetError | None = None

    async def url(self) -> str:
        """The sandbox's base URL; starts it on first use. Raises `SetupProblem` when it cannot be served."""
        if self._wanted is None or self._ready is None:
            raise SetupProblem("The sandbox is not running.", next_step="This is a bug in Callsheet; please report it.")
        self._wanted.set()
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self._url

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve from the first call of `url` until cancelled."""
        self._wanted, self._ready = anyio.Event(), anyio.Event()
        self._failure = None
        task_status.started()
        await self._wanted.wait()
        try:
            async with self._open_sandbox() as url:
                self._url = url
                self._ready.set()
                await anyio.sleep_forever()
        except OSError as error:
            self._failure = SetupProblem(
                f"The sandbox could not be served on loopback ({type(error).__name__}).",
                next_step="Check that this program may listen on 127.0.0.1.",
            )
            self._ready.set()
        finally:
            self._wanted = self._ready = None
