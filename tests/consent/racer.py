"""One of the processes that race for an approved sheet: many threads, each with the whole use case of its own.

    python racer.py SHEET THREADS ACCOUNT_HOME

Says "ready" on one line, waits for a line on standard input, then prints a JSON list of what each thread was told.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from callsheet.compose import Surroundings, build_service
from callsheet.errors import CallsheetError


def submit(sheet_id: str, barrier: threading.Barrier) -> dict[str, Any]:
    """What a server does with the call, on a loop of its own."""

    async def run() -> dict[str, Any]:
        service = build_service(replace(Surroundings.of_process(), account_home=Path(sys.argv[3])))
        async with service.running():
            await anyio.to_thread.run_sync(barrier.wait)
            try:
                submission = await service.submit(sheet_id)
            except CallsheetError as error:
                return {"error": str(error)}
            assert submission.report is not None
            # The watchers of the others may be the ones that send it: stay until somebody has.
            report = await service.wait_for(
                submission.report.task.id, wait_seconds=30, until=lambda task: task.gateway_task_id is not None
            )
            return {"status": submission.status, "task": report.task.id, "gateway": report.task.gateway_task_id}

    return anyio.run(run)


def main() -> None:
    """Race."""
    sheet_id, threads = sys.argv[1], int(sys.argv[2])
    barrier = threading.Barrier(threads)
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda _: submit(sheet_id, barrier), range(threads)))
    print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
