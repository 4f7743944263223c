"""A team's clips in real object storage: whole, under the hash of their bytes, reachable by signed links alone.

The storage is nanio, which checks signatures. `make test` installs it; without it these tests are skipped.
"""

from __future__ import annotations

import hashlib
import logging
import re
import socket
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
import httpx2
import obstore
import pytest

from callsheet.core.clips import ClipLabel
from callsheet.core.consent import Means
from callsheet.core.tasks import Clip, Task, TaskState
from callsheet.edges.clips.save import Clips
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.object_store.clips import FileClips, ObjectClips, open_bucket
from callsheet.errors import DownloadProblem, Fate, SetupProblem, UnknownThing
from callsheet.service.dependencies import Dependencies
from callsheet.service.polling import run_task
from callsheet.service.submission import submit
from edges.clip_bytes import encode_clip, padded_clip
from servers.other_servers import NANIO, nanio, storage_environ
from workspace import Workspace, accepted, draft, status

KEY, SECRET = "canary-access-key", "canary-secret-key"
LINK = "https://cdn.example.com/a.mp4"
LABEL = ClipLabel("task_0123456789abcdef", "poyo", "sora-2", "A red kite über dunes", 4, "0.24 USD", "2026-11-29")
NAME = re.compile(r"object:tenants/acme/tasks/task_0123456789abcdef/([0-9a-f]{64})\.(mp4|jpg)")

needs_nanio = pytest.mark.skipif(not NANIO.exists(), reason="nanio is not installed: `make .servers/nanio/.ready`")


@dataclass(frozen=True)
class Storage:
    """A running server with one bucket, and its log."""

    base: str
    directory: Path

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def files(self) -> list[str]:
        """Every object that is stored."""
        bucket = self.directory / "data" / "clips"
        found = (path.relative_to(bucket) for path in bucket.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in found if not path.parts[0].startswith("."))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """The server, with an empty bucket."""
    directory = tmp_path_factory.mktemp("storage") / "nanio"
    with nanio(directory, key=KEY, secret=SECRET) as base:
        yield Storage(base, directory)


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what obstore finds in the environment of a process, and nothing else of that kind."""

    def name(base: str, *, key: str = KEY, secret: str = SECRET) -> None:
        for variable, value in storage_environ(base, key=key, secret=secret).items():
            monkeypatch.setenv(variable, value)

    return name


@asynccontextmanager
async def gateway(*, asked: list[str], body: bytes | None = None) -> AsyncIterator[Clips]:
    """The clips of local mode, before a gateway that has one clip."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        return httpx2.Response(200, stream=httpx2.ByteStream(body or encode_clip()))

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        yield Clips(http)


async def keep(clips: ObjectClips, directory: Path, label: ClipLabel = LABEL) -> Clip:
    """Keep the gateway's clip."""
    return await clips.keep(label, LINK, directory=directory, loopback=None)


