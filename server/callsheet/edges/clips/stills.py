"""What a clip shows: its facts, a poster and a contact sheet, drawn from few decoded frames.

A clip comes from outside and is decoded here, so limits apply. It is opened as a file object and as MP4 only (no
playlist, no second file, no network), with a short list of video codecs, bounded frame size, bounded packets and a
bounded amount of decoding. Pictures appear under their name whole or not at all.

Everything here blocks and uses a processor: callers run it in a thread. `av` and `PIL` are imported where they are
used.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from callsheet.errors import DownloadProblem, Fate, SetupProblem

from .boxes import require_complete, unreadable
from .contact_sheet import Grid, Still, draw_sheet, fit_inside, plan_grid, write_picture

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

MAX_SIDE = 8192
MAX_PIXELS = 8192 * 4320
MAX_PACKETS = 20_000
"""Far more than a minute of any frame rate in use."""

DECODE_BUDGET = 900 * 1920 * 1080
"""Pixels that may be decoded for one set of stills: 30 s of full HD without a key frame in between."""

MAX_SECONDS = 3600.0
POSTER_ROOM = (1920, 1920)
COLUMNS, ROWS = 3, 2
CODECS = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What the file itself holds: the video's length in seconds, its size in pixels, its frames and codec.

    `shape` is width by height on the screen. `brightest` and `motion` are of the stills, where some were drawn.
    """

    duration_seconds: float
    width: int
    height: int
    frames: int
    codec: str
    shape: float
    audio: bool
    brightest: int | None = None
    motion: int | None = None


@dataclass(frozen=True, slots=True)
class _Survey:
    """Where the frames and the key frames are: ascending presentation times in units of `unit` seconds."""

    facts: ClipFacts
    unit: Fraction
    times: tuple[int, ...]
    keys: tuple[int, ...]

    def time_at(self, share: float) -> int:
        """The last frame shown at that share (0..1) of the clip."""
        moment = self.times[0] + share * self.facts.duration_seconds / float(self.unit)
        return self.times[max(0, bisect_right(self.times, moment) - 1)]

    def seconds(self, time: int) -> float:
        """Seconds since the first frame."""
        return float((time - self.times[0]) * self.unit)


def inspect_clip(path: Path) -> ClipFacts:
    """Read the whole file, decode its first key frame and report what it holds.

    Raises `DownloadProblem` when it is not a whole video, `UnsupportedClip` when it is over the limits.
    """
    with _opened(path) as container:
        survey = _survey(container)
        if next(_decode(container, survey, [survey.keys[0]]), None) is None:
            raise unreadable("Its first frame cannot be decoded.")
    return survey.facts


def draw_poster(path: Path, target: Path) -> Path:
    """Write one frame near a third of the clip as JPEG, at the clip's size up to 1920 pixels."""
    with _opened(path) as container:
        survey = _survey(container)
        found = next(_decode(container, survey, _choose(survey, [1 / 3], reach=1 / 6)), None)
        if found is None:
            raise unreadable("No frame of it can be decoded.")
        picture = _picture(found[1], _poster_size(found[1]))
    write_picture(picture, target)
    return target


def draw_contact_sheet(
    path: Path, target: Path, *, heading: str, detail: str, columns: int = COLUMNS, rows: int = ROWS
) -> Path:
    """Write frames from the whole clip as a grid with timecodes, at most 1600 pixels wide.

    `columns` and `rows` are meant for a wide clip and are the most that is shown: an upright clip gets more
    columns and fewer rows, a clip with few frames fewer cells. PNG when the target says so, else JPEG.
    """
    with _opened(path) as container:
        taken = _take(container, _survey(container), columns=columns, rows=rows)
    write_picture(draw_sheet(taken.stills, taken.grid, heading=heading, detail=detail), target)
    return target


def draw_stills(path: Path, poster: Path, sheet: Path, *, heading: str, detail: str) -> ClipFacts:
    """Inspect the clip and write its poster and its contact sheet from one set of decoded frames."""
    with _opened(path) as container:
        survey = _survey(container)
        taken = _take(container, survey)
    write_picture(taken.poster, poster)
    write_picture(draw_sheet(taken.stills, taken.grid, heading=heading, detail=detail), sheet)
    brightest, motion = _measure([still.picture for still in taken.stills])
    shape = 1 / survey.facts.shape if taken.is_turned else survey.facts.shape
    return replace(survey.facts, shape=round(shape, 4), brightest=brightest, motion=motion)


