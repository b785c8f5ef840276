"""The grounds of the drawn pictures: eight scenes, each with a look that varies.

Everything is drawn twice as large as it will be and halved at the end, which smooths the edges.
All chance comes from the generator that is passed in: the same generator, the same picture.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

SCALE = 2
Colour: TypeAlias = tuple[int, int, int]


def colour_near(rng: np.random.Generator, colour: Colour, spread: int = 18) -> Colour:
    """Return a colour whose channels lie at most `spread` from those of `colour`."""
    red, green, blue = (int(np.clip(c + rng.integers(-spread, spread + 1), 0, 255)) for c in colour)
    return red, green, blue


def _bands(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], parts: list[tuple[float, Colour]]
) -> None:
    """Fill horizontal bands; each part is the share of the height where it begins, and a colour."""
    width, height = size
    for begin, colour in parts:
        draw.rectangle((0, begin * height, width, height), fill=colour)


def _stadium(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A crowd above a pitch that is mown in stripes."""
    width, height = size
    edge = rng.uniform(0.28, 0.42)
    grass = colour_near(rng, (60, 140, 55))
    _bands(draw, size, [(0, colour_near(rng, (90, 85, 95))), (edge, grass)])
    step = width / int(rng.integers(5, 9))
    light = colour_near(rng, (90, 170, 75), 8)
    for k in range(0, 10, 2):
        draw.polygon(
            [(k * step, edge * height), ((k + 1) * step, edge * height),
             ((k + 1.3) * step, height), ((k + 0.3) * step, height)],
            fill=light,
        )  # fmt: skip
    for x, y in rng.uniform(0, 1, (int(rng.integers(140, 220)), 2)):
        px, py = x * width, y * edge * height * 0.93
        draw.ellipse((px, py, px + 6, py + 6), fill=colour_near(rng, (150, 120, 120), 90))
    draw.line((0, edge * height, width, edge * height), fill=(235, 235, 235), width=5)


