"""Reads a task's state and the links to its video from a status reply, for every gateway.

The places that a gateway documents come first, then what is near. One list of state words serves all of them. Each
gateway documents a few, and its servers are seen to say others. Case, spaces and punctuation do not count. A word that
is not listed is `UNRECOGNISED`: neither success nor failure.

Replies are untrusted: the search for links is bounded and raises on nothing. What a link leads to is checked when it
is fetched.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .protocol import Charge, HttpReply, Phase, Progress, StatusOutcome
from .replies import (
    NEAR_IDS,
    answered,
    build_problem,
    build_unavailable,
    find,
    read_amount,
    read_complaint,
    read_object,
    read_percent,
    read_status_number,
    read_task_id,
    read_text,
    read_word,
)

_WORDS = {
    Phase.QUEUED: (
        "queued queueing queue in_queue pending waiting not_started not_start unstarted created submitted accepted"
        " received scheduled initialized initializing preparing starting throttled new"
    ),
    Phase.RUNNING: (
        "running processing in_progress in_process progress progressing generating rendering working executing active"
        " started ongoing encoding transcoding uploading post_processing finalizing"
    ),
    Phase.SUCCEEDED: "succeeded succeed success successful completed complete finished finish done generated",
    Phase.FAILED: (
        "failed fail failure failing error errored exception crashed cancelled canceled cancel rejected refused denied"
        " aborted abort timeout timed_out terminated killed blocked moderated moderation_failed content_filtered"
        " violation unsuccessful refunded"
    ),
}
_PUNCTUATION = re.compile(r"[\W_]+")
_PREFIX = re.compile(r"(?:task|job|generation)?(?:status|state)?")


def _plain(word: str) -> str:
    return _PUNCTUATION.sub("", word.casefold())


_PHASES = {_plain(word): phase for phase, words in _WORDS.items() for word in words.split()}


def read_phase(said: str) -> Phase:
    """The phase that a gateway's word means, also with a prefix as in `TASK_STATUS_FAILED`."""
    word = _plain(said)
    return _PHASES.get(word) or _PHASES.get(_PREFIX.sub("", word, count=1), Phase.UNRECOGNISED)


@dataclass(frozen=True, slots=True)
class StatusShape:
    """Where a gateway documents the parts of a status reply. `videos` and `charges` are paths in the task's table."""

    id: str
    state: str
    videos: tuple[tuple[str, ...], ...]
    charges: tuple[tuple[str, ...], ...] = ()
    wrapped: bool = True


def read_task_status(reply: HttpReply, shape: StatusShape) -> StatusOutcome:
    """A task's state from a status reply. A failed task is an HTTP 200 too.

    The documented places come first. A state or a link under another usual name is read as well. A failure ends the
    task, so it must name a task: an error beside HTTP 200 may be about the reading.
    """
    body = read_object(reply.body)
    number = read_status_number(find(body, "code")) if shape.wrapped else None
    task, said = _find_task(body, shape)
    if not answered(reply, number) or not said:
        return build_unavailable(reply, body, number, *read_complaint(body))
    phase, named = read_phase(said), read_task_id(find(task, shape.id)) or ""
    if phase is Phase.FAILED:
        named = named or next((near for name in ("id", *NEAR_IDS) if (near := read_task_id(find(task, name)))), "")
        if not named:
            return build_unavailable(reply, None, number, *read_complaint(body))
    charges = (read_amount(find(task, *path)) for path in shape.charges)
    charged = next((amount for amount in charges if amount is not None), None)
    with_video = phase in (Phase.SUCCEEDED, Phase.UNRECOGNISED)
    return Progress(
        phase=phase,
        said=said,
        percent=read_percent(find(task, "progress")),
        video_urls=find_videos(task, shape.videos) if with_video else (),
        failure=build_problem(reply, *read_complaint(task)) if phase is Phase.FAILED else None,
        charge=Charge(charged, "credits") if charged is not None else None,
        named_id=named,
    )


_NEAR_STATES = ("status", "state", "task_status", "taskStatus", "task_state")


def _find_task(body: object, shape: StatusShape) -> tuple[object, str]:
    """The table of the task in a status reply, and its word for the state: the documented place first."""
    data = find(body, "data")
    only = data[0] if isinstance(data, list) and len(data) == 1 else data
    # Beside a wrapped task, the outermost `status` is about the reply.
    flat = body if not shape.wrapped or any(find(body, name) for name in ("id", *NEAR_IDS)) else None
    places = (only, flat) if shape.wrapped else (flat, only)
    for place in places:
        if said := read_text(find(place, shape.state)):
            return place, said
    for place in places:
        if said := next((word for name in _NEAR_STATES if (word := read_word(find(place, name)))), ""):
            return place, said
    return None, ""


