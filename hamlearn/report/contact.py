"""The contact sheet: what a detector found in some test pictures, and how its boxes relate."""

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.features.graphs import Graphs
from hamlearn.features.relations import CLASS1, COVER, INSIDE, NONE, OVERLAP, RELATIONS
from hamlearn.features.store import FeatureFile
from hamlearn.report.figures import Picture
from hamlearn.report.inputs import CorpusResults
from hamlearn.report.style import COLOURS, draw
from hamlearn.report.tables import Cell, Row, Table
from hamlearn.settings import Settings
from hamlearn.vision.images import ImageError, Status, open_image

SHOWN = 12  # pictures of a sheet, at most
SIDE = 260  # longest side of a thumbnail, and of the drawing over it
LISTED = 15  # classes in the table
QUALITY = 72
LETTER, LINE = 5.4, 11.0  # width and height of a letter over a picture, to keep labels apart
GROUPS = {INSIDE: "inside", COVER: "cover", OVERLAP: "overlap"}
SECTORS = "sectors"
GROUP_COLOURS = {"inside": "#0072B2", "cover": "#D55E00", "overlap": "#CC79A7", SECTORS: "#8A8A8A"}


@dataclass(frozen=True)
class Box:
    """One object on the drawing, in its units.

    Attributes:
        number: from 1, by score.
        name: of its class.
        score: as text.
        colour: of its box and node.
        x: left.
        y: top.
        width: of the box.
        height: of the box.
        label: where its label begins, x and the base line.
    """

    number: int
    name: str
    score: str
    colour: str
    x: float
    y: float
    width: float
    height: float
    label: tuple[float, float]

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        return round(self.x + self.width / 2, 1), round(self.y + self.height / 2, 1)


@dataclass(frozen=True)
class Edge:
    """What relates two objects, in both directions.

    Attributes:
        title: in words.
        path: from one centre to the other.
        strokes: path and colour of each line; a line is halved where the directions differ in
            kind, each half in the colour of the relation from the object it touches.
        is_sector: whether there are only sectors.
    """

    title: str
    path: str
    strokes: tuple[tuple[str, str], ...]
    is_sector: bool


@dataclass(frozen=True)
class Shown:
    """One picture of a sheet.

    Attributes:
        name: image id.
        words: of its post.
        source: the thumbnail as a data URI.
        width: of the drawing.
        height: of the drawing.
        boxes: by score, the best first.
        edges: sectors first, so that the rarer ones lie above.
    """

    name: str
    words: str
    source: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]

    @property
    def told(self) -> str:
        """The picture in words."""
        found = ", ".join(f"{box.number} {box.name} {box.score}" for box in self.boxes)
        return f"Picture {self.name} with {found or 'no object'}"


@dataclass(frozen=True)
class Sheet:
    """What one detector found in the pictures of one corpus.

    Attributes:
        detector: its name.
        summary: of all pictures, in a sentence.
        pictures: some of the test split; empty where none is shown.
        counts: histogram of objects by picture; None where no picture was read.
        classes: the classes found most; None where nothing was found.
    """

    detector: str
    summary: str
    pictures: tuple[Shown, ...]
    counts: Picture | None
    classes: Table | None


