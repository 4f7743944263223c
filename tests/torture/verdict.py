"""What the gateway's log, the ledger and the disk say about a run when they are laid side by side."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from callsheet.core.tasks import Task, TaskState
from callsheet.edges.ledger.ledger import SqliteLedger, SqlLedger
from torture.gateway import video_of
from torture.harness import Run
from torture.pace import SPEED

MINUTE = 60.0 / SPEED
"""A minute of the fast clock in real seconds."""

PER_MINUTE = 60
"""Requests a minute that PoYo is taken to allow (its catalogue entry)."""

API = ("paid", "status", "balance")
OUTAGE_SECONDS = 15.0
"""Real seconds around a crash of the ledger's server in which waiting calls may fail."""

ANSWER_GRACE = 2.0
"""Real seconds within which a living process stores an answer it got."""


@dataclass(frozen=True)
class Audit:
    """Figures, and everything that is wrong."""

    figures: dict[str, object]
    wrong: list[str]


def audit(run: Run, open_ledger: Callable[[Path], SqlLedger] = SqliteLedger) -> Audit:
    """Lay the three side by side."""
    ledger = open_ledger(run.directory / "home" / "data" / "ledger.sqlite3")
    try:
        tasks = ledger.tasks(limit=100_000)
        lost = {task.id for task in tasks if any(e["kind"] == "answer_lost" for e in ledger.history(task.id))}
        trail = ledger.consent.verify()
    finally:
        ledger.close()
    logs = [path.read_text(encoding="utf-8", errors="replace") for path in run.directory.glob("process-*.log")]
    adoptions = sum(int(count) for text in logs for count in re.findall(r"adopted (\d+) tasks", text))
    tracebacks = sum(text.count("Traceback") for text in logs)
    troubles = Counter(line for text in logs for line in re.findall(r"(?:WARNING|ERROR) (.*)", text))
    wrong = [
        *_payments(run, tasks),
        *_ends(run, tasks),
        *_answers(run, tasks, lost),
        *_downloads(run),
        *_clips(run, tasks),
    ]
    busiest, crowd = _busiest_minute(run), max((entry["running"] for entry in run.gateway_log), default=0)
    if trail.broken is not None or trail.unapproved:
        wrong.append(f"the audit trail: {trail}")
    if busiest > PER_MINUTE:
        wrong.append(f"{busiest} requests within a minute, {PER_MINUTE} are allowed")
    if crowd > run.plan.concurrent:
        wrong.append(f"{crowd} tasks at once, {run.plan.concurrent} are allowed")
    if tracebacks:
        wrong.append(f"{tracebacks} tracebacks in the processes' logs")
    states = Counter(task.state.value for task in tasks)
    figures: dict[str, object] = {
        "tasks": len(tasks),
        **{f"  {state}": count for state, count in sorted(states.items())},
        "were of unknown outcome": len(lost),
        "paid requests": sum(1 for entry in run.gateway_log if entry["kind"] == "paid"),
        "kills": run.kills,
        "adoptions": adoptions,
        "most at once": f"{crowd} (limit {run.plan.concurrent})",
        "busiest minute": f"{busiest} requests (limit {PER_MINUTE})",
        "downloads begun again": sum(1 for entry in run.gateway_log if entry["kind"] == "download")
        - len({entry["job"] for entry in run.gateway_log if entry["kind"] == "download"}),
        "CPU of the processes": f"{run.cpu_seconds:.1f} s in {run.seconds:.0f} s",
        "warnings": dict(Counter(re.sub(r"task_\w+|job-\d+", "…", line) for line in troubles.elements())),
    }
    return Audit(figures, wrong)


