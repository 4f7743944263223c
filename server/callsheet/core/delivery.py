"""What was delivered against what was ordered: a saved clip's measured values beside those of its shot. Pure.

What the shot leaves open, or leaves to the model or to a picture, is no order; what was not measured, as in a ledger
of an older version, is no difference. A difference is a finding and changes nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from .payload.body import Finding
from .shot import PARAMETERS, ParameterName, Shot
from .tasks import Clip, Sheet, Task

LENGTH_TOLERANCE = 0.5
"""Seconds. Lengths are ordered in whole seconds, and models make a few frames more or less: 121 at 24 a second are
5.04 s, 141 are 5.88 s where 6 s was ordered. Nearer to another whole second it is another length."""

SHAPE_TOLERANCE = math.log(1.05)
"""Models round sides to multiples of 8 or 16: 832x480 is 2.6 % off 16:9, 864x496 is 3.3 % off 480p. The nearest two
ratios on offer are 6.7 % apart (4:3, 5:4), the nearest two resolutions 5.5 % (1024p, 1080p)."""

BLACK = 25
"""The brightest level (of 255) of a black picture: a tenth of full brightness, as FFmpeg's blackdetect has it."""

FROZEN = 3
"""How far (of 255) a detail of a frozen picture changes at most: encoding the same picture again does that."""

_LINES = {"2k": (1080, 1440), "4k": (2160,), "8k": (4320,)}
"""2k is 2048x1080 to some and 2560x1440 to others."""


def compare_delivered(shot: Shot, clip: Clip) -> tuple[Finding, ...]:
    """Every difference between the shot as it was ordered and its clip."""
    found = [_length(shot, clip), _ratio(shot, clip), _resolution(shot, clip), _audio(shot, clip)]
    return (*(item for item in found if item is not None), *_picture(clip))


def find_differences(sheet: Sheet | None, task: Task) -> tuple[Finding, ...]:
    """What of the task's clip is not as its sheet orders it."""
    if sheet is None or task.clip is None:
        return ()
    return compare_delivered(sheet.shot, task.clip)


def format_differences(findings: tuple[Finding, ...]) -> str:
    """A sentence to add on the differences; empty without any."""
    return f" It is not as ordered: {name_differences(findings)}." if findings else ""


def name_differences(findings: tuple[Finding, ...]) -> str:
    """The differences in a few words: `length, audio`."""
    names = {name: row.label for name, row in PARAMETERS.items()}
    return ", ".join(names.get(finding.field, finding.field) for finding in findings)


def _difference(name: ParameterName, ordered: str, delivered: str) -> Finding:
    return Finding("warning", name, "", f"{ordered} was ordered, {delivered} was delivered.", "")


def _length(shot: Shot, clip: Clip) -> Finding | None:
    ordered = shot.seconds
    if ordered is None or ordered <= 0 or abs(clip.duration_seconds - ordered) < LENGTH_TOLERANCE:
        return None
    return _difference("duration_seconds", f"{ordered} s", f"{clip.duration_seconds:g} s")


def _ratio(shot: Shot, clip: Clip) -> Finding | None:
    said = re.fullmatch(r"([1-9][0-9]?):([1-9][0-9]?)", str(shot.get("aspect_ratio")))
    shape = clip.shape or (clip.width / clip.height if clip.height else 0)
    # Many models give the clip the ratio of its first frame, whatever was asked for.
    if said is None or shape <= 0 or shot.urls("first_frame") or _near(shape, int(said[1]) / int(said[2])):
        return None
    return _difference("aspect_ratio", said[0], f"{clip.width}x{clip.height}")


def _resolution(shot: Shot, clip: Clip) -> Finding | None:
    """A resolution names the lines of a 16:9 picture. In other ratios some keep the short side, some the long one, and
    some the number of pixels."""
    said = str(shot.get("resolution"))
    digits = re.fullmatch(r"([1-9][0-9]{2,3})p", said)
    lines = (int(digits[1]),) if digits else _LINES.get(said, ())
    short, long = sorted((clip.width, clip.height))
    pairs = [(short, 1.0), (long, 16 / 9), (math.sqrt(max(0, short * long)), 4 / 3)]
    if not lines or short <= 0 or any(_near(side, line * by) for line in lines for side, by in pairs):
        return None
    return _difference("resolution", said, f"{clip.width}x{clip.height}")


def _near(measured: float, ordered: float) -> bool:
    return abs(math.log(measured / ordered)) <= SHAPE_TOLERANCE


def _audio(shot: Shot, clip: Clip) -> Finding | None:
    ordered = shot.get("audio")
    if not isinstance(ordered, bool) or clip.audio is None or ordered is clip.audio:
        return None
    if ordered:
        return _difference("audio", "Audio", "a clip without an audio track")
    return _difference("audio", "No audio", "a clip with an audio track")


def _picture(clip: Clip) -> Iterator[Finding]:
    if clip.brightest is not None and clip.brightest <= BLACK:
        yield Finding("warning", "picture", "", "Every frame that was looked at is black.", "")
    elif clip.motion is not None and clip.motion <= FROZEN:
        yield Finding("warning", "picture", "", "All frames that were looked at show the same picture.", "")
