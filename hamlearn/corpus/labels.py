"""BIO labels: the label set of a corpus, the entities of a label sequence, and its repair."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from hamlearn.errors import HamlearnError

Scheme = Literal["lenient", "strict"]
SCHEMES: tuple[Scheme, ...] = ("lenient", "strict")
OUTSIDE = "O"
_LABEL = re.compile(r"O|[BI]-\S+")


class Entity(NamedTuple):
    """An entity: the words `start` to `end` (exclusive), and its type."""

    start: int
    end: int
    type: str


def is_label(label: str) -> bool:
    """Return True if a label is `O`, `B-X` or `I-X`."""
    return _LABEL.fullmatch(label) is not None


def label_set(sequences: Iterable[Iterable[str]]) -> list[str]:
    """Return the labels of a corpus: `O`, then `B-X` and `I-X` of each type in sorted order.

    Both labels of a type are included if one of them occurs.

    Raises:
        HamlearnError: a label is not `O`, `B-X` or `I-X`.
    """
    found = {label for labels in sequences for label in labels}
    for label in sorted(found):
        check_label(label)
    types = sorted({label[2:] for label in found if label != OUTSIDE})
    return [OUTSIDE, *(f"{prefix}-{type_}" for type_ in types for prefix in "BI")]


def entities(labels: Sequence[str], scheme: Scheme = "lenient") -> list[Entity]:
    """Return the entities of a label sequence, from left to right.

    `lenient` counts like conlleval and the default of seqeval: an `I-X` starts an entity unless one
    of type X is open. `strict` is IOB2: only `B-X` starts an entity, and an `I-X` without it is
    ignored. In both, `I-X` continues an open entity of type X, and anything else ends it. Every
    strict entity is therefore also a lenient one.

    Raises:
        HamlearnError: the scheme is unknown, or a label is not `O`, `B-X` or `I-X`.
    """
    if scheme not in SCHEMES:
        raise HamlearnError(f"scheme {scheme!r}: expected one of {', '.join(SCHEMES)}")
    found = []
    start, open_type = 0, ""
    for position, label in enumerate([*labels, OUTSIDE]):
        check_label(label)
        prefix, type_ = label[0], label[2:]
        if prefix == "I" and type_ == open_type:
            continue
        if open_type:
            found.append(Entity(start, position, open_type))
        starts = prefix == "B" or (prefix == "I" and scheme == "lenient")
        start, open_type = position, type_ if starts else ""
    return found


def orphans(labels: Sequence[str]) -> int:
    """Count the `I-X` that follow neither `B-X` nor `I-X`."""
    return sum(now != before for now, before in zip(repair(labels), labels, strict=True))


def repair(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels with `B-X` for each `I-X` that follows neither `B-X` nor `I-X`.

    The lenient entities do not change, and the strict entities become equal to them.

    Raises:
        HamlearnError: a label is not `O`, `B-X` or `I-X`.
    """
    repaired = list(labels)
    for entity in entities(labels, "lenient"):
        repaired[entity.start] = f"B-{entity.type}"
    return tuple(repaired)


def check_label(label: str) -> None:
    """Raise HamlearnError for a label that is not `O`, `B-X` or `I-X`."""
    if not is_label(label):
        raise HamlearnError(f"label {label!r:.80}: expected O, B-TYPE or I-TYPE")
