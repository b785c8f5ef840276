"""The eight questions an image can answer, and the layout of an image that answers one.

A question (`Decision`) has two answers, each standing for one of the two types that an ambiguous
name can have. Boxes are xyxy in pixels, y pointing down, on a grid of half pixels. Every answer is
drawn with a margin: a detector that is off by a pixel or two still sees the same relation under the
rules of METHOD's spatial view, and a direction stays away from the borders of its sector.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from hamlearn.demo.objects import KINDS, OBJECTS, Box, paint
from hamlearn.demo.scenes import SCENES, draw_scene, finish

TYPES = ("PER", "LOC", "ORG", "MISC")
# Cue -> its share of all posts. Where the text decides, the image suggests the other type.
CUES = {"scene": 0.2, "object": 0.2, "relation": 4 / 15, "text": 1 / 3}
JPEG_QUALITY = 88
TRIES = 400
# Answers deviate from an axis by this many degrees, far from the border of a sector.
OFF_AXIS = (8.0, 34.0)
# Distances of centres as shares of the diagonal; at 0.5 there is no edge. Where a direction
# decides, objects lie closer, so that the height of one alone says little about the other.
DISTANCES, CLOSE_DISTANCES = (0.2, 0.44), (0.2, 0.34)
# Cue -> least and greatest number of objects that play no role.
BYSTANDERS = {"scene": (1, 3), "object": (0, 2), "relation": (0, 2)}


@dataclass(frozen=True)
class Decision:
    """A question with two answers.

    Its objects, `kinds`, are never drawn as bystanders. For a relation both are drawn under both
    readings, and a reading says how the first lies relative to the second.
    """

    name: str
    cue: str  # where the answer lies: "scene", "object" or "relation"
    readings: tuple[str, str]  # the two answers, as the image shows them
    types: tuple[str, str]  # the entity types they stand for, in the same order
    share: float  # of the posts of its cue
    kinds: tuple[str, ...] = ()

    @property
    def pool(self) -> str:
        """The pool of names that can be of either type."""
        return "/".join(sorted(self.types))


# A small probe on a detector's box features, which show what lies within a box, tells inside and
# overlap nearly always without any geometry, but above from below only 6 times in 10. A model
# without relations can learn the former two questions, so they have the smaller share.
DECISIONS = (
    Decision("stadium_or_ice", "scene", ("stadium", "ice"), ("ORG", "MISC"), 0.5),
    Decision("stage_or_beach", "scene", ("stage", "beach"), ("PER", "LOC"), 0.5),
    Decision("person_or_dog", "object", ("person", "dog"), ("PER", "MISC"), 0.5, ("person", "dog")),
    Decision("car_or_boat", "object", ("car", "boat"), ("ORG", "LOC"), 0.5, ("car", "boat")),
    Decision(
        "guitar_and_cup", "relation", ("left", "right"), ("PER", "LOC"), 0.375, ("guitar", "cup")
    ),
    Decision(
        "kite_and_balloon", "relation", ("above", "below"), ("ORG", "MISC"), 0.375,
        ("kite", "balloon"),
    ),
    Decision(
        "ball_and_crate", "relation", ("inside", "beside"), ("ORG", "LOC"), 0.125, ("ball", "crate")
    ),
    Decision(
        "hoop_and_flower", "relation", ("overlap", "beside"), ("PER", "MISC"), 0.125,
        ("hoop", "flower"),
    ),
)  # fmt: skip


def probability(cue: str, decision: Decision) -> float:
    """Return the share of posts whose type `cue` decides and whose image answers `decision`."""
    if cue == "text":
        return CUES["text"] * CUES[decision.cue] / (1 - CUES["text"]) * decision.share
    return CUES[cue] * decision.share if cue == decision.cue else 0.0


def draw_decision(rng: np.random.Generator, cue: str) -> Decision:
    """Draw a question of a cue; for "text", any question in proportion to its share of images."""
    shares = np.array([probability(cue, decision) for decision in DECISIONS])
    return DECISIONS[int(rng.choice(len(DECISIONS), p=shares / shares.sum()))]


@dataclass(frozen=True)
class Composition:
    """An image before it is painted, its size in pixels."""

    width: int
    height: int
    scene: str  # one of SCENES
    objects: tuple[tuple[str, Box], ...]  # in painting order: later ones hide earlier ones


def _box(cx: float, cy: float, w: float, h: float) -> Box:
    """Return a box around a centre, on the grid of half pixels."""
    x, y, w, h = (round(2 * value) / 2 for value in (cx - w / 2, cy - h / 2, w, h))
    return x, y, x + w, y + h


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def shared_area(a: Box, b: Box) -> float:
    """Return the area of the intersection of two boxes, in square pixels."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    return max(w, 0.0) * max(h, 0.0)


@dataclass(frozen=True)
class Space:
    """The area of an image, in pixels, and the generator that places objects in it."""

    width: int
    height: int
    rng: np.random.Generator

    def point(self) -> tuple[float, float]:
        """Return a random point."""
        return self.rng.uniform(0, self.width), self.rng.uniform(0, self.height)

    def size(self, kind: str) -> tuple[float, float]:
        """Return a random width and height of an object."""
        _, aspect, (low, high) = KINDS[kind]
        side = self.rng.uniform(low, high)
        aspect *= self.rng.uniform(0.92, 1.08)
        return (side, side / aspect) if aspect > 1 else (side * aspect, side)

    def holds(self, box: Box) -> bool:
        """Return whether a box lies within the image, a pixel from its border."""
        right, bottom = self.width - 1, self.height - 1
        return box[0] >= 1 and box[1] >= 1 and box[2] <= right and box[3] <= bottom


