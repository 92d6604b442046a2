"""The pictures of the sample film: slides that can be read and scenes that move.

Every drawing is a function of its scene's own time, so the film is the same wherever it is made.
Pillow's built-in font has the letters of ASCII only, so slides keep to those.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 960, 540
HORIZON = 350

_LAMP = (470, 168)


@dataclass(frozen=True, slots=True)
class Scene:
    """seconds: how long it lasts. draw: its picture (RGB, WIDTH x HEIGHT) at a time since its
    start. chapter: where it opens one, that chapter's title. still: the picture never changes."""

    seconds: float
    draw: Callable[[float], Image.Image]
    chapter: str | None = None
    still: bool = False


def slide(title: str, lines: Sequence[str], paper: str, ink: str, accent: str) -> Callable:
    """A slide: a title over lines of text, with a margin in the accent colour."""

    def draw(_: float) -> Image.Image:
        image = Image.new("RGB", (WIDTH, HEIGHT), paper)
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, 0, 22, HEIGHT), fill=accent)
        pen.text((80, 70), title, font=ImageFont.load_default(52), fill=ink)
        pen.rectangle((80, 146, 240, 151), fill=accent)
        for row, line in enumerate(lines):
            pen.text((80, 195 + 68 * row), line, font=ImageFont.load_default(34), fill=ink)
        return image

    return draw


def night(t: float) -> Image.Image:
    """A tower at night, its beam sweeping once round in six seconds."""
    image = _night_sky().copy()
    glow = Image.new("L", image.size, 0)
    pen = ImageDraw.Draw(glow)
    angle = 2 * math.pi * t / 6
    # Seen from the side the beam shortens as it turns towards us, and then dazzles.
    reach, facing = 900 * math.cos(angle), math.sin(angle)
    x, y = _LAMP
    spread = 30 + 0.09 * abs(reach)
    pen.polygon([(x, y), (x + reach, y - spread), (x + reach, y + spread)], fill=120)
    radius = 14 + 46 * max(facing, 0) ** 3
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=235)
    image.paste(Image.new("RGB", image.size, "#fff3c4"), mask=glow)
    pen = ImageDraw.Draw(image)
    _swell(pen, t, "#16324c")
    _tower(pen, "#0b1119", "#0b1119", "#ffe9a3")
    return image


def rays(t: float) -> Image.Image:
    """A lamp behind a lens of stepped rings: its rays spread, and leave side by side."""
    image = _lens().copy()
    pen = ImageDraw.Draw(image)
    for ring in range(-6, 7):
        y = 270 + ring * 31
        pen.line((170, 270, 470, y), fill="#d8a21f", width=2)
        pen.line((510, y, WIDTH, y), fill="#d8a21f", width=2)
        for step in range(5):  # a brighter piece travels along the ray
            x = 170 + (t * 0.22 + step / 5) % 1.0 * (WIDTH - 170)
            ends = [(at, 270 + (y - 270) * min((at - 170) / 300, 1.0)) for at in (x, x + 24)]
            if x + 24 < 470 or x > 510:
                pen.line(ends, fill="#fff6cf", width=4)
    return image


def day(t: float) -> Image.Image:
    """The same tower by day, in red and white stripes, and a sailing boat that passes it."""
    image = _day_sky().copy()
    pen = ImageDraw.Draw(image)
    for x, y, size in ((120, 90, 1.0), (640, 60, 1.3), (860, 150, 0.8)):
        _cloud(pen, (x + 9 * t) % (WIDTH + 200) - 100, y, size)
    _swell(pen, t, "#3f86b5")
    _rock(pen, "#5b5148")
    _tower(pen, "#f4f1ea", "#c0392b", "#ffe9a3")
    x, y = 40 + 62 * t, 400 + 5 * math.sin(2.2 * t)
    pen.polygon([(x, y), (x + 90, y), (x + 72, y + 22), (x + 16, y + 22)], fill="#3b2a20")
    pen.line((x + 44, y, x + 44, y - 96), fill="#3b2a20", width=4)
    pen.polygon([(x + 48, y - 94), (x + 48, y - 8), (x + 98, y - 8)], fill="#fbfbf5")
    pen.polygon([(x + 40, y - 84), (x + 40, y - 8), (x + 4, y - 8)], fill="#efe6d0")
    return image


def moon(t: float) -> Image.Image:
    """The moon goes round the earth and draws the sea's bulge along."""
    image = _stars().copy()
    pen = ImageDraw.Draw(image)
    centre, angle = (430, 270), 0.35 * t - 0.6
    bulge = [
        _polar(centre, 118 + 34 * math.cos(turn - angle) ** 2, turn)
        for turn in (math.radians(degree) for degree in range(0, 360, 4))
    ]
    pen.polygon(bulge, fill="#2e7fb8")
    pen.ellipse((330, 170, 530, 370), fill="#3d7a46")
    pen.ellipse((368, 205, 470, 290), fill="#8a7a4b")
    x, y = _polar(centre, 235, angle)
    pen.ellipse((x - 34, y - 34, x + 34, y + 34), fill="#d9d6cb")
    pen.ellipse((x - 16, y - 14, x + 2, y + 4), fill="#b9b5a8")
    pen.ellipse((x + 6, y + 4, x + 20, y + 18), fill="#b9b5a8")
    return image


