"""A process of a race for a sheet that was put forward. Each line on standard input is a JSON list: an act, a sheet.

    python forward_racer.py ACCOUNT_HOME

It follows tasks all the time, as a server and the desk do, says "ready" once it does, and answers each act with a line.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from callsheet.compose import Surroundings, build_service
from callsheet.core.consent import Means
from callsheet.errors import CallsheetError
from callsheet.service import Service


async def act(service: Service, what: str, sheet_id: str, seconds: float) -> Any:
    """Do it; what came of it."""
    try:
        if what == "submit":
            [found] = await service.submit_together([sheet_id], wait_seconds=seconds)
            return found.status
        if what == "approve":
            return service.approve(sheet_id, by=Means.DESK).state.value
        return service.decline(sheet_id, by=Means.DESK).state.value
    except CallsheetError as error:
        return error.error_code


async def main() -> None:
    """Serve."""
    service = build_service(replace(Surroundings.of_process(), account_home=Path(sys.argv[1])))
    async with service.running():
        print("ready", flush=True)  # noqa: T201
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(await act(service, *json.loads(line))), flush=True)  # noqa: T201


if __name__ == "__main__":
    anyio.run(main)
