"""The contact sheet: stills of one clip on a dark page under a heading, each with its timecode.

This module only draws and writes pictures; `stills` chooses the frames. Text may be any Unicode: a character that
the bundled font lacks is replaced by a similar one or told in words, and all text is cut to the page. A picture
appears under its name only when it is whole.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from callsheet.core.clips import tell_undrawn
from callsheet.edges.files.files import read_picture, write_atomically
from callsheet.errors import Fate, SetupProblem

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

SHEET_WIDTH = 1600
MARGIN = 36
GAP = 12
CELL_LIMIT = (600, 440)
CORNER = 10
TEXT_LIMIT = 600
"""How many characters of a heading or detail are used; no page has room for more."""

PAGE, TEXT, MUTED, ACCENT, FRAME = (17, 18, 21), (240, 240, 242), (152, 156, 165), (244, 168, 54), (30, 32, 37)
HEADING_SIZE, DETAIL_SIZE, DETAIL_LINES, TIMECODE_SIZE = 34, 20, 2, 17
DETAIL_STEP = 28

_REPLACEMENTS = {
    "\N{EM DASH}": "-",
    "\N{EN DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHTWARDS ARROW}": "->",
}


@dataclass(frozen=True, slots=True)
class Still:
    """One frame as a picture that fits its cell, and its time in seconds from the clip's beginning."""

    seconds: float
    picture: Image


@dataclass(frozen=True, slots=True)
class Grid:
    """How many columns and rows, and the size of one cell in pixels."""

    columns: int
    rows: int
    cell: tuple[int, int]


