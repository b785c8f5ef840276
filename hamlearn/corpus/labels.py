"""BIO labels: the label set of a corpus, the entities of a label sequence, and its repair.

Other notations are converted when a corpus is read. BIOES (with the letters of BILOU: L for E, U
for S) marks the last and the only word of an entity. IOB1 begins an entity with I, and with B only
where it follows another of its type.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from hamlearn.errors import HamlearnError

Scheme = Literal["lenient", "strict"]
SCHEMES: tuple[Scheme, ...] = ("lenient", "strict")
Notation = Literal["bio", "iob1", "bioes"]
OUTSIDE = "O"
_LABEL = re.compile(r"O|[BI]-\S+")
_BIOES = re.compile(r"O|[BIESLU]-\S+")
_SEVERAL = re.compile(r"[,;|]([BIESLU]-|O$)")  # another label in the type
_SAME = {"L": "E", "U": "S"}  # letters of BILOU
_RARE = 0.05  # share of entities that begin with B in IOB1 by mistake


class Entity(NamedTuple):
    """An entity: the words `start` to `end` (exclusive), and its type."""

    start: int
    end: int
    type: str


def is_label(label: str) -> bool:
    """Return True if a label is `O`, `B-X` or `I-X`."""
    return _LABEL.fullmatch(label) is not None


def fault_of_label(label: str, notation: Notation = "bio") -> str | None:
    """Return what a label is if it is none of a notation, and what was expected."""
    if _SEVERAL.search(label):
        return "several labels, expected one"
    if notation == "bioes":
        return None if _BIOES.fullmatch(label) else "expected O or B-, I-, E-, S-TYPE"
    if is_label(label):
        return None
    name = {"E": "BIOES", "S": "BIOES", "L": "BILOU", "U": "BILOU"}.get(label[:1])
    if name and _BIOES.fullmatch(label):
        return (
            f"looks like {name}; expected O, B-TYPE or I-TYPE, or `labels: bioes` of the corpus,"
            " which converts it"
        )
    return "expected O, B-TYPE or I-TYPE"


def to_bio(labels: Sequence[str], notation: Notation) -> tuple[str, ...]:
    """Return the labels of the same entities in BIO.

    Raises:
        NotInNotation: a label cannot follow the one before it in BIOES.
    """
    if notation == "bio":
        return tuple(labels)
    if notation == "iob1":  # I-X begins an entity unless one of type X is open
        return repair(labels)
    found, open_type = [], None
    for position, label in enumerate([*labels, OUTSIDE]):
        prefix, type_ = _SAME.get(label[0], label[0]), label[2:]
        goes_on = prefix in "IE"
        if goes_on != (open_type is not None) or (goes_on and type_ != open_type):
            wanted = f"I-{open_type} or E-{open_type}" if open_type else "O, B-TYPE or S-TYPE"
            raise NotInNotation(position, wanted)
        open_type = type_ if prefix in "BI" else None
        found.append(label if prefix == "O" else f"{'I' if goes_on else 'B'}-{type_}")
    return tuple(found[:-1])


class NotInNotation(HamlearnError):
    """A label that cannot follow the one before it; `position` may be the end of the sequence."""

    def __init__(self, position: int, expected: str) -> None:
        super().__init__(f"label {position}: expected {expected}")
        self.position, self.expected = position, expected


def iob1_beginnings(sequences: Iterable[Sequence[str]]) -> tuple[int, int] | None:
    """Return how many entities of a corpus begin with I-X, of how many, if it looks like IOB1.

    In IOB1, B-X only follows an entity of type X. A corpus looks like it if some entity begins with
    I-X, and at most every twentieth of the others does not follow one of its type. A corpus in BIO
    with mistakes, some I-X without B-X, has many such entities.
    """
    inside = outside = count = 0
    for labels in sequences:
        for entity in entities(labels):
            before = labels[entity.start - 1] if entity.start else OUTSIDE
            is_inside = labels[entity.start][0] == "I"
            inside += is_inside
            outside += not is_inside and before[2:] != entity.type
            count += 1
    return (inside, count) if inside and outside <= _RARE * inside else None


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
