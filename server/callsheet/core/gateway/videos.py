"""Finds the links to a task's video in a status reply: the documented places first, then the rest of the task.

Replies are untrusted: the search is bounded and raises on nothing. What a link leads to is checked when it is fetched.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

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
