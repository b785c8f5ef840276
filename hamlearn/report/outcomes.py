"""What became of each entity: right, missed, of the wrong type, or not there at all."""

from collections.abc import Sequence
from typing import NamedTuple

from hamlearn.corpus.labels import Entity, entities

CORRECT, WRONG_TYPE, SPURIOUS, MISSED = range(4)
OUTCOMES = ("correct", "wrong type", "spurious", "missed")


class Outcome(NamedTuple):
    """One entity, predicted or gold, and what became of it."""

    entity: Entity
    outcome: int


class Outcomes(NamedTuple):
    """What one prediction makes of one post.

    Attributes:
        predicted: each predicted entity: CORRECT, WRONG_TYPE (its span is gold) or SPURIOUS.
        gold: each gold entity: CORRECT, WRONG_TYPE (its span is predicted) or MISSED.
    """

    predicted: list[Outcome]
    gold: list[Outcome]

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return all(one.outcome == CORRECT for one in (*self.predicted, *self.gold))


def outcomes(gold: Sequence[str], predicted: Sequence[str]) -> Outcomes:
    """Compare the lenient entities of a post, as the headline scores do.

    Args:
        gold: labels of the post, W of them.
        predicted: as many.
    """
    right, found = entities(gold), entities(predicted)
    return Outcomes(_against(found, right, SPURIOUS), _against(right, found, MISSED))


def _against(some: Sequence[Entity], others: Sequence[Entity], alone: int) -> list[Outcome]:
    spans = {(other.start, other.end): other.type for other in others}
    told = []
    for entity in some:
        type_ = spans.get((entity.start, entity.end))
        outcome = alone if type_ is None else CORRECT if type_ == entity.type else WRONG_TYPE
        told.append(Outcome(entity, outcome))
    return told
