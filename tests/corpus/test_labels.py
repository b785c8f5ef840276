import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.corpus.labels import (
    Entity,
    NotInNotation,
    entities,
    iob1_beginnings,
    label_set,
    orphans,
    repair,
    to_bio,
)
from hamlearn.errors import HamlearnError

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-geo-loc", "I-geo-loc")
sequences = st.lists(st.sampled_from(LABELS), max_size=9)


def spans_by_trying_all(labels, scheme):
    """Every span that is an entity by definition: O(W^3), no state carried along."""
    found = []
    for start in range(len(labels)):
        for end in range(start + 1, len(labels) + 1):
            type_ = labels[start][2:]
            inside = f"I-{type_}"
            before = labels[start - 1] if start else "O"
            after = labels[end] if end < len(labels) else "O"
            orphan = labels[start] == inside and before[2:] != type_
            begins = labels[start][0] == "B" or (orphan and scheme == "lenient")
            goes_on = all(label == inside for label in labels[start + 1 : end])
            if begins and goes_on and after != inside:
                found.append(Entity(start, end, type_))
    return found


@pytest.mark.parametrize(
    ("labels", "lenient", "strict"),
    [
        ("O O", [], []),
        ("B-PER I-PER O", [(0, 2, "PER")], [(0, 2, "PER")]),
        ("B-PER B-PER", [(0, 1, "PER"), (1, 2, "PER")], [(0, 1, "PER"), (1, 2, "PER")]),
        ("I-PER I-PER", [(0, 2, "PER")], []),
        ("B-PER I-LOC I-LOC", [(0, 1, "PER"), (1, 3, "LOC")], [(0, 1, "PER")]),
        ("O I-PER B-PER", [(1, 2, "PER"), (2, 3, "PER")], [(2, 3, "PER")]),
        ("B-PER I-LOC I-PER", [(0, 1, "PER"), (1, 2, "LOC"), (2, 3, "PER")], [(0, 1, "PER")]),
    ],
)
def test_entities_by_hand(labels, lenient, strict):
    assert entities(labels.split(" "), "lenient") == lenient
    assert entities(labels.split(" "), "strict") == strict


@given(sequences, st.sampled_from(["lenient", "strict"]))
def test_entities_equal_those_found_by_trying_every_span(labels, scheme):
    assert entities(labels, scheme) == spans_by_trying_all(labels, scheme)


@given(sequences)
def test_strict_entities_are_lenient_ones_too(labels):
    assert set(entities(labels, "strict")) <= set(entities(labels, "lenient"))


@given(sequences)
def test_repair_makes_the_schemes_agree_and_counts_orphans(labels):
    repaired = repair(labels)
    assert entities(repaired, "strict") == entities(labels, "lenient")
    assert orphans(repaired) == 0
    lost = len(entities(labels, "lenient")) - len(entities(labels, "strict"))
    assert orphans(labels) == lost == sum(a != b for a, b in zip(labels, repaired, strict=True))


def test_repair_by_hand():
    labels = ["I-PER", "I-PER", "B-LOC", "I-PER", "O", "I-LOC"]
    assert repair(labels) == ("B-PER", "I-PER", "B-LOC", "B-PER", "O", "B-LOC")
    assert orphans(labels) == 3


def test_label_set_has_o_first_and_both_labels_of_a_type():
    assert label_set([["I-PER", "O"], ["B-LOC"]]) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert label_set([]) == ["O"]


@pytest.mark.parametrize("label", ["X", "[SEP]", "", "B", "B-", "I-", "b-PER", "S-PER", "O-PER"])
def test_what_is_no_label_is_an_error(label):
    with pytest.raises(HamlearnError, match="expected O, B-TYPE or I-TYPE"):
        entities(["O", label])
    with pytest.raises(HamlearnError, match="expected O, B-TYPE or I-TYPE"):
        label_set([[label]])


def test_unknown_scheme_is_an_error():
    with pytest.raises(HamlearnError, match="expected one of lenient, strict"):
        entities(["O"], "iobes")


def written(spans, length, notation):
    """Labels of entities (start, end, type), word by word, by the definition of each notation."""
    labels = []
    for word in range(length):
        inside = [span for span in spans if span[0] <= word < span[1]]
        if not inside:
            labels.append("O")
            continue
        (start, end, type_) = inside[0]
        is_first, is_last = word == start, word == end - 1
        follows_own_type = any(span[1] == start and span[2] == type_ for span in spans)
        letter = {
            "bio": "B" if is_first else "I",
            "iob1": "B" if is_first and follows_own_type else "I",
            "bioes": ("S" if is_last else "B") if is_first else ("E" if is_last else "I"),
            "bilou": ("U" if is_last else "B") if is_first else ("L" if is_last else "I"),
        }[notation]
        labels.append(f"{letter}-{type_}")
    return tuple(labels)


@st.composite
def spans(draw):
    """Entities next to each other or apart, and the number of words."""
    found, end = [], 0
    for gap, size, type_ in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("XY")), max_size=6)
    ):
        found.append(Entity(end + gap, end + gap + size, type_))
        end = found[-1].end
    return found, end + draw(st.integers(0, 2))


@given(spans(), st.sampled_from(["bio", "iob1", "bioes", "bilou"]))
def test_every_notation_of_the_same_entities_becomes_the_same_bio(given_spans, notation):
    found, length = given_spans
    labels = written(found, length, notation)
    converted = to_bio(labels, "bioes" if notation == "bilou" else notation)
    assert converted == written(found, length, "bio")
    assert entities(converted, "strict") == entities(converted) == found


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "I-Y", "E-Y"]), max_size=6))
def test_what_is_converted_from_bioes_was_bioes(labels):
    try:
        converted = to_bio(labels, "bioes")
    except NotInNotation:
        return
    assert written(entities(converted), len(labels), "bioes") == tuple(labels)


@given(st.lists(spans(), max_size=4))
def test_iob1_is_told_from_bio(given_spans):
    found = [(own, length) for own, length in given_spans if own]
    iob1 = [written(own, length, "iob1") for own, length in found]
    assert (iob1_beginnings(iob1) is not None) == bool(found)
    assert iob1_beginnings(written(own, length, "bio") for own, length in found) is None


@pytest.mark.parametrize(
    ("inside", "outside", "is_iob1"), [(5, 20, False), (20, 20, False), (60, 3, True)]
)
def test_mistakes_do_not_change_what_a_corpus_looks_like(inside, outside, is_iob1):
    labels = [("I-X",)] * inside + [("B-X",)] * outside
    found = iob1_beginnings(labels)
    assert found == ((inside, inside + outside) if is_iob1 else None)
