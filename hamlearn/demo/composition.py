"""Where things lie in a drawn picture, so that it answers one question in one way.

Boxes are xyxy in pixels, y pointing down, on a grid of half pixels. Every answer is drawn with a
margin: a detector that is a pixel or two off still sees the same relation, by the rules of
METHOD's spatial view, and a direction keeps away from the borders of its sector.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from hamlearn.demo.decisions import Decision
from hamlearn.demo.objects import KINDS, OBJECTS, Box, paint
from hamlearn.demo.scenes import SCENES, draw_scene, finish

JPEG_QUALITY = 88
TRIES = 400
# Answers lie this far off an axis, in degrees: a sector's border is never near.
OFF_AXIS = (8.0, 34.0)
# Centre distances as shares of the diagonal: at 0.5 there is no edge. Where a direction decides,
# things lie closer, so that the height or the ground at which one lies says little of the other.
DISTANCES, CLOSE_DISTANCES = (0.2, 0.44), (0.2, 0.34)
BYSTANDERS = {"scene": (1, 3), "object": (0, 2), "relation": (0, 2)}


@dataclass(frozen=True)
class Composition:
    """A picture before it is painted.

    Attributes:
        width: in pixels.
        height: in pixels.
        scene: one of SCENES.
        objects: class and box, in the order of painting: later ones hide earlier ones.
    """

    width: int
    height: int
    scene: str
    objects: tuple[tuple[str, Box], ...]


def _grid(value: float) -> float:
    return round(2 * value) / 2


def _boxed(cx: float, cy: float, w: float, h: float) -> Box:
    x, y = _grid(cx - w / 2), _grid(cy - h / 2)
    return x, y, x + _grid(w), y + _grid(h)


def _extent(kind: str, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the width and height of an object."""
    _, aspect, (low, high) = KINDS[kind]
    side = rng.uniform(low, high)
    aspect *= rng.uniform(0.92, 1.08)
    return (side, side / aspect) if aspect > 1 else (side * aspect, side)


def _fits(box: Box, width: int, height: int) -> bool:
    return box[0] >= 1 and box[1] >= 1 and box[2] <= width - 1 and box[3] <= height - 1