MAX_LINK = 8192
MAX_LINKS = 16
MAX_VALUES = 2000
MAX_LEVELS = 8

_LINK = re.compile(r"https?://[^\s\x00-\x20]+", re.IGNORECASE)
_VIDEO_SUFFIXES = frozenset({"mp4", "mov", "m4v", "webm", "mkv"})
_OTHER_MEDIA = frozenset(
    {"avif", "bmp", "gif", "heic", "jpeg", "jpg", "png", "svg", "webp"}
    | {"aac", "flac", "m4a", "mp3", "ogg", "wav"}
    | {"html", "json", "srt", "txt", "vtt", "zip"}
)
_OTHER_KINDS = frozenset({"image", "picture", "thumbnail", "cover", "poster", "audio", "text", "subtitle"})
_KIND_NAMES = ("file_type", "type", "mime_type", "content_type", "media_type", "mime", "format", "kind")
_RESULT_NAMES = re.compile(
    r"(?:file|media|result|output|download|resource|asset|origin|clip)?(?:ur[li]s?|links?)|src|href"
    r"|files?|media|results?|outputs?|data|assets?|generations?|works?|clips?|content|resultjson"
)
_FOREIGN_NAMES = re.compile(
    # Pictures and sounds beside the video, what was sent, and addresses of the gateway's own.
    "image|img|picture|photo|thumb|poster|cover|frame|preview|sprite|gif|audio|sound|music|subtitle|caption"
    "|input|request|prompt|param|reference|source|callback|hook|avatar|logo|help|support"
)


def is_video_link(value: object) -> bool:
    """Whether a value is a web address that does not name a picture, a sound or a text."""
    if not isinstance(value, str) or len(value) > MAX_LINK or not _LINK.fullmatch(value):
        return False
    return _suffix(value) not in _OTHER_MEDIA


def read_video_links(candidates: Iterable[object]) -> tuple[str, ...]:
    """The video addresses among the candidates, each once, in their order, at most `MAX_LINKS`."""
    found = dict.fromkeys(value for value in candidates if isinstance(value, str) and is_video_link(value))
    return tuple(found)[:MAX_LINKS]


def find_videos(task: object, documented: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The video links of a task: those in the documented places, else those found by a search.

    The search takes what a name, a type or a file name calls a video; without any, what is named like a result.
    """
    found: list[str] = []
    for path in documented:
        place = task
        for name in path:
            place = _decoded(place)
            place = place.get(name) if isinstance(place, Mapping) else None
        found += [link for link, _ in _walk(place, "url")]
    if found:
        return read_video_links(found)
    links = list(_walk(task, ""))
    sure = read_video_links(link for link, is_video in links if is_video)
    return sure or read_video_links(link for link, _ in links)


def _walk(root: object, name: str) -> Iterator[tuple[str, bool]]:
    """The links below a value that may be results, nearest first, each with whether something calls it a video."""
    waiting = deque([(root, name, False, 0)])
    for _ in range(MAX_VALUES):
        if not waiting:
            return
        value, name, called_video, level = waiting.popleft()
        value = _decoded(value)
        if isinstance(value, str):
            link = value.strip()
            is_video = called_video or "video" in name or _suffix(link) in _VIDEO_SUFFIXES
            if is_video_link(link) and (is_video or _RESULT_NAMES.fullmatch(name)):
                yield link, is_video
        elif level < MAX_LEVELS:
            waiting.extend((*child, level + 1) for child in _children(value, name, called_video))


def _children(value: object, name: str, called_video: bool) -> Iterator[tuple[object, str, bool]]:
    if isinstance(value, list):
        yield from ((item, name, called_video) for item in value[:MAX_VALUES])
    if not isinstance(value, Mapping):
        return
    kind = _kind(value)
    if kind in _OTHER_KINDS or kind.split("/")[0] in _OTHER_KINDS or kind in _OTHER_MEDIA:
        return
    is_video = "video" in kind or kind in _VIDEO_SUFFIXES
    for key, item in value.items():
        plain = re.sub(r"[\W_]+", "", key.casefold())
        if not _FOREIGN_NAMES.search(plain):
            yield item, plain, is_video or called_video


def _kind(table: Mapping[str, object]) -> str:
    """What a table calls its file: the first of the usual names that has a text."""
    names = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower(): value for key, value in table.items()}
    return next((value.strip().lower() for name in _KIND_NAMES if isinstance(value := names.get(name), str)), "")


def _suffix(link: str) -> str:
    name = re.split(r"[?#]", link, maxsplit=1)[0].rpartition("/")[2]
    _, dot, suffix = name.rpartition(".")
    return suffix.lower() if dot else ""


def _decoded(value: object) -> object:
    """The object or list in a text that is JSON; any other value unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
