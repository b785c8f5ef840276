"""Precision, recall and F1 of entities, micro and per type, in two schemes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hamlearn.corpus.labels import Scheme, entities
from hamlearn.errors import HamlearnError


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of entities, and the three ratios of them.

    Attributes:
        correct: predicted entities whose span and type are gold.
        predicted: entities predicted.
        support: entities in gold.
    """

    correct: int
    predicted: int
    support: int

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
        """Harmonic mean of precision and recall; 0 where both are."""
        total = self.predicted + self.support
        return 2 * self.correct / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Scores:
    """The score over all types, and that of each type found in gold or predictions."""

    micro: Score
    types: dict[str, Score]


def score(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme = "lenient",
) -> Scores:
    """Score predicted label sequences against gold, entity by entity and post by post.

    An entity is right where span and type agree. No entity reaches from one post into the next.

    Args:
        gold: the labels of each post, before any truncation.
        predicted: as many sequences, each as long as its gold.
        scheme: "lenient" (conlleval, seqeval's default) or "strict" (IOB2).

    Raises:
        HamlearnError: numbers of posts or of labels differ, a label is not `O`, `B-X` or `I-X`,
            or the scheme is unknown.
    """
    if len(gold) != len(predicted):
        raise HamlearnError(f"{len(predicted)} predicted sequences, expected {len(gold)} as gold")
    counts = {"correct": Counter[str](), "predicted": Counter[str](), "support": Counter[str]()}
    for number, (gold_labels, labels) in enumerate(zip(gold, predicted, strict=True)):
        if len(gold_labels) != len(labels):
            raise HamlearnError(
                f"sequence {number}: {len(labels)} predicted labels,"
                f" expected {len(gold_labels)} as gold"
            )
        right = set(entities(gold_labels, scheme))
        found = set(entities(labels, scheme))
        counts["support"].update(entity.type for entity in right)
        counts["predicted"].update(entity.type for entity in found)
        counts["correct"].update(entity.type for entity in right & found)
    types = sorted(counts["support"].keys() | counts["predicted"].keys())
    return Scores(
        micro=Score(**{name: count.total() for name, count in counts.items()}),
        types={t: Score(**{name: count[t] for name, count in counts.items()}) for t in types},
    )