def _payments(run: Run, tasks: list[Task]) -> list[str]:
    """No sheet is paid twice, and what was paid is known."""
    paid = [entry for entry in run.gateway_log if entry["kind"] == "paid"]
    wrong = [
        f"{sheet} was paid {count} times" for sheet, count in Counter(e["sheet"] for e in paid).items() if count > 1
    ]
    by_sheet = {task.sheet_id: task for task in tasks}
    for entry in paid:
        task = by_sheet.get(entry["sheet"])
        if task is None or task.gateway_task_id != entry["job"]:
            wrong.append(f"{entry['job']} was accepted, and the ledger does not know it: {task and task.state}")
    return wrong


def _ends(run: Run, tasks: list[Task]) -> list[str]:
    """Every task has ended, and only what the gateway never saw was given up."""
    paid = {entry["sheet"] for entry in run.gateway_log if entry["kind"] == "paid"}
    wrong = [] if run.finished else ["it was not done in time"]
    wrong += [f"{len(tasks)} tasks instead of {run.plan.tasks}"] if len(tasks) != run.plan.tasks else []
    for task in tasks:
        if task.state not in (TaskState.SAVED, TaskState.ABANDONED):
            wrong.append(f"{task.id} is {task.state.value}: {task.problem}")
        if task.state is TaskState.ABANDONED and task.sheet_id in paid:
            wrong.append(f"{task.id} was given up, and paid")
    return wrong


def _answers(run: Run, tasks: list[Task], lost: set[str]) -> list[str]:
    """An outcome is unknown only where the process died before it could store the answer."""
    answered = {entry["sheet"]: entry for entry in run.gateway_log if entry["kind"] == "answered"}
    wrong = []
    for task in tasks:
        entry = answered.get(task.sheet_id)
        if task.id in lost and entry is not None and run.died[entry["child"]] > entry["at"] + ANSWER_GRACE:
            away = min((abs(entry["at"] - outage) for outage in run.outages), default=float("inf"))
            told = f"{task.id} was answered, its process lived on, and the answer was lost"
            wrong.append(f"{told}; the nearest outage of the ledger was {away:.1f} s away")
    return wrong


def _is_excused(run: Run, at: float) -> bool:
    """Whether the ledger was away at about that time, so that nobody could store or read anything."""
    return any(-OUTAGE_SECONDS < at - outage < OUTAGE_SECONDS for outage in run.outages)


def _downloads(run: Run) -> list[str]:
    """A video that one process has got whole is not fetched by another while the first one lives, nor twice by one."""
    whole: dict[str, list[str]] = defaultdict(list)
    wrong = []
    for entry in run.gateway_log:
        if entry["kind"] == "download":
            wrong += [
                f"{entry['job']} was fetched again by {entry['child']} although {child} had it"
                for child in whole[entry["job"]]
                if (child == entry["child"] or run.died[child] > entry["at"]) and not _is_excused(run, entry["at"])
            ]
        if entry["kind"] == "downloaded":
            whole[entry["job"]].append(entry["child"])
    return wrong


def _clips(run: Run, tasks: list[Task]) -> list[str]:
    """Each saved clip is its own job's video, whole; nothing half written is left."""
    wrong = [f"{name} was half written" for name in run.half_written]
    for task in tasks:
        if task.state is not TaskState.SAVED:
            continue
        assert task.clip is not None
        assert task.gateway_task_id is not None
        right, path = video_of(run.video, task.gateway_task_id), Path(task.clip.path)
        data = path.read_bytes()
        # Behind the gateway's bytes there may be a box with the prompt.
        if task.clip.sha256 != hashlib.sha256(data).hexdigest() or not data.startswith(right):
            wrong.append(f"{task.id}: {path.name} is not the video of {task.gateway_task_id}")
        wrong += [
            f"{name} is missing" for name in (task.clip.poster, task.clip.contact_sheet) if not Path(name).exists()
        ]
    wrong += [f"{path.name} is left over" for path in run.clips.glob("*.part*")]
    return wrong


def _busiest_minute(run: Run) -> int:
    times = sorted(entry["at"] for entry in run.gateway_log if entry["kind"] in API)
    most, first = 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - MINUTE:
            first += 1
        most = max(most, last - first + 1)
    return most
