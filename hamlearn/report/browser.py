"""Every test post for the page's error browser: words, entities, pictures, boxes and relations.

All of it is data: JSON that cannot end the element that holds it, shown by a script that writes
text and never markup.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from markupsafe import Markup

from hamlearn.corpus.labels import entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.cues import cues_of
from hamlearn.evaluation.outcomes import MISSED, OUTCOMES, WRONG_TYPE, outcomes
from hamlearn.features.relations import NONE, RELATIONS
from hamlearn.report.contact import thumbnail
from hamlearn.report.figures import VIEWS
from hamlearn.report.inputs import CorpusResults, Detections, ImageObjects
from hamlearn.settings import Settings
from hamlearn.vision.images import ImageError, open_image

SIDE, QUALITY = 220, 55  # of a thumbnail; about 8 kB
MOST = 45_000_000  # bytes of thumbnails on one page
BLOCK = 64  # thumbnails that are unpacked together
EDGES = 6  # most relations drawn in a picture

_ESCAPED = re.compile("[<>&\u2028\u2029\x7f-\x9f]")  # JSON itself escapes other control characters

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Browser:
    """What the page holds of the test posts of one corpus."""

    posts: int
    data: Markup  # JSON of everything but the pictures
    thumbnails: list[Markup]  # JSON lists of BLOCK data URIs each, null where there is none
    left_out: int  # posts whose picture is left out to limit the size of the page


def browser_of(
    settings: Settings, corpus: CorpusResults, detections: Sequence[Detections]
) -> Browser:
    """Gather every test post with what each run and each detector makes of it."""
    test = corpus.test
    labels = [post.labels for post in test] + [some for run in corpus.runs for some in run.labels]
    types = sorted({entity.type for some in labels for entity in entities(some)})
    data = {
        "corpus": corpus.name,
        "types": types,
        "outcomes": OUTCOMES,
        "relations": RELATIONS,
        "views": VIEWS,
        "cues": sorted({cue for post in test for cue in post.cues}),
        "runs": [{"name": corpus.name_of(run), "detector": run.detector} for run in corpus.runs],
        "posts": [_post(corpus, place, post, types) for place, post in enumerate(test)],
        "objects": {found.detector: _objects(test, found) for found in detections},
    }
    sources: list[str | None] = []
    if settings.report.pictures:
        sources = list(_thumbnails(test, settings.pictures.max_pixels))
    left_out = sources.count("")
    if left_out:
        log.warning("%s: %d pictures are left out of the page's posts", corpus.name, left_out)
    blocks = [sources[at : at + BLOCK] for at in range(0, len(sources), BLOCK)]
    thumbnails = [as_json([source or None for source in block]) for block in blocks]
    return Browser(len(test), as_json(data), thumbnails, left_out)


def as_json(value: Any) -> Markup:
    """Return JSON for a script element: no character of it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(_ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", text))


def _post(
    corpus: CorpusResults, place: int, post: CorpusPost, types: Sequence[str]
) -> dict[str, Any]:
    """Return one post: words, gold entities, and what each run makes of it."""
    cues = cues_of(post)
    number = {name: at for at, name in enumerate(types)}
    runs = []
    for run in corpus.runs:
        prediction = run.predictions[place]
        compared = outcomes(post.labels, prediction.labels)
        predicted = [
            [one.start, one.end, number[one.type], outcome] for one, outcome in compared.predicted
        ]
        faults = [
            at for at, (_, outcome) in enumerate(compared.gold) if outcome in (MISSED, WRONG_TYPE)
        ]
        found = prediction.relevance
        relevance = found and [round(found[v], 4) if v in found else None for v in VIEWS]
        runs.append([predicted, faults, relevance, prediction.contributions])
    gold = [[e.start, e.end, number[e.type], cues.get(e)] for e in entities(post.labels)]
    entry: dict[str, Any] = {"id": post.id, "words": post.words, "gold": gold, "runs": runs}
    if post.image_id in corpus.failures:
        entry["unusable"] = ": ".join(filter(None, corpus.failures[post.image_id]))
    elif post.image_path is None:
        if any(run.predictions[place].has_image for run in corpus.runs):
            entry["features"] = 1  # precomputed, without a file to show
        else:
            entry["unusable"] = "missing"
    return entry


def _objects(posts: Sequence[CorpusPost], found: Detections) -> dict[str, Any]:
    """Return the boxes of every post, in thousandths, and the most certain relations."""
    numbers: dict[str, int] = {}
    entries: list[Any] = []
    for post in posts:
        objects = found.images.get(post.image_id)
        if objects is None:
            entries.append(None)
            continue
        boxes = [
            [
                *(round(1000 * float(value)) for value in box),
                numbers.setdefault(name, len(numbers)),
                round(float(score), 2),
            ]
            for name, score, box in zip(objects.names, objects.scores, objects.boxes, strict=True)
        ]
        entries.append([boxes, most_certain_edges(objects)])
    return {"classes": list(numbers), "posts": entries}


def most_certain_edges(objects: ImageObjects) -> list[list[int | None]]:
    """Return the edges between objects by the product of their scores, at most EDGES.

    Returns:
        For each edge the two objects, and the relations there and back, or None.
    """
    edges: list[list[int | None]] = []
    scores = objects.scores.tolist()
    pairs = combinations(range(len(scores)), 2)
    for i, j in sorted(pairs, key=lambda pair: -scores[pair[0]] * scores[pair[1]]):
        both = int(objects.relations[i, j]), int(objects.relations[j, i])
        if both != (NONE, NONE):
            edges.append([i, j, *(None if relation == NONE else relation for relation in both)])
    return edges[:EDGES]


def _thumbnails(posts: Sequence[CorpusPost], max_pixels: int) -> Iterator[str | None]:
    """Yield a data URI per post, None where there is no picture, "" once the page is full."""
    size = 0
    for post in posts:
        source = None
        if post.image_path is not None and size > MOST:
            source = ""
        elif post.image_path is not None:
            with suppress(ImageError):
                source = thumbnail(open_image(post.image_path, max_pixels), SIDE, QUALITY)
                size += len(source)
        yield source
