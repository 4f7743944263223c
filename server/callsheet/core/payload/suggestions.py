"""Wrong values: the allowed one nearest to each, and how each is shown in a finding.

What is shown is bounded and harmless, and never a URL or a long text, which may be private.
`core.validation` and `core.recognition` call it. Total: any JSON value, and quickly.
"""

from __future__ import annotations

import difflib
import math
import re

from callsheet.core.catalogue.cards import Scalar
from callsheet.core.security.redaction import clean
from callsheet.core.shot import JsonValue

_URL_LIKE = re.compile(r"\A[a-zA-Z][\w+.-]*:\S|//|\.\S*[/?]")
_NUMBER = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(?:p|px|s|secs?|seconds?)?")
_RATIO = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*[:x*/\u00d7]\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_SHAPES = {"landscape": 16 / 9, "horizontal": 16 / 9, "wide": 16 / 9, "portrait": 9 / 16, "vertical": 9 / 16}
_HUGE = 10**15


def nearest_choice(value: JsonValue, choices: tuple[Scalar, ...]) -> Scalar:
    """The allowed value nearest to a wrong one; what is as near as another loses to the cheaper or the first.

    Numbers are compared by distance (ties to the smaller), shapes such as `4:3` or `portrait` by how much wider or
    taller one is than the other (ties to the first), everything else by spelling (ties to the first).
    """
    number, numbers = _number(value), [(found, choice) for choice in choices if (found := _number(choice)) is not None]
    if number is not None and numbers:
        return min(numbers, key=lambda pair: (abs(pair[0] - number), pair[0]))[1]
    shape, shapes = _shape(value), [(found, choice) for choice in choices if (found := _shape(choice)) is not None]
    if shape is not None and shapes:
        return min(shapes, key=lambda pair: round(abs(pair[0] - shape), 9))[1]
    text = value[:60].lower() if isinstance(value, str) else ""
    return max(choices, key=lambda choice: difflib.SequenceMatcher(None, text, str(choice).lower()).ratio())


def _number(value: JsonValue) -> float | None:
    """The number that a value is or begins with a unit of length or height: `8`, `8.0`, `8 s`, `720p`."""
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value[:60].strip().lower())
        return float(found[1]) if found else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return float(min(max(value, -_HUGE), _HUGE))


def _shape(value: JsonValue) -> float | None:
    """The logarithm of width by height, so that 16:9 is as far from 1:1 as 9:16 is."""
    if not isinstance(value, str):
        return None
    text = value[:60].strip().lower()
    found = _RATIO.fullmatch(text)
    width, height = (float(found[1]), float(found[2])) if found else (_SHAPES.get(text, 0.0), 1.0)
    return math.log(width / height) if width > 0 and height > 0 else None


def format_value(value: JsonValue) -> str:
    """A wrong value in a finding: bounded, harmless, and without a URL or a long text, which may be private."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return "(a huge number)" if abs(value) >= _HUGE else str(value)
        case str():
            return _shown_text(value)
        case list():
            return f"(a list of {len(value):,})"
        case _:
            return "(an object)"


def _shown_text(text: str) -> str:
    shown = clean(text[:240], limit=60)
    if _URL_LIKE.search(shown):
        return "(a URL)"
    is_prose = len(text) > 40 or len(shown.split()) > 2
    return format_length(text) if is_prose else shown or "(empty)"


def format_name(name: str) -> str:
    """A field's name as somebody wrote it, bounded and harmless."""
    shown = clean(name[:240], limit=60)
    return "(a URL)" if "//" in shown else shown or "(nameless)"


def format_length(text: str) -> str:
    """All that a finding says of a long or private text."""
    return f"({len(text):,} characters)"
