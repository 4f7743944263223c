"""Words on a film: fonts, wrapping, and letters that a font does not have. Pillow is imported when used."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Pillow bundles one face with little beyond ASCII; these common ones are looked for when a text needs more.
WIDER_FACES = (
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "Arial.ttf",
    "Helvetica.ttc",
    "PingFang.ttc",
    "segoeui.ttf",
    "msyh.ttc",
)
_PLAIN = str.maketrans(
    {"\u2014": "-", "\u2013": "-", "\u2026": "...", "\u00d7": "x", "\u2018": "'", "\u2019": "'", "\u00df": "ss"}
)
_NO_CHARACTER = "\U0010ffff"


def choose_lettering(text: str, size: int) -> tuple[FreeTypeFont, str]:
    """A font of `size` pixels and the text as that font can write it.

    The first face that has every letter wins; if none has, accents are taken off, and what is still
    missing becomes a middle dot.
    """
    faces = ("", *WIDER_FACES)
    spoken = "".join(letter if letter.isprintable() else " " for letter in text)
    for face in faces:
        font = _load_font(face, size)
        if font is not None and all(has_letter(face, letter) for letter in set(spoken)):
            return font, spoken
    own = _load_font("", size)
    assert own is not None
    plain = unicodedata.normalize("NFKD", spoken.translate(_PLAIN))
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    return own, "".join(letter if has_letter("", letter) else "\u00b7" for letter in letters)


@lru_cache(maxsize=64)
def _load_font(face: str, size: int) -> FreeTypeFont | None:
    from PIL import ImageFont

    if not face:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    try:
        return ImageFont.truetype(face, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def has_letter(face: str, letter: str) -> bool:
    """Whether a face draws a letter as something else than its sign for a missing one."""
    font = _load_font(face, 24)
    if font is None:
        return False
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask(_NO_CHARACTER))


def wrap_words(font: FreeTypeFont, text: str, width: float) -> list[str]:
    """The text in lines of at most `width` pixels; a word that is longer than a line is cut."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if font.getlength(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = word
        while font.getlength(line) > width:
            cut = _fitting(font, line, width)
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line else lines


def _fitting(font: FreeTypeFont, word: str, width: float) -> int:
    """How many letters of a word fit; at least one."""
    low, high = 1, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(word[:middle]) <= width else (low, middle - 1)
    return low


def fit_words(text: str, *, width: int, height: int, largest: int, smallest: int) -> tuple[FreeTypeFont, list[str]]:
    """The largest size at which the text fits in the box; cut with dots if not even the smallest does."""
    bounded = text[:2000]
    for size in range(largest, smallest, -max(1, (largest - smallest) // 8)):
        font, spoken = choose_lettering(bounded, size)
        lines = wrap_words(font, spoken, width)
        if len(lines) * line_height(size) <= height:
            return font, lines
    font, spoken = choose_lettering(bounded, smallest)
    lines = wrap_words(font, spoken, width)
    most = max(1, int(height / line_height(smallest)))
    return font, lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][:-3] + "..."]


def line_height(size: float) -> float:
    """The distance between two lines, in pixels."""
    return size * 1.22
