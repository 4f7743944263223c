"""Sanitizes text before it is shown, logged, stored or sent, and removes keys from it.

`clean` turns untrusted text into one safe line; `escape_block` shows a text inside another so that it cannot imitate
more lines; `Redactor` removes configured keys from text and JSON, and `Redactor.finds` checks for them. None of them
raises, and their time grows linearly with the text. Any module may call them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from urllib.parse import quote

from callsheet.core.shot import JsonValue

HIDDEN = "[key hidden]"
TOO_DEEP = "[nested too deeply]"

_GRAM = 12
"""A piece of a key of this length is treated like the key; so are pieces of its encodings."""

_SHORTEST_SECRET = 8
"""No key is shorter; hiding shorter strings would shred ordinary text."""

_DEEPEST = 100

_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_UNSEEN_CHARACTERS = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ud800-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff"
)
"""Controls, directional marks, zero-width and filler characters, variation selectors, tags, private use, surrogates."""

_UNSEEN = re.compile(f"(?:[{_UNSEEN_CHARACTERS}]|[{_MARKS}]{{4,}})+")
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor movement
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|\x1b[ -/]*[0-~]"
)
_SPACE = re.compile(r"\s+")
_LINE_BREAK = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_FILLERS = rf"[\s\u2500-\u257f{_UNSEEN_CHARACTERS}]"
_BETWEEN = re.compile(rf"(?:(?:\x1b\[|\x9b)[0-9;]{{0,7}}[@-~]|{_FILLERS})+")
"""What a terminal, a logger or an attacker can put between the characters of a key: colours, frames, breaks."""
_GAPS = (_BETWEEN, re.compile(f"{_FILLERS}+"))
"""The beginning of a key can read as the rest of an escape that stands before it, so text is searched both ways."""


def clean(text: object, *, limit: int = 500) -> str:
    """Untrusted text as one harmless line of at most `limit` characters; None is the empty text.

    Terminal escapes and invisible characters are dropped, every run of white space becomes one space,
    and what is cut off is marked by an ellipsis.
    """
    raw = "" if text is None else str(text)
    visible = _UNSEEN.sub("", _ANSI.sub("", raw))
    return _cut(_SPACE.sub(" ", visible).strip(), limit)


def escape_block(text: str, limit: int) -> str:
    """A text as one line of at most `limit` characters that shows what it hides.

    Line breaks are drawn as `⏎`, or counted when there are more than three; invisible characters are counted;
    visible characters are kept.
    """
    counted = _UNSEEN.sub(lambda run: f"<{_count(len(run[0]), 'invisible character')}>", text)
    return _cut(_SPACE.sub(_draw_space, counted).strip(), limit)


def _draw_space(run: re.Match[str]) -> str:
    breaks = len(_LINE_BREAK.findall(run[0]))
    if breaks > 3:
        return f" <{_count(breaks, 'line break')}> "
    return f" {'⏎' * breaks} " if breaks else " "


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cut(line: str, limit: int) -> str:
    if len(line) <= limit:
        return line
    return line[: limit - 1].rstrip() + "…" if limit > 0 else ""


def fingerprint(secret: str) -> str:
    """The first twelve hexadecimal digits of the secret's SHA-256: distinguishes keys, reveals none."""
    return hashlib.sha256(_bytes(secret)).hexdigest()[:12]


def variants(secret: str) -> frozenset[str]:
    """The spellings under which a secret turns up: raw, reversed, percent-encoded, base64, hex, JSON.

    Of base64, in both alphabets, only the characters that depend on nothing but the secret are given, for each
    of the three positions that it can have in a longer text.
    """
    raw = _bytes(secret)
    quoted = {quote(raw, safe=""), quote(raw, safe="/"), "".join(f"%{byte:02X}" for byte in raw)}
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found = {secret, secret[::-1], raw.hex(), raw.hex().upper(), *_base64_cores(raw)}
    found |= quoted | {re.sub("%..", lambda code: code[0].lower(), text) for text in quoted}
    found |= escaped | {text.replace("/", r"\/") for text in escaped}
    return frozenset(found)


