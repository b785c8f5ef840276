"""The contact sheet: what a detector found in some test pictures, and how its boxes relate."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from hamlearn.corpus.posts import CorpusPost
from hamlearn.features.relations import CLASS1, COVER, INSIDE, NONE, OVERLAP, RELATIONS
from hamlearn.report.inputs import CorpusResults, Detections, ImageObjects
from hamlearn.report.style import COLOURS, Figure, draw
from hamlearn.report.tables import Row, Table, cells
from hamlearn.settings import Settings
from hamlearn.vision.images import ImageError, open_image

SHOWN = 12  # most pictures on a sheet
SIDE, QUALITY = 260, 72  # longest side of a thumbnail, and of the drawing on top of it
LISTED = 15  # classes in the table
LETTER, LINE = 5.4, 11.0  # width and height of a letter on a picture, to keep labels apart
SECTORS = "sectors"
GROUPS = {INSIDE: "inside", COVER: "cover", OVERLAP: "overlap"}
GROUP_COLOURS = {"inside": "#0072B2", "cover": "#D55E00", "overlap": "#CC79A7", SECTORS: "#8A8A8A"}


def thumbnail(image: Image.Image, side: int = SIDE, quality: int = QUALITY) -> str:
    """Return a small JPEG as a data URI; an image that is already small keeps its size."""
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


@dataclass(frozen=True)
class Box:
    """One object on a drawing, in its units."""

    number: int  # from 1, by score
    name: str  # of its class
    score: str
    colour: str
    x: float
    y: float
    width: float
    height: float
    label: tuple[float, float]  # where its label begins, x and baseline

    @property
    def centre(self) -> tuple[float, float]:
        """The centre of the box."""
        return round(self.x + self.width / 2, 1), round(self.y + self.height / 2, 1)


@dataclass(frozen=True)
class Edge:
    """The relations between two objects, in both directions.

    Where these differ in kind, each half of the line has the colour of the relation from the object
    it touches.
    """

    title: str  # in words
    path: str  # from one centre to the other
    strokes: tuple[tuple[str, str], ...]  # path and colour of each part
    is_sector: bool  # neither is another relation than a sector


@dataclass(frozen=True)
class SheetImage:
    """One picture of a sheet: its post's words, thumbnail as a data URI, objects and edges."""

    name: str
    words: str
    source: str
    width: int
    height: int
    boxes: list[Box]
    edges: list[Edge]

    @property
    def alt(self) -> str:
        """The picture in words."""
        found = ", ".join(f"{box.number} {box.name} {box.score}" for box in self.boxes)
        return f"Picture {self.name} with {found or 'no object'}"


@dataclass(frozen=True)
class Sheet:
    """What one detector found in one corpus."""

    detector: str
    summary: str  # of all pictures, in a sentence
    images: list[SheetImage]  # some of the test split
    counts: Figure | None  # histogram of objects per picture; None where no picture was read
    classes: Table | None  # the most frequent ones; None where nothing was found


def contact_sheet(settings: Settings, corpus: CorpusResults, found: Detections) -> Sheet:
    """Draw what a detector found, with pictures if the settings show them."""
    images = []
    if settings.report.pictures:
        first: dict[str, CorpusPost] = {}  # of the posts with the same picture
        for post in corpus.test:
            if post.image_path is not None and post.image_id in found.images:
                first.setdefault(post.image_id, post)
        posts = evenly(list(first.values()), SHOWN)
        images = list(_sheet_images(posts, found, settings.pictures.max_pixels))
    numbers = found.is_object.sum(axis=1)
    counts = draw(
        f"{corpus.name}-{found.detector}-objects",
        f"Objects per picture: {corpus.title(found.detector)}",
        lambda axes: _draw_histogram(axes[0], numbers),
        (4.4, 2.4),
    )
    classes = _class_table(found)
    return Sheet(
        found.detector, _summary(numbers), images, counts if len(numbers) else None, classes
    )


