"""Draws the frames of a sandbox video: the prompt in the lower third, a title bar, a clock and a progress bar.

What does not move is drawn once. A frame adds the moving light, the clock and the bar. Pillow is imported when used.
"""

from __future__ import annotations

import textwrap
import unicodedata
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from callsheet.core.clips import tell_undrawn
from callsheet.edges.clips.contact_sheet import can_draw, has_glyph

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

REMARK = "Sandbox rehearsal. No model was used."
# The colours of the background from top to bottom, and of the light.
PALETTES = (
    ("#1c1e4a", "#944c74", "#faa66e", "#ffe2b0"),
    ("#184270", "#3d86a6", "#e0a070", "#fff6dc"),
    ("#080c22", "#1c2c66", "#5a74b8", "#9fdcff"),
    ("#0e2c38", "#287070", "#b8a868", "#fff0be"),
    ("#361234", "#b03a4a", "#ff945c", "#ffd696"),
    ("#141234", "#54428a", "#d692be", "#ffe0f0"),
)
INK, PAPER, MARK, TRACK = "#0b0c12", "#fcfaf4", "#e8483c", "#6a6b74"
# The font that Pillow bundles has little beyond ASCII. The first of these that is installed draws the rest.
OTHER_FONTS = ("NotoSansCJK-Regular.ttc", "PingFang.ttc", "msyh.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf")
PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
FONT_SIZES = (64, 56, 48, 42, 36, 32, 28, 25, 22)
DOT = "\u00b7"
LONGEST_TEXT = 2000


class FrameRenderer:
    """Draws the frames of one video, always the same for the same arguments."""

    def __init__(self, *, prompt: str, title: str, width: int, height: int, seed: int) -> None:
        from PIL import Image

        random = Random(seed)  # noqa: S311 - decoration
        self.width, self.height = width, height
        self.unit = min(width, height) / 720
        *sky, self._light = random.choice(PALETTES)
        self._light_at = random.uniform(0.15, 0.75)
        strip = Image.new("RGB", (1, len(sky)))
        for row, colour in enumerate(sky):
            strip.paste(colour, (0, row, 1, row + 1))
        self._background = strip.resize((width, height), Image.Resampling.BICUBIC)
        glow = Image.radial_gradient("L").point([int(200 * max(0.0, 1 - value / 180) ** 2) for value in range(256)])
        self._glow = glow.resize((self._px(900), self._px(900)), Image.Resampling.BICUBIC)
        self._clock_font, _ = choose_font("0", self._px(26))
        self._text = self._draw_text(prompt, title)

    def draw(self, *, share: float, clock: str) -> Image:
        """One frame, `share` (0 to 1) of the way through the video, with the clock's text on it."""
        from PIL import ImageDraw

        frame = self._background.copy()
        left = self.width * (self._light_at + 0.15 * share) - self._glow.width / 2
        top = self.height * (0.62 - 0.2 * share) - self._glow.height / 2
        frame.paste(self._light, (int(left), int(top)), self._glow)
        frame.paste(self._text, (0, 0), self._text)
        pen = ImageDraw.Draw(frame)
        margin, bottom = self._px(40), self.height - self._px(26)
        pen.text((margin, bottom - self._px(20)), clock, font=self._clock_font, fill=PAPER, anchor="ls")
        reached = margin + (self.width - 2 * margin) * share
        pen.rectangle((margin, bottom - self._px(7), reached, bottom), fill=PAPER)
        return frame

    def _px(self, size: float) -> int:
        """A size given for a frame whose shorter side is 720 pixels, in pixels of this frame."""
        return max(1, int(size * self.unit))

    def _draw_text(self, prompt: str, title: str) -> Image:
        """Everything that does not move, on a transparent layer."""
        from PIL import Image, ImageDraw, ImageFilter

        margin, bar, bottom = self._px(40), self._px(58), self.height - self._px(26)
        font, text = fit_text(
            prompt,
            width=self.width - 4 * margin,
            height=self.height // 3 - self._px(90),
            sizes=[self._px(size) for size in FONT_SIZES],
        )
        # In the lower third, above the clock and the bar.
        middle = (self.width / 2, (self.height * 2 // 3 + self.height - self._px(90)) / 2)
        shadow = Image.new("L", (self.width, self.height))
        ImageDraw.Draw(shadow).text(middle, text, font=font, fill=255, anchor="mm", align="center")
        shadow.paste(120, (0, self.height - bar - self._px(26), self.width, self.height))
        layer = Image.new("RGBA", (self.width, self.height), INK)
        blurred = shadow.filter(ImageFilter.GaussianBlur(self._px(5)))
        layer.putalpha(blurred.point([min(190, 2 * value) for value in range(256)]))
        pen = ImageDraw.Draw(layer)
        pen.text(middle, text, font=font, fill=PAPER, anchor="mm", align="center")
        pen.rectangle((0, 0, self.width, bar), fill=INK)
        dot = self._px(8)
        pen.ellipse((margin, bar // 2 - dot, margin + 2 * dot, bar // 2 + dot), fill=MARK)
        sizes = [self._px(size) for size in (25, 22, 18, 15, 12)]
        font, text = fit_text(title, width=self.width - 3 * margin, height=self._px(30), sizes=sizes)
        pen.text((margin + 3 * dot, bar // 2), text, font=font, fill=PAPER, anchor="lm")
        pen.rectangle((margin, bottom - self._px(7), self.width - margin, bottom), fill=TRACK)
        font, _ = choose_font(REMARK, self._px(20))
        pen.text((self.width - margin, bottom - self._px(20)), REMARK, font=font, fill=PAPER, anchor="rs")
        return layer


def fit_text(text: str, *, width: int, height: int, sizes: list[int]) -> tuple[FreeTypeFont, str]:
    """The text in lines, in the largest of the sizes that fits the box; cut if not even the smallest does."""
    from PIL import Image, ImageDraw

    text = "".join(letter if letter.isprintable() else " " for letter in text[:LONGEST_TEXT].translate(PLAIN))
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    for size in sizes:
        font, drawn = choose_font(text, size)
        columns = max(1, int(width * len(drawn) / max(1, font.getlength(drawn)) * 0.95))
        lines = textwrap.wrap(drawn, columns)
        box = pen.multiline_textbbox((0, 0), "\n".join(lines), font=font)
        if box[2] - box[0] <= width and box[3] - box[1] <= height:
            return font, "\n".join(lines)
    most = max(1, int(height / (sizes[-1] * 1.4)))
    return font, "\n".join(textwrap.wrap(drawn, columns, max_lines=most, placeholder="..."))


def choose_font(text: str, size: int) -> tuple[FreeTypeFont, str]:
    """A font, and the text as that font can draw it: without accents, other scripts told in words, if need be."""
    from PIL import ImageFont

    if not text.replace(DOT, "").isascii():
        for name in OTHER_FONTS:
            with suppress(OSError):
                found = ImageFont.truetype(name, size)
                if all(has_glyph(found, letter) for letter in set(text)):
                    return found, text
        letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
        text = tell_undrawn("".join(letters), can_draw)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font, text
