"""The gateway of the torture, a process of its own: it takes paid requests and writes down all that it sees.

    python -m torture.gateway LOG VIDEO

Speaks PoYo's wire over plain sockets and shares no code with the program, so that its log is evidence. Prints
its port. A job is done at once, but is counted as running until its end has been told.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import struct
import sys
import time
from pathlib import Path
from typing import IO

PIECES = 4
PIECE_PAUSE = 0.015
PADDING = 150_000
ANSWER_SECONDS = (0.002, 0.12)


def video_of(video: bytes, job: str) -> bytes:
    """The job's own video: the same pictures, and a box that names the job, so that no video passes for another."""
    content = job.encode().ljust(PADDING, b".")
    return video + struct.pack(">I4s", 8 + len(content), b"free") + content


class TortureGateway:
    """Answers, counts and logs."""

    def __init__(self, log: IO[str], video: bytes) -> None:
        self._log = log
        self._film = video
        self._jobs = 0
        self._running: set[str] = set()
        self.port = 0

    def note(self, kind: str, **facts: object) -> None:
        """One line of evidence, out of the process at once."""
        entry = {"at": time.time(), "kind": kind, "running": len(self._running), **facts}
        self._log.write(json.dumps(entry) + "\n")
        self._log.flush()

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                method, path, _ = first.split(" ", 2)
                fields = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
                # Only a request whose last byte has come is one.
                await reader.readexactly(int(fields.get("content-length", "0")))
                await self.answer(writer, method, path, fields)
        except (OSError, EOFError):
            return
        finally:
            writer.close()

    async def answer(self, writer: asyncio.StreamWriter, method: str, path: str, fields: dict[str, str]) -> None:
        """Answer one complete request."""
        child = fields.get("x-child", "")
        if method == "POST":
            await self.take(writer, fields["idempotency-key"].removeprefix("callsheet-"), child)
        elif path.startswith("/api/generate/status/"):
            job = path.rsplit("/", 1)[1]
            self.note("status", job=job, child=child)
            files = [{"file_url": f"http://127.0.0.1:{self.port}/clips/{job}.mp4", "file_type": "video"}]
            data = {"task_id": job, "status": "finished", "files": files, "credits_amount": 48}
            await reply(writer, {"code": 200, "data": data})
            self._running.discard(job)
        elif path.startswith("/clips/"):
            await self.send_video(writer, path.removeprefix("/clips/").removesuffix(".mp4"), child, fields)
        else:
            self.note("balance", child=child)
            await reply(writer, {"code": 200, "data": {"credits_amount": 100_000}})

    async def take(self, writer: asyncio.StreamWriter, sheet: str, child: str) -> None:
        """A paid request: from here on it is charged, whatever becomes of the answer."""
        self._jobs += 1
        job = f"job-{self._jobs}"
        self._running.add(job)
        self.note("paid", sheet=sheet, job=job, child=child)
        await asyncio.sleep(random.uniform(*ANSWER_SECONDS))
        await reply(writer, {"code": 200, "data": {"task_id": job, "status": "not_started"}})
        self.note("answered", sheet=sheet, job=job, child=child)

    async def send_video(self, writer: asyncio.StreamWriter, job: str, child: str, fields: dict[str, str]) -> None:
        """The video in pieces, from where the caller left off if it is still the same."""
        video, etag, start = video_of(self._film, job), f'"{job}"', 0
        asked = re.fullmatch(r"bytes=(\d+)-", fields.get("range", ""))
        head = "HTTP/1.1 200 OK\r\n"
        if asked and fields.get("if-range") == etag:
            start = int(asked[1])
            head = f"HTTP/1.1 206 X\r\ncontent-range: bytes {start}-{len(video) - 1}/{len(video)}\r\n"
        self.note("download", job=job, child=child, start=start)
        rest = video[start:]
        head += f"content-type: video/mp4\r\netag: {etag}\r\ncontent-length: {len(rest)}\r\n\r\n"
        writer.write(head.encode())
        step = len(rest) // PIECES + 1
        for piece in range(PIECES):
            writer.write(rest[piece * step : (piece + 1) * step])
            await writer.drain()
            await asyncio.sleep(PIECE_PAUSE)
        self.note("downloaded", job=job, child=child, start=start)


async def reply(writer: asyncio.StreamWriter, body: object) -> None:
    """A JSON answer."""
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()


async def main(out: IO[str], video: bytes) -> None:
    """Serve until killed."""
    gateway = TortureGateway(out, video)
    server = await asyncio.start_server(gateway.serve_connection, "127.0.0.1", 0)
    gateway.port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"{gateway.port}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a", encoding="utf-8") as log:
        asyncio.run(main(log, Path(sys.argv[2]).read_bytes()))