def evenly(posts: Sequence[CorpusPost], most: int) -> list[CorpusPost]:
    """Return at most this many posts, evenly spread, including the first and the last."""
    if len(posts) <= most:
        return list(posts)
    return [posts[place * (len(posts) - 1) // (most - 1)] for place in range(most)]


def _sheet_images(
    posts: Sequence[CorpusPost], found: Detections, max_pixels: int
) -> Iterator[SheetImage]:
    """Draw the posts whose picture still exists."""
    for post in posts:
        try:
            image = open_image(post.image_path, max_pixels)
        except ImageError:
            continue
        scale = SIDE / max(image.size)
        width, height = (max(1, round(scale * side)) for side in image.size)
        objects = found.images[post.image_id]
        boxes = _boxes(objects, width, height)
        # Sectors first, so that the rarer relations are drawn on top.
        edges = sorted(_edges(boxes, objects.relations), key=lambda edge: not edge.is_sector)
        words = " ".join(post.words)
        yield SheetImage(post.image_id, words, thumbnail(image), width, height, boxes, edges)


def _boxes(objects: ImageObjects, width: int, height: int) -> list[Box]:
    boxes: list[Box] = []
    taken: list[tuple[float, float, float]] = []  # left, baseline and width of labels
    corners = (objects.boxes * (width, height, width, height)).tolist()
    found = zip(objects.names, objects.scores, corners, strict=True)
    for number, (name, score, (left, top, right, bottom)) in enumerate(found, start=1):
        length = LETTER * len(f"{number} {name} {score:.2f}")
        at = _free_place(taken, left, top - 3, length, width, height)
        taken.append((*at, length))
        x, y, w, h = (round(value, 1) for value in (left, top, right - left, bottom - top))
        colour = COLOURS[(number - 1) % len(COLOURS)]
        label = (round(at[0], 1), round(at[1], 1))
        boxes.append(Box(number, name, f"{score:.2f}", colour, x, y, w, h, label))
    return boxes


def _free_place(
    taken: Sequence[tuple[float, float, float]],
    x: float,
    y: float,
    length: float,
    width: int,
    height: int,
) -> tuple[float, float]:
    """Return where a label fits that would begin at x and y: there, or on the nearest free line."""
    x = max(2.0, min(x, width - length - 2))
    y = max(LINE, min(y, height - 3.0))
    for step in sorted(range(-30, 31), key=lambda n: (abs(n), -n)):
        line = y + step * LINE / 2
        clear = all(
            abs(line - base) >= LINE or x + length <= left or left + wide <= x
            for left, base, wide in taken
        )
        if clear and LINE <= line <= height - 3:
            return x, line
    return x, y


def _edges(boxes: Sequence[Box], relations: NDArray[np.int8]) -> Iterator[Edge]:
    """Yield the edges between objects; those with the image's own node are left out."""
    for (i, one), (j, other) in combinations(enumerate(boxes), 2):
        there, back = int(relations[i, j]), int(relations[j, i])
        titles = [
            f"{a.number} {a.name} to {b.number} {b.name}: {RELATIONS[k]}"
            for a, b, k in ((one, other, there), (other, one, back))
            if k != NONE
        ]
        if not titles:
            continue
        (x1, y1), (x2, y2) = one.centre, other.centre
        xm, ym = round((x1 + x2) / 2, 1), round((y1 + y2) / 2, 1)
        path = f"M{x1:g} {y1:g}L{x2:g} {y2:g}"
        groups = [GROUPS.get(k, SECTORS) if k != NONE else None for k in (there, back)]
        lines = [(path, groups[0])]
        if groups[0] != groups[1]:
            halves = (f"M{x1:g} {y1:g}L{xm:g} {ym:g}", f"M{x2:g} {y2:g}L{xm:g} {ym:g}")
            lines = list(zip(halves, groups, strict=True))
        strokes = tuple((line, GROUP_COLOURS[group]) for line, group in lines if group)
        is_sector = all(k == NONE or k >= CLASS1 for k in (there, back))
        yield Edge("; ".join(titles), path, strokes, is_sector)


def _class_table(found: Detections) -> Table | None:
    numbers, totals = np.unique(found.labels[found.is_object], return_counts=True)
    if not len(numbers):
        return None
    rows = []
    for place in np.argsort(-totals, kind="stable")[:LISTED]:
        here = found.labels == numbers[place]
        images = int(here.any(axis=1).sum())
        share, score = 100 * images / len(here), found.scores[here].mean()
        row = cells([f"{totals[place]:,}", f"{images:,}", f"{share:.1f}", f"{score:.2f}"])
        rows.append(Row(found.classes[numbers[place]], row))
    return Table(
        caption=f"The most frequent classes, of {len(numbers)} found and {len(found.classes)}"
        " known, in the pictures of all splits.",
        corner="Class",
        columns=("Objects", "Pictures", "Percent", "Mean score"),
        rows=tuple(rows),
    )


def _summary(numbers: NDArray[np.int64]) -> str:
    if not len(numbers):
        return "No picture was read."
    without = int((numbers == 0).sum())
    ending = f"{without:,} show none" if without else "every picture shows at least one"
    return (
        f"{int(numbers.sum()):,} objects in {len(numbers):,} pictures of all splits:"
        f" {numbers.mean():.1f} per picture, at most {int(numbers.max())}; {ending}."
    )


def _draw_histogram(ax: Axes, numbers: NDArray[np.int64]) -> None:
    bars = np.bincount(numbers, minlength=2)
    ax.bar(range(len(bars)), bars, width=0.85, color=COLOURS[0])
    ax.set_xlabel("objects found in a picture")
    ax.set_ylabel("pictures")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y")
