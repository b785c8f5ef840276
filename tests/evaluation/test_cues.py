import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.corpus.labels import SCHEMES, entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.cues import cues_of, of_cue
from hamlearn.evaluation.scores import score

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def post(labels, *cues):
    labels = tuple(labels.split(" ")) if isinstance(labels, str) else tuple(labels)
    return CorpusPost("1", "test", "1", None, ("w",) * len(labels), labels, cues)


@st.composite
def predicted_posts(draw):
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=8))
    length = len(labels)
    found = draw(st.lists(st.sampled_from(LABELS), min_size=length, max_size=length))
    number = len(entities(labels))
    cue = st.sampled_from(["scene", "text"])
    return post(labels, *draw(st.lists(cue, min_size=number, max_size=number))), found


@pytest.mark.parametrize(
    ("predicted", "scene", "text"),
    [
        ("B-PER I-PER O B-LOC O", "B-PER I-PER O O O", "O O O B-LOC O"),
        ("B-LOC I-LOC O B-PER O", "B-LOC I-LOC O O O", "O O O B-PER O"),
        ("O B-PER I-PER I-PER O", "O B-PER I-PER I-PER O", "O O O O O"),
        ("O O I-LOC I-LOC I-LOC", "O O O O O", "O O I-LOC I-LOC I-LOC"),
        ("O O B-ORG O B-ORG", "O O B-ORG O B-ORG", "O O O O O"),
        ("O O O O O", "O O O O O", "O O O O O"),
    ],
    ids=["right", "wrong types", "a tie goes left", "overlap", "met no gold", "nothing"],
)
def test_where_a_prediction_counts(predicted, scene, text):
    gold = post("B-PER I-PER O B-LOC O", "scene", "text")
    assert of_cue(gold, predicted.split(" "), "scene") == tuple(scene.split(" "))
    assert of_cue(gold, predicted.split(" "), "text") == tuple(text.split(" "))
    assert of_cue(gold, gold.labels, "scene") == ("B-PER", "I-PER", "O", "O", "O")


def test_a_post_without_cues_counts_for_none():
    assert of_cue(post("B-PER O"), ["B-PER", "O"], "scene") == ("O", "O")
    assert of_cue(post("O O"), ["B-PER", "O"], "scene") == ("O", "O")


def test_cues_must_be_as_many_as_entities():
    assert cues_of(post("B-PER B-LOC", "a", "b")) == {(0, 1, "PER"): "a", (1, 2, "LOC"): "b"}
    with pytest.raises(HamlearnError, match="has 1 cues; expected one for each of its 2 entities"):
        cues_of(post("B-PER B-LOC", "a"))


@given(st.lists(predicted_posts(), min_size=1, max_size=5), st.sampled_from(SCHEMES))
def test_counts_of_cues_add_up_and_never_help_each_other(pairs, scheme):
    known = [(gold, found) for gold, found in pairs if gold.cues]
    whole = score([p.labels for p, _ in known], [found for _, found in known], scheme).micro
    parts = [
        score(
            [of_cue(p, p.labels, cue) for p, _ in known],
            [of_cue(p, found, cue) for p, found in known],
            scheme,
        ).micro
        for cue in ("scene", "text")
    ]
    for count in ("correct", "predicted", "support"):
        assert sum(getattr(part, count) for part in parts) == getattr(whole, count)
