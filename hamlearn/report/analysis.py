"""Where a system is right and wrong: confusions of types, F1 by length and by number of objects."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from hamlearn.corpus.labels import Entity, entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.scores import Score
from hamlearn.features.store import FeatureFile
from hamlearn.report.figures import WIDTH, Picture, legend_above
from hamlearn.report.inputs import NO_DETECTOR, CorpusResults, Run
from hamlearn.report.style import draw, look, place_of
from hamlearn.report.tables import Cell, Row, Table
from hamlearn.vision.images import Status

LENGTHS = ("1", "2", "3", "4 or more")  # words
OBJECTS = ("no picture", "0", "1 to 3", "4 to 7", "8 to 14", "15 or more")
_FROM = (0, 1, 4, 8, 15)
Place = Callable[[int, Entity], str]  # of a test post and one of its entities


def confusion(corpus: CorpusResults, run: Run) -> Table | None:
    """Return how often a gold type was predicted as which, and what was missed or made up.

    Args:
        corpus: of the run.
        run: whose predictions are looked at.

    Returns:
        None where the test split has no entity.
    """
    cells: Counter[tuple[str, str]] = Counter()
    missed, spurious = "missed", "no entity"
    for post, labels in zip(corpus.test, run.predicted, strict=True):
        gold = {(e.start, e.end): e.type for e in entities(post.labels)}
        found = {(e.start, e.end): e.type for e in entities(labels)}
        cells.update((type_, found.get(span, missed)) for span, type_ in gold.items())
        cells.update((spurious, type_) for span, type_ in found.items() if span not in gold)
    if not cells:
        return None
    types = sorted({name for pair in cells for name in pair} - {missed, spurious})
    rows = tuple(
        Row(
            name,
            tuple(Cell(f"{cells[name, column]:,}") for column in (*types, missed))
            if name != spurious
            else (*(Cell(f"{cells[name, column]:,}") for column in types), Cell("")),
            kind="" if name != spurious else "reference",
        )
        for name in (*types, spurious)
    )
    return Table(
        caption=f"Types taken for each other on test by {corpus.name_of(run)}: gold in rows,"
        " predicted in columns. An entity of another border than gold's counts as missed, and"
        " what was found instead as predicted where there is no entity.",
        corner="Gold",
        columns=(*types, missed),
        rows=rows,
    )


def f1_by_length(corpus: CorpusResults, detector: str) -> Picture | None:
    """Draw lenient test F1 by the number of words of an entity, a line a variant.

    Args:
        corpus: with runs.
        detector: whose runs are drawn, beside those without pictures.

    Returns:
        None where the test split has no entity.
    """

    def place(_: int, entity: Entity) -> str:
        return LENGTHS[min(entity.end - entity.start, len(LENGTHS)) - 1]

    return _by(corpus, detector, "length", "words of the entity", LENGTHS, place)


def f1_by_objects(
    corpus: CorpusResults, detector: str, objects: Sequence[int | None]
) -> Picture | None:
    """Draw lenient test F1 by the number of objects in the post's picture, a line a variant.

    Args:
        corpus: with runs.
        detector: whose runs are drawn, beside those without pictures.
        objects: of the picture of each test post; None where there is no usable one.

    Returns:
        None where the test split has no entity.
    """

    def place(number: int, _: Entity) -> str:
        found = objects[number]
        return OBJECTS[0] if found is None else OBJECTS[int(np.searchsorted(_FROM, found, "right"))]

    return _by(corpus, detector, "objects", "objects in the picture", OBJECTS, place)


def objects_of_posts(corpus: CorpusResults, detector: str, results: Path) -> list[int | None]:
    """Return the number of objects that a detector found in the picture of each test post.

    Raises:
        HamlearnError: the features are absent.
    """
    path = results / "features" / corpus.name / "objects" / f"{detector}.h5"
    with FeatureFile(path) as file:
        every = range(len(file.ids))
        labels, status = file.rows("labels", every), file.rows("status", every)
        found = ((labels >= 0) & (labels < len(file.classes))).sum(axis=1)
        rows = [file.row_of.get(post.image_id) for post in corpus.test]
    return [None if r is None or status[r] != Status.OK else int(found[r]) for r in rows]


def scores_by(
    posts: Sequence[CorpusPost], predicted: Sequence[Sequence[str]], place: Place
) -> dict[str, Score]:
    """Return the lenient score of the entities of each place.

    Args:
        posts: with gold labels.
        predicted: the labels of each.
        place: of a post's number and an entity, gold or predicted.
    """
    counts: dict[str, Counter[str]] = {}
    for number, (post, labels) in enumerate(zip(posts, predicted, strict=True)):
        gold, found = set(entities(post.labels)), set(entities(labels))
        for kind, some in (("support", gold), ("predicted", found), ("correct", gold & found)):
            for entity in some:
                counts.setdefault(place(number, entity), Counter())[kind] += 1
    kinds = ("correct", "predicted", "support")
    return {name: Score(*(count[kind] for kind in kinds)) for name, count in counts.items()}


def _by(
    corpus: CorpusResults,
    detector: str,
    key: str,
    label: str,
    order: Sequence[str],
    place: Place,
) -> Picture | None:
    runs = [run for run in corpus.runs if run.detector in (detector, NO_DETECTOR)]
    variants = list(dict.fromkeys(run.variant for run in runs))
    values: dict[str, dict[str, list[float]]] = {variant: {} for variant in variants}
    support: Counter[str] = Counter()
    for run in runs:
        scores = scores_by(corpus.test, run.predicted, place)
        for name, one in scores.items():
            if one.support:
                values[run.variant].setdefault(name, []).append(100 * one.f1)
                support[name] = one.support
    places = [name for name in order if support[name]]
    if not places:
        return None
    name = f"{corpus.name}-{detector}-f1-by-{key}"
    return Picture(
        name,
        draw(name, lambda axes: _lines(axes[0], values, places, support, label), (WIDTH, 3.2)),
        f"Lenient F1 on test by {label}: {corpus.name}"
        + ("" if detector == NO_DETECTOR else f", detector {detector}"),
    )


def _lines(
    ax: Axes,
    values: Mapping[str, Mapping[str, Sequence[float]]],
    places: Sequence[str],
    support: Mapping[str, int],
    label: str,
) -> None:
    """Draw a line a variant over the places, means over seeds."""
    for variant, by_place in values.items():
        colour, mark, dashes = look(place_of(variant, list(values)))
        known = [at for at, name in enumerate(places) if name in by_place]
        means = [float(np.mean(by_place[places[at]])) for at in known]
        ax.plot(known, means, color=colour, marker=mark, ls=dashes, markersize=4, label=variant)
    ax.set_xticks(range(len(places)), [f"{name}\n({support[name]:,})" for name in places])
    ax.set_xlim(-0.4, len(places) - 0.6)
    ax.set_ylim(-2, 102)
    ax.set_xlabel(f"{label} (gold entities)")
    ax.set_ylabel("lenient F1, percent")
    ax.grid(axis="y")
    legend_above(ax, 1.0)