def _measure(pictures: Sequence[Image]) -> tuple[int, int | None]:
    """The highest level of any, and how far a detail of 8 by 8 pixels changes from the first one on, if at all."""
    from PIL import ImageChops

    def highest(picture: Image) -> int:
        return max(int(high) for _, high in cast("Sequence[tuple[int, int]]", picture.getextrema()))

    first, *later = [picture.reduce(8) for picture in pictures]
    changes = [highest(ImageChops.difference(first, picture)) for picture in later]
    return max(map(highest, pictures)), max(changes, default=None)


def read_frame(path: Path, *, last: bool) -> Image:
    """The first or the very last frame of the clip, at the clip's size. Raises as `inspect_clip`."""
    with _opened(path) as container:
        survey = _survey(container)
        found = next(_decode(container, survey, [survey.times[-1 if last else 0]], every=True), None)
        if found is None:
            raise unreadable("That frame cannot be decoded.")
        return _picture(found[1], (found[1].width, found[1].height))


@dataclass(frozen=True, slots=True)
class _Taken:
    """The stills of one clip, their layout, the poster, and whether players turn the picture on its side."""

    stills: Sequence[Still]
    grid: Grid
    poster: Image
    is_turned: bool


def _take(container: InputContainer, survey: _Survey, *, columns: int = COLUMNS, rows: int = ROWS) -> _Taken:
    """Decode the frames for a sheet and keep them at the size at which they are shown."""
    count = columns * rows
    reach = (1.0 if len(survey.keys) >= count else 0.6) / count
    picks = _choose(survey, [(n + 0.5) / count for n in range(count)], reach=reach)
    grid = plan_grid((survey.facts.width, survey.facts.height), count=len(picks), columns=columns)
    third = survey.time_at(1 / 3)
    poster_pick = min(picks, key=lambda pick: abs(pick - third))
    stills: list[Still] = []
    poster: Image | None = None
    is_turned = False
    for pick, frame in _decode(container, survey, picks):
        stills.append(
            Still(
                survey.seconds(frame.pts or 0),
                _picture(frame, fit_inside((frame.width, frame.height), grid.cell, enlarge=True)),
            )
        )
        if poster is None or pick == poster_pick:
            poster = _picture(frame, _poster_size(frame))
        is_turned = frame.rotation % 180 != 0
    if poster is None:
        raise unreadable("No frame of it can be decoded.")
    return _Taken(stills, grid, poster, is_turned)


def _choose(survey: _Survey, shares: Sequence[float], *, reach: float) -> list[int]:
    """The ascending times of the frames to show: a key frame within `reach` of each share (0..1), else the frame there.

    A key frame costs one decoded frame; any other costs all since the key frame before it.
    """
    keys = [time for time in survey.keys if time >= survey.times[0]]
    near = reach * survey.facts.duration_seconds / float(survey.unit)
    chosen: list[int] = []
    for share in shares:
        wanted = survey.time_at(share)
        free = [time for time in keys if abs(time - wanted) <= near and (not chosen or time > chosen[-1])]
        time = min(free, key=lambda time: abs(time - wanted), default=wanted)
        if not chosen or time > chosen[-1]:
            chosen.append(time)
    return chosen