def harbour(t: float) -> Image.Image:
    """The tide rises along a quay with a gauge."""
    image = _quay().copy()
    pen = ImageDraw.Draw(image)
    level = 455 - 21 * t
    wave = [(x, level + 6 * math.sin(x / 38 + 2 * t)) for x in range(0, 701, 10)]
    pen.polygon([(0, HEIGHT), *wave, (700, HEIGHT)], fill="#2f6f8f")
    hull = level - 4 + 3 * math.sin(2 * t)
    pen.polygon([(180, hull - 34), (420, hull - 34), (385, hull + 12), (215, hull + 12)], "#8e2f2a")
    pen.rectangle((250, hull - 74, 330, hull - 34), fill="#efe6d0")
    for mark in range(7):
        y = 460 - 48 * mark
        pen.line((660, y, 700, y), fill="#1d1d1d", width=5)
    return image


def _polar(centre: tuple[float, float], radius: float, angle: float) -> tuple[float, float]:
    return centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)


def _gradient(top: str, bottom: str, height: int) -> Image.Image:
    """A vertical gradient, WIDTH x height."""
    column = Image.new("RGB", (1, 2))
    column.putpixel((0, 0), tuple(int(top[i : i + 2], 16) for i in (1, 3, 5)))
    column.putpixel((0, 1), tuple(int(bottom[i : i + 2], 16) for i in (1, 3, 5)))
    return column.resize((WIDTH, height), Image.Resampling.BILINEAR)


@cache
def _stars() -> Image.Image:
    image = _gradient("#05070f", "#101c33", HEIGHT)
    pen = ImageDraw.Draw(image)
    dice = random.Random(7)
    for _ in range(140):
        x, y, size = dice.randrange(WIDTH), dice.randrange(HEIGHT), dice.choice((1, 1, 2))
        pen.ellipse((x, y, x + size, y + size), fill="#dfe6f2")
    return image


@cache
def _night_sky() -> Image.Image:
    image = _stars().copy()
    image.paste(_gradient("#0d2236", "#050b12", HEIGHT - HORIZON), (0, HORIZON))
    _rock(ImageDraw.Draw(image), "#070b10")
    return image


@cache
def _day_sky() -> Image.Image:
    image = _gradient("#6db3e3", "#dff0f7", HEIGHT)
    image.paste(_gradient("#5da3cf", "#1f5f8b", HEIGHT - HORIZON), (0, HORIZON))
    return image


@cache
def _lens() -> Image.Image:
    image = _gradient("#1a2430", "#0c131b", HEIGHT)
    pen = ImageDraw.Draw(image)
    for ring in range(-6, 7):  # the nearer the rim, the steeper the prism
        y, slope = 270 + ring * 31, 5 * abs(ring)
        pen.polygon(
            [(470, y - 15), (505 + slope * (ring > 0), y - 15), (505 + slope * (ring < 0), y + 15),
             (470, y + 15)],
            fill="#7fb7c9", outline="#cfe8f0",
        )  # fmt: skip
    pen.ellipse((146, 246, 194, 294), fill="#ffe9a3", outline="#ffffff", width=3)
    return image


@cache
def _quay() -> Image.Image:
    image = _gradient("#c9d6dd", "#f1e7d3", HEIGHT)
    pen = ImageDraw.Draw(image)
    pen.rectangle((700, 120, WIDTH, HEIGHT), fill="#7d766b")
    for row in range(9):
        shift = 40 * (row % 2)
        for x in range(700 - shift, WIDTH, 80):
            pen.rectangle((max(x, 700), 120 + 48 * row, x + 78, 166 + 48 * row), outline="#5d574e")
    pen.rectangle((690, 150, 712, HEIGHT), fill="#f2d64b")
    pen.polygon([(760, 120), (760, 40), (850, 10), (940, 40), (940, 120)], fill="#a5563a")
    pen.rectangle((800, 60, 840, 120), fill="#3b2a20")
    return image


def _tower(pen: ImageDraw.ImageDraw, body: str, stripe: str, lamp: str) -> None:
    x, top, foot = _LAMP[0], 190, 370
    for band in range(6):
        upper, lower = (top + (foot - top) * part / 6 for part in (band, band + 1))
        half = [24 + 16 * (y - top) / (foot - top) for y in (upper, lower)]
        pen.polygon(
            [
                (x - half[0], upper),
                (x + half[0], upper),
                (x + half[1], lower),
                (x - half[1], lower),
            ],
            fill=stripe if band % 2 else body,
        )
    pen.rectangle((x - 34, top - 6, x + 34, top + 2), fill="#23272b")
    pen.rectangle((x - 18, top - 40, x + 18, top - 6), fill=lamp, outline="#23272b", width=3)
    pen.polygon([(x - 24, top - 40), (x + 24, top - 40), (x, top - 66)], fill="#23272b")


def _rock(pen: ImageDraw.ImageDraw, colour: str) -> None:
    pen.polygon(
        [(330, 400), (372, 372), (430, 360), (520, 362), (580, 380), (640, 402), (480, 425)], colour
    )


def _swell(pen: ImageDraw.ImageDraw, t: float, colour: str) -> None:
    for row in range(7):
        y, drift = HORIZON + 22 + 25 * row, (14 + 5 * row) * t
        for x in range(-120, WIDTH, 160):
            left = x + (drift + 67 * row) % 160
            pen.arc((left, y, left + 90, y + 14 + row), 200, 340, fill=colour, width=3)


def _cloud(pen: ImageDraw.ImageDraw, x: float, y: float, size: float) -> None:
    for dx, dy, radius in ((0, 8, 26), (34, -6, 34), (74, 0, 30), (108, 10, 22)):
        cx, cy, r = x + dx * size, y + dy * size, radius * size
        pen.ellipse((cx - r, cy - r * 0.7, cx + r, cy + r * 0.7), fill="#fbfdff")
