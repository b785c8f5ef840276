"""Where a run is right and wrong: confusions, scores by group, relevance by outcome."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hamlearn.corpus.labels import Entity, entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.outcomes import outcomes
from hamlearn.evaluation.scores import Score
from hamlearn.report.inputs import CorpusResults, RunResult

LENGTHS = ("1", "2", "3", "4 or more")  # words
OBJECTS = ("no picture", "0", "1 to 3", "4 to 7", "8 to 14", "15 or more")
_FROM = (0, 1, 4, 8, 15)
RIGHT, WRONG = "all entities correct", "some entity wrong"
Group = Callable[[int, Entity], str]  # of the number of a post and one of its entities
Relevance = dict[str, dict[str, NDArray[np.float64]]]  # by group of posts, then by view


def confusions(
    posts: Sequence[CorpusPost], predicted: Sequence[Sequence[str]]
) -> Counter[tuple[str | None, str | None]]:
    """Count pairs of gold and predicted type of a span; None for a span missed or spurious."""
    counts: Counter[tuple[str | None, str | None]] = Counter()
    for post, labels in zip(posts, predicted, strict=True):
        gold = {(e.start, e.end): e.type for e in entities(post.labels)}
        found = {(e.start, e.end): e.type for e in entities(labels)}
        counts.update((gold.get(span), found.get(span)) for span in gold | found)
    return counts


def length_group(_: int, entity: Entity) -> str:
    """Return the group of LENGTHS of an entity."""
    return LENGTHS[min(entity.end - entity.start, len(LENGTHS)) - 1]


def objects_group(objects: int | None) -> str:
    """Return the group of OBJECTS for the number of objects in a picture, None for no picture."""
    if objects is None:
        return OBJECTS[0]
    return OBJECTS[int(np.searchsorted(_FROM, objects, "right"))]


def scores_by(
    posts: Sequence[CorpusPost], predicted: Sequence[Sequence[str]], group: Group
) -> dict[str, Score]:
    """Return the lenient score of the entities, gold or predicted, of each group."""
    counts: dict[str, Counter[str]] = {}
    for number, (post, labels) in enumerate(zip(posts, predicted, strict=True)):
        gold, found = set(entities(post.labels)), set(entities(labels))
        for kind, some in (("support", gold), ("predicted", found), ("correct", gold & found)):
            for entity in some:
                counts.setdefault(group(number, entity), Counter())[kind] += 1
    return {
        name: Score(count["correct"], count["predicted"], count["support"])
        for name, count in counts.items()
    }


def relevance_by_cue(corpus: CorpusResults, run: RunResult) -> Relevance:
    """Return relevance scores by the first cue of the post, then by view.

    Posts without cues are under `no cue`, or under `all posts` where the corpus has none.
    """
    none = "no cue" if any(post.cues for post in corpus.test) else "all posts"
    groups = [post.cues[0] if post.cues else none for post in corpus.test]
    return _relevance_by(run, groups, (*corpus.cues, none))


def relevance_by_outcome(corpus: CorpusResults, run: RunResult) -> Relevance:
    """Return relevance scores of the posts without errors and of the others, then by view."""
    pairs = zip(corpus.test, run.labels, strict=True)
    right = [outcomes(post.labels, labels).all_correct for post, labels in pairs]
    return _relevance_by(run, [RIGHT if one else WRONG for one in right], (RIGHT, WRONG))


def _relevance_by(run: RunResult, groups: Sequence[str], order: Sequence[str]) -> Relevance:
    found: dict[str, dict[str, list[float]]] = {}
    for group, prediction in zip(groups, run.predictions, strict=True):
        for view, score in (prediction.relevance or {}).items():
            found.setdefault(group, {}).setdefault(view, []).append(float(score))
    names = [name for name in order if name in found]
    return {name: {view: np.array(v) for view, v in found[name].items()} for name in names}
