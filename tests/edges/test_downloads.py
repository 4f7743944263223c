"""A clip is saved whole or not at all, whatever the server and the disk do.

The server is a script: a list of answers, played in order, that also writes down what was asked.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from callsheet.edges.clips.download import LEAST_BYTES_PER_SECOND, Limits, SavedFile, save_clip
from callsheet.edges.clips.part_file import WRITE_BYTES
from callsheet.errors import CallsheetError, DownloadProblem, Fate, LinkGone, SetupProblem
from edges.clip_bytes import box, padded_clip

URL = "https://cdn.clips.test/a/b.mp4?signature=canary-signature"
ETAG = '"v1-strong"'


CLIP = padded_clip(900_000)
CUT = 600_000


class Broken(Exception):
    """Stands for whatever error the HTTP layer has for a lost connection."""


@dataclass
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    breaks: BaseException | None = None
    stalls: bool = False
    host: str = "cdn.clips.test"
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        self.stopped.set()

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.body), 65_521):
            yield self.body[start : start + 65_521]
        if self.stalls:
            assert self.stopped.wait(10)
            raise Broken("stopped")
        if self.breaks is not None:
            raise self.breaks


@dataclass
class Server:
    """Plays its answers in order; `asked` holds the request headers, `open` the streams not yet left."""

    answers: list[Answer]
    asked: list[dict[str, str]] = field(default_factory=list)
    open: int = 0

    @asynccontextmanager
    async def __call__(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        assert url.startswith("https://")
        self.asked.append(dict(headers))
        self.open += 1
        try:
            yield self.answers.pop(0)
        finally:
            self.open -= 1


def whole(body: bytes = CLIP, **headers: str) -> Answer:
    return Answer(200, {"content-length": str(len(body)), **headers}, body)


def broken(body: bytes = CLIP, *, etag: str = ETAG, cut: int = CUT) -> Answer:
    return Answer(200, {"content-length": str(len(body)), "etag": etag}, body[:cut], breaks=Broken("reset"))


def rest(start: int = CUT, body: bytes = CLIP, **changes: str) -> Answer:
    headers = {
        "content-length": str(len(body) - start),
        "content-range": f"bytes {start}-{len(body) - 1}/{len(body)}",
        "etag": ETAG,
    }
    return Answer(206, headers | {name.replace("_", "-"): value for name, value in changes.items()}, body[start:])


def target_in(directory: Path) -> Path:
    return directory / "clips" / "clip.mp4"


def beside(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


def assert_saved(saved: SavedFile, target: Path, body: bytes = CLIP) -> None:
    assert saved == SavedFile(target, len(body), hashlib.sha256(body).hexdigest())
    assert target.read_bytes() == body
    assert beside(target) == {"clip.mp4"}


async def refused(server: Server, target: Path, **options: Limits) -> CallsheetError:
    """Save, expect one of our errors, and check what every such error promises."""
    with pytest.raises((DownloadProblem, SetupProblem)) as caught:
        await save_clip(server, URL, target, **options)
    error = caught.value
    assert (error.fate, error.retry) == (Fate.CHARGED, "after(30)")
    assert "canary" not in str(error)
    assert server.open == 0
    return error


async def interrupted(target: Path, answer: Answer | None = None) -> None:
    """Leave behind what a broken download leaves."""
    with pytest.raises(Broken):
        await save_clip(Server([answer or broken()]), URL, target)


async def test_a_clip_is_saved_with_its_size_and_hash(tmp_path: Path) -> None:
    """The happy way: one request without compression, a private file, nothing left beside it."""
    server, seen = Server([whole(etag=ETAG)]), list[tuple[int, int | None]]()
    target = target_in(tmp_path)
    saved = await save_clip(server, URL, target, on_progress=lambda done, total: seen.append((done, total)))
    assert_saved(saved, target)
    assert server.asked == [{"accept-encoding": "identity"}]
    assert server.open == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert seen[-1] == (len(CLIP), len(CLIP))
    assert len(seen) == len(CLIP) // WRITE_BYTES + 1


async def test_a_clip_without_an_announced_size_is_saved(tmp_path: Path) -> None:
    """Chunked transfer has no Content-Length; the boxes say whether all came."""
    seen = list[tuple[int, int | None]]()
    target = target_in(tmp_path)
    saved = await save_clip(
        Server([Answer(200, {}, CLIP)]), URL, target, on_progress=lambda done, total: seen.append((done, total))
    )
    assert_saved(saved, target)
    assert seen[-1] == (len(CLIP), None)


async def test_a_clip_that_is_there_is_checked_and_nothing_is_fetched(tmp_path: Path) -> None:
    """Asking twice costs one download."""
    target = target_in(tmp_path)
    first = await save_clip(Server([whole()]), URL, target)
    assert await save_clip(Server([]), URL, target) == first


async def test_a_damaged_file_at_the_target_is_left_alone(tmp_path: Path) -> None:
    """What stands under the clip's name is never written over, even if it is no clip."""
    target = target_in(tmp_path)
    target.parent.mkdir()
    target.write_bytes(CLIP[:-1])
    error = await refused(Server([]), target)
    assert "is not a complete video; it was left unchanged" in error.message
    assert target.read_bytes() == CLIP[:-1]


