from pathlib import Path

import pytest

from hamlearn.corpus.labels import entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.scores import score
from hamlearn.report.analysis import (
    LENGTHS,
    confusions,
    objects_group,
    relevance_by_cue,
    relevance_by_outcome,
    scores_by,
)
from hamlearn.report.inputs import CorpusResults, read_results
from tests.report.fabricated import CUES, Made, make


@pytest.fixture(scope="module")
def corpus(made: Made) -> CorpusResults:
    return read_results(made.settings, made.metrics, made.root)[0]


def test_confusions_by_hand():
    labels = ("B-PER", "I-PER", "O", "B-LOC", "B-ORG")
    post = CorpusPost("a", "test", "a", None, ("w",) * 5, labels, ())
    predicted = ("B-ORG", "I-ORG", "B-PER", "O", "B-ORG")
    assert confusions([post], [predicted]) == {
        ("PER", "ORG"): 1,
        ("ORG", "ORG"): 1,
        ("LOC", None): 1,
        (None, "PER"): 1,
    }


@pytest.mark.parametrize(
    ("objects", "group"),
    [(None, "no picture"), (0, "0"), (1, "1 to 3"), (3, "1 to 3"), (15, "15 or more")],
)
def test_groups_of_objects(objects, group):
    assert objects_group(objects) == group


def test_scores_by_group_are_those_of_their_entities_alone() -> None:
    labels = ("B-PER", "I-PER", "O", "B-LOC")
    post = CorpusPost("a", "test", "a", None, ("w",) * 4, labels, ())
    predicted = [("B-PER", "I-PER", "B-ORG", "O"), ("O", "O", "O", "B-LOC")]
    by_length = scores_by([post, post], predicted, lambda _, e: LENGTHS[e.end - e.start - 1])
    assert (by_length["2"].correct, by_length["2"].predicted, by_length["2"].support) == (1, 1, 2)
    assert (by_length["1"].correct, by_length["1"].predicted, by_length["1"].support) == (1, 2, 2)
    by_post = scores_by([post, post], predicted, lambda number, _: str(number))
    for number, name in enumerate("01"):
        assert by_post[name] == score([labels], [predicted[number]]).micro


def test_relevance_by_outcome_splits_the_posts(corpus: CorpusResults) -> None:
    run = corpus.runs_of("demo", "wo_rgcn")[0]
    groups = relevance_by_outcome(corpus, run)
    assert list(groups) == ["all entities correct", "some entity wrong"]
    sizes = {name: len(by_view["semantic"]) for name, by_view in groups.items()}
    wrong = sum(
        set(entities(post.labels)) != set(entities(labels))
        for post, labels in zip(corpus.test, run.labels, strict=True)
    )
    assert sizes == {"all entities correct": 60 - wrong, "some entity wrong": wrong}


def test_relevance_is_by_cue_and_view(corpus: CorpusResults) -> None:
    (run,) = corpus.runs_of("demo", "full")
    found = relevance_by_cue(corpus, run)
    assert list(found) == sorted(CUES)
    for cue, by_view in found.items():
        places = [place for place, post in enumerate(corpus.test) if post.cues == (cue,)]
        for view, values in by_view.items():
            expected = [(run.predictions[place].relevance or {})[view] for place in places]
            assert values.tolist() == expected


def test_posts_without_pictures_have_no_relevance(tmp_path: Path) -> None:
    failures = {f"test_{n}": ("missing", "gone") for n in range(0, 60, 2)}
    made = make(tmp_path, variants=("full",), cues=False, failures=failures)
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    found = relevance_by_cue(corpus, corpus.runs[0])
    assert list(found) == ["all posts"]
    assert {len(values) for values in found["all posts"].values()} == {30}