def _ice(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """White ice with a red and a blue line, and boards at the back."""
    width, height = size
    edge = rng.uniform(0.15, 0.32)
    _bands(
        draw,
        size,
        [(0, colour_near(rng, (70, 85, 115))), (edge, colour_near(rng, (222, 234, 244), 8))],
    )
    board = (edge - 0.07) * height
    draw.rectangle((0, board, width, edge * height), fill=colour_near(rng, (235, 215, 90)))
    for colour in ((200, 60, 60), (60, 90, 200)):
        x = rng.uniform(0.1, 0.9) * width
        slant = rng.uniform(-0.2, 0.2) * width
        draw.line((x, edge * height, x + slant, height), fill=colour, width=6)
    for _ in range(int(rng.integers(8, 18))):
        x, y = rng.uniform(0, width), rng.uniform(edge * height, height)
        dx, dy = rng.uniform(-30, 30), rng.uniform(-8, 8)
        draw.line((x, y, x + dx, y + dy), fill=(190, 208, 224), width=2)


def _stage(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A dark hall with cones of light above boards."""
    width, height = size
    edge = rng.uniform(0.68, 0.82)
    _bands(
        draw,
        size,
        [(0, colour_near(rng, (32, 22, 48), 10)), (edge, colour_near(rng, (95, 60, 40)))],
    )
    for _ in range(int(rng.integers(2, 5))):
        x, foot = rng.uniform(0, width), rng.uniform(0, width)
        spread = rng.uniform(20, 45)
        draw.polygon(
            [
                (x - 4, 0),
                (x + 4, 0),
                (foot + spread, edge * height),
                (foot - spread, edge * height),
            ],
            fill=colour_near(rng, (120, 80, 150), 45),
        )
    for k in range(6):
        y = edge * height + k * 10
        draw.line((0, y, width, y), fill=(60, 38, 26), width=2)


def _beach(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Sky, sea with foam, and sand."""
    width, height = size
    sea, sand = rng.uniform(0.22, 0.36), rng.uniform(0.5, 0.66)
    _bands(
        draw,
        size,
        [
            (0, colour_near(rng, (150, 205, 240))),
            (sea, colour_near(rng, (40, 130, 180))),
            (sand, colour_near(rng, (232, 208, 150), 12)),
        ],
    )
    for _ in range(int(rng.integers(5, 12))):
        x, y = rng.uniform(0, width), rng.uniform(sea, sand) * height
        draw.line((x, y, x + rng.uniform(10, 40), y), fill=(200, 228, 238), width=3)
    for x, y in rng.uniform(0, 1, (60, 2)):
        px, py = x * width, (sand + y * (1 - sand)) * height
        draw.ellipse((px, py, px + 3, py + 3), fill=(205, 178, 120))


def _street(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Houses with windows along a road with a dashed line."""
    width, height = size
    edge = rng.uniform(0.55, 0.7)
    _bands(
        draw, size, [(0, colour_near(rng, (185, 195, 210))), (edge, colour_near(rng, (95, 95, 98)))]
    )
    x = -rng.uniform(0, 30)
    while x < width:
        wide, top = rng.uniform(38, 72), rng.uniform(0.03, 0.25) * height
        wall = colour_near(rng, (150, 105, 90), 35)
        draw.rectangle((x, top, x + wide - 3, edge * height), fill=wall)
        for wx in np.arange(x + 7, x + wide - 12, 16):
            for wy in np.arange(top + 8, edge * height - 14, 22):
                draw.rectangle((wx, wy, wx + 8, wy + 11), fill=(225, 220, 170))
        x += wide
    middle = (edge + 1) / 2 * height
    for k in range(8):
        draw.rectangle((k * 40, middle, k * 40 + 20, middle + 5), fill=(225, 225, 215))


def _forest(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Trunks before a dark green."""
    width, height = size
    edge = rng.uniform(0.72, 0.85)
    _bands(
        draw, size, [(0, colour_near(rng, (38, 78, 45))), (edge, colour_near(rng, (82, 72, 40)))]
    )
    for x, y in rng.uniform(0, 1, (70, 2)):
        px, py, r = x * width, y * edge * height, 10
        draw.ellipse((px - r, py - r, px + r, py + r), fill=colour_near(rng, (52, 100, 52), 16))
    for _ in range(int(rng.integers(5, 9))):
        x, wide = rng.uniform(0, width), rng.uniform(7, 14)
        draw.rectangle(
            (x, 0, x + wide, (edge + 0.03) * height), fill=colour_near(rng, (74, 52, 36), 12)
        )


def _mountain(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Peaks with snow over a meadow."""
    width, height = size
    edge = rng.uniform(0.72, 0.85)
    draw.rectangle((0, 0, width, height), fill=colour_near(rng, (170, 195, 225)))
    for _ in range(int(rng.integers(3, 6))):
        x, top, half = rng.uniform(0, width), rng.uniform(0.08, 0.35) * height, rng.uniform(60, 110)
        foot = edge * height
        slope = half / (foot - top)
        draw.polygon(
            [(x, top), (x + half, foot), (x - half, foot)], fill=colour_near(rng, (112, 108, 122))
        )
        snow = (foot - top) * 0.28
        draw.polygon(
            [(x, top), (x + slope * snow, top + snow), (x - slope * snow, top + snow)],
            fill=(240, 244, 250),
        )
    draw.rectangle((0, edge * height, width, height), fill=colour_near(rng, (120, 160, 80)))


def _kitchen(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A tiled wall over a worktop and drawers."""
    width, height = size
    edge = rng.uniform(0.58, 0.72)
    draw.rectangle((0, 0, width, height), fill=colour_near(rng, (238, 222, 205), 10))
    tile = rng.uniform(22, 32)
    joint = colour_near(rng, (196, 172, 152), 10)
    for k in range(1, 16):
        draw.line((k * tile, 0, k * tile, edge * height), fill=joint, width=2)
        draw.line((0, k * tile, width, k * tile), fill=joint, width=2)
    draw.rectangle((0, edge * height, width, height), fill=colour_near(rng, (178, 128, 82)))
    draw.rectangle((0, edge * height, width, edge * height + 12), fill=(70, 66, 64))
    for k in range(5):
        x = k * width / 4
        draw.line((x, edge * height + 12, x, height), fill=(120, 82, 50), width=3)


SceneDrawer: TypeAlias = Callable[[ImageDraw.ImageDraw, tuple[int, int], np.random.Generator], None]
DRAWERS: dict[str, SceneDrawer] = {
    "stadium": _stadium,
    "ice": _ice,
    "stage": _stage,
    "beach": _beach,
    "street": _street,
    "forest": _forest,
    "mountain": _mountain,
    "kitchen": _kitchen,
}
SCENES = tuple(DRAWERS)


def draw_scene(scene: str, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw an empty scene, SCALE times as large as asked for.

    Args:
        scene: one of SCENES.
        width: of the finished picture, in pixels.
        height: of the finished picture, in pixels.
        rng: the source of all variation.

    Returns:
        An RGB picture of SCALE·width by SCALE·height pixels.
    """
    size = (SCALE * width, SCALE * height)
    picture = Image.new("RGB", size)
    DRAWERS[scene](ImageDraw.Draw(picture), size, rng)
    return picture


def finish(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Halve a drawn picture and give it the light and the grain of a cheap camera."""
    pixels = np.asarray(picture.reduce(SCALE), dtype=np.float32)  # (H, W, 3)
    light = rng.uniform(0.82, 1.12) * rng.uniform(0.95, 1.05, 3)
    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None]
    pixels = pixels * light.astype(np.float32) + rng.uniform(2, 6) * grain
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
