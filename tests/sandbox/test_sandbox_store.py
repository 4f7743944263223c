"""What outlives a process: tasks, videos, the log; and what is pruned."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox_client import KEY, LONG_AFTER, Clock, read_state, read_video_url, sandbox_in_thread

from callsheet.sandbox.fakes.tasks import SHORTEST_RETENTION_SECONDS, SandboxTask, choose_task_seconds, snapshot_at
from callsheet.sandbox.server import describe_sandbox, serve_sandbox
from callsheet.sandbox.store import FORGET_TASKS_AFTER_SECONDS, Store, count_accepted, count_submits, read_requests
from callsheet.sandbox.video import Video, VideoCache, video_of


def _task(**more: object) -> SandboxTask:
    facts: dict[str, object] = {
        "gateway": "poyo",
        "model": "sora-2-official",
        "task_id": "task-unified-1800000000-abcdefgh",
        "token": "0" * 32,
        "prompt": "A lighthouse",
        "width": 1280,
        "height": 720,
        "seconds": 4,
        "created": 1000.0,
        "speed": 1.0,
        "lasting": 100.0,
        "retention_hours": 24,
    }
    return SandboxTask(**(facts | more))  # type: ignore[arg-type]


def test_a_restart_keeps_the_tasks_and_two_servers_share_them(tmp_path: Path) -> None:
    """A task that one process accepted is followed and fetched from another, at the same time or later."""
    store, clock = tmp_path / "store", Clock()
    with sandbox_in_thread(store, clock) as first:
        task_id = first.accepted("poyo", "A lighthouse in a storm")
        with sandbox_in_thread(store, clock, speed=30) as second:
            clock.advance(60)
            assert read_state("poyo", second.status("poyo", task_id).json) == "running"
            assert second.status("poyo", task_id).json == first.status("poyo", task_id).json
            second.accepted("poyo", "Another")
        assert count_accepted(store) == count_accepted(store, "poyo") == 2
    clock.advance(LONG_AFTER)
    with sandbox_in_thread(store, clock) as later:
        url = read_video_url("poyo", later.status("poyo", task_id).json)
        assert url.startswith(later.base)
        assert later.get(url).status == 200
        assert len(list((store / "films").glob("*.mp4"))) == 1
    assert count_submits(store) == 2


def test_counts_of_attempts_outlive_a_restart(tmp_path: Path) -> None:
    """The second of two refusals is still due after a restart."""
    store, clock = tmp_path / "store", Clock()
    statuses = []
    for _ in range(3):
        with sandbox_in_thread(store, clock) as sandbox:
            statuses.append(sandbox.submit("poyo", "A cat [[sandbox:rate-limited=2]]").status)
    assert statuses == [429, 429, 200]


def test_a_video_expires_after_the_gateways_hours_and_never_before_ten_real_minutes(tmp_path: Path) -> None:
    """24 hours at life's speed; at 600 times that, not 144 seconds but ten minutes."""
    clock = Clock()
    with sandbox_in_thread(tmp_path / "store", clock, speed=600) as sandbox:
        url = sandbox.finished_url("poyo", "A lighthouse in a storm")
        clock.advance(SHORTEST_RETENTION_SECONDS - LONG_AFTER)
        assert sandbox.get(url).status == 200
        clock.advance(LONG_AFTER)
        assert sandbox.get(url).status == 410
    assert _task().kept_until == 1100 + 24 * 3600
    assert _task(speed=600.0).kept_until == pytest.approx(1000 + 100 / 600 + 600)
    assert _task(faults={"stuck": 0}).kept_until is None


def test_a_video_that_the_cache_lost_is_rendered_again(tmp_path: Path) -> None:
    """A link works until it expires, whatever was pruned."""
    with sandbox_in_thread(tmp_path / "store", Clock()) as sandbox:
        url = sandbox.finished_url("poyo", "A lighthouse in a storm")
        before = sandbox.get(url)
        Store(sandbox.store).prune_videos(most_bytes=0)
        for video in (sandbox.store / "films").iterdir():
            video.unlink()
        after = sandbox.get(url)
        assert (after.status, after.headers["content-type"]) == (200, "video/mp4")
        assert len(after.body) == len(before.body)


def test_the_videos_used_longest_ago_go_first(tmp_path: Path) -> None:
    """Bounds on number and bytes; the newest stays whatever its size."""
    store = Store(tmp_path / "store")
    for number in range(5):
        path = store.videos / f"{number}.mp4"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000 + number, 1000 + number))
    store.prune_videos(most=3)
    assert sorted(path.stem for path in store.videos.iterdir()) == ["2", "3", "4"]
    store.prune_videos(most_bytes=150)
    assert [path.stem for path in store.videos.iterdir()] == ["4"]
    store.prune_videos(most_bytes=10)
    assert [path.stem for path in store.videos.iterdir()] == ["4"]


