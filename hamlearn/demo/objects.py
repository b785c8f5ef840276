"""Objects in the drawn images: twelve classes, each painted to fill its box.

A painter touches all four sides of its box, so that the box of an object is known exactly.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import ImageDraw

from hamlearn.demo.scenes import SCALE, Colour, colour_near

Box: TypeAlias = tuple[float, float, float, float]
DARK: Colour = (28, 26, 30)


class Pen:
    """Draws in the unit square of one box, (0, 0) being its top left corner.

    The box is xyxy in pixels of the drawing; `mirrored` swaps left and right.
    """

    def __init__(
        self, draw: ImageDraw.ImageDraw, box: Box, rng: np.random.Generator, mirrored: bool
    ) -> None:
        self.draw, self.rng, self.mirrored = draw, rng, mirrored
        self.x, self.y = box[0], box[1]
        self.w, self.h = box[2] - box[0] - 1, box[3] - box[1] - 1

    def near(self, colour: Colour, spread: int) -> Colour:
        """Return a random colour near `colour`, see `colour_near`."""
        return colour_near(self.rng, colour, spread)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel of a point of the unit square."""
        return self.x + (1 - x if self.mirrored else x) * self.w, self.y + y * self.h

    def corners(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Return the pixels of a rectangle of the unit square, left before right."""
        (left, top), (right, bottom) = self.at(x0, y0), self.at(x1, y1)
        return min(left, right), top, max(left, right), bottom

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """Fill an ellipse with a dark outline."""
        self.draw.ellipse(self.corners(x0, y0, x1, y1), fill=fill, outline=DARK, width=2)

    def ring(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, width: int) -> None:
        """Draw the outline of an ellipse."""
        self.draw.ellipse(self.corners(x0, y0, x1, y1), outline=fill, width=width)

    def block(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """Fill a rectangle with a dark outline."""
        self.draw.rectangle(self.corners(x0, y0, x1, y1), fill=fill, outline=DARK, width=2)

    def shape(self, points: list[tuple[float, float]], fill: Colour) -> None:
        """Fill a polygon with a dark outline."""
        self.draw.polygon([self.at(x, y) for x, y in points], fill=fill, outline=DARK, width=2)

    def stroke(self, points: list[tuple[float, float]], fill: Colour, width: float) -> None:
        """Draw a line through points."""
        self.draw.line([self.at(x, y) for x, y in points], fill=fill, width=max(2, round(width)))


def _person(pen: Pen) -> None:
    shirt, trousers = pen.near((190, 70, 70), 60), pen.near((50, 60, 110), 30)
    skin = pen.near((205, 160, 125), 35)
    pen.block(0.26, 0.58, 0.47, 1, trousers)
    pen.block(0.53, 0.58, 0.74, 1, trousers)
    pen.block(0, 0.28, 0.24, 0.58, skin)
    pen.block(0.76, 0.28, 1, 0.58, skin)
    pen.block(0.2, 0.25, 0.8, 0.62, shirt)
    pen.oval(0.25, 0, 0.75, 0.27, skin)


def _dog(pen: Pen) -> None:
    fur = pen.near((150, 100, 55), 35)
    for x in (0.12, 0.28, 0.56, 0.72):
        pen.block(x, 0.6, x + 0.1, 1, fur)
    pen.stroke([(0.12, 0.45), (0, 0.12)], fur, 0.09 * pen.w)
    pen.oval(0, 0.08, 0.08, 0.2, fur)
    pen.oval(0.06, 0.32, 0.84, 0.76, fur)
    pen.oval(0.64, 0, 1, 0.5, fur)
    pen.oval(0.64, 0.04, 0.76, 0.42, pen.near((80, 50, 30), 10))
    pen.oval(0.85, 0.14, 0.91, 0.22, DARK)


def _car(pen: Pen) -> None:
    paint = pen.near((70, 110, 200), 55)
    pen.shape([(0.2, 0.42), (0.32, 0), (0.7, 0), (0.84, 0.42)], paint)
    pen.shape([(0.28, 0.4), (0.36, 0.08), (0.5, 0.08), (0.5, 0.4)], (205, 228, 240))
    pen.shape([(0.54, 0.4), (0.54, 0.08), (0.67, 0.08), (0.76, 0.4)], (205, 228, 240))
    pen.block(0, 0.4, 1, 0.8, paint)
    pen.oval(0.12, 0.6, 0.34, 1, (45, 45, 48))
    pen.oval(0.66, 0.6, 0.88, 1, (45, 45, 48))


def _boat(pen: Pen) -> None:
    sail = pen.near((245, 240, 225), 10)
    pen.shape([(0.5, 0), (0.5, 0.66), (0.95, 0.66)], sail)
    pen.shape([(0.45, 0.12), (0.45, 0.66), (0.1, 0.66)], sail)
    pen.shape([(0, 0.7), (1, 0.7), (0.8, 1), (0.2, 1)], pen.near((160, 60, 40), 30))


def _cup(pen: Pen) -> None:
    glaze = pen.near((235, 235, 240), 18)
    pen.ring(0.5, 0.22, 1, 0.72, DARK, 8)
    pen.block(0, 0.1, 0.74, 1, glaze)
    pen.block(0, 0.45, 0.74, 0.65, pen.near((60, 130, 200), 40))
    pen.oval(0, 0, 0.74, 0.2, (95, 60, 40))


def _guitar(pen: Pen) -> None:
    wood = pen.near((205, 120, 45), 28)
    pen.block(0.4, 0.1, 0.6, 0.55, (80, 52, 35))
    pen.block(0.32, 0, 0.68, 0.12, DARK)
    pen.oval(0.12, 0.42, 0.88, 0.74, wood)
    pen.oval(0, 0.6, 1, 1, wood)
    pen.oval(0.34, 0.62, 0.66, 0.8, DARK)


def _kite(pen: Pen) -> None:
    one, other = pen.near((240, 200, 40), 25), pen.near((210, 50, 60), 30)
    pen.shape([(0.5, 0), (1, 0.36), (0.5, 0.36)], one)
    pen.shape([(0.5, 0), (0, 0.36), (0.5, 0.36)], other)
    pen.shape([(0, 0.36), (0.5, 0.36), (0.5, 0.76)], one)
    pen.shape([(1, 0.36), (0.5, 0.36), (0.5, 0.76)], other)
    pen.stroke([(0.5, 0.76), (0.38, 0.84), (0.6, 0.92), (0.5, 1)], DARK, 3)
    pen.oval(0.42, 0.92, 0.58, 1, other)


def _balloon(pen: Pen) -> None:
    skin = pen.near((225, 70, 170), 30)
    pen.stroke([(0.5, 0.7), (0.44, 0.85), (0.53, 1)], (235, 235, 235), 3)
    pen.oval(0, 0, 1, 0.76, skin)
    pen.shape([(0.4, 0.82), (0.6, 0.82), (0.5, 0.74)], skin)
    pen.oval(0.2, 0.12, 0.42, 0.3, (255, 225, 240))
    pen.block(0.42, 0.95, 0.58, 1, (235, 235, 235))


def _ball(pen: Pen) -> None:
    one, other = pen.near((245, 245, 245), 8), pen.near((40, 40, 45), 15)
    pen.oval(0, 0, 1, 1, one)
    for k in range(5):
        angle = 2 * math.pi * k / 5 + 0.3
        x, y = 0.5 + 0.34 * math.cos(angle), 0.5 + 0.34 * math.sin(angle)
        pen.oval(x - 0.12, y - 0.12, x + 0.12, y + 0.12, other)
    pen.oval(0.38, 0.38, 0.62, 0.62, other)


def _crate(pen: Pen) -> None:
    wood, back = pen.near((190, 140, 80), 20), pen.near((110, 78, 45), 15)
    pen.block(0, 0, 1, 1, wood)
    pen.block(0.1, 0.1, 0.9, 0.9, back)
    for x in (0, 0.9):
        for y in (0, 0.9):
            pen.block(x, y, x + 0.1, y + 0.1, (215, 175, 115))


def _hoop(pen: Pen) -> None:
    pen.ring(0, 0, 1, 1, DARK, 10)
    pen.ring(0.03, 0.03, 0.97, 0.97, pen.near((240, 120, 30), 25), 6)


def _flower(pen: Pen) -> None:
    petal = pen.near((150, 90, 215), 35)
    for x, y in ((0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5)):
        pen.oval(x - 0.2, y - 0.2, x + 0.2, y + 0.2, petal)
    for x, y in ((0.29, 0.29), (0.71, 0.29), (0.71, 0.71), (0.29, 0.71)):
        pen.oval(x - 0.19, y - 0.19, x + 0.19, y + 0.19, petal)
    pen.oval(0.33, 0.33, 0.67, 0.67, pen.near((250, 215, 70), 12))


# Class -> painter, width / height of its box, and the range of its longer side in pixels.
KINDS: dict[str, tuple[Callable[[Pen], None], float, tuple[int, int]]] = {
    "person": (_person, 0.52, (28, 46)),
    "dog": (_dog, 1.3, (24, 40)),
    "car": (_car, 1.9, (30, 46)),
    "boat": (_boat, 1.05, (24, 42)),
    "cup": (_cup, 1.05, (20, 28)),
    "guitar": (_guitar, 0.55, (26, 36)),
    "kite": (_kite, 0.8, (24, 32)),
    "balloon": (_balloon, 0.72, (24, 32)),
    "ball": (_ball, 1.0, (16, 24)),
    "crate": (_crate, 1.05, (44, 58)),
    "hoop": (_hoop, 1.0, (28, 42)),
    "flower": (_flower, 1.0, (26, 40)),
}
OBJECTS = tuple(KINDS)


def paint(draw: ImageDraw.ImageDraw, kind: str, box: Box, rng: np.random.Generator) -> None:
    """Paint one object, of OBJECTS, into a drawing SCALE times as large as the finished image.

    The box is xyxy in pixels of the finished image.
    """
    x0, y0, x1, y1 = (SCALE * value for value in box)
    KINDS[kind][0](Pen(draw, (x0, y0, x1, y1), rng, mirrored=bool(rng.integers(2))))
