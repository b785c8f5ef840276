"""What became of every entity: correct, of the wrong type, spurious or missed.

An entity that is found with other borders than the gold one is spurious, and the gold one missed.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hamlearn.corpus.labels import Entity, entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.evaluate import (
    CONTROL,
    HAS_PICTURE,
    RUN,
    UNCONTROLLED,
    has_image_of,
    parse_name,
    read_predictions,
)

CORRECT, WRONG_TYPE, SPURIOUS, MISSED = range(4)
OUTCOMES = ("correct", "wrong type", "spurious", "missed")
COLUMNS = (
    *RUN, CONTROL, "split", "post", "outcome", "type", "predicted", "start", "end", "text",
    HAS_PICTURE,
)  # fmt: skip


class Outcomes(NamedTuple):
    """What one prediction makes of one post."""

    predicted: list[tuple[Entity, int]]  # CORRECT, WRONG_TYPE (its span is gold) or SPURIOUS
    gold: list[tuple[Entity, int]]  # CORRECT, WRONG_TYPE (its span is predicted) or MISSED

    @property
    def all_correct(self) -> bool:
        """Whether the post has no error."""
        return all(outcome == CORRECT for _, outcome in (*self.predicted, *self.gold))


def outcomes(gold: Sequence[str], predicted: Sequence[str]) -> Outcomes:
    """Compare the lenient entities of a post, given its gold and its predicted labels."""
    right, found = entities(gold), entities(predicted)
    return Outcomes(_against(found, right, SPURIOUS), _against(right, found, MISSED))


def _against(
    some: Sequence[Entity], others: Sequence[Entity], unmatched: int
) -> list[tuple[Entity, int]]:
    types = {(other.start, other.end): other.type for other in others}
    found = []
    for entity in some:
        other = types.get((entity.start, entity.end))
        outcome = CORRECT if other == entity.type else WRONG_TYPE
        found.append((entity, unmatched if other is None else outcome))
    return found


def outcomes_table(
    predictions: Iterable[str | Path],
    posts: Sequence[CorpusPost],
    *,
    corpus: str,
    detector: str,
    variant: str,
    seed: int,
    control: str = UNCONTROLLED,
) -> pd.DataFrame:
    """Return every entity that is in the gold labels or found by a run, in the order of the posts.

    The arguments are those of `hamlearn.evaluation.evaluate.evaluate`; predictions under a control
    of test time are left out.

    Returns:
        A row per span in the columns COLUMNS: `type` is the gold type and `predicted` the one
        found, empty where there is none; `start` and `end` count words from 0, `end` not included.
        Lenient: an `I-` tag without a `B-` tag begins an entity.

    Raises:
        HamlearnError: a file is malformed or not named as there.
    """
    run = {"corpus": corpus, "detector": detector, "variant": variant, "seed": seed}
    run[CONTROL] = control
    rows = []
    for path in map(Path, predictions):
        split, done = parse_name(path)
        if done != UNCONTROLLED:
            continue
        chosen = [post for post in posts if post.split == split]
        read = read_predictions(path, chosen)
        for post, one, seen in zip(chosen, read, has_image_of(chosen, read), strict=True):
            place = {"split": split, "post": post.id, HAS_PICTURE: "yes" if seen else "no"}
            rows += [run | place | row for row in _spans(post, one.labels)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _spans(post: CorpusPost, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    gold, found = (
        {(one.start, one.end): one.type for one in entities(own)} for own in (post.labels, labels)
    )
    kinds = {
        (one.start, one.end): kind for some in outcomes(post.labels, labels) for one, kind in some
    }
    for start, end in sorted(kinds):
        yield {
            "outcome": OUTCOMES[kinds[start, end]],
            "type": gold.get((start, end), ""),
            "predicted": found.get((start, end), ""),
            "start": start,
            "end": end,
            "text": " ".join(post.words[start:end]),
        }