def test_what_is_a_month_old_is_forgotten(tmp_path: Path) -> None:
    """Tasks, counts and replay keys; the log stays."""
    store = Store(tmp_path / "store")
    store.write_task(_task())
    store.count_attempt("poyo", "hang", "words")
    old = store.root / "tasks" / "poyo" / "task-unified-1800000000-abcdefgh.json"
    written = old.stat().st_mtime
    store.prune(written + FORGET_TASKS_AFTER_SECONDS - 1)
    assert store.load_task("poyo", "task-unified-1800000000-abcdefgh") == _task()
    store.prune(written + FORGET_TASKS_AFTER_SECONDS + 2)
    assert store.load_task("poyo", "task-unified-1800000000-abcdefgh") is None
    assert store.count_attempt("poyo", "hang", "words") == 1


@pytest.mark.parametrize("task_id", ["", "../../secret", "a/b", "x" * 81, "nul\0"])
def test_an_id_that_could_be_a_path_is_no_task(tmp_path: Path, task_id: str) -> None:
    """Only letters, digits, `-` and `_` reach the file system."""
    assert Store(tmp_path / "store").load_task("poyo", task_id) is None


def test_a_store_that_nobody_used_has_an_empty_log(tmp_path: Path) -> None:
    """Readers need no server."""
    assert read_requests(tmp_path) == ()
    assert count_accepted(tmp_path) == count_submits(tmp_path) == 0


def test_the_life_of_a_task_is_a_function_of_time() -> None:
    """Progress never falls, and equal times tell equal stories."""
    task = _task()
    percents = [snapshot_at(task, 1000.0 + second).percent for second in range(-5, 130)]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    assert choose_task_seconds("a", (90.0, 300.0), {"slow": 4}) == 4 * choose_task_seconds("a", (90.0, 300.0), {})


async def test_callers_who_wait_for_the_same_video_share_one_rendering(tmp_path: Path) -> None:
    """A failed rendering is reported to those who wait, then tried again."""
    rendered: list[Video] = []
    broken = True

    def render(path: Path, video: Video, stopped: Callable[[], bool]) -> None:
        rendered.append(video)
        if broken:
            raise OSError("no space left")
        path.write_bytes(b"video")

    video_cache = VideoCache(Store(tmp_path / "store"), render)
    with pytest.raises(OSError, match="no space"):
        await video_cache.fetch(_task())
    broken = False
    video_cache.start(_task())
    paths = await asyncio.gather(*(video_cache.fetch(_task()) for _ in range(3)))
    await video_cache.close()
    assert len(set(paths)) == 1
    assert rendered == [video_of(_task())] * 2


async def test_a_port_that_is_taken_is_an_os_error(tmp_path: Path) -> None:
    """The caller gets the error and can choose another."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with serve_sandbox(tmp_path / "store", port=taken.getsockname()[1]):
                raise AssertionError("it must not serve")


async def test_it_runs_inside_a_program_and_leaves_its_signals_alone(tmp_path: Path) -> None:
    """Started and stopped in a running loop, with a request left hanging; handlers are untouched."""
    before = signal.getsignal(signal.SIGINT)
    async with serve_sandbox(tmp_path / "store", speed=600) as base:
        assert signal.getsignal(signal.SIGINT) is before
        port = int(base.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"model":"sora-2-official","input":{"prompt":"[[sandbox:hang]]"}}'
        head = f"POST /poyo/api/generate/submit HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        async with asyncio.timeout(10):
            while not read_requests(tmp_path / "store"):  # noqa: ASYNC110 - nothing announces a line in a file
                await asyncio.sleep(0)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def test_the_first_screen_names_the_gateways_and_every_tag() -> None:
    """What `callsheet sandbox` prints."""
    text = describe_sandbox("http://127.0.0.1:4000", 30.0)
    assert "http://127.0.0.1:4000/evolink" in text
    assert "truncated-video" in text
    assert "30 times" in text


def test_it_runs_by_itself_until_it_is_interrupted(tmp_path: Path) -> None:
    """Tells where it is, serves, and ends without a complaint on Ctrl+C."""
    command = (
        "import sys, pathlib; from callsheet.sandbox.server import run_sandbox;"
        " run_sandbox(pathlib.Path(sys.argv[1]), speed=30.0, port=0)"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", command, str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        lines = [next(running.stdout) for _ in range(6)]
        assert "http://127.0.0.1:" in lines[2]
        running.send_signal(signal.SIGINT)
        _, violations = running.communicate(timeout=20)
    assert (running.returncode, violations) == (0, "")
