"""Saves a large clip from loopback with this program and with `curl -o`, in turns, and compares the rates.

The file is a whole MP4 of 1 GiB (sparse, so creating it costs nothing), served over HTTP
by `os.sendfile` in a process of its own, so that the server is faster than either reader. Each save runs in a
fresh process. What ours does and curl does not: it hashes every byte, has the decoder check the clip, and syncs it
(fsync, also of the directory) before the file gets its name. `curl and sync` is curl with only the sync.

    python bench/download.py [--pairs 3] [--mebibytes 1024]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from statistics import median

MEBIBYTE = 1 << 20
BAR = 0.5
MEMORY_BAR_MB = 30


def make_clip(path: Path, size: int) -> None:
    """A whole MP4 of that many bytes: one second of video, and a box that is a hole in the file."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=12)
        video.width, video.height, video.pix_fmt = 64, 36, "yuv420p"
        for _ in range(12):
            container.mux(video.encode(av.VideoFrame(64, 36, "yuv420p")))
        container.mux(video.encode())
    with path.open("ab") as clip:
        clip.write((1).to_bytes(4, "big") + b"free" + (size - clip.tell()).to_bytes(8, "big"))
        clip.truncate(size)


def serve(clip: Path) -> None:
    """Answer every request with the whole clip, until the process is ended. Prints the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, clip), daemon=True).start()


def answer(connection: socket.socket, clip: Path) -> None:
    """One request, one clip, straight from the page cache to the socket."""
    with connection, clip.open("rb") as file:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65_536)
        size = clip.stat().st_size
        fields = ("Content-Type: video/mp4", f"Content-Length: {size}", 'ETag: "one-clip"', "Connection: close")
        connection.sendall("\r\n".join(("HTTP/1.1 200 OK", *fields, "", "")).encode())
        connection.sendfile(file)


def save(url: str, target: Path) -> None:
    """What a task's clip goes through, in this process; prints seconds, CPU seconds and memory in MB."""
    import anyio
    import av  # noqa: F401 - the decoder draws the stills too, so it is no part of the download's memory

    from callsheet.edges.clips.download import save_clip
    from callsheet.edges.http.client import GatewayHttp
    from callsheet.edges.http.streams import ByteStream

    async def run() -> None:
        async with GatewayHttp() as http:

            def open_stream(address: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[ByteStream]:
                return http.open_stream(address, headers, loopback=url)

            await save_clip(open_stream, url, target)

    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    anyio.run(run)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = [usage.ru_maxrss / 1024 for usage in (before, after)]
    print(json.dumps({"seconds": seconds, "cpu": cpu, "before_mb": memory[0], "peak_mb": memory[1]}))


def ours(url: str, target: Path) -> dict[str, float]:
    """The figures of one save by this program."""
    command = [sys.executable, __file__, "--save", url, str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def curl(url: str, target: Path) -> dict[str, float]:
    """Seconds of one transfer by curl as curl measures it, and until the bytes are on the disk as well."""
    command = ["curl", "--silent", "--fail", "--output", str(target), "--write-out", "%{time_total}", url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = float(done.stdout)
    began = time.perf_counter()
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return {"seconds": seconds, "synced": seconds + time.perf_counter() - began}


@contextmanager
def serving(clip: Path) -> Iterator[str]:
    """The URL of the clip while the block runs."""
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(clip)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/clip.mp4"
    finally:
        server.terminate()
        server.wait()


def settle(target: Path) -> None:
    """Remove what was saved and let the disk finish, so that no run pays for the one before."""
    target.unlink()
    os.sync()


def measure(pairs: int, size: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """The figures of ours and of curl, taken in turns after one unmeasured turn of each."""
    found: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    with tempfile.TemporaryDirectory() as directory:
        clip = Path(directory) / "served.mp4"
        make_clip(clip, size)
        with serving(clip) as url:
            for turn in range(pairs + 1):
                for runs, reader in zip(found, (ours, curl), strict=True):
                    target = Path(directory) / "saved.mp4"
                    figures = reader(url, target)
                    assert target.stat().st_size == size
                    settle(target)
                    if turn:
                        runs.append(figures)
    return found


def main() -> None:
    """Compare, or play one of the two parts that run in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--save", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.save:
        save(options.save[0], Path(options.save[1]))
    else:
        compare(options.pairs, options.mebibytes)


def compare(pairs: int, mebibytes: int) -> None:
    """Measure and print; ends with 1 when the bar is missed."""
    if shutil.which("curl") is None:
        sys.exit("curl is not installed, so there is nothing to compare with.")
    mine, theirs = measure(pairs, mebibytes * MEBIBYTE)
    rates = {
        "callsheet": mebibytes / median(run["seconds"] for run in mine),
        "curl": mebibytes / median(run["seconds"] for run in theirs),
        "curl and sync": mebibytes / median(run["synced"] for run in theirs),
    }
    print(f"{mebibytes} MiB from loopback, {pairs} pairs in turns, medians; load {os.getloadavg()[0]:.1f}")
    for name, rate in rates.items():
        print(f"{name:14} {rate:6.0f} MiB/s   callsheet's rate is {rates['callsheet'] / rate:.2f} of it")
    growth = max(run["peak_mb"] - run["before_mb"] for run in mine)
    cpu = median(run["cpu"] / run["seconds"] for run in mine)
    print(f"memory: peak {max(run['peak_mb'] for run in mine):.0f} MB, {growth:.0f} MB of it for the download")
    print(f"CPU: {cpu:.2f} of a core; bars: {BAR} of curl's rate, {MEMORY_BAR_MB} MB")
    if rates["callsheet"] < BAR * rates["curl"] or growth > MEMORY_BAR_MB:
        sys.exit("the bar is missed")


if __name__ == "__main__":
    main()
