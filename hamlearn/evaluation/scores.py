"""Precision, recall and F1 of entities: micro and per type, in two schemes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hamlearn.corpus.labels import Scheme, entities
from hamlearn.errors import HamlearnError

ALL = "all"  # in the place of a type or a cue: all of them together


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of entities, and the three ratios between them."""

    correct: int  # predicted entities whose span and type are gold
    predicted: int
    support: int  # gold entities

    @property
    def precision(self) -> float:
        """Correct per predicted; 0 where nothing is predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Correct per gold; 0 where there is no gold."""
        return self.correct / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where both are 0."""
        total = self.predicted + self.support
        return 2 * self.correct / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Scores:
    """The score over all types, and that of each type in gold or predictions."""

    micro: Score
    types: dict[str, Score]


def score(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme = "lenient",
) -> Scores:
    """Score predicted label sequences against gold, entity by entity and post by post.

    An entity is correct if its span and its type are gold. No entity extends into the next post.

    Args:
        gold: the labels of each post, before any truncation.
        predicted: for each post, as many labels as gold.
        scheme: "lenient" (conlleval, seqeval's default) or "strict" (IOB2).

    Raises:
        HamlearnError: numbers of posts or of labels differ, a label is not `O`, `B-X` or `I-X`,
            or the scheme is unknown.
    """
    if len(gold) != len(predicted):
        raise HamlearnError(f"{len(predicted)} predicted sequences, expected {len(gold)} as gold")
    correct, found, support = Counter[str](), Counter[str](), Counter[str]()
    for number, (gold_labels, labels) in enumerate(zip(gold, predicted, strict=True)):
        if len(gold_labels) != len(labels):
            raise HamlearnError(
                f"sequence {number}: {len(labels)} predicted labels,"
                f" expected {len(gold_labels)} as gold"
            )
        truth, guess = set(entities(gold_labels, scheme)), set(entities(labels, scheme))
        support.update(entity.type for entity in truth)
        found.update(entity.type for entity in guess)
        correct.update(entity.type for entity in truth & guess)
    return Scores(
        micro=Score(correct.total(), found.total(), support.total()),
        types={t: Score(correct[t], found[t], support[t]) for t in sorted(support | found)},
    )