async def test_a_symbolic_link_at_the_target_is_not_followed(tmp_path: Path) -> None:
    """A link in place of the clip is refused, though it leads to a good one."""
    target, elsewhere = target_in(tmp_path), tmp_path / "elsewhere.mp4"
    elsewhere.write_bytes(CLIP)
    target.parent.mkdir()
    target.symlink_to(elsewhere)
    assert "there is a symbolic link at the file's path" in (await refused(Server([]), target)).message


async def test_a_symbolic_link_at_the_part_is_not_written_through(tmp_path: Path) -> None:
    """A link planted at the temporary name cannot steer the bytes elsewhere."""
    target, victim = target_in(tmp_path), tmp_path / "victim"
    victim.write_bytes(b"precious")
    target.parent.mkdir()
    (target.parent / "clip.mp4.part").symlink_to(victim)
    error = await refused(Server([whole()]), target)
    assert "there is a symbolic link at the file's path" in error.message
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["hard link", "pipe"])
async def test_a_part_that_is_not_our_own_plain_file_is_not_written_to(tmp_path: Path, kind: str) -> None:
    """A second name of another file, or a pipe, at the temporary name is refused."""
    target, victim = target_in(tmp_path), tmp_path / "victim"
    victim.write_bytes(b"precious")
    target.parent.mkdir()
    part = target.parent / "clip.mp4.part"
    if kind == "pipe":
        os.mkfifo(part)
    else:
        part.hardlink_to(victim)
    assert "was not created by Callsheet" in (await refused(Server([whole()]), target)).message
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_link_that_is_gone_has_its_own_error(tmp_path: Path, status: int) -> None:
    """The caller can tell that a fresh link is needed."""
    target = target_in(tmp_path)
    error = await refused(Server([Answer(status, {}, b"<html>canary</html>")]), target)
    assert isinstance(error, LinkGone)
    assert f"cdn.clips.test answered {status}" in error.message
    assert beside(target) == set()


@pytest.mark.parametrize("status", [204, 206, 302, 416, 429, 500, 503])
async def test_any_other_answer_is_a_download_problem(tmp_path: Path, status: int) -> None:
    """Only 200 is a video when no range was asked for."""
    error = await refused(Server([Answer(status, {}, CLIP, host="evil\x1b[31m host")]), target_in(tmp_path))
    assert error.message == f"The download host answered {status} instead of the video."
    assert not isinstance(error, LinkGone)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"<!doctype html><p>canary</p>", "a web page"),
        (b'{"error": "canary"}', "a JSON message"),
        (b"<?xml version='1.0'?><Error>canary</Error>", "an XML message"),
        (b"\x1a\x45\xdf\xa3canary", "a WebM file"),
        (b"", "nothing at all"),
        (b"canary canary", "something that is not an MP4 file"),
    ],
)
async def test_a_message_instead_of_a_video_is_named_and_not_repeated(tmp_path: Path, body: bytes, name: str) -> None:
    """An error page with status 200 is called what it is; its text goes nowhere."""
    target = target_in(tmp_path)
    error = await refused(Server([whole(body, etag=ETAG)]), target)
    assert error.message == f"The link returned {name} instead of a video."
    assert beside(target) == set()


