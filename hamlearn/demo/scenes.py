"""Backgrounds of the drawn images: eight scenes, each with a look that varies.

Everything is drawn SCALE times as large as the finished image and then reduced, which smooths the
edges. All variation comes from the generator passed in: the same generator, the same image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

SCALE = 2
Colour: TypeAlias = tuple[int, int, int]


def colour_near(rng: np.random.Generator, colour: Colour, spread: int = 18) -> Colour:
    """Return a random colour whose channels differ from those of `colour` by at most `spread`."""
    red, green, blue = (int(np.clip(c + rng.integers(-spread, spread + 1), 0, 255)) for c in colour)
    return red, green, blue


@dataclass(frozen=True)
class Canvas:
    """A drawing in progress, its size in pixels, and the generator that varies it."""

    draw: ImageDraw.ImageDraw
    width: int
    height: int
    rng: np.random.Generator

    def near(self, colour: Colour, spread: int = 18) -> Colour:
        """Return a random colour near `colour`, see `colour_near`."""
        return colour_near(self.rng, colour, spread)

    def bands(self, *bands: tuple[float, Colour]) -> None:
        """Fill from each top, a share of the height, down to the bottom."""
        for top, colour in bands:
            self.draw.rectangle((0, top * self.height, self.width, self.height), fill=colour)


def _stadium(c: Canvas) -> None:
    """A crowd above a pitch mown in stripes."""
    edge = c.rng.uniform(0.28, 0.42)
    grass = c.near((60, 140, 55))
    c.bands((0, c.near((90, 85, 95))), (edge, grass))
    y = edge * c.height
    step = c.width / int(c.rng.integers(5, 9))
    light = c.near((90, 170, 75), 8)
    for k in range(0, 10, 2):
        stripe = [(k, y), (k + 1, y), (k + 1.3, c.height), (k + 0.3, c.height)]
        c.draw.polygon([(column * step, row) for column, row in stripe], fill=light)
    for u, v in c.rng.uniform(0, 1, (int(c.rng.integers(140, 220)), 2)):
        px, py = u * c.width, v * edge * c.height * 0.93
        c.draw.ellipse((px, py, px + 6, py + 6), fill=c.near((150, 120, 120), 90))
    c.draw.line((0, y, c.width, y), fill=(235, 235, 235), width=5)


def _ice(c: Canvas) -> None:
    """White ice with a red and a blue line, and boards at the back."""
    edge = c.rng.uniform(0.15, 0.32)
    c.bands((0, c.near((70, 85, 115))), (edge, c.near((222, 234, 244), 8)))
    top = edge * c.height
    c.draw.rectangle((0, (edge - 0.07) * c.height, c.width, top), fill=c.near((235, 215, 90)))
    for colour in ((200, 60, 60), (60, 90, 200)):
        x = c.rng.uniform(0.1, 0.9) * c.width
        slant = c.rng.uniform(-0.2, 0.2) * c.width
        c.draw.line((x, top, x + slant, c.height), fill=colour, width=6)
    for _ in range(int(c.rng.integers(8, 18))):
        x, y = c.rng.uniform(0, c.width), c.rng.uniform(top, c.height)
        dx, dy = c.rng.uniform(-30, 30), c.rng.uniform(-8, 8)
        c.draw.line((x, y, x + dx, y + dy), fill=(190, 208, 224), width=2)


def _stage(c: Canvas) -> None:
    """A dark hall with cones of light above floorboards."""
    edge = c.rng.uniform(0.68, 0.82)
    c.bands((0, c.near((32, 22, 48), 10)), (edge, c.near((95, 60, 40))))
    floor = edge * c.height
    for _ in range(int(c.rng.integers(2, 5))):
        x, foot = c.rng.uniform(0, c.width), c.rng.uniform(0, c.width)
        spread = c.rng.uniform(20, 45)
        cone = [(x - 4, 0), (x + 4, 0), (foot + spread, floor), (foot - spread, floor)]
        c.draw.polygon(cone, fill=c.near((120, 80, 150), 45))
    for k in range(6):
        y = floor + k * 10
        c.draw.line((0, y, c.width, y), fill=(60, 38, 26), width=2)


def _beach(c: Canvas) -> None:
    """Sky, sea with foam, and sand."""
    sea, sand = c.rng.uniform(0.22, 0.36), c.rng.uniform(0.5, 0.66)
    sky = c.near((150, 205, 240))
    c.bands((0, sky), (sea, c.near((40, 130, 180))), (sand, c.near((232, 208, 150), 12)))
    for _ in range(int(c.rng.integers(5, 12))):
        x, y = c.rng.uniform(0, c.width), c.rng.uniform(sea, sand) * c.height
        c.draw.line((x, y, x + c.rng.uniform(10, 40), y), fill=(200, 228, 238), width=3)
    for u, v in c.rng.uniform(0, 1, (60, 2)):
        px, py = u * c.width, (sand + v * (1 - sand)) * c.height
        c.draw.ellipse((px, py, px + 3, py + 3), fill=(205, 178, 120))


def _street(c: Canvas) -> None:
    """Houses with windows along a road with a dashed line."""
    edge = c.rng.uniform(0.55, 0.7)
    c.bands((0, c.near((185, 195, 210))), (edge, c.near((95, 95, 98))))
    road = edge * c.height
    x = -c.rng.uniform(0, 30)
    while x < c.width:
        wide, top = c.rng.uniform(38, 72), c.rng.uniform(0.03, 0.25) * c.height
        c.draw.rectangle((x, top, x + wide - 3, road), fill=c.near((150, 105, 90), 35))
        for left in np.arange(x + 7, x + wide - 12, 16):
            for y in np.arange(top + 8, road - 14, 22):
                c.draw.rectangle((left, y, left + 8, y + 11), fill=(225, 220, 170))
        x += wide
    middle = (edge + 1) / 2 * c.height
    for k in range(8):
        c.draw.rectangle((k * 40, middle, k * 40 + 20, middle + 5), fill=(225, 225, 215))


def _forest(c: Canvas) -> None:
    """Trunks in front of dark green."""
    edge = c.rng.uniform(0.72, 0.85)
    c.bands((0, c.near((38, 78, 45))), (edge, c.near((82, 72, 40))))
    for u, v in c.rng.uniform(0, 1, (70, 2)):
        px, py, r = u * c.width, v * edge * c.height, 10
        c.draw.ellipse((px - r, py - r, px + r, py + r), fill=c.near((52, 100, 52), 16))
    for _ in range(int(c.rng.integers(5, 9))):
        x, wide = c.rng.uniform(0, c.width), c.rng.uniform(7, 14)
        trunk = (x, 0, x + wide, (edge + 0.03) * c.height)
        c.draw.rectangle(trunk, fill=c.near((74, 52, 36), 12))


def _mountain(c: Canvas) -> None:
    """Peaks with snow above a meadow."""
    edge = c.rng.uniform(0.72, 0.85)
    foot = edge * c.height
    c.bands((0, c.near((170, 195, 225))))
    for _ in range(int(c.rng.integers(3, 6))):
        x, top = c.rng.uniform(0, c.width), c.rng.uniform(0.08, 0.35) * c.height
        half = c.rng.uniform(60, 110)
        slope = half / (foot - top)
        peak = [(x, top), (x + half, foot), (x - half, foot)]
        c.draw.polygon(peak, fill=c.near((112, 108, 122)))
        snow = (foot - top) * 0.28
        cap = [(x, top), (x + slope * snow, top + snow), (x - slope * snow, top + snow)]
        c.draw.polygon(cap, fill=(240, 244, 250))
    c.bands((edge, c.near((120, 160, 80))))


def _kitchen(c: Canvas) -> None:
    """A tiled wall above a worktop and drawers."""
    edge = c.rng.uniform(0.58, 0.72)
    top = edge * c.height
    c.bands((0, c.near((238, 222, 205), 10)))
    tile = c.rng.uniform(22, 32)
    joint = c.near((196, 172, 152), 10)
    for k in range(1, 16):
        c.draw.line((k * tile, 0, k * tile, top), fill=joint, width=2)
        c.draw.line((0, k * tile, c.width, k * tile), fill=joint, width=2)
    c.bands((edge, c.near((178, 128, 82))))
    c.draw.rectangle((0, top, c.width, top + 12), fill=(70, 66, 64))
    for k in range(5):
        x = k * c.width / 4
        c.draw.line((x, top + 12, x, c.height), fill=(120, 82, 50), width=3)


PAINTERS: dict[str, Callable[[Canvas], None]] = {
    "stadium": _stadium,
    "ice": _ice,
    "stage": _stage,
    "beach": _beach,
    "street": _street,
    "forest": _forest,
    "mountain": _mountain,
    "kitchen": _kitchen,
}
SCENES = tuple(PAINTERS)


def draw_scene(scene: str, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw an empty scene, one of SCENES, SCALE times as large as the finished width and height."""
    image = Image.new("RGB", (SCALE * width, SCALE * height))
    PAINTERS[scene](Canvas(ImageDraw.Draw(image), *image.size, rng))
    return image


def finish(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Reduce a drawn image by SCALE and add the light and the grain of a cheap camera."""
    pixels = np.asarray(image.reduce(SCALE), dtype=np.float32)  # (H, W, 3)
    light = rng.uniform(0.82, 1.12) * rng.uniform(0.95, 1.05, 3)
    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None]
    pixels = pixels * light.astype(np.float32) + rng.uniform(2, 6) * grain
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
