"""The picture of a sandbox film: a drifting landscape, the prompt's words, a slate and a timecode.

Everything that stands still is drawn once; a frame only shifts and pastes. Pillow is imported when used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from .text_drawing import choose_lettering, fit_words, line_height

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

Colour = tuple[int, int, int]

REMARK = "rehearsal, no model was asked"


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one time of day, sky from top to horizon, land from far to near."""

    sky: tuple[Colour, Colour, Colour]
    light: Colour
    far: Colour
    near: Colour
    accent: Colour
    stars: bool = False


PALETTES: tuple[Palette, ...] = (
    Palette(
        ((28, 30, 74), (148, 76, 116), (250, 166, 110)), (255, 226, 176), (150, 92, 118), (26, 22, 46), (255, 178, 92)
    ),
    Palette(
        ((24, 66, 112), (92, 150, 184), (240, 220, 190)), (255, 246, 220), (120, 152, 166), (20, 40, 52), (255, 196, 84)
    ),
    Palette(
        ((8, 12, 34), (24, 38, 82), (74, 92, 140)), (236, 240, 255), (50, 64, 108), (8, 12, 26), (122, 214, 255), True
    ),
    Palette(
        ((14, 44, 56), (40, 112, 112), (220, 208, 150)), (255, 240, 190), (66, 118, 112), (10, 28, 32), (255, 214, 110)
    ),
    Palette(
        ((54, 18, 52), (176, 58, 74), (255, 148, 92)), (255, 214, 150), (146, 58, 76), (34, 12, 34), (255, 146, 96)
    ),
    Palette(
        ((20, 18, 52), (84, 66, 138), (214, 146, 190)),
        (255, 224, 240),
        (112, 84, 144),
        (22, 16, 46),
        (255, 160, 206),
        True,
    ),
)


@dataclass(frozen=True, slots=True)
class _Ridge:
    """One row of hills: a mask of its skyline, wider than the frame, solid below; its top and drift in pixels."""

    mask: Image
    top: int
    colour: Colour
    drift: float


@dataclass(frozen=True, slots=True)
class _Lantern:
    """A soft light that rises: a mask, a start (pixels), a rise and a sway (pixels over the film)."""

    mask: Image
    x: float
    y: float
    rise: float
    sway: float


