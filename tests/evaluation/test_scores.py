import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import sequence_labeling, v1
from seqeval.scheme import IOB2

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.scores import score

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@st.composite
def corpora(draw):
    """Gold and predictions of a few posts; some predictions are gold with one label changed."""
    gold, predicted = [], []
    for _ in range(draw(st.integers(1, 5))):
        labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=8))
        gold.append(labels)
        other = draw(st.lists(st.sampled_from(LABELS), min_size=len(labels), max_size=len(labels)))
        keep = draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels)))
        predicted.append([a if k else b for a, b, k in zip(labels, other, keep, strict=True)])
    return gold, predicted


def reference(gold, predicted, scheme, average):
    """Return seqeval's own numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if scheme == "strict":
            return v1.precision_recall_fscore_support(gold, predicted, average=average, scheme=IOB2)
        return sequence_labeling.precision_recall_fscore_support(gold, predicted, average=average)


@pytest.mark.parametrize("scheme", ["lenient", "strict"])
@given(corpora())
def test_scores_equal_seqeval(scheme, corpus):
    gold, predicted = corpus
    ours = score(gold, predicted, scheme)
    precision, recall, f1, support = reference(gold, predicted, scheme, "micro")
    assert ours.micro.precision == pytest.approx(precision)
    assert ours.micro.recall == pytest.approx(recall)
    assert ours.micro.f1 == pytest.approx(f1)
    assert ours.micro.support == support
    per_type = zip(*reference(gold, predicted, scheme, None), strict=True)
    for mine, theirs in zip(ours.types.values(), per_type, strict=True):
        assert (mine.precision, mine.recall, mine.f1, mine.support) == pytest.approx(theirs)


@given(corpora(), st.sampled_from(["lenient", "strict"]))
def test_types_add_up_to_micro(corpus, scheme):
    scores = score(*corpus, scheme)
    for count in ("correct", "predicted", "support"):
        total = sum(getattr(of_type, count) for of_type in scores.types.values())
        assert total == getattr(scores.micro, count)


def test_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER"]]
    predicted = [["B-PER", "I-PER", "O", "B-PER"], ["O"]]
    scores = score(gold, predicted)
    assert (scores.micro.correct, scores.micro.predicted, scores.micro.support) == (1, 2, 3)
    assert scores.micro.precision == 1 / 2
    assert scores.micro.recall == 1 / 3
    assert scores.micro.f1 == pytest.approx(0.4)
    assert list(scores.types) == ["LOC", "PER"]
    assert scores.types["LOC"].f1 == 0.0


def test_the_schemes_differ_on_the_same_predictions():
    gold, predicted = [["O", "B-PER", "I-PER"]], [["O", "I-PER", "I-PER"]]
    assert score(gold, predicted, "lenient").micro.f1 == 1.0
    assert score(gold, predicted, "strict").micro.f1 == 0.0


def test_an_entity_never_reaches_into_the_next_post():
    apart = score([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]])
    joined = score([["B-PER", "I-PER"]], [["B-PER", "I-PER"]])
    assert apart.micro.support == 2
    assert joined.micro.support == 1


def test_micro_is_not_the_mean_of_the_types():
    gold = [["B-PER"] * 9 + ["B-LOC"]]
    predicted = [["B-PER"] * 9 + ["O"]]
    assert score(gold, predicted).micro.recall == 0.9


def test_nothing_to_find_and_nothing_found_is_zero():
    scores = score([["O"]], [["O"]])
    assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (0.0, 0.0, 0.0)
    assert scores.types == {}


@pytest.mark.parametrize("label", ["X", "[SEP]", "[CLS]"])
def test_labels_of_a_tokenizer_are_refused(label):
    with pytest.raises(HamlearnError, match="expected O, B-TYPE or I-TYPE"):
        score([["B-PER", "O"]], [["B-PER", label]])


def test_differing_lengths_are_errors_that_name_the_sequence():
    with pytest.raises(HamlearnError, match="1 predicted sequences, expected 2"):
        score([["O"], ["O"]], [["O"]])
    with pytest.raises(HamlearnError, match="sequence 1: 1 predicted labels, expected 2"):
        score([["O"], ["O", "B-PER"]], [["O"], ["O"]])


def test_gold_past_a_cut_counts():
    assert score([["O", "B-PER"]], [["O", "O"]]).micro.support == 1