def _decode(
    container: InputContainer, survey: _Survey, picks: Sequence[int], *, every: bool = False
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield each pick with its frame (or the next reference frame, unless `every` frame counts), within the budget."""
    stream = container.streams.video[0]
    codec = stream.codec_context
    codec.thread_count = 1
    budget = max(len(picks), DECODE_BUDGET // (survey.facts.width * survey.facts.height))
    for key, wanted in _group(survey, picks).items():
        container.seek(key, stream=stream)
        only_key = wanted == [key]
        codec.skip_frame = "NONKEY" if only_key else "DEFAULT" if every else "NONREF"
        last: VideoFrame | None = None
        for frame in _frames(container, until_key=key if only_key else None):
            budget -= 1
            if budget < 0:
                return
            _require_size(frame.width, frame.height)
            last = frame
            while wanted and frame.pts is not None and frame.pts >= wanted[0]:
                yield wanted.pop(0), frame
            if not wanted:
                break
        if wanted and last is not None:  # the clip ends with frames that no other frame refers to
            yield wanted[0], last


def _frames(container: InputContainer, *, until_key: int | None) -> Iterator[VideoFrame]:
    """Decode from the current position; stop after the key frame at `until_key`, if one is given."""
    stream = container.streams.video[0]
    for packet in container.demux(stream):
        yield from stream.codec_context.decode(packet)
        if until_key is not None and packet.pts is not None and packet.pts >= until_key:
            # The decoder holds the frame back for reordering until it learns that no more packets come.
            yield from stream.codec_context.decode(None)
            return


def _group(survey: _Survey, picks: Sequence[int]) -> dict[int, list[int]]:
    """The picks, grouped by the key frame from which each must be decoded."""
    groups: dict[int, list[int]] = {}
    for pick in picks:
        key = survey.keys[max(0, bisect_right(survey.keys, pick) - 1)]
        groups.setdefault(key, []).append(pick)
    return groups


def _survey(container: InputContainer) -> _Survey:
    """Read all packets of the video without decoding any, and check them against the limits."""
    if not container.streams.video:
        raise unreadable("It has no video.")
    stream = container.streams.video[0]
    # PyAV has no codec context at all where libav knows no decoder for the stream.
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
    if codec not in CODECS:
        raise UnsupportedClip("Its video codec is not expected in an MP4.")
    width, height, unit = stream.codec_context.width, stream.codec_context.height, stream.time_base
    _require_size(width, height)
    times: list[int] = []
    keys: list[int] = []
    end = 0
    others: set[str] = set()
    for time, packet in _timed_packets(container, others):
        if packet.is_keyframe:
            keys.append(time)
        if not packet.is_discard:
            times.append(time)
            end = max(end, time + max(packet.duration or 0, 1))
    if not times or not keys or unit is None:
        raise unreadable("It has no frame from which decoding can begin.")
    seconds = float((end - min(times)) * unit)
    if not 0 < seconds <= MAX_SECONDS:
        raise UnsupportedClip("The times of its frames make no sense.")
    shape = width / height * float(stream.sample_aspect_ratio or 1)
    facts = ClipFacts(round(seconds, 3), width, height, len(times), codec, shape, audio="audio" in others)
    return _Survey(facts, unit, tuple(sorted(times)), tuple(sorted(keys)))


def _timed_packets(container: InputContainer, others: set[str]) -> Iterator[tuple[int, Packet[VideoStream]]]:
    """The video's packets with their presentation times, a bounded number of them and none cut short.

    The types of the `others` that have packets are added.
    """
    video = container.streams.video[0]
    count = 0
    for packet in container.demux():
        if packet.is_corrupt:
            raise unreadable("Part of it is missing.")
        if packet.pts is None or packet.stream is not video:
            if packet.size:
                others.add(packet.stream.type)
            continue
        count += 1
        if count > MAX_PACKETS:
            raise UnsupportedClip(f"It has more than {MAX_PACKETS:,} frames.")
        yield packet.pts, cast("Packet[VideoStream]", packet)


def _picture(frame: VideoFrame, size: tuple[int, int]) -> Image:
    """The frame as a picture of that size. Scaling during the conversion is cheapest."""
    from PIL import Image

    plane = frame.reformat(size[0], size[1], "rgb24", interpolation="AREA").planes[0]
    return Image.frombytes("RGB", size, bytes(plane), "raw", "RGB", plane.line_size)


def _poster_size(frame: VideoFrame) -> tuple[int, int]:
    return fit_inside((frame.width, frame.height), POSTER_ROOM)


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """The clip as a container. Every error of the decoder becomes a `DownloadProblem`."""
    import av

    try:
        file = path.open("rb")
    except OSError as error:
        raise SetupProblem(
            f"{path} cannot be opened: {error.strerror or type(error).__name__}.",
            next_step="Check that the clip still exists.",
            fate=Fate.CHARGED,
            retry="after(30)",
        ) from error
    with file:
        require_complete(file)
        try:
            # The format is named so that no playlist or script format is ever tried on these bytes.
            options = {"max_streams": "16", "max_pixels": str(MAX_PIXELS), "enable_drefs": "0"}
            with av.open(file, mode="r", format="mp4", options=options) as container:
                yield container
        except (av.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError) as error:
            raise unreadable("It cannot be decoded.") from error


def _require_size(width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise UnsupportedClip(f"Its frames are not between 1 and {MAX_SIDE} pixels wide and high.")


class UnsupportedClip(DownloadProblem):
    """The clip may be whole, but it is over the limits within which Callsheet decodes."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The saved clip is not a video that Callsheet can show. {reason}",
            next_step="Keep the file: it is the clip as the gateway delivered it.",
        )


__all__ = [
    "ClipFacts",
    "UnsupportedClip",
    "draw_contact_sheet",
    "draw_poster",
    "draw_stills",
    "inspect_clip",
    "read_frame",
]