def contact_sheet(settings: Settings, corpus: CorpusResults, detector: str, results: Path) -> Sheet:
    """Read what a detector found, and draw it.

    Args:
        settings: whether pictures are shown, and how large they may be.
        corpus: whose pictures.
        detector: of a run that sees them.
        results: the folder that the workflow writes.

    Raises:
        HamlearnError: features or graphs are absent, or do not belong together.
    """
    with FeatureFile(results / "features" / corpus.name / "objects" / f"{detector}.h5") as objects:
        if objects.attributes["kind"] != "objects":
            raise HamlearnError(f"{objects.path}: holds no objects; expected those of a detector")
        every = range(len(objects.ids))
        read = objects.rows("status", every) == int(Status.OK)
        labels = objects.rows("labels", every)[read]
        is_object = (labels >= 0) & (labels < len(objects.classes))
        found = is_object.sum(axis=1)
        pictures: tuple[Shown, ...] = ()
        if settings.report.pictures:
            graphs = results / "graphs" / corpus.name / f"{detector}.h5"
            posts = evenly(_candidates(corpus, objects), SHOWN)
            pictures = tuple(_shown(posts, objects, graphs, settings.pictures.max_pixels))
        classes = _classes(objects, labels, objects.rows("scores", every)[read], is_object)
    name = f"{corpus.name}-{detector}-objects"
    counts = Picture(
        name,
        draw(name, lambda axes: _histogram(axes[0], found), (4.4, 2.4)),
        f"Objects by picture: {corpus.name}, detector {detector}",
    )
    return Sheet(detector, _summary(found), pictures, counts if len(found) else None, classes)


