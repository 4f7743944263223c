"""One process of the program in the torture: submits what is approved and follows what there is, until killed.

python -m torture.child HOME BASE NAME
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import httpx2

from callsheet.compose import Surroundings, build_service, quiet_libraries
from callsheet.core.gateway.protocol import USUAL, Route
from callsheet.core.tasks import SheetState
from callsheet.edges.clips.save import Clips
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.http.streams import ByteStream
from callsheet.edges.ledger.ledger import SqliteLedger, SqlLedger
from callsheet.errors import CallsheetError
from callsheet.service import Service
from callsheet.service.submission import submit
from torture.pace import FastChanges, FastClock
from workspace import account_of

LOOK_SECONDS = 0.2
AT_A_LOOK = 4

log = logging.getLogger("callsheet.torture")


class MarkedHttp(GatewayHttp):
    """The real client, whose requests say which process they come from."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def _client(self, route: Route, *, keepalive: int, timeout: float) -> httpx2.AsyncClient:
        client = super()._client(route, keepalive=keepalive, timeout=timeout)
        client.headers["x-child"] = self._name
        return client

    def open_stream(
        self, url: str, headers: Mapping[str, str], *, loopback: str | None = None, route: Route = USUAL
    ) -> AbstractAsyncContextManager[ByteStream]:
        return super().open_stream(url, {**headers, "x-child": self._name}, loopback=loopback, route=route)


def start_service(
    environ: dict[str, str],
    clock: FastClock,
    name: str,
    open_ledger: Callable[[Path], SqlLedger] = SqliteLedger,
) -> Service:
    """The program as it is, on the fast clock."""
    service = build_service(
        Surroundings(
            environ=environ,
            working_directory=Path("/nowhere"),
            clock=clock,
            account_home=account_of(Path(environ["CALLSHEET_HOME"])),
            open_ledger=open_ledger,
        )
    )
    http = MarkedHttp(name)
    for part, value in (("http", http), ("clips", Clips(http)), ("changes", FastChanges())):
        object.__setattr__(service.deps, part, value)
    return service


async def main(home: str, base: float, name: str) -> None:
    """Submit approved sheets, the same ones as the other processes, and let the watcher do the rest."""
    service = start_service({**os.environ, "CALLSHEET_HOME": home}, FastClock(base), name)
    async with service.running():
        await submit_approved(service)


async def submit_approved(service: Service) -> None:
    """Submit whatever is approved, without end."""
    while True:
        try:
            sheets = service.deps.ledger().sheets([SheetState.APPROVED])
            for sheet in random.sample(sheets, min(AT_A_LOOK, len(sheets))):
                submit(service.deps, sheet.id)
        except CallsheetError as error:
            # Another process was faster, as it should be now and then.
            log.info("not submitted: %s", error.error_code)
        await anyio.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
    quiet_libraries()
    anyio.run(main, sys.argv[1], float(sys.argv[2]), sys.argv[3])