async def test_a_video_with_whole_transfer_and_broken_boxes_is_refused(tmp_path: Path) -> None:
    """All announced bytes came and they are still not a whole MP4; they are not kept."""
    target = target_in(tmp_path)
    error = await refused(Server([whole(CLIP[:-5], etag=ETAG)]), target)
    assert "not a whole video" in error.message
    assert beside(target) == set()


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_a_content_encoding_that_was_not_asked_for_is_refused(tmp_path: Path, encoding: str) -> None:
    """The bytes on the wire must be the bytes of the file."""
    error = await refused(Server([whole(**{"content-encoding": encoding})]), target_in(tmp_path))
    assert "content encoding" in error.message


async def test_more_bytes_than_announced_are_refused_and_not_kept(tmp_path: Path) -> None:
    """A body that outgrows its Content-Length is not the file that was announced."""
    target = target_in(tmp_path)
    announced = {"content-length": str(len(CLIP) - 1), "etag": ETAG}
    assert "and sent more" in (await refused(Server([Answer(200, announced, CLIP)]), target)).message
    assert beside(target) == set()


async def test_fewer_bytes_than_announced_are_refused_and_kept_for_later(tmp_path: Path) -> None:
    """A body that ends early without an error is an interruption like any other."""
    target = target_in(tmp_path)
    announced = {"content-length": str(len(CLIP)), "etag": ETAG}
    error = await refused(Server([Answer(200, announced, CLIP[:CUT])]), target)
    assert f"ended after {CUT:,} of {len(CLIP):,} bytes" in error.message
    server = Server([rest()])
    assert_saved(await save_clip(server, URL, target), target)
    assert server.asked[0]["range"] == f"bytes={CUT}-"


@pytest.mark.parametrize("length", ["-1", "1e9", "12, 12", "", "9" * 30])
async def test_a_size_that_is_no_number_is_refused(tmp_path: Path, length: str) -> None:
    """A Content-Length that cannot be read is not guessed at."""
    error = await refused(Server([Answer(200, {"content-length": length}, CLIP)]), target_in(tmp_path))
    assert "not a number" in error.message


@pytest.mark.parametrize("headers", [{}, {"content-length": str(len(CLIP)), "etag": ETAG}])
async def test_a_video_beyond_the_limit_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    """The limit holds whether or not the size was announced."""
    target = target_in(tmp_path)
    error = await refused(Server([Answer(200, headers, CLIP)]), target, limits=Limits(max_bytes=len(CLIP) - 1))
    assert "larger than the limit" in error.message
    assert beside(target) == set()


async def test_a_video_for_which_the_disk_has_no_room_is_not_begun(tmp_path: Path) -> None:
    """The announced size is compared with the free space before a byte is written."""
    huge = Answer(200, {"content-length": str(10**15 - 1)}, CLIP)
    error = await refused(Server([huge]), target_in(tmp_path), limits=Limits(max_bytes=10**15))
    assert isinstance(error, SetupProblem)
    assert "free" in error.message


async def test_a_stream_that_breaks_is_continued_under_its_strong_etag(tmp_path: Path) -> None:
    """The second attempt asks only for the missing bytes, and the hash covers all of them."""
    target = target_in(tmp_path)
    await interrupted(target)
    assert beside(target) == {"clip.mp4.part", "clip.mp4.part.note"}
    assert "canary" not in (target.parent / "clip.mp4.part.note").read_text()
    server = Server([rest()])
    assert_saved(await save_clip(server, URL.replace("canary", "fresh"), target), target)
    assert server.asked == [{"accept-encoding": "identity", "range": f"bytes={CUT}-", "if-range": ETAG}]


