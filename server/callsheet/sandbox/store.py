"""The sandbox on disk: tasks, counts of attempts, replay keys, videos, and the log of requests.

    <store>/tasks/<gateway>/<task id>.json   one file per task, written completely or not at all
    <store>/counts/<digest>                  one byte per attempt, so that several processes share the count
    <store>/replays/<digest>.json            what an idempotency key was first used for
    <store>/films/<digest>.mp4               rendered videos, shared by equal requests
    <store>/uploads/<gateway>/<token>.png    pictures that were uploaded
    <store>/requests.jsonl                   every complete request: digests and ids, no key, no prompt

Directories are 0700 and files 0600. Several processes may serve one store at the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from callsheet.sandbox.fakes.tasks import SandboxTask

FORGET_TASKS_AFTER_SECONDS = 30 * 86400.0
MOST_FILMS = 600
MOST_FILM_BYTES = 500_000_000

_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request that was completely read.

    `task_id` is set if and only if this request had a job accepted; a replayed answer accepts nothing
    and is `replayed`. `fault` names the fault that answered. `status` is 0 when no HTTP
    answer was given. `at` is a Unix time. `jobs` is how many jobs an accepted request made. `fields` are the names of
    the fields that a `/v1/videos` creation had, sorted and joined by commas.
    """

    at: float
    gateway: str
    method: str
    path: str
    body_sha256: str
    body_bytes: int
    status: int
    submit: bool = False
    task_id: str = ""
    fault: str = ""
    replayed: bool = False
    jobs: int = 1
    fields: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """What an idempotency key was first used for."""

    body_sha256: str
    task_id: str


class Store:
    """One store directory. Methods are short blocking calls, safe from several processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("", "tasks", "counts", "replays", "films", "uploads"):
            directory = root / name
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)

    @property
    def videos(self) -> Path:
        """The directory of rendered videos."""
        return self.root / "films"

    def write_task(self, task: SandboxTask) -> None:
        """Store a task; it is never written again."""
        directory = self.root / "tasks" / task.gateway
        directory.mkdir(mode=0o700, exist_ok=True)
        record = {item.name: getattr(task, item.name) for item in fields(task)} | {"faults": dict(task.faults)}
        _write_whole(directory / f"{task.task_id}.json", json.dumps(record).encode())

    def load_task(self, gateway: str, task_id: str) -> SandboxTask | None:
        """That task, or None when there is none (or the id could not be one)."""
        if not _SAFE_ID.fullmatch(task_id):
            return None
        return _load_task(self.root / "tasks" / gateway / f"{task_id}.json")

    def load_tasks(self, gateway: str) -> list[SandboxTask]:
        """All tasks of a gateway, newest first."""
        tasks = [_load_task(path) for path in (self.root / "tasks" / gateway).glob("*.json")]
        return sorted((task for task in tasks if task is not None), key=lambda task: task.created, reverse=True)

    def remove_task(self, task: SandboxTask) -> None:
        """Forget a task."""
        (self.root / "tasks" / task.gateway / f"{task.task_id}.json").unlink(missing_ok=True)

    def count_task_files(self, gateway: str) -> int:
        """How many tasks of a gateway are stored: cheap, and an upper bound for the open ones."""
        with suppress(FileNotFoundError):
            return sum(1 for _ in (self.root / "tasks" / gateway).iterdir())
        return 0

    def count_attempt(self, *about: str) -> int:
        """Count one more attempt at something and return its number, from 1."""
        file = os.open(self._counter(about), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, b".")
            return os.fstat(file).st_size
        finally:
            os.close(file)

    def forget_attempts(self, *about: str) -> None:
        """Start counting from zero."""
        self._counter(about).unlink(missing_ok=True)

    def _counter(self, about: tuple[str, ...]) -> Path:
        return self.root / "counts" / _digest("\0".join(about))

    def remember_replay(self, gateway: str, key: str, replay: Replay) -> None:
        """Bind an idempotency key to its task."""
        _write_whole(self._replay(gateway, key), json.dumps(asdict(replay)).encode())

    def load_replay(self, gateway: str, key: str) -> Replay | None:
        """What that idempotency key was used for, or None."""
        record = _load_json(self._replay(gateway, key))
        return Replay(**record) if record else None

    def _replay(self, gateway: str, key: str) -> Path:
        return self.root / "replays" / f"{_digest(gateway + chr(0) + key)}.json"

    def write_upload(self, gateway: str, name: str, content: bytes) -> None:
        """Store an uploaded picture."""
        directory = self.root / "uploads" / gateway
        directory.mkdir(mode=0o700, exist_ok=True)
        _write_whole(directory / name, content)

    def load_upload(self, gateway: str, name: str) -> bytes | None:
        """That picture; None where there is none."""
        with suppress(FileNotFoundError):
            return (self.root / "uploads" / gateway / name).read_bytes()
        return None

    def log(self, request: LoggedRequest) -> None:
        """Append one line. Each line is one write, so the lines of several processes do not mix."""
        line = json.dumps({key: value for key, value in asdict(request).items() if value is not False and value != ""})
        file = os.open(self.root / "requests.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, line.encode() + b"\n")
        finally:
            os.close(file)

    def prune(self, now: float) -> None:
        """Delete what is a month old, and the oldest videos above the limits. `now` is a true Unix time."""
        for name in ("tasks/*", "counts", "replays", "uploads/*"):
            for path in self.root.glob(f"{name}/*"):
                with suppress(FileNotFoundError):
                    if path.is_file() and path.stat().st_mtime < now - FORGET_TASKS_AFTER_SECONDS:
                        path.unlink()
        self.prune_videos()

    def prune_videos(self, *, most: int = MOST_FILMS, most_bytes: int = MOST_FILM_BYTES) -> None:
        """Remove the videos used longest ago until at most `most` videos and `most_bytes` bytes are left."""
        videos: list[tuple[float, int, Path]] = []
        for path in self.videos.iterdir():
            with suppress(FileNotFoundError):
                found = path.stat()
                videos.append((found.st_mtime, found.st_size, path))
        videos.sort(reverse=True)
        total = 0
        for number, (_, size, path) in enumerate(videos, start=1):
            total += size
            if number > 1 and (number > most or total > most_bytes):
                path.unlink(missing_ok=True)


def read_requests(store: Path) -> tuple[LoggedRequest, ...]:
    """The log of a store, oldest first; empty when there was no request yet."""
    with suppress(FileNotFoundError):
        return tuple(LoggedRequest(**json.loads(line)) for line in _lines(store / "requests.jsonl"))
    return ()


def count_accepted(store: Path, gateway: str | None = None) -> int:
    """How many jobs were accepted: what would have been paid for."""
    requests = (request for request in read_requests(store) if gateway in (None, request.gateway))
    return sum(request.jobs for request in requests if request.task_id)


def count_submits(store: Path, gateway: str | None = None) -> int:
    """How many submit requests were completely read, accepted or not."""
    return sum(1 for request in read_requests(store) if request.submit and gateway in (None, request.gateway))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line for line in file if line.endswith("\n"))


def _load_task(path: Path) -> SandboxTask | None:
    record = _load_json(path)
    return SandboxTask(**record) if record else None


def _load_json(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    assert isinstance(record, dict)
    return record


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, content)
    finally:
        os.close(file)
    temporary.replace(path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:40]