def _bytes(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogatepass")


def _base64_cores(raw: bytes) -> Iterator[str]:
    for before in range(3):
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        padded = bytes(before) + raw
        yield base64.b64encode(padded).decode()[first:last]
        yield base64.urlsafe_b64encode(padded).decode()[first:last]


class Redactor:
    """Takes a fixed set of secrets out of text and JSON values.

    A secret is found in each of its `variants`, in any piece of at least twelve characters of those, and
    also when white space, line drawing, terminal escapes or invisible characters stand between its
    characters. Secrets under eight characters are ignored. The object keeps fragments only and shows none.
    """

    __slots__ = ("_grams", "_shorts")

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {
            _BETWEEN.sub("", spelling)
            for secret in secrets
            if len(_BETWEEN.sub("", secret)) >= _SHORTEST_SECRET
            for spelling in variants(secret)
        }
        self._shorts = tuple(sorted(text for text in spellings if len(text) < _GRAM))
        self._grams = frozenset(
            text[start : start + _GRAM] for text in spellings for start in range(len(text) - _GRAM + 1)
        )

    def __repr__(self) -> str:
        return "Redactor(…)"

    def text(self, text: str) -> str:
        """The text with `[key hidden]` in the place of every secret and piece of one."""
        if not self._grams and not self._shorts:
            return text
        return HIDDEN.join(self._redact_part(part) for part in text.split(HIDDEN))

    def value(self, value: JsonValue) -> JsonValue:
        """The same for every string and object key of a JSON value, however nested; numbers stay."""
        return self._value(value, 0)

    def finds(self, text: str) -> bool:
        """Whether the text has a secret or a piece of one, in any spelling."""
        return self.text(text) != text

    def _value(self, value: JsonValue, depth: int) -> JsonValue:
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, (list, dict)):
            return value
        if depth >= _DEEPEST:
            return TOO_DEEP
        if isinstance(value, list):
            return [self._value(item, depth + 1) for item in value]
        return {self.text(key): self._value(item, depth + 1) for key, item in value.items()}

    def _redact_part(self, part: str) -> str:
        gaps = _GAPS if "\x1b[" in part or "\x9b" in part else _GAPS[1:]
        found = [span for gap in gaps for span in self._places(part, gap)]
        kept, reached = [], 0
        for first, last in _merged(found):
            kept.append(part[reached:first])
            reached = last
        return HIDDEN.join([*kept, part[reached:]])

    def _places(self, part: str, gap: re.Pattern[str]) -> list[tuple[int, int]]:
        """Where secrets stand in a text from which the gaps are left out: (first, one past the last)."""
        pieces = list(_pieces(part, gap))
        spans = self._spans("".join(text for text, _ in pieces))
        if not spans:
            return []
        starts = [0, *accumulate(len(text) for text, _ in pieces)]
        return [(_original(first, starts, pieces), _original(last - 1, starts, pieces) + 1) for first, last in spans]

    def _spans(self, condensed: str) -> list[tuple[int, int]]:
        """Where secrets stand: (first, one past the last), in order, merged where they touch."""
        grams = self._grams
        ends = len(condensed) - _GRAM + 1
        found = _runs([start for start in range(ends) if condensed[start : start + _GRAM] in grams])
        for short in self._shorts:
            found += [(match.start(), match.end()) for match in re.finditer(re.escape(short), condensed)]
        return _merged(found) if self._shorts else found


def _runs(starts: list[int]) -> list[tuple[int, int]]:
    """What the pieces that begin at these ascending places cover, as `_merged` would give it."""
    spans: list[tuple[int, int]] = []
    first = last = -1
    for start in starts:
        if start > last:
            spans.append((first, last))
            first = start
        last = start + _GRAM
    return [*spans[1:], (first, last)] if starts else []


def _merged(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _pieces(text: str, gap: re.Pattern[str]) -> Iterator[tuple[str, int]]:
    """The stretches of the text without what may stand between the characters of a key, each with its place."""
    reached = 0
    for match in gap.finditer(text):
        if match.start() > reached:
            yield text[reached : match.start()], reached
        reached = match.end()
    if reached < len(text):
        yield text[reached:], reached


def _original(position: int, starts: list[int], pieces: list[tuple[str, int]]) -> int:
    index = bisect_right(starts, position) - 1
    return pieces[index][1] + position - starts[index]