def shared_area(a: Box, b: Box) -> float:
    """Return the area, in square pixels, that two boxes share."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    return max(w, 0.0) * max(h, 0.0)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


Pair: TypeAlias = tuple[Box, Box]
Layout: TypeAlias = Callable[[tuple[str, ...], int, int, np.random.Generator], Pair | None]


def _apart(
    kinds: tuple[str, ...],
    width: int,
    height: int,
    rng: np.random.Generator,
    angle: float,
    distances: tuple[float, float],
) -> Pair | None:
    """Try to place the second thing in a direction, in degrees, from the first, without touch."""
    (w1, h1), (w2, h2) = _extent(kinds[0], rng), _extent(kinds[1], rng)
    distance = rng.uniform(*distances) * math.hypot(width, height)
    dx, dy = distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle))
    if abs(dx) < (w1 + w2) / 2 + 2 and abs(dy) < (h1 + h2) / 2 + 2:
        return None
    cx, cy = rng.uniform(0, width), rng.uniform(0, height)
    return _boxed(cx - dx / 2, cy - dy / 2, w1, h1), _boxed(cx + dx / 2, cy + dy / 2, w2, h2)


def _towards(axis: float) -> Layout:
    """Make a layout whose second thing lies about `axis` degrees from the first."""

    def layout(
        kinds: tuple[str, ...], width: int, height: int, rng: np.random.Generator
    ) -> Pair | None:
        off = rng.uniform(*OFF_AXIS) * rng.choice([-1, 1])
        return _apart(kinds, width, height, rng, axis + off, CLOSE_DISTANCES)

    return layout


def _beside(
    kinds: tuple[str, ...], width: int, height: int, rng: np.random.Generator
) -> Pair | None:
    octant = 45 * int(rng.integers(8))
    return _apart(kinds, width, height, rng, octant + rng.uniform(6, 39), DISTANCES)


def _inside(
    kinds: tuple[str, ...], width: int, height: int, rng: np.random.Generator
) -> Pair | None:
    """Place the first thing within the second, with room on all sides."""
    (w1, h1), (w2, h2) = _extent(kinds[0], rng), _extent(kinds[1], rng)
    outer = _boxed(rng.uniform(0, width), rng.uniform(0, height), w2, h2)
    x, y = rng.uniform(4, w2 - w1 - 4), rng.uniform(4, h2 - h1 - 4)
    return _boxed(outer[0] + x + w1 / 2, outer[1] + y + h1 / 2, w1, h1), outer


def _overlap(
    kinds: tuple[str, ...], width: int, height: int, rng: np.random.Generator
) -> Pair | None:
    """Place two things of like size on each other so that each sticks out: IoU 0.6 or more."""
    w1, h1 = _extent(kinds[0], rng)
    w2, h2 = w1 * rng.uniform(0.94, 1.06), h1 * rng.uniform(0.94, 1.06)
    dx, dy = (rng.uniform(0.07, 0.13, 2) * rng.choice([-1, 1], 2) * (w1, h1)).tolist()
    cx, cy = rng.uniform(0, width), rng.uniform(0, height)
    a, b = _boxed(cx, cy, w1, h1), _boxed(cx + dx, cy + dy, w2, h2)
    shared = shared_area(a, b)
    apart = [abs(p - q) for p, q in zip(a, b, strict=True)]
    sticks_out = min(apart) >= 1.5 and (a[0] < b[0]) == (a[2] < b[2])
    return (a, b) if sticks_out and shared / (_area(a) + _area(b) - shared) >= 0.6 else None


LAYOUTS: dict[str, Layout] = {
    "left": _towards(0),
    "below": _towards(270),
    "right": _towards(180),
    "above": _towards(90),
    "beside": _beside,
    "inside": _inside,
    "overlap": _overlap,
}


def _place_pair(
    decision: Decision, reading: str, width: int, height: int, rng: np.random.Generator
) -> Pair:
    for _ in range(TRIES):
        pair = LAYOUTS[reading](decision.kinds, width, height, rng)
        if pair and all(_fits(box, width, height) for box in pair):
            return pair
    raise RuntimeError(f"no room for {decision.name} {reading} in {width}x{height}")


def _place_freely(
    kind: str, taken: list[Box], width: int, height: int, rng: np.random.Generator
) -> Box | None:
    """Place a thing where it hides or is hidden by others only a little, smaller if need be."""
    w, h = _extent(kind, rng)
    for attempt in range(60):
        shrink = 1.0 if attempt < 30 else 0.85
        box = _boxed(rng.uniform(0, width), rng.uniform(0, height), w * shrink, h * shrink)
        if _fits(box, width, height) and all(
            shared_area(box, other) <= 0.15 * min(_area(box), _area(other)) for other in taken
        ):
            return box
    return None


def compose(decision: Decision, reading: str, rng: np.random.Generator) -> Composition:
    """Lay out a picture that answers a question in the given way.

    By-standers are drawn from all other classes, in a number that does not depend on the reading.

    Args:
        decision: the question.
        reading: one of its two answers.
        rng: the source of all variation.

    Returns:
        Size, scene and boxes.
    """
    width, height = int(rng.integers(116, 141)), int(rng.integers(90, 109))
    scene = reading if decision.cue == "scene" else str(rng.choice(SCENES))
    objects: list[tuple[str, Box]] = []
    if decision.cue == "relation":
        pair = _place_pair(decision, reading, width, height, rng)
        # The second is painted first: a ball shows in its crate, a flower through the hoop.
        objects = list(zip(decision.kinds, pair, strict=True))[::-1]
    low, high = BYSTANDERS[decision.cue]
    others = [kind for kind in OBJECTS if kind not in decision.kinds]
    kinds = [str(k) for k in rng.permutation(others)[: int(rng.integers(low, high + 1))]]
    if decision.cue == "object":
        kinds.insert(0, reading)
    for kind in kinds:
        box = _place_freely(kind, [box for _, box in objects], width, height, rng)
        if box is None and kind == reading:
            raise RuntimeError(f"no room for {kind} in {width}x{height}")
        if box is not None:
            objects.insert(int(rng.integers(2)) * len(objects), (kind, box))
    return Composition(width, height, scene, tuple(objects))


def render(composition: Composition, rng: np.random.Generator) -> Image.Image:
    """Paint a composition.

    Returns:
        An RGB picture of the composition's width and height.
    """
    picture = draw_scene(composition.scene, composition.width, composition.height, rng)
    draw = ImageDraw.Draw(picture)
    for kind, box in composition.objects:
        paint(draw, kind, box, rng)
    return finish(picture, rng)


def jpeg_bytes(picture: Image.Image) -> bytes:
    """Return a picture as a JPEG file, with settings that never change."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=2)
    return file.getvalue()
