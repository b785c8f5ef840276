"""BIO labels: their set, the entities they spell, and those that start in the middle."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from hamlearn.errors import HamlearnError

Scheme = Literal["lenient", "strict"]
SCHEMES: tuple[Scheme, ...] = ("lenient", "strict")
OUTSIDE = "O"
LABEL = re.compile(r"O|[BI]-\S+")


class Entity(NamedTuple):
    """One entity: the words `start` to `end` (exclusive), and its type."""

    start: int
    end: int
    type: str


def is_label(label: str) -> bool:
    """Tell whether a label is `O`, `B-X` or `I-X`."""
    return LABEL.fullmatch(label) is not None


def label_set(sequences: Iterable[Iterable[str]]) -> list[str]:
    """Return the labels of a corpus: `O`, then `B-X` and `I-X` of each type in sorted order.

    Both labels of a type are there as soon as one of them occurs.

    Args:
        sequences: the labels of each post.

    Raises:
        HamlearnError: a label is not `O`, `B-X` or `I-X`.
    """
    found = {label for labels in sequences for label in labels}
    for label in sorted(found):
        _check(label)
    types = sorted({label[2:] for label in found if label != OUTSIDE})
    return [OUTSIDE, *(f"{prefix}-{type_}" for type_ in types for prefix in "BI")]


def entities(labels: Sequence[str], scheme: Scheme = "lenient") -> list[Entity]:
    """Return the entities that a post's labels spell, from left to right.

    `lenient` is the counting of conlleval and of seqeval's default: `I-X` begins an entity where
    none of type X is open. `strict` is IOB2: only `B-X` begins one, so that an `I-X` with no `B-X`
    before it belongs to nothing. In both, `I-X` goes on with an open X and all else ends it; each
    strict entity is therefore a lenient one too.

    Args:
        labels: the labels of one post, W of them.
        scheme: "lenient" or "strict".

    Raises:
        HamlearnError: the scheme is unknown, or a label is not `O`, `B-X` or `I-X`.
    """
    if scheme not in SCHEMES:
        raise HamlearnError(f"scheme {scheme!r}: expected one of {', '.join(SCHEMES)}")
    found = []
    start, open_type = 0, ""
    for position, label in enumerate([*labels, OUTSIDE]):
        _check(label)
        prefix, type_ = label[0], label[2:]
        if prefix == "I" and type_ == open_type:
            continue
        if open_type:
            found.append(Entity(start, position, open_type))
        begins = prefix == "B" or (prefix == "I" and scheme == "lenient")
        start, open_type = position, type_ if begins else ""
    return found


def orphans(labels: Sequence[str]) -> int:
    """Count the `I-X` that follow neither `B-X` nor `I-X`: entities that begin in the middle."""
    return sum(now != before for now, before in zip(repair(labels), labels, strict=True))


def repair(labels: Sequence[str]) -> tuple[str, ...]:
    """Read each `I-X` that follows neither `B-X` nor `I-X` as `B-X`, as training does.

    The lenient entities stay as they are, and the strict ones become equal to them.

    Raises:
        HamlearnError: a label is not `O`, `B-X` or `I-X`.
    """
    repaired = list(labels)
    for entity in entities(labels, "lenient"):
        repaired[entity.start] = f"B-{entity.type}"
    return tuple(repaired)


def _check(label: str) -> None:
    if not is_label(label):
        raise HamlearnError(f"label {label!r:.80}: expected O, B-TYPE or I-TYPE")
