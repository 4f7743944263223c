"""Reads a task's state from a status reply, for every gateway: where each documents the parts, and what is near.

One list of state words serves all of them. Each gateway documents a few, and its servers are seen to say others. Case,
spaces and punctuation do not count. A word that is not listed is `UNRECOGNISED`: neither success nor failure.
"""

from __future__ import annotations

import re
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
from .videos import find_videos

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