class Scenery:
    """Draws the frames of one film. `share` runs from 0 to 1 over its length."""

    def __init__(self, *, prompt: str, title: str, width: int, height: int, seed: int) -> None:
        random = Random(seed)  # noqa: S311 - decoration
        self.width, self.height = width, height
        self.unit = min(width, height) / 720
        self.palette = PALETTES[random.randrange(len(PALETTES))]
        self._sky = self._draw_sky(random)
        self._glow = _glow(int(620 * self.unit), 2.0, 0.75)
        self._disc = _disc(int(74 * self.unit))
        self._light_from = (random.uniform(0.62, 0.84), random.uniform(0.40, 0.48))
        self._ridges = [self._draw_ridge(random, depth) for depth in range(4)]
        self._lanterns = [self._draw_lantern(random) for _ in range(9)]
        self._slate = self._draw_slate(title)
        self._words, self._words_at = self._draw_words(prompt)

    def draw(self, *, share: float, timecode: str) -> Image:
        """One frame."""
        frame = self._sky.copy()
        self._paste_light(frame, share)
        for number, ridge in enumerate(self._ridges):
            shift = int(ridge.drift * share)
            mask = ridge.mask.crop((shift, 0, shift + self.width, ridge.mask.height))
            frame.paste(ridge.colour, (0, ridge.top), mask)
            frame.paste(ridge.colour, (0, ridge.top + mask.height, self.width, self.height))
            if number == 1:
                self._paste_lanterns(frame, share)
        frame.paste(self._words, self._words_at, self._words.getchannel("A"))
        frame.paste(self._slate, (0, 0))
        self._draw_foot(frame, share, timecode)
        return frame

    def _draw_sky(self, random: Random) -> Image:
        from PIL import Image, ImageDraw

        strip = Image.new("RGB", (1, 3))
        for row, colour in enumerate(self.palette.sky):
            strip.putpixel((0, row), colour)
        sky = strip.resize((self.width, int(self.height * 1.15)), Image.Resampling.BICUBIC)
        sky = sky.crop((0, 0, self.width, self.height))
        if self.palette.stars:
            pen = ImageDraw.Draw(sky)
            for _ in range(110):
                x, y = random.uniform(0, self.width), random.uniform(0, self.height * 0.55)
                radius = random.uniform(0.5, 1.5) * self.unit
                tint = _mix(self.palette.sky[1], (255, 255, 255), random.uniform(0.3, 0.9))
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tint)
        return sky

    def _draw_ridge(self, random: Random, depth: int) -> _Ridge:
        from PIL import Image, ImageDraw

        nearness = depth / 3
        drift = self.width * (0.04 + 0.16 * nearness)
        wide, tall = self.width + int(drift) + 1, int(self.height * (0.46 - 0.07 * depth))
        waves = [
            (random.uniform(0.6, 1.5) * (2.0**octave), random.uniform(0, math.tau), 0.55**octave) for octave in range(5)
        ]
        mask = Image.new("L", (wide * 2, tall * 2))
        skyline: list[tuple[float, float]] = []
        for x in range(0, wide * 2 + 8, 8):
            turn = x / (self.width * 2) * math.tau
            swell = sum(math.sin(turn * rate + phase) * weight for rate, phase, weight in waves) / 2.2
            skyline.append((x, tall * 2 * (0.34 - 0.30 * swell * (1 - 0.35 * nearness))))
        ImageDraw.Draw(mask).polygon([(0, tall * 2), *skyline, (wide * 2, tall * 2)], fill=255)
        colour = _mix(self.palette.far, self.palette.near, nearness**0.8)
        levels = [y / 2 for _, y in skyline]
        crest, valley = max(0, int(min(levels)) - 1), min(tall, int(max(levels)) + 2)
        return _Ridge(mask.reduce(2).crop((0, crest, wide, valley)), self.height - tall + crest, colour, drift)

    def _draw_lantern(self, random: Random) -> _Lantern:
        size = random.uniform(14, 40) * self.unit
        return _Lantern(
            mask=_glow(int(size * 2), 1.5, random.uniform(0.55, 0.95)),
            x=random.uniform(0.02, 0.98) * self.width,
            y=random.uniform(0.45, 0.95) * self.height,
            rise=random.uniform(0.10, 0.28) * self.height,
            sway=random.uniform(8, 30) * self.unit,
        )

    def _paste_light(self, frame: Image, share: float) -> None:
        x = int(self.width * (self._light_from[0] + 0.04 * share))
        y = int(self.height * (self._light_from[1] - 0.07 * share))
        for mask in (self._glow, self._disc):
            frame.paste(self.palette.light, (x - mask.width // 2, y - mask.height // 2), mask)

    def _paste_lanterns(self, frame: Image, share: float) -> None:
        for number, lantern in enumerate(self._lanterns):
            x = lantern.x + lantern.sway * math.sin(share * math.tau + number)
            y = lantern.y - lantern.rise * share
            frame.paste(self.palette.accent, (int(x - lantern.mask.width / 2), int(y)), lantern.mask)

    def _draw_slate(self, title: str) -> Image:
        """The clapperboard's head: striped stick above, one line of letters below."""
        from PIL import Image, ImageDraw

        stick, board = int(20 * self.unit), int(54 * self.unit)
        slate = Image.new("RGB", (self.width * 2, (stick + board) * 2), (18, 19, 24))
        pen = ImageDraw.Draw(slate)
        step = int(68 * self.unit) * 2
        for left in range(-step, self.width * 2 + step, step):
            slant = stick * 2
            pen.polygon(
                [(left + slant, 0), (left + slant + step // 2, 0), (left + step // 2, slant), (left, slant)],
                fill=(240, 238, 230),
            )
        pen.rectangle((0, (stick + board) * 2 - 4, self.width * 2, (stick + board) * 2), fill=self.palette.accent)
        slate = slate.reduce(2)
        margin = int(40 * self.unit)
        font, lines = fit_words(
            title,
            width=self.width - 2 * margin,
            height=int(board * 0.9),
            largest=int(25 * self.unit),
            smallest=int(14 * self.unit),
        )
        spot = (margin + int(24 * self.unit), stick + board / 2 - 1)
        radius = 7 * self.unit
        pen = ImageDraw.Draw(slate)
        pen.ellipse((margin, spot[1] - radius, margin + 2 * radius, spot[1] + radius), fill=(232, 72, 60))
        pen.text(spot, lines[0] if lines else "", font=font, fill=(236, 234, 226), anchor="lm")
        return slate

    def _draw_words(self, prompt: str) -> tuple[Image, tuple[int, int]]:
        """The letters with their shadow, on nothing, and where they stand."""
        from PIL import Image, ImageChops, ImageDraw, ImageFilter

        margin, blur = int(self.width * 0.07), int(16 * self.unit)
        wide, tall = self.width - 2 * margin, int(self.height * 0.52)
        font, lines = fit_words(
            prompt, width=wide, height=tall, largest=int(64 * self.unit), smallest=int(22 * self.unit)
        )
        step = line_height(font.size)
        box = (wide + 2 * blur, int(step * max(1, len(lines))) + 2 * blur)
        letters = Image.new("L", box)
        pen = ImageDraw.Draw(letters)
        for number, line in enumerate(lines):
            pen.text((blur, blur + number * step), line, font=font, fill=255)
        halo = letters.filter(ImageFilter.GaussianBlur(blur / 3)).point([min(190, value * 2) for value in range(256)])
        top = int(self.height * 0.46 - box[1] / 2)
        words = Image.new("RGB", box, (6, 6, 12))
        words.paste((252, 250, 244), (0, 0), letters)
        words.putalpha(ImageChops.screen(halo, letters))
        return words, (margin - blur, max(top, self._slate.height))

    def _draw_foot(self, frame: Image, share: float, timecode: str) -> None:
        from PIL import ImageDraw

        pen = ImageDraw.Draw(frame)
        margin, bar = int(40 * self.unit), max(4, int(7 * self.unit))
        bottom = self.height - int(26 * self.unit)
        pen.rectangle(
            (margin, bottom - bar, self.width - margin, bottom), fill=_mix(self.palette.near, (255, 255, 255), 0.18)
        )
        reached = margin + (self.width - 2 * margin) * share
        pen.rectangle((margin, bottom - bar, max(reached, margin + bar), bottom), fill=self.palette.accent)
        font, digits = self._foot_font(timecode)
        level = bottom - bar - int(12 * self.unit)
        pen.text((margin, level), digits, font=font, fill=(246, 244, 238), anchor="ls")
        pen.text((self.width - margin, level), REMARK, font=font, fill=(246, 244, 238), anchor="rs")

    def _foot_font(self, text: str) -> tuple[FreeTypeFont, str]:
        return choose_lettering(text, int(26 * self.unit))


def _glow(size: int, power: float, strength: float) -> Image:
    """A round mask that fades out to its edge."""
    from PIL import Image

    # Pillow's gradient measures the distance so that the corner is 255; the middle of a side is 255 / sqrt(2).
    falloff = [int(255 * strength * max(0.0, 1 - value * math.sqrt(2) / 255) ** power) for value in range(256)]
    return Image.radial_gradient("L").resize((size, size), Image.Resampling.BICUBIC).point(falloff)


def _disc(size: int) -> Image:
    """A round mask with a smooth rim."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (size * 4, size * 4))
    ImageDraw.Draw(mask).ellipse((0, 0, size * 4 - 1, size * 4 - 1), fill=250)
    return mask.reduce(4)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)