def plan_grid(size: tuple[int, int], *, count: int, columns: int) -> Grid:
    """Lay out `count` frames of `size`; an upright clip gets twice the columns if they fill the rows."""
    width, height = size
    wider = columns * 2
    if height > width and count % wider == 0:
        columns = wider
    columns = max(1, min(columns, count))
    room = (SHEET_WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    cell = fit_inside(size, (min(room, CELL_LIMIT[0]), CELL_LIMIT[1]), enlarge=True)
    # Even a very narrow frame needs room for its timecode.
    return Grid(columns, -(-count // columns), (max(cell[0], min(room, 120)), max(cell[1], 60)))


def fit_inside(size: tuple[int, int], room: tuple[int, int], *, enlarge: bool = False) -> tuple[int, int]:
    """The largest size of the same shape that fits, at least one pixel; larger than `size` only with `enlarge`."""
    scale = min(room[0] / size[0], room[1] / size[1])
    if not enlarge:
        scale = min(scale, 1.0)
    return max(1, min(room[0], round(size[0] * scale))), max(1, min(room[1], round(size[1] * scale)))


def draw_sheet(stills: Sequence[Still], grid: Grid, *, heading: str, detail: str) -> Image:
    """Draw the page: heading, up to two lines of detail, and the stills in the given order."""
    from PIL import Image, ImageDraw

    cell_width, cell_height = grid.cell
    inner = max(grid.columns * cell_width + (grid.columns - 1) * GAP, 560)
    lines = _wrap(_sanitize(detail), _font(DETAIL_SIZE), inner, DETAIL_LINES)
    top = MARGIN + HEADING_SIZE + 14 + len(lines) * DETAIL_STEP + (14 if lines else 8)
    height = top + grid.rows * cell_height + (grid.rows - 1) * GAP + MARGIN
    page = Image.new("RGB", (inner + 2 * MARGIN, height), PAGE)
    draw = ImageDraw.Draw(page, "RGBA")
    _draw_header(draw, _sanitize(heading), lines, inner)
    mask = _rounded(grid.cell, CORNER)
    for index, still in enumerate(stills[: grid.columns * grid.rows]):
        row, column = divmod(index, grid.columns)
        left, upper = MARGIN + column * (cell_width + GAP), top + row * (cell_height + GAP)
        cell = Image.new("RGB", grid.cell, FRAME)
        cell.paste(still.picture, ((cell_width - still.picture.width) // 2, (cell_height - still.picture.height) // 2))
        page.paste(cell, (left, upper), mask)
        _draw_timecode(draw, still.seconds, left + 8, upper + cell_height - 8)
    return page


def write_picture(picture: Image, target: Path) -> None:
    """Write a picture atomically: PNG if the name ends in `.png`, else JPEG."""
    encoded = BytesIO()
    try:
        if target.suffix.lower() == ".png":
            picture.save(encoded, format="PNG", compress_level=3)
        else:
            picture.save(encoded, format="JPEG", quality=88)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(target, encoded.getvalue())
    except OSError as error:
        raise SetupProblem(
            f"The picture could not be written in {target.parent}: {error.strerror or type(error).__name__}.",
            next_step="The clip itself is safe. Check the directory for clips, then ask for the task again.",
            fate=Fate.CHARGED,
            retry="after(30)",
        ) from error


def read_small_picture(path: Path, most_bytes: int) -> bytes:
    """A JPEG file, drawn smaller until it has at most so many bytes; raises `SetupProblem` as `read_picture`."""
    from PIL import Image

    content = read_picture(path)
    try:
        with Image.open(BytesIO(content)) as picture:
            side = max(picture.size)
            while len(content) > most_bytes and side > 1:
                side = side * 4 // 5
                picture.thumbnail((side, side))
                smaller = BytesIO()
                picture.convert("RGB").save(smaller, format="JPEG", quality=80)
                content = smaller.getvalue()
    except (OSError, ValueError, Image.DecompressionBombError):
        raise SetupProblem(
            "The picture of the clip cannot be read.", next_step="Open the clip itself; it is not touched by this."
        ) from None
    return content


def _draw_header(draw: ImageDraw, heading: str, lines: Sequence[str], width: int) -> None:
    font, left = _font(HEADING_SIZE), MARGIN + 20
    draw.rounded_rectangle((MARGIN, MARGIN - 1, MARGIN + 6, MARGIN + HEADING_SIZE + 1), radius=3, fill=ACCENT)
    middle = MARGIN + HEADING_SIZE // 2
    draw.text((left, middle), _cut(heading, font, width - 20), font=font, fill=TEXT, anchor="lm")
    for number, line in enumerate(lines):
        position = (MARGIN, MARGIN + HEADING_SIZE + 14 + number * DETAIL_STEP)
        draw.text(position, line, font=_font(DETAIL_SIZE), fill=MUTED)


def _draw_timecode(draw: ImageDraw, seconds: float, left: int, bottom: int) -> None:
    font, text = _font(TIMECODE_SIZE), _timecode(seconds)
    width, height = round(font.getlength(text)) + 14, TIMECODE_SIZE + 9
    draw.bitmap((left, bottom - height), _rounded((width, height), 7).point(lambda level: level * 165 // 255), fill=0)
    draw.text((left + 7, bottom - height / 2), text, font=font, fill=(255, 255, 255, 235), anchor="lm")


def _timecode(seconds: float) -> str:
    """Minutes, seconds and tenths: `0:03.2`."""
    tenths = max(0, round(seconds * 10))
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


@lru_cache(maxsize=8)
def _rounded(size: tuple[int, int], radius: int) -> Image:
    """A mask with smooth round corners: drawn at four times the size, then reduced."""
    from PIL import Image, ImageDraw

    width, height = size
    mask = Image.new("L", (width * 4, height * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width * 4 - 1, height * 4 - 1), radius=radius * 4, fill=255)
    return mask.reduce(4)


@cache
def _font(size: int) -> Font:
    """Pillow's bundled font, so a sheet looks the same on every system."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


@lru_cache(maxsize=4096)
def can_draw(character: str) -> bool:
    """Whether the bundled font has this character. For an unknown one it draws a box."""
    return has_glyph(_font(DETAIL_SIZE), character)


def has_glyph(font: Font, character: str) -> bool:
    """Whether that font has this character."""
    if character == " ":
        return True
    glyph, unknown = font.getmask(character), font.getmask("\uffff")
    return glyph.size != unknown.size or bytes(glyph) != bytes(unknown)


def _sanitize(text: str) -> str:
    """The text as it can be drawn; invisible and control characters are removed, other letters told in words."""
    pieces: list[str] = []
    for character in unicodedata.normalize("NFC", text[:TEXT_LIMIT]):
        if character.isspace():
            pieces.append(" ")
        elif unicodedata.category(character)[0] not in "CM":
            pieces.append(_replace_character(character))
    return " ".join(tell_undrawn("".join(pieces), can_draw).split())


def _replace_character(character: str) -> str:
    if can_draw(character):
        return character
    if character in _REPLACEMENTS:
        return _REPLACEMENTS[character]
    plain = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    return plain if plain and all(map(can_draw, plain)) else character


def _cut(text: str, font: Font, width: float) -> str:
    """The text, or its longest beginning that fits together with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle].rstrip() + "…") <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def _wrap(text: str, font: Font, width: float, max_lines: int) -> list[str]:
    """Break the text between words into at most `max_lines` lines; the last one is cut to fit."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < max_lines:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        taken = words if len(lines) == max_lines - 1 else words[:count]
        lines.append(_cut(" ".join(taken), font, width))
        words = words[count:]
    return lines


__all__ = ["Grid", "Still", "can_draw", "draw_sheet", "fit_inside", "has_glyph", "plan_grid", "write_picture"]