async def test_an_error_of_the_stream_passes_through_unchanged(tmp_path: Path) -> None:
    """The HTTP layer's own error reaches the caller as the same object, after the file was closed."""
    lost, target = Broken("reset"), target_in(tmp_path)
    server = Server([Answer(200, {}, CLIP[:CUT], breaks=lost)])
    with pytest.raises(Broken) as caught:
        await save_clip(server, URL, target)
    assert caught.value is lost
    assert caught.value.__cause__ is None
    assert beside(target) == set()
    with pytest.raises(ConnectionResetError):
        await save_clip(Server([Answer(200, {}, b"", breaks=ConnectionResetError())]), URL, target)


async def test_a_download_can_break_many_times_and_still_end_well(tmp_path: Path) -> None:
    """Each attempt adds what it got."""
    target = target_in(tmp_path)
    await interrupted(target, broken(cut=100_000))
    for start in range(100_000, 800_000, 100_000):
        piece = rest(start)
        piece.body, piece.breaks = piece.body[:100_000], Broken()
        await interrupted(target, piece)
    assert_saved(await save_clip(Server([rest(800_000)]), URL, target), target)


@pytest.mark.parametrize("etag", ['W/"weak"', "", "unquoted", '"a"b"', '"line\nbreak"'])
async def test_without_a_strong_etag_nothing_is_kept(tmp_path: Path, etag: str) -> None:
    """Bytes that cannot be matched to a later answer are thrown away."""
    target = target_in(tmp_path)
    await interrupted(target, broken(etag=etag))
    assert beside(target) == set()


async def test_a_part_without_a_note_is_downloaded_again(tmp_path: Path) -> None:
    """What a killed process left is not trusted, and its tail does not survive."""
    target = target_in(tmp_path)
    target.parent.mkdir()
    (target.parent / "clip.mp4.part").write_bytes(b"z" * (len(CLIP) + 999))
    server = Server([whole()])
    assert_saved(await save_clip(server, URL, target), target)
    assert "range" not in server.asked[0]


@pytest.mark.parametrize("harm", ["byte", "short", "note", "deep", "link"])
async def test_a_part_that_its_note_does_not_match_is_downloaded_again(tmp_path: Path, harm: str) -> None:
    """The bytes are hashed again before they are continued, and a note that cannot be read counts for nothing."""
    target = target_in(tmp_path)
    await interrupted(target)
    part, note = target.parent / "clip.mp4.part", target.parent / "clip.mp4.part.note"
    if harm == "byte":
        part.write_bytes(b"\xff" + part.read_bytes()[1:])
    elif harm == "short":
        part.write_bytes(part.read_bytes()[:-1])
    elif harm == "link":
        note.rename(tmp_path / "note")
        note.symlink_to(tmp_path / "note")
    else:
        note.write_bytes(b"\xff" * 9 if harm == "note" else b"[" * 5000)
    server = Server([whole()])
    assert_saved(await save_clip(server, URL, target), target)
    assert "range" not in server.asked[0]


async def test_bytes_beyond_those_in_the_note_are_dropped(tmp_path: Path) -> None:
    """A process killed while it continued leaves more bytes than the note knows; only the known ones count."""
    target = target_in(tmp_path)
    await interrupted(target)
    with (target.parent / "clip.mp4.part").open("ab") as part:
        part.write(b"z" * 500_000)
    assert_saved(await save_clip(Server([rest()]), URL, target), target)


async def test_another_link_is_not_continued(tmp_path: Path) -> None:
    """An ETag is unique only under its own path: a clip from elsewhere starts over."""
    target = target_in(tmp_path)
    await interrupted(target)
    server = Server([whole()])
    assert_saved(await save_clip(server, "https://cdn.clips.test/other.mp4", target), target)
    assert "range" not in server.asked[0]


