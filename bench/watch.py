"""Watches many open sandbox tasks with one process and prints what that costs.

The sandbox runs in a process of its own; what is measured is the watching process: CPU time as a share
of one core over the whole run (submitting, polling, downloading, checking, drawing the pictures), peak
memory, status reads per task, the time from "finished at the gateway" to "known here", and the gateway's own
count of requests against the rate that is kept. Times are scaled back to seconds of life.

The gateway documents no rate, so 60 requests a minute are kept to (times the speed): with a thousand open tasks
that rate, not the schedule, decides how often each is asked after. `--tasks 8 --speed 5` shows the schedule.
The tasks are takes of a few shots, so that the sandbox renders few films.

    python bench/watch.py [--tasks 1000] [--speed 50]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

import anyio

from callsheet.compose import Surroundings, build_service
from callsheet.core.shot import Shot
from callsheet.core.tasks import Task, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.sandbox.store import Store
from callsheet.service import Draft, Service

SERVE = """
import pathlib, sys
from callsheet.sandbox.server import run_sandbox
run_sandbox(pathlib.Path(sys.argv[1]), speed=float(sys.argv[2]), port=int(sys.argv[3]), rate=100000)
"""
CARD = ("poyo", "sora-2-official")
PORT = 18797
SHOTS = 10


def cpu_seconds() -> float:
    """User and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def submit_all(service: Service, count: int) -> None:
    """Draft and submit that many different shots; the runner sends them at the gateway's rate."""
    for number in range(count):
        shot = Shot.of(f"Shot {number % SHOTS}: a red kite over dunes at dusk, slow pan.", duration_seconds=4)
        explanation = service.explain(Draft(shot=shot, gateway=CARD[0], model=CARD[1]))
        await service.submit(explanation.sheet.id, wait_seconds=0)


def news_delays(store: Path, tasks: Iterable[Task], speed: float) -> list[float]:
    """Seconds of life from the end of each task at the gateway until this program knew of it."""
    ends = {task.task_id: task.ends_at for task in Store(store).load_tasks(CARD[0])}
    delays = []
    for task in tasks:
        end = ends.get(task.gateway_task_id or "")
        if end is not None and task.finished_at is not None:
            delays.append((task.finished_at - end) * speed)
    return sorted(delays)


async def watch(count: int, speed: float, home: Path, store: Path) -> dict[str, float]:
    """Run all tasks to their end; returns the figures."""
    service = build_service(Surroundings({"CALLSHEET_HOME": str(home)}, Path("/"), SystemClock()))
    ledger = service.deps.ledger()

    async def sandbox_url() -> str:
        return f"http://127.0.0.1:{PORT}"

    service.deps = replace(service.deps, sandbox_url=sandbox_url)
    started, before = time.monotonic(), cpu_seconds()
    async with service.running():
        await submit_all(service, count)
        while open_tasks := service.tasks(only_open=True, limit=count + 1):
            states = Counter(report.task.state.value for report in open_tasks)
            print(
                f"\r{time.monotonic() - started:6.1f} s  {dict(states)}" + " " * 20, end="", file=sys.stderr, flush=True
            )
            await anyio.sleep(5)
    wall, cpu = time.monotonic() - started, cpu_seconds() - before
    print(file=sys.stderr)
    tasks = ledger.tasks(limit=count + 1)
    saved = [task for task in tasks if task.state is TaskState.SAVED and task.clip and Path(task.clip.path).exists()]
    delays = news_delays(store, tasks, speed)
    return {
        "tasks": count,
        "speed": speed,
        "saved": len(saved),
        "lost": count - len(saved),
        "wall_seconds": round(wall, 1),
        "cpu_share_of_one_core": round(cpu / wall, 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "status_reads_per_task": round(sum(task.polls for task in tasks) / count, 2),
        "cpu_ms_per_task": round(cpu / count * 1000, 1),
        "finished_to_known_median_s": round(median(delays), 1),
        "finished_to_known_p95_s": round(delays[int(len(delays) * 0.95)], 1),
        "load": round(os.getloadavg()[0], 1),
    }


def busiest_minute(store: Path, speed: float) -> tuple[int, float]:
    """Most requests in any window of one sandbox minute, as the gateway counted them, and the rate allowed."""
    times = [
        json.loads(line)["at"]
        for line in (store / "requests.jsonl").read_text(encoding="utf-8").splitlines()
        if "/files/" not in line
    ]
    window, most, first = 60.0 / speed, 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most, 60.0


def main() -> None:
    """Parse the arguments, run, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--speed", type=float, default=50.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "config").mkdir()
        policy = home / "config" / "policy.toml"
        policy.touch(mode=0o600)
        policy.write_text(f"[sandbox]\nspeed = {options.speed}\n", encoding="utf-8")
        store = home / "store"
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(store), str(options.speed), str(PORT)],
            stdout=subprocess.DEVNULL,
            env=os.environ,
        )
        try:
            time.sleep(2)
            figures = anyio.run(watch, options.tasks, options.speed, home, store)
            most, allowed = busiest_minute(store, options.speed)
        finally:
            server.terminate()
            server.wait()
    print(json.dumps({**figures, "busiest_sandbox_minute": most, "requests_allowed_per_minute": allowed}))


if __name__ == "__main__":
    main()