def send(link: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """What the storage answers to somebody who has nothing but a link."""
    try:
        with urllib.request.urlopen(urllib.request.Request(link, method=method), timeout=20) as reply:
            return reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, {}, b""


def files_in(directory: Path) -> list[str]:
    """What lies in a directory."""
    return sorted(path.name for path in directory.iterdir())


def read(path: str) -> bytes:
    """The bytes of a file."""
    return Path(path).read_bytes()


async def fetch(link: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """The same while the event loop goes on."""
    return await anyio.to_thread.run_sync(send, link, method)


@needs_nanio
async def test_a_clip_becomes_objects_and_leaves_no_file(
    server: Storage, environ: Callable[..., None], tmp_path: Path
) -> None:
    """Each under the hash of its bytes, with its kind and a name to save it under; the facts are as in local mode."""
    environ(server.base)
    asked: list[str] = []
    async with gateway(asked=asked, body=padded_clip(12_000_000)) as local:
        there = await local.keep(LABEL, LINK, directory=tmp_path / "local", loopback=None)
        clips = ObjectClips(local, open_bucket("s3://clips/kept"), tenant="acme")
        kept = await keep(clips, tmp_path / "work")
        links = await clips.links(kept)

    names = (kept.path, kept.poster, kept.contact_sheet)
    assert replace(kept, path="", poster="", contact_sheet="") == replace(there, path="", poster="", contact_sheet="")
    assert files_in(tmp_path / "work") == []
    assert all(f"kept/{name.removeprefix('object:')}" in server.files() for name in names)
    assert links is not None
    for name, link, path in zip(
        names,
        (links.video, links.poster, links.contact_sheet),
        (there.path, there.poster, there.contact_sheet),
        strict=True,
    ):
        status, headers, content = await fetch(link)
        match = NAME.fullmatch(name)
        assert match is not None
        assert (status, hashlib.sha256(content).hexdigest()) == (200, match[1])
        assert content == read(path)
        assert headers["content-type"] == {"mp4": "video/mp4", "jpg": "image/jpeg"}[match[2]]
        shown, _, saved_as = headers["content-disposition"].partition("; filename*=UTF-8''")
        assert shown == {"mp4": "attachment", "jpg": "inline"}[match[2]]
        assert unquote(saved_as) == Path(path).name
    assert NAME.fullmatch(kept.path)[1] == kept.sha256  # type: ignore[index]


@needs_nanio
async def test_keeping_a_clip_again_changes_nothing(
    server: Storage, environ: Callable[..., None], tmp_path: Path
) -> None:
    """Another worker that fetched it too writes the same objects."""
    environ(server.base)
    label, asked = replace(LABEL, task_id="task_twice"), list[str]()
    async with gateway(asked=asked) as local:
        clips = ObjectClips(local, open_bucket("s3://clips"), tenant="acme")
        first = await keep(clips, tmp_path / "one", label)
        files = server.files()
        second = await keep(clips, tmp_path / "two", label)

    assert second == first
    assert server.files() == files


@needs_nanio
async def test_a_link_opens_its_object_for_its_time_and_nothing_else(
    server: Storage, environ: Callable[..., None], tmp_path: Path
) -> None:
    """Another object, a longer time, another act, another key, no signature, an expired one: refused."""
    environ(server.base)
    async with gateway(asked=[]) as local:
        clips = ObjectClips(local, open_bucket("s3://clips"), tenant="acme")
        kept = await keep(clips, tmp_path)
        links = await clips.links(kept)
        environ(server.base, secret="another-secret-key")
        foreign = await ObjectClips(local, open_bucket("s3://clips"), tenant="acme").links(kept)
    environ(server.base)
    short = obstore.sign(open_bucket("s3://clips"), "GET", kept.path.removeprefix("object:"), timedelta(seconds=1))
    assert links is not None
    assert foreign is not None
    link = links.video
    signature = link[-1]

    assert "X-Amz-Expires=300&" in link
    assert (await fetch(link))[0] == 200
    refused = [
        link.replace(urlsplit(link).path, urlsplit(links.poster).path),
        link.replace("X-Amz-Expires=300&", "X-Amz-Expires=3000&"),
        link.replace("/acme/", "/other/"),
        link[:-1] + ("0" if signature != "0" else "1"),
        link.partition("?")[0],
        foreign.video,
    ]
    assert [(await fetch(other))[0] for other in refused] == [403] * len(refused)
    assert [(await fetch(link, method))[0] for method in ("PUT", "DELETE", "POST")] == [403] * 3
    with anyio.fail_after(30):
        while (await fetch(short))[0] != 403:
            pass
    assert all(word not in repr(links) for word in ("http", "X-Amz"))


@needs_nanio
async def test_only_clips_of_this_tenant_are_linked_and_read(
    server: Storage, environ: Callable[..., None], tmp_path: Path
) -> None:
    """What a ledger names is checked again here: another tenant's object, a file, a way out of the folder."""
    environ(server.base)
    async with gateway(asked=[]) as local:
        other = await keep(ObjectClips(local, open_bucket("s3://clips"), tenant="other"), tmp_path)
        clips = ObjectClips(local, open_bucket("s3://clips"), tenant="acme")
        own = await keep(clips, tmp_path)
        names = [
            other.path,
            own.path.removeprefix("object:"),
            own.path.replace("tenants/acme/", ""),
            own.path.replace("object:", "object:x/"),
            str(tmp_path / "clip.mp4"),
            "",
            own.path.replace("/tasks/", "/tasks/../../other/tasks/"),
            f"{own.path}?x",
            f"{own.path}\n",
        ]
        for name in names:
            with pytest.raises(UnknownThing):
                await clips.links(replace(own, poster=name))
            with pytest.raises(UnknownThing):
                async with clips.local_copy(name):
                    pass


@needs_nanio
async def test_a_local_copy_is_the_object_and_goes_again(
    server: Storage, environ: Callable[..., None], tmp_path: Path
) -> None:
    """What was changed in the storage is not taken for the clip."""
    environ(server.base)
    label = replace(LABEL, task_id="task_copied")
    async with gateway(asked=[]) as local:
        store = open_bucket("s3://clips")
        clips = ObjectClips(local, store, tenant="acme")
        kept = await keep(clips, tmp_path, label)
        async with clips.local_copy(kept.path) as copy:
            assert hashlib.sha256(copy.read_bytes()).hexdigest() == kept.sha256
        assert not copy.exists()
        await obstore.put_async(store, kept.poster.removeprefix("object:"), b"another picture")
        await obstore.delete_async(store, kept.contact_sheet.removeprefix("object:"))
        for name in (kept.poster, kept.contact_sheet):
            with pytest.raises(DownloadProblem):
                async with clips.local_copy(name):
                    pass


@needs_nanio
async def test_what_the_storage_did_not_take_is_tried_again_without_the_gateway(
    server: Storage, environ: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Server down, wrong secret, unknown key, no bucket: the clip stays here, and no word of a secret gets out."""
    caplog.set_level(logging.DEBUG)
    label, asked, told = replace(LABEL, task_id="task_again"), list[str](), list[str]()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with gateway(asked=asked) as local:
            for base, key, secret, bucket in (
                (down, KEY, SECRET, "clips"),
                (server.base, KEY, "canary-wrong-secret", "clips"),
                (server.base, "canary-unknown-key", SECRET, "clips"),
                (server.base, KEY, SECRET, "no-such-bucket"),
            ):
                environ(base, key=key, secret=secret)
                with pytest.raises(DownloadProblem) as failed:
                    await keep(ObjectClips(local, open_bucket(f"s3://{bucket}"), tenant="acme"), tmp_path, label)
                assert (failed.value.error_code, failed.value.fate) == ("download_problem", Fate.CHARGED)
                assert failed.value.retry == "after(30)"
                told += [str(failed.value), repr(failed.value), *traceback.format_exception(failed.value)]
            assert len(files_in(tmp_path)) == 3
            assert not [name for name in server.files() if "task_again" in name]
            environ(server.base)
            kept = await keep(ObjectClips(local, open_bucket("s3://clips"), tenant="acme"), tmp_path, label)

    assert len(asked) == 1
    assert files_in(tmp_path) == []
    assert kept.path.removeprefix("object:") in server.files()
    said = "".join([*told, caplog.text])
    assert all(word not in said for word in ("canary", "X-Amz", "AWS4", "Signature", "<?xml", server.base, down))


@needs_nanio
async def test_a_task_is_saved_only_when_the_storage_has_its_clip(
    server: Storage, environ: Callable[..., None], workspace: Workspace
) -> None:
    """Until then it is tried again, and paid for once, fetched once."""
    workspace.go_live()
    service, asked = workspace.service(), list[str]()
    finished = status("finished", files=[{"file_url": LINK, "file_type": "video"}])
    workspace.gateway.replies = [accepted(), finished, finished]
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    async with gateway(asked=asked) as local:
        environ(server.base, secret="another-secret-key")
        deps = replace(service.deps, clips=ObjectClips(local, open_bucket("s3://clips"), tenant="acme"))
        task_id = submit(deps, sheet_id).report.task.id
        seen = [await step(workspace, deps, task_id) for _ in range(3)]
        environ(server.base)
        deps = replace(deps, clips=ObjectClips(local, open_bucket("s3://clips"), tenant="acme"))
        saved = await step(workspace, deps, task_id)

    assert [task.state for task in seen] == [TaskState.QUEUED, TaskState.SUCCEEDED, TaskState.SUCCEEDED]
    assert seen[2].problem is not None
    assert (seen[2].problem.code, seen[2].failures, seen[2].clip) == ("download_problem", 1, None)
    assert (saved.state, saved.problem, len(asked)) == (TaskState.SAVED, None, 1)
    assert saved.clip is not None
    assert saved.clip.path.removeprefix("object:") in server.files()
    assert len(workspace.gateway.paid) == 1


async def step(workspace: Workspace, deps: Dependencies, task_id: str) -> Task:
    """Let the task's next time come, and run it."""
    workspace.clock.time = max(deps.ledger().task(task_id).next_at, workspace.clock.time)
    await run_task(deps, task_id)
    return deps.ledger().task(task_id)


@needs_nanio
async def test_no_secret_is_written_down(
    server: Storage, environ: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither here nor in what the storage is asked; a planted one is found."""
    caplog.set_level(logging.DEBUG)
    # Another test may have set how much the program says.
    caplog.set_level(logging.DEBUG, logger="callsheet")
    environ(server.base)
    async with gateway(asked=[]) as local:
        clips = ObjectClips(local, open_bucket("s3://clips"), tenant="acme")
        kept = await keep(clips, tmp_path, replace(LABEL, task_id="task_secret"))
        links = await clips.links(kept)
    logging.getLogger("callsheet").info("%s %s", kept, links)

    assert links is not None
    assert kept.sha256 in caplog.text
    assert all(word not in caplog.text for word in (SECRET, KEY, "X-Amz"))
    logging.getLogger("callsheet").info("planted: %s", links.video)
    assert all(word in caplog.text for word in (KEY, "X-Amz"))
    assert "task_secret" in server.log()
    assert SECRET not in server.log()


@needs_nanio
async def test_a_local_copy_that_changed_is_not_put_as_the_clip(
    server: Storage, environ: Callable[..., None], tmp_path: Path
) -> None:
    """Between proof and upload another program wrote into it: the task is not saved."""
    environ(server.base)

    class Changed(Clips):
        async def keep(self, *arguments: object, **options: object) -> Clip:
            clip = await local.keep(*arguments, **options)  # type: ignore[arg-type]
            await anyio.Path(clip.path).write_bytes(padded_clip(10_000))
            return clip

    async with gateway(asked=[]) as local, GatewayHttp() as http:
        clips = ObjectClips(Changed(http), open_bucket("s3://clips"), tenant="acme")
        with pytest.raises(DownloadProblem):
            await keep(clips, tmp_path, replace(LABEL, task_id="task_changed"))


@contextmanager
def serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A storage that answers so, until the end of the block; its base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}"
        finally:
            web.shutdown()
            thread.join()


@contextmanager
def forgetful_storage(status: int, headers: dict[str, str]) -> Iterator[str]:
    """Takes everything, and gives this answer to who looks for it, with the right size where none is said."""
    sizes: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            sizes[self.path] = self.headers["content-length"]
            self.rfile.read(int(sizes[self.path]))
            self.reply(200, {"etag": '"1"', "content-length": "0"})

        def do_HEAD(self) -> None:
            usual = {"last-modified": "Sun, 29 Nov 2026 10:00:00 GMT", "content-length": sizes[self.path]}
            self.reply(status, usual | headers)

        def reply(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serve(Handler) as base:
        yield base


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"etag": '"1"', "content-length": "7"}),
        (200, {"etag": '"2"'}),
        (200, {}),
        (404, {}),
        (403, {}),
        (500, {}),
    ],
)
async def test_what_is_not_there_afterwards_was_not_put(
    environ: Callable[..., None], tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    """A storage that says yes and has something else, or nothing: the files stay here, and it is tried again."""
    async with gateway(asked=[]) as local:
        with forgetful_storage(status, headers) as base:
            environ(base)
            with pytest.raises(DownloadProblem):
                await keep(ObjectClips(local, open_bucket("s3://clips"), tenant="acme"), tmp_path)

    assert len(files_in(tmp_path)) == 3


@contextmanager
def endless_storage(sent: list[int]) -> Iterator[str]:
    """Every object has a terabyte, of which the length of each piece is written down."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("last-modified", "Sun, 29 Nov 2026 10:00:00 GMT")
            self.send_header("etag", '"1"')
            self.send_header("content-length", str(1 << 40))
            self.end_headers()
            with suppress(OSError):
                while sum(sent) < 1 << 28:
                    self.wfile.write(bytes(1 << 20))
                    sent.append(1 << 20)

        def log_message(self, *_: object) -> None:
            pass

    with serve(Handler) as base:
        yield base


async def test_an_object_that_was_exchanged_for_a_huge_one_does_not_fill_the_disk(environ: Callable[..., None]) -> None:
    """A picture is read as far as any picture goes."""
    sent = list[int]()
    async with gateway(asked=[]) as local:
        with endless_storage(sent) as base:
            environ(base)
            clips = ObjectClips(local, open_bucket("s3://clips"), tenant="acme")
            with pytest.raises(DownloadProblem, match="not what was put there"):
                async with clips.local_copy(f"object:tenants/acme/tasks/task_0/{'0' * 64}.jpg"):
                    pass

    assert sum(sent) < 1 << 27


@pytest.mark.parametrize(
    "url",
    [
        "",
        "clips",
        "s3://",
        "s3://c",
        "s3://Clips",
        "s3://user:canary-password@clips",
        "s3://clips?access_key_id=canary-password",
        "s3://clips/a/../b?x",
        "https://clips.s3.amazonaws.com",
        "file:///tmp/clips",
    ],
)
def test_an_address_that_is_no_bucket_is_not_quoted(url: str) -> None:
    """It may hold credentials."""
    with pytest.raises(SetupProblem) as refused:
        open_bucket(url)

    assert "canary" not in f"{refused.value}{refused.value.next_step}"


@pytest.mark.parametrize("tenant", ["", "..", "a/b", "A", "-a", "a" * 64, "a\n"])
async def test_a_tenants_name_is_one_folder(environ: Callable[..., None], tenant: str) -> None:
    """It cannot lead into the folder of another."""
    environ("http://127.0.0.1:9")
    async with gateway(asked=[]) as local:
        with pytest.raises(SetupProblem):
            ObjectClips(local, open_bucket("s3://clips"), tenant=tenant)


async def test_a_single_node_keeps_files_and_has_no_links(tmp_path: Path) -> None:
    """The same port: the paths are files, a local copy is the file itself."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=httpx2.ByteStream(encode_clip()))

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        clips = FileClips(http)
        kept = await clips.keep(LABEL, LINK, directory=tmp_path, loopback=None)

        assert await clips.links(kept) is None
        async with clips.local_copy(kept.path) as copy:
            assert copy == Path(kept.path)
        assert copy.is_file()