async def test_a_server_that_ignores_the_range_sends_everything_again(tmp_path: Path) -> None:
    """A 200 to a range request starts over in the same answer; so does a changed ETag."""
    target, other = target_in(tmp_path), padded_clip(700_000)
    await interrupted(target)
    server = Server([whole(other, etag='"v2"')])
    assert_saved(await save_clip(server, URL, target), target, other)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"content_range": f"bytes {CUT - 1}-{len(CLIP) - 1}/{len(CLIP)}"},
        {"content_range": f"bytes 0-{len(CLIP) - 1}/{len(CLIP)}"},
        {"content_range": f"bytes {CUT}-{len(CLIP)}/{len(CLIP) + 1}"},
        {"content_range": f"bytes {CUT}-{len(CLIP) - 2}/{len(CLIP)}"},
        {"content_range": f"bytes {CUT}-{len(CLIP) - 1}/*"},
        {"content_range": ""},
        {"content_length": "7"},
        {"etag": '"v2"'},
    ],
)
async def test_a_partial_answer_that_does_not_fit_is_dropped_and_all_is_asked_for(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    """A 206 with another start, end, total, length or ETag is never appended."""
    target = target_in(tmp_path)
    await interrupted(target)
    server = Server([rest(**wrong), whole()])
    assert_saved(await save_clip(server, URL, target), target)
    assert "range" in server.asked[0]
    assert "range" not in server.asked[1]


async def test_a_range_that_cannot_be_satisfied_starts_over(tmp_path: Path) -> None:
    """A 416 means that the file is another one now."""
    target = target_in(tmp_path)
    await interrupted(target)
    assert_saved(await save_clip(Server([Answer(416), whole()]), URL, target), target)


async def test_a_partial_answer_with_other_bytes_is_caught_by_the_boxes(tmp_path: Path) -> None:
    """A second half that ends elsewhere than its box fails the check, and nothing is kept of it."""
    target, longer = target_in(tmp_path), padded_clip(CUT) + box(b"free", b"")
    await interrupted(target, Answer(200, {"content-length": str(len(longer)), "etag": ETAG}, longer[:-8], Broken()))
    tail = rest(len(longer) - 8, longer)
    tail.body = b"\1" * 8
    assert "not a whole video" in (await refused(Server([tail]), target)).message
    assert beside(target) == set()


@pytest.mark.parametrize("status", [403, 503])
async def test_a_failed_continuation_keeps_what_there_was(tmp_path: Path, status: int) -> None:
    """An answer without a video takes nothing away."""
    target = target_in(tmp_path)
    await interrupted(target)
    await refused(Server([Answer(status)]), target)
    assert_saved(await save_clip(Server([rest()]), URL, target), target)


async def test_a_download_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    """A slow server cannot hold a slot forever, and the next attempt is free."""
    target = target_in(tmp_path)
    error = await refused(Server([Answer(200, {}, b"", stalls=True)]), target, limits=Limits(seconds=0))
    assert error.message == "The download took longer than 0 s and was stopped."
    assert_saved(await save_clip(Server([whole()]), URL, target), target)


class Drip(Answer):
    """Sends a hundred bytes at a time, with a pause before each."""

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.body), 100):
            assert not self.stopped.wait(0.02)
            yield self.body[start : start + 100]


async def test_a_server_that_drips_is_given_up_and_what_it_sent_is_kept(tmp_path: Path) -> None:
    """It would hold one of the few places for half an hour. The next attempt goes on where this one ended."""
    target = target_in(tmp_path)
    headers = {"content-length": str(len(CLIP)), "etag": ETAG}
    with anyio.fail_after(10):
        error = await refused(Server([Drip(200, headers, CLIP)]), target, limits=Limits(slow_seconds=0.2))
    assert f"less than {LEAST_BYTES_PER_SECOND:,} bytes a second" in error.message
    kept = (target.parent / "clip.mp4.part").stat().st_size
    assert 0 < kept < len(CLIP)
    server = Server([rest(kept)])
    assert_saved(await save_clip(server, URL, target), target)
    assert server.asked[0]["range"] == f"bytes={kept}-"