Pair: TypeAlias = tuple[Box, Box]
# Each layout makes one attempt to place two objects; None where it fails.
Layout: TypeAlias = Callable[[Sequence[str], Space], Pair | None]


def _apart(
    kinds: Sequence[str], space: Space, angle: float, distances: tuple[float, float]
) -> Pair | None:
    """Place the second object in a direction, in degrees, from the first, without contact."""
    (w1, h1), (w2, h2) = space.size(kinds[0]), space.size(kinds[1])
    distance = space.rng.uniform(*distances) * math.hypot(space.width, space.height)
    dx, dy = distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle))
    if abs(dx) < (w1 + w2) / 2 + 2 and abs(dy) < (h1 + h2) / 2 + 2:
        return None
    cx, cy = space.point()
    return _box(cx - dx / 2, cy - dy / 2, w1, h1), _box(cx + dx / 2, cy + dy / 2, w2, h2)


def _towards(axis: float) -> Layout:
    """Return a layout with the second object about `axis` degrees from the first."""

    def layout(kinds: Sequence[str], space: Space) -> Pair | None:
        off = space.rng.uniform(*OFF_AXIS) * space.rng.choice([-1, 1])
        return _apart(kinds, space, axis + off, CLOSE_DISTANCES)

    return layout


def _beside(kinds: Sequence[str], space: Space) -> Pair | None:
    octant = 45 * int(space.rng.integers(8))
    return _apart(kinds, space, octant + space.rng.uniform(6, 39), DISTANCES)


def _inside(kinds: Sequence[str], space: Space) -> Pair | None:
    """Place the first object within the second, with room on all sides."""
    (w1, h1), (w2, h2) = space.size(kinds[0]), space.size(kinds[1])
    outer = _box(*space.point(), w2, h2)
    x, y = space.rng.uniform(4, w2 - w1 - 4), space.rng.uniform(4, h2 - h1 - 4)
    return _box(outer[0] + x + w1 / 2, outer[1] + y + h1 / 2, w1, h1), outer


def _overlap(kinds: Sequence[str], space: Space) -> Pair | None:
    """Place two objects of similar size so that each sticks out: IoU 0.6 or more."""
    rng = space.rng
    w1, h1 = space.size(kinds[0])
    w2, h2 = w1 * rng.uniform(0.94, 1.06), h1 * rng.uniform(0.94, 1.06)
    dx, dy = (rng.uniform(0.07, 0.13, 2) * rng.choice([-1, 1], 2) * (w1, h1)).tolist()
    cx, cy = space.point()
    a, b = _box(cx, cy, w1, h1), _box(cx + dx, cy + dy, w2, h2)
    shared = shared_area(a, b)
    margins = [abs(p - q) for p, q in zip(a, b, strict=True)]
    sticks_out = min(margins) >= 1.5 and (a[0] < b[0]) == (a[2] < b[2])
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


def _place_pair(decision: Decision, reading: str, space: Space) -> Pair:
    for _ in range(TRIES):
        pair = LAYOUTS[reading](decision.kinds, space)
        if pair and all(map(space.holds, pair)):
            return pair
    raise RuntimeError(f"no room for {decision.name} {reading} in {space.width}x{space.height}")


def _place_freely(kind: str, taken: Sequence[Box], space: Space) -> Box | None:
    """Place an object where it overlaps others only slightly; later attempts are smaller."""
    w, h = space.size(kind)
    for attempt in range(60):
        shrink = 1.0 if attempt < 30 else 0.85
        box = _box(*space.point(), w * shrink, h * shrink)
        if space.holds(box) and all(
            shared_area(box, other) <= 0.15 * min(_area(box), _area(other)) for other in taken
        ):
            return box
    return None


def compose(decision: Decision, reading: str, rng: np.random.Generator) -> Composition:
    """Lay out an image that answers a question with one of its two readings.

    Bystanders are drawn from all other classes; their number does not depend on the reading.
    """
    space = Space(int(rng.integers(116, 141)), int(rng.integers(90, 109)), rng)
    scene = reading if decision.cue == "scene" else str(rng.choice(SCENES))
    objects: list[tuple[str, Box]] = []
    if decision.cue == "relation":
        pair = _place_pair(decision, reading, space)
        # The second is painted first: a ball is visible in its crate, a flower through the hoop.
        objects = list(zip(decision.kinds, pair, strict=True))[::-1]
    low, high = BYSTANDERS[decision.cue]
    others = [kind for kind in OBJECTS if kind not in decision.kinds]
    kinds = [str(k) for k in rng.permutation(others)[: int(rng.integers(low, high + 1))]]
    if decision.cue == "object":
        kinds.insert(0, reading)
    for kind in kinds:
        box = _place_freely(kind, [box for _, box in objects], space)
        if box is None and kind == reading:
            raise RuntimeError(f"no room for {kind} in {space.width}x{space.height}")
        if box is not None:
            objects.insert(int(rng.integers(2)) * len(objects), (kind, box))
    return Composition(space.width, space.height, scene, tuple(objects))


def render(composition: Composition, rng: np.random.Generator) -> Image.Image:
    """Paint a composition as an RGB image of its width and height."""
    image = draw_scene(composition.scene, composition.width, composition.height, rng)
    draw = ImageDraw.Draw(image)
    for kind, box in composition.objects:
        paint(draw, kind, box, rng)
    return finish(image, rng)


def jpeg_bytes(image: Image.Image) -> bytes:
    """Return an image as a JPEG file, with fixed settings."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=2)
    return file.getvalue()
