"""Every test post for the page's error browser: words, entities, pictures, boxes and relations.

All of it is data: JSON in which nothing can end the element that holds it, shown by a script that
writes text and never markup.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from hamlearn.corpus.labels import entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.scores import cues_of
from hamlearn.features.relations import NONE, RELATIONS
from hamlearn.features.store import FeatureFile
from hamlearn.report.contact import relations_of, thumbnail
from hamlearn.report.inputs import CorpusResults
from hamlearn.report.outcomes import MISSED, OUTCOMES, WRONG_TYPE, outcomes
from hamlearn.settings import Settings
from hamlearn.vision.images import ImageError, Status, open_image

SIDE, QUALITY = 220, 55  # of a thumbnail; about 8 kB
MOST = 45_000_000  # bytes of thumbnails on one page
BLOCK = 64  # thumbnails that are unpacked together
EDGES = 6  # relations drawn in a picture
VIEWS = ("semantic", "spatial")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Browser:
    """What the page holds of the test posts of one corpus.

    Attributes:
        corpus: its name.
        posts: how many there are.
        data: JSON of all but the pictures.
        thumbnails: JSON lists of BLOCK data URIs each, null where there is none.
        left_out: posts whose picture is left out, so that the page stays small.
    """

    corpus: str
    posts: int
    data: Markup
    thumbnails: list[Markup]
    left_out: int


def browser_of(settings: Settings, corpus: CorpusResults, results: Path) -> Browser:
    """Gather every test post with what each run makes of it.

    Args:
        settings: whether pictures are shown, and how large they may be.
        corpus: its posts and runs.
        results: the folder that the workflow writes.

    Raises:
        HamlearnError: features or graphs are absent, or do not belong together.
    """
    test = corpus.test
    types = sorted(
        {entity.type for post in test for entity in entities(post.labels)}
        | {e.type for run in corpus.runs for labels in run.predicted for e in entities(labels)}
    )
    data = {
        "corpus": corpus.name,
        "types": types,
        "outcomes": OUTCOMES,
        "relations": RELATIONS,
        "views": VIEWS,
        "cues": sorted({cue for post in test for cue in post.cues}),
        "runs": [{"name": corpus.name_of(run), "detector": run.detector} for run in corpus.runs],
        "posts": [_post(corpus, place, types) for place in range(len(test))],
        "objects": {name: _objects(settings, corpus, name, results) for name in corpus.detectors},
    }
    thumbnails, left_out = [], 0
    if settings.report.pictures:
        sources = list(_thumbnails(test, settings.pictures.max_pixels))
        left_out = sources.count("")
        found = [source or None for source in sources]
        thumbnails = [as_json(found[at : at + BLOCK]) for at in range(0, len(found), BLOCK)]
    if left_out:
        log.warning("%s: %d pictures are left out of the page's posts", corpus.name, left_out)
    return Browser(corpus.name, len(test), as_json(data), thumbnails, left_out)


def as_json(value: Any) -> Markup:
    """Return JSON for a script element: no character of it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _post(corpus: CorpusResults, place: int, types: Sequence[str]) -> dict[str, Any]:
    """Return one post: words, gold entities, and what each run makes of it."""
    post = corpus.test[place]
    cues = cues_of(post)
    number = {name: at for at, name in enumerate(types)}
    runs = []
    for run in corpus.runs:
        told = outcomes(post.labels, run.predicted[place])
        relevance = run.relevance[place]
        runs.append(
            [
                [[*one.entity[:2], number[one.entity.type], one.outcome] for one in told.predicted],
                [at for at, one in enumerate(told.gold) if one.outcome in (MISSED, WRONG_TYPE)],
                [round(relevance[view], 4) if view in relevance else None for view in VIEWS]
                if relevance
                else None,
            ]
        )
    gold = [[e.start, e.end, number[e.type], cues.get(e)] for e in entities(post.labels)]
    entry: dict[str, Any] = {"id": post.id, "words": post.words, "gold": gold, "runs": runs}
    if post.image_id in corpus.failures:
        entry["unusable"] = ": ".join(filter(None, corpus.failures[post.image_id]))
    elif post.image_path is None:
        entry["unusable"] = "missing"
    return entry


def _objects(
    settings: Settings, corpus: CorpusResults, detector: str, results: Path
) -> dict[str, Any]:
    """Return the boxes of every post, in thousandths, and the strongest relations between them."""
    names: dict[str, int] = {}
    found: list[Any] = []
    path = results / "features" / corpus.name / "objects" / f"{detector}.h5"
    with FeatureFile(path) as objects:
        status = objects.rows("status", range(len(objects.ids)))
        rows = [objects.row_of.get(post.image_id) for post in corpus.test]
        read = [row for row in rows if row is not None and status[row] == Status.OK]
        relations = {}
        if settings.report.pictures:
            graphs = results / "graphs" / corpus.name / f"{detector}.h5"
            relations = dict(zip(read, relations_of(graphs, objects, read), strict=True))
        for row in rows:
            if row is None or status[row] != Status.OK:
                found.append(None)
                continue
            labels, scores, corners = (
                objects.rows(name, [row])[0] for name in ("labels", "scores", "boxes")
            )
            kept = np.flatnonzero((labels >= 0) & (labels < len(objects.classes)))
            boxes = [
                [
                    *(round(1000 * float(value)) for value in corners[place]),
                    names.setdefault(objects.classes[labels[place]], len(names)),
                    round(float(scores[place]), 2),
                ]
                for place in kept
            ]
            found.append([boxes, strongest(relations.get(row), kept, scores)])
    return {"classes": list(names), "posts": found}


def strongest(
    relations: NDArray[np.int8] | None, kept: NDArray[np.int64], scores: NDArray[np.float32]
) -> list[list[int | None]]:
    """Return the edges between objects that are surest to be there, EDGES of them at most.

    An edge is as sure as both its ends: the product of their scores.

    Args:
        relations: (N+1, N+1) of one picture, node 0 the picture; None where there is no graph.
        kept: places of the objects.
        scores: (N,) of all.

    Returns:
        For each edge the two places within `kept`, and the relation there and back, or None.
    """
    if relations is None:
        return []
    edges: list[tuple[float, list[int | None]]] = []
    for i, one in enumerate(kept):
        for j, other in enumerate(kept[i + 1 :], start=i + 1):
            both = (int(relations[one + 1, other + 1]), int(relations[other + 1, one + 1]))
            if both == (NONE, NONE):
                continue
            there, back = (None if relation == NONE else relation for relation in both)
            edges.append((-float(scores[one] * scores[other]), [i, j, there, back]))
    return [edge for _, edge in sorted(edges, key=lambda edge: edge[0])[:EDGES]]


def _thumbnails(posts: Sequence[CorpusPost], max_pixels: int) -> Iterator[str | None]:
    """Yield a data URI a post, None where there is no picture, "" once the page is full."""
    size = 0
    for post in posts:
        if post.image_path is None:
            yield None
            continue
        if size > MOST:
            yield ""
            continue
        try:
            source = thumbnail(open_image(post.image_path, max_pixels), SIDE, QUALITY)
        except ImageError:
            yield None
            continue
        size += len(source)
        yield source