async def test_a_server_that_is_slow_and_still_fast_enough_is_waited_for(tmp_path: Path) -> None:
    """Several windows long: the speed is that of a window, and time that the disk takes does not count."""
    target = target_in(tmp_path)

    class Steady(Answer):
        def chunks(self) -> Iterator[bytes]:
            quarter = -(-len(self.body) // 4)
            for start in range(0, len(self.body), quarter):
                assert not self.stopped.wait(0.05)
                yield self.body[start : start + quarter]

    answer = Steady(200, {"content-length": str(len(CLIP))}, CLIP)
    assert_saved(await save_clip(Server([answer]), URL, target, limits=Limits(slow_seconds=0.02)), target)


async def test_a_cancelled_download_keeps_what_it_had(tmp_path: Path) -> None:
    """Stopping the program in the middle is an interruption, not a loss."""
    target = target_in(tmp_path)
    stalled = Answer(200, {"content-length": str(len(CLIP)), "etag": ETAG}, CLIP[:CUT], stalls=True)
    async with anyio.create_task_group() as group:
        loop = asyncio.get_running_loop()

        def stop_soon(done: int, total: int | None) -> None:
            loop.call_soon_threadsafe(group.cancel_scope.cancel)

        await save_clip(Server([stalled]), URL, target, on_progress=stop_soon)
    kept = (target.parent / "clip.mp4.part").stat().st_size
    assert kept >= WRITE_BYTES
    assert_saved(await save_clip(Server([rest(kept)]), URL, target), target)


async def test_two_downloads_of_one_clip_do_not_mix(tmp_path: Path) -> None:
    """While one process has the part, another gets an error and changes nothing."""
    target = target_in(tmp_path)
    target.parent.mkdir()
    with (target.parent / "clip.mp4.part").open("wb") as held:
        held.write(b"theirs")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "Another process is downloading" in (await refused(Server([whole()]), target)).message
        assert (target.parent / "clip.mp4.part").read_bytes() == b"theirs"
    assert_saved(await save_clip(Server([whole()]), URL, target), target)


async def test_two_downloads_at_once_in_one_process_end_with_one_clip(tmp_path: Path) -> None:
    """The second one is refused or finds the finished clip; the file is right either way."""
    target, outcomes = target_in(tmp_path), list[object]()

    async def attempt() -> None:
        try:
            outcomes.append(await save_clip(Server([whole(etag=ETAG)]), URL, target))
        except DownloadProblem as problem:
            outcomes.append(problem.message)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(attempt)
    saved = [outcome for outcome in outcomes if isinstance(outcome, SavedFile)]
    assert saved
    for outcome in saved:
        assert_saved(outcome, target)


async def test_a_directory_that_cannot_be_is_a_setup_problem(tmp_path: Path) -> None:
    """A file in place of the directory gives an error, and nothing is fetched."""
    (tmp_path / "clips").write_text("a file")
    error = await refused(Server([]), target_in(tmp_path))
    assert isinstance(error, SetupProblem)
    assert "could not be written in" in error.message


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
async def test_a_directory_without_permission_is_a_setup_problem(tmp_path: Path) -> None:
    """A read-only directory is named together with what to do."""
    target = target_in(tmp_path)
    target.parent.mkdir(mode=0o500)
    error = await refused(Server([whole()]), target)
    assert "permission was denied" in error.message


async def test_a_full_disk_is_reported_with_the_error_of_the_disk(tmp_path: Path) -> None:
    """A write beyond what the system allows becomes a setup problem with a next step."""
    import resource
    import signal

    target = target_in(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        error = await refused(Server([whole(etag=ETAG)]), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert isinstance(error, SetupProblem)
    assert "File too large" in error.message
    assert_saved(await save_clip(Server([rest(300_000)]), URL, target), target)