def evenly(posts: Sequence[CorpusPost], most: int) -> list[CorpusPost]:
    """Return at most so many posts, evenly spread, the first and the last among them."""
    if len(posts) <= most:
        return list(posts)
    return [posts[place * (len(posts) - 1) // (most - 1)] for place in range(most)]


def _candidates(corpus: CorpusResults, objects: FeatureFile) -> list[CorpusPost]:
    """Return the first test post of each picture that the detector could read."""
    status = objects.rows("status", range(len(objects.ids)))
    first: dict[str, CorpusPost] = {}
    for post in corpus.test:
        if post.image_path is not None and post.image_id in objects.row_of:
            first.setdefault(post.image_id, post)
    return [post for image, post in first.items() if status[objects.row_of[image]] == Status.OK]


def _shown(
    posts: Sequence[CorpusPost], objects: FeatureFile, graphs: Path, max_pixels: int
) -> Iterator[Shown]:
    """Draw those posts whose picture is still there."""
    rows = [objects.row_of[post.image_id] for post in posts]
    relations = relations_of(graphs, objects, rows)
    for post, row, relation in zip(posts, rows, relations, strict=True):
        try:
            picture = open_image(post.image_path, max_pixels)
        except ImageError:
            continue
        scale = SIDE / max(picture.size)
        width, height = (max(1, round(scale * side)) for side in picture.size)
        boxes = _boxes(objects, row, width, height)
        edges = _edges([box for _, box in boxes], relation, [place for place, _ in boxes])
        yield Shown(
            name=post.image_id,
            words=" ".join(post.words),
            source=thumbnail(picture),
            width=width,
            height=height,
            boxes=tuple(box for _, box in boxes),
            edges=tuple(sorted(edges, key=lambda edge: not edge.is_sector)),
        )


def thumbnail(picture: Image.Image, side: int = SIDE, quality: int = QUALITY) -> str:
    """Return a small JPEG as a data URI; a picture that is small already keeps its size."""
    small = picture.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _boxes(objects: FeatureFile, row: int, width: int, height: int) -> list[tuple[int, Box]]:
    """Return the objects of a picture, each with its place in the file."""
    labels, scores, corners = (objects.rows(n, [row])[0] for n in ("labels", "scores", "boxes"))
    boxes: list[tuple[int, Box]] = []
    taken: list[tuple[float, float, float]] = []  # left, base line and width of labels
    for place in np.flatnonzero((labels >= 0) & (labels < len(objects.classes))).tolist():
        left, top, right, bottom = (corners[place] * (width, height, width, height)).tolist()
        number, name = len(boxes) + 1, objects.classes[labels[place]]
        score = f"{scores[place]:.2f}"
        length = LETTER * len(f"{number} {name} {score}")
        at = _free(taken, left, top - 3, length, width, height)
        taken.append((*at, length))
        box = Box(
            number=number,
            name=name,
            score=score,
            colour=COLOURS[(number - 1) % len(COLOURS)],
            x=round(left, 1),
            y=round(top, 1),
            width=round(right - left, 1),
            height=round(bottom - top, 1),
            label=(round(at[0], 1), round(at[1], 1)),
        )
        boxes.append((place, box))
    return boxes


def _free(
    taken: Sequence[tuple[float, float, float]],
    x: float,
    y: float,
    length: float,
    width: int,
    height: int,
) -> tuple[float, float]:
    """Return where a label fits that would begin at x and y: there, or the nearest line free."""
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


def _edges(boxes: Sequence[Box], relation: NDArray[np.int8], places: Sequence[int]) -> list[Edge]:
    """Return the edges between objects; those with the picture's own node go without saying."""
    edges = []
    for (one, i), (other, j) in combinations(zip(boxes, places, strict=True), 2):
        there, back = int(relation[i + 1, j + 1]), int(relation[j + 1, i + 1])
        said = [
            f"{a.number} {a.name} to {b.number} {b.name}: {RELATIONS[k]}"
            for a, b, k in ((one, other, there), (other, one, back))
            if k != NONE
        ]
        if not said:
            continue
        (x1, y1), (x2, y2) = one.centre, other.centre
        xm, ym = round((x1 + x2) / 2, 1), round((y1 + y2) / 2, 1)
        whole = f"M{x1:g} {y1:g}L{x2:g} {y2:g}"
        groups = [GROUPS.get(k, SECTORS) if k != NONE else None for k in (there, back)]
        if groups[0] == groups[1]:
            halves = [(whole, groups[0])]
        else:
            ends = (f"M{x1:g} {y1:g}L{xm:g} {ym:g}", f"M{x2:g} {y2:g}L{xm:g} {ym:g}")
            halves = list(zip(ends, groups, strict=True))
        strokes = tuple((path, GROUP_COLOURS[group]) for path, group in halves if group)
        is_sector = all(k == NONE or k >= CLASS1 for k in (there, back))
        edges.append(Edge("; ".join(said), whole, strokes, is_sector))
    return edges


def relations_of(path: Path, objects: FeatureFile, rows: Sequence[int]) -> NDArray[np.int8]:
    """Return (rows, N+1, N+1) of a graph file that was made from these objects."""
    with closing(Graphs(path, objects)) as graphs:
        return graphs.rows(rows)


def _classes(
    objects: FeatureFile,
    labels: NDArray[np.int32],
    scores: NDArray[np.float32],
    is_object: NDArray[np.bool],
) -> Table | None:
    """Return the classes found most, with objects, pictures and the mean score."""
    numbers, totals = np.unique(labels[is_object], return_counts=True)
    if not len(numbers):
        return None
    order = sorted(zip(numbers.tolist(), totals.tolist(), strict=True), key=lambda n: (-n[1], n[0]))
    rows = []
    for number, total in order[:LISTED]:
        here = labels == number
        shown, mean = int(here.any(axis=1).sum()), float(scores[here].mean())
        cells = (f"{total:,}", f"{shown:,}", f"{100 * shown / len(labels):.1f}", f"{mean:.2f}")
        rows.append(Row(objects.classes[number], tuple(map(Cell, cells))))
    return Table(
        caption=f"Classes found most, of {len(order)} found and {len(objects.classes)} known, over"
        " the pictures of all splits.",
        corner="Class",
        columns=("Objects", "Pictures", "Percent", "Mean score"),
        rows=tuple(rows),
    )


def _summary(found: NDArray[np.int64]) -> str:
    if not len(found):
        return "No picture was read."
    without = int((found == 0).sum())
    return (
        f"{int(found.sum()):,} objects in {len(found):,} pictures of all splits:"
        f" {found.mean():.1f} a picture, {int(found.max())} at most;"
        f" {f'{without:,} show none' if without else 'every picture shows one at least'}."
    )


def _histogram(ax: Axes, found: NDArray[np.int64]) -> None:
    numbers = np.bincount(found, minlength=2)
    ax.bar(range(len(numbers)), numbers, width=0.85, color=COLOURS[0])
    ax.set_xlabel("objects found in a picture")
    ax.set_ylabel("pictures")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y")
